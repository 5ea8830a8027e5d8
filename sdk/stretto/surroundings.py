"""Read what stands around an ensemble's file: tiers, profiles, settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError
from .lookup import Tier
from .performance import Performance
from .profiles import Profile


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around an ensemble's file.

    Args:
        project: the folder that its references stay in.
        tiers: lowest first.
        performance: settings and prices of `performance.yaml` and `config.yaml`, the nearest winning.
        notes: what of them has no effect.
        profiles: by name.
        profile_errors: what is wrong with whole files of profiles; counts only when an agent names a profile.
        profile_notes: which files of profiles are ignored; said only when an agent names a profile.
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
    raise NotImplementedError
