"""Read model profiles: what an agent's `model_profile` names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import ConfigError
from .lookup import Tier
from .yaml_text import Place, Section


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile as its file has it; nothing in it is translated yet.

    Args:
        name: by which agents name it.
        values: its keys without `name`; each value that `errors` complains about is left out.
        file: path of its file.
        place: where it begins there.
        tier: name of the tier.
        shadows: those of the same name that it replaces, the nearest first.
        errors: what is wrong with it; counts only when the profile is used.
        notes: what of it has no effect; said only when the profile is used.
    """

    name: str
    values: Section
    file: str
    place: Place
    tier: str
    shadows: tuple[Profile, ...] = ()
    errors: tuple[ConfigError, ...] = ()
    notes: tuple[str, ...] = ()


def read_profiles(tiers: Iterable[Tier], errors: list[ConfigError], notes: list[str]) -> dict[str, Profile]:
    """Read the profiles of all tiers, lowest first; a later one wins.

    Args:
        tiers: as `lookup.tiers` gives them.
        errors: gets what is wrong with whole files; the other files are read all the same.
        notes: gets which files are ignored, and why.
    """
    raise NotImplementedError
