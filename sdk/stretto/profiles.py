"""Read model profiles: what an agent's `model_profile` names.

A profile's own mistakes count only when an agent names it, as in llm-orc: they travel with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .config_file import ConfigFile
from .errors import ConfigError
from .findings import OF_KEYS, Suggestions, ignored
from .inline_secrets import CURE, clean, is_secret
from .tiers import check_inside
from .written_number import number
from .yaml_text import Place, Section, excerpt, kind_of, read_yaml

MOST_FILES = 2_000  # in one `profiles/`
MOST_BYTES = 2_000_000  # in all of them
_SECTION = "model_profiles"
_NUMBERS = ("temperature", "max_tokens", "timeout_seconds")


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile as its file has it; nothing in it is translated yet.

    Args:
        name: by which agents name it.
        values: its known keys without `name`; a key without a value, or with one that `errors` complains about, is left
            out. `timeout_seconds` is a number.
        file: path of its file.
        place: where it begins there.
        tier: name of the tier.
        shadows: those of the same name that it replaces, the nearest first.
        errors: what makes it unusable.
        doubts: unknown keys and keys that hold a secret: errors in strict files, else notes; no secret is repeated.
        notes: what of it has no effect, with file and line.
    """

    name: str
    values: Section
    file: str
    place: Place
    tier: str
    shadows: tuple[Profile, ...] = ()
    errors: tuple[ConfigError, ...] = ()
    doubts: tuple[ConfigError, ...] = ()
    notes: tuple[str, ...] = ()

    def complaints(self, *, strict: bool) -> tuple[tuple[ConfigError, ...], tuple[str, ...]]:
        """Give what an agent that names it must be told: errors, and notes with file and line."""
        if strict:
            return (*self.errors, *self.doubts), self.notes
        return self.errors, (*map(ignored, self.doubts), *self.notes)


def read_profiles(configs: Iterable[ConfigFile], errors: list[ConfigError], notes: list[str]) -> dict[str, Profile]:
    """Read the profiles of all tiers; a later one wins.

    Of each tier, lowest first: `model_profiles` of its `config.yaml`, then `profiles/*.yaml` by name, those that end in
    `.local.yaml` last.

    Args:
        configs: one for each tier, lowest first.
        errors: gets what is wrong with whole files; the other files are read all the same.
        notes: gets which files are ignored, and why.
    """
    found: dict[str, Profile] = {}
    suggestions = Suggestions()
    for config in configs:
        for profile in [*_of_section(config, errors, suggestions), *_of_folder(config, errors, notes, suggestions)]:
            before = found.get(profile.name)
            shadows = () if before is None else (replace(before, shadows=()), *before.shadows)
            found[profile.name] = replace(profile, shadows=shadows)
    return found


def _of_section(config: ConfigFile, errors: list[ConfigError], suggestions: Suggestions) -> list[Profile]:
    section, file = config.section.get(_SECTION, Section(Place(1, 1))), str(config.file)
    if not isinstance(section, Section):
        place = config.section.keys_at[_SECTION]
        cure = ": leave the key out, or give it content" if section is None else ""
        message = f"{_SECTION} must map names to profiles, got {kind_of(section)}{cure}"
        errors.append(ConfigError(message, file=file, line=place.line, column=place.column, key=_SECTION))
        return []
    return [
        _profile(name, value, Spot(file, section.keys_at[name], config.tier.name), suggestions)
        for name, value in section.items()
        if not name.startswith("x-")
    ]


def _of_folder(
    config: ConfigFile, errors: list[ConfigError], notes: list[str], suggestions: Suggestions
) -> list[Profile]:
    folder, found, left = config.tier.folder / "profiles", list[Profile](), MOST_BYTES
    for name in _names(folder, notes):
        file = folder / name
        if name.endswith(".yml"):
            notes.append(f"{file}: is not read: a file of a profile ends in .yaml")
            continue
        left -= _size(file)
        if left < 0:
            message = f"the files of {folder} hold more than {MOST_BYTES} bytes: those from here on are not read"
            errors.append(ConfigError(message, file=str(file), line=1, column=1))
            break
        try:
            check_inside(config.tier, file)
            section = read_yaml(file)
        except ConfigError as error:
            errors.append(error)
            continue
        called = section.get("name")
        if isinstance(called, str) and called:
            found.append(_profile(called, section, Spot(str(file), section.place, config.tier.name), suggestions))
        elif _SECTION in section and called is None:
            line = section.keys_at[_SECTION].line
            cure = f"move what it holds into {config.file}, or write one file for each, with name: at its top"
            notes.append(f"{file}:{line}: a file of a profile holds one profile, so {_SECTION}: is ignored: {cure}")
        else:
            place = section.keys_at.get("name", section.place)
            message = f"a file of a profile needs a name: a text, got {kind_of(called)}"
            errors.append(ConfigError(message, file=str(file), line=place.line, column=place.column, key="name"))
    return found


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except OSError:  # to read it says why
        return 0


