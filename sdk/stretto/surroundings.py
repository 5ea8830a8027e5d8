"""Read what stands around an ensemble's file: tiers, profiles, settings.

Settings and prices are laid over each other one by one. From low to high: of each tier `config.yaml`, then
`performance.yaml`; at last the `performance.yaml` beside the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .config_file import ConfigFile, read_config_files
from .errors import ConfigError
from .performance import NAME, Performance, read_performance, read_performance_section
from .profiles import Profile, read_profiles
from .tiers import Tier, absolute, identity, project, tiers


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around an ensemble's file.

    Args:
        project: the folder that its references stay in.
        tiers: lowest first.
        performance: settings and prices, the nearest winning.
        notes: what of them has no effect, with file and line.
        profiles: by name.
        profile_errors: what is wrong with whole files of profiles. An agent that names a profile makes them errors in
            strict files; in others notes, unless nothing defines that profile.
        profile_notes: which files of profiles are ignored; said when an agent names a profile.
    """

    project: Path
    tiers: tuple[Tier, ...]
    performance: Performance
    notes: tuple[str, ...]
    profiles: Mapping[str, Profile]
    profile_errors: tuple[ConfigError, ...]
    profile_notes: tuple[str, ...]


def surroundings(path: Path, errors: list[ConfigError]) -> Surroundings:
    """Read what stands around an ensemble's file; never raises: what is wrong with settings is added to `errors`."""
    folder = absolute(path.parent)
    around = tiers(folder)
    configs = read_config_files(around)
    profile_errors: list[ConfigError] = []
    profile_notes: list[str] = []
    profiles = read_profiles(configs, profile_errors, profile_notes)
    performance = read_performances(configs, path, errors)
    return Surroundings(
        project=project(folder),
        tiers=around,
        performance=performance,
        notes=performance.notes,
        profiles=profiles,
        profile_errors=tuple(profile_errors),
        profile_notes=tuple(profile_notes),
    )


def read_performances(configs: Iterable[ConfigFile], path: Path, errors: list[ConfigError]) -> Performance:
    """Lay together what the tiers' files say and what stands beside `path`; what is wrong is added to `errors`.

    Args:
        configs: one for each tier, lowest first.
        path: of the ensemble's file; it is not read.
        errors: gets what is wrong; a file with errors counts for nothing, the others do.
    """
    laid = Performance()
    for file, config in performance_files(configs, path):
        broken: list[ConfigError] = []
        said = read_one(file, config, broken)
        errors.extend(broken)
        laid = laid if broken else said.over(laid)
    return laid


def read_one(file: Path, config: ConfigFile | None, errors: list[ConfigError]) -> Performance:
    """Read one of `performance_files`; what is wrong is added to `errors`."""
    if config is not None:
        errors.extend(config.errors)
        return read_performance_section(config.section, str(file), errors)
    try:
        return read_performance(file)
    except ConfigError as error:
        errors.extend(error.errors or (error,))
        return Performance()


def performance_files(configs: Iterable[ConfigFile], path: Path) -> list[tuple[Path, ConfigFile | None]]:
    """Give the files with settings that are there, lowest first; None stands beside a `performance.yaml`."""
    beside = path.parent / NAME
    files: list[tuple[Path, ConfigFile | None]] = []
    for config in configs:
        if config.section or config.errors:
            files.append((config.file, config))
        file = config.tier.folder / NAME
        if os.path.isfile(file) and identity(file) != identity(beside):
            files.append((file, None))
    if os.path.isfile(beside) and identity(beside) != identity(path):
        files.append((beside, None))
    return files
