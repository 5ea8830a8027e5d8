"""Read what stands around an ensemble's file: tiers, profiles, settings.

Settings and prices are laid over each other one by one. From low to high: of each tier `config.yaml`, then
`performance.yaml`; at last the `performance.yaml` beside the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .config_file import ConfigFile, read_config_files
from .errors import ConfigError
from .findings import ignored
from .performance import NAME, Performance, read_performance, read_performance_section
from .profiles import Profiles
from .tiers import Tier, absolute, check_inside, identity, project, tiers


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around an ensemble's file.

    Args:
        project: the folder that its references stay in.
        tiers: lowest first.
        performance: settings and prices, the nearest winning.
        notes: what of them has no effect, with file and line.
        doubts: which of their keys are nearly one that is known: errors in strict files, else notes.
        profiles: what is wrong with whole files of them is said when an agent names a profile: errors in strict files;
            in others notes, unless nothing defines that profile.
    """

    project: Path
    tiers: tuple[Tier, ...]
    performance: Performance
    notes: tuple[str, ...]
    doubts: tuple[ConfigError, ...]
    profiles: Profiles


class Tiers:
    """What stands in the tiers, read once in a load, whatever number of folders they are around."""

    def __init__(self) -> None:
        self._known: dict[tuple[Tier, ...], tuple[list[ConfigFile], Profiles]] = {}
        self._said: dict[Path, tuple[Performance, list[ConfigError]]] = {}

    def around(self, path: Path, errors: list[ConfigError]) -> Surroundings:
        """Read what stands around a file; never raises: what is wrong with settings is added to `errors`."""
        folder = absolute(path.parent)
        around = tiers(folder)
        if around not in self._known:
            read = read_config_files(around)
            self._known[around] = (read, Profiles(read))
        configs, profiles = self._known[around]
        performance = self._performance(configs, path, errors)
        misread = [doubt for config in configs for doubt in config.doubts]
        return Surroundings(
            project=project(folder),
            tiers=around,
            performance=performance,
            notes=(*map(ignored, misread), *performance.notes),
            doubts=(*misread, *performance.doubts),
            profiles=profiles,
        )

    def _performance(self, configs: list[ConfigFile], path: Path, errors: list[ConfigError]) -> Performance:
        laid = Performance()
        for source in performance_files(configs, path):
            if source.file not in self._said:
                broken: list[ConfigError] = []
                self._said[source.file] = (read_one(source, broken), broken)
            said, wrong = self._said[source.file]
            errors.extend(wrong)
            laid = laid if wrong else said.over(laid)
        return laid


def surroundings(path: Path, errors: list[ConfigError]) -> Surroundings:
    """Read what stands around an ensemble's file; never raises: what is wrong with settings is added to `errors`."""
    return Tiers().around(path, errors)


class SettingsFile(NamedTuple):
    """A file with settings.

    Attributes:
        file: its path.
        config: what it holds, when it is a `config.yaml`.
        tier: where it stands; None: beside the ensemble.
    """

    file: Path
    config: ConfigFile | None
    tier: Tier | None


def read_one(source: SettingsFile, errors: list[ConfigError]) -> Performance:
    """Read one of `performance_files`; what is wrong is added to `errors`."""
    file, config, tier = source
    if config is not None:
        errors.extend(config.errors)
        return read_performance_section(config.section, str(file), errors)
    try:
        if tier is not None:
            check_inside(tier, file)
        return read_performance(file)
    except ConfigError as error:
        errors.extend(error.errors or (error,))
        return Performance()


def performance_files(configs: Iterable[ConfigFile], path: Path) -> list[SettingsFile]:
    """Give the files with settings that are there, lowest first."""
    beside = path.parent / NAME
    files: list[SettingsFile] = []
    for config in configs:
        if config.section or config.errors:
            files.append(SettingsFile(config.file, config, config.tier))
        file = config.tier.folder / NAME
        if os.path.isfile(file) and identity(file) != identity(beside):
            files.append(SettingsFile(file, None, config.tier))
    if os.path.isfile(beside) and identity(beside) != identity(path):
        files.append(SettingsFile(beside, None, None))
    return files