def _names(folder: Path, notes: list[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MOST_FILES + 1)]
    except FileNotFoundError:
        return []
    except OSError as error:
        notes.append(f"{folder}: cannot be looked at: {error.strerror}")
        return []
    if len(names) > MOST_FILES:
        notes.append(f"{folder}: holds more than {MOST_FILES} files: not all are read")
    files = (name for name in names[:MOST_FILES] if name.endswith((".yaml", ".yml")))
    regular = (name for name in files if os.path.isfile(folder / name) or not os.path.exists(folder / name))
    return sorted(regular, key=lambda name: (name.endswith(".local.yaml"), name))


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a text"


def _prompt(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


def _number(value: Any) -> str | None:
    return None if number(value, whole=False) is not None else "a number"


def _count(value: Any) -> str | None:
    count = number(value, whole=True)
    return None if count is not None and count > 0 else "a whole number above 0"


def _seconds(value: Any) -> str | None:
    seconds = number(value, whole=False)
    return None if seconds is not None and seconds > 0 else "seconds above 0"


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, Section) else "a mapping"


def _anything(value: Any) -> str | None:
    return None


# What each key must hold; a check gives what it misses.
KEYS: Mapping[str, Callable[[Any], str | None]] = {
    "model": _text,
    "provider": _text,
    "base_url": _text,
    "api_key_env": _text,
    "system_prompt": _prompt,
    "temperature": _number,
    "max_tokens": _count,
    "timeout_seconds": _seconds,
    "options": _mapping,
    "fallback_model_profile": _text,
    "hf_repo": _text,
    "description": _anything,
    "cost_per_token": _anything,
}
WITHOUT_EFFECT: Mapping[str, str] = {
    "cost_per_token": "prices stand under prices: in performance.yaml, in USD per million tokens",
    "hf_repo": "the server of the model loads it",
}


class Profiles:
    """The profiles of all tiers, read when the first of them is asked for.

    Args:
        configs: one for each tier, lowest first.
    """

    def __init__(self, configs: Iterable[ConfigFile]) -> None:
        self._configs = tuple(configs)
        self._named: Mapping[str, Profile] | None = None
        self._errors: list[ConfigError] = []
        self._notes: list[str] = []

    @property
    def named(self) -> Mapping[str, Profile]:
        """All of them, by name."""
        if self._named is None:
            self._named = read_profiles(self._configs, self._errors, self._notes)
        return self._named

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """What is wrong with whole files."""
        _ = self.named
        return tuple(self._errors)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which files are ignored."""
        _ = self.named
        return tuple(self._notes)

    @property
    def places(self) -> tuple[str, ...]:
        """Where they are looked for."""
        return tuple(f"{config.file} and {config.tier.folder / 'profiles'}" for config in reversed(self._configs))


class Spot(NamedTuple):
    """Where a profile stands."""

    file: str
    place: Place
    tier: str


def _profile(name: str, section: Any, spot: Spot, suggestions: Suggestions) -> Profile:
    """Check each key of a profile alone, so that all that is wrong is said together."""
    file, place, tier = spot
    values = Section(place)
    errors: list[ConfigError] = []
    doubts: list[ConfigError] = []
    notes: list[str] = []
    if not isinstance(section, Section):
        message = f"the profile {excerpt(name)} must be a mapping, got {kind_of(section)}"
        errors.append(ConfigError(message, file=file, line=place.line, column=place.column, key=_SECTION))
        section = values
    for key, value in section.items():
        at = section.keys_at[key]
        if key == "name" or key.startswith("x-") or value is None:
            continue
        if key not in KEYS:
            doubts.append(_doubt(name, key, value, suggestions).at(file=file, line=at.line, column=at.column))
            continue
        if key in WITHOUT_EFFECT:
            notes.append(f"{file}:{at.line}: {key} of the profile {excerpt(name)} has no effect: {WITHOUT_EFFECT[key]}")
        if key in _NUMBERS:  # llm-orc takes one that is written as a text as well
            value = value if (read := number(value, whole=key == "max_tokens")) is None else read
        if (needed := KEYS[key](value)) is not None:
            message = f"{key} of the profile {excerpt(name)} must be {needed}, got {kind_of(value)}"
            errors.append(ConfigError(message, file=file, line=at.line, column=at.column, key=key))
        else:
            values.put(key, value, at)
    return Profile(name, values, file, place, tier, (), tuple(errors), tuple(doubts), tuple(notes))


def _doubt(name: str, key: str, value: Any, suggestions: Suggestions) -> ConfigError:
    if is_secret(key, value):
        return ConfigError(f"{clean(excerpt(key))} of the profile {excerpt(name)} holds a key: {CURE}", key=clean(key))
    near = suggestions.nearest(key, KEYS, OF_KEYS)
    return ConfigError(f"{excerpt(key)} is not a key of a profile ({excerpt(name)})", key=key, nearest=near)
