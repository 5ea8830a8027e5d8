"""Read model profiles: what an agent's `model_profile` names.

A profile's own mistakes count only when an agent names it, as in llm-orc: they travel with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from .config_file import ConfigFile
from .errors import ConfigError
from .inline_secrets import CURE, clean, is_secret
from .yaml_text import Place, Section, excerpt, kind_of, read_yaml

MOST_FILES = 2_000  # in one `profiles/`
_SECTION = "model_profiles"
_WHOLE = re.compile("[0-9]{1,18}")


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
        doubts = (f"{doubt.file}:{doubt.line}: {_unplaced(doubt)}: it is ignored" for doubt in self.doubts)
        return self.errors, (*doubts, *self.notes)


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
    for config in configs:
        for profile in [*_of_section(config, errors), *_of_folder(config, errors, notes)]:
            before = found.get(profile.name)
            shadows = () if before is None else (replace(before, shadows=()), *before.shadows)
            found[profile.name] = replace(profile, shadows=shadows)
    return found


def _of_section(config: ConfigFile, errors: list[ConfigError]) -> list[Profile]:
    section, file = config.section.get(_SECTION, Section(Place(1, 1))), str(config.file)
    if not isinstance(section, Section):
        place = config.section.keys_at[_SECTION]
        cure = ": leave the key out, or give it content" if section is None else ""
        message = f"{_SECTION} must map names to profiles, got {kind_of(section)}{cure}"
        errors.append(ConfigError(message, file=file, line=place.line, column=place.column, key=_SECTION))
        return []
    return [
        _profile(name, value, file, section.keys_at[name], config.tier.name)
        for name, value in section.items()
        if not name.startswith("x-")
    ]


def _of_folder(config: ConfigFile, errors: list[ConfigError], notes: list[str]) -> list[Profile]:
    folder, found = config.tier.folder / "profiles", list[Profile]()
    for name in _names(folder, notes):
        file = folder / name
        if name.endswith(".yml"):
            notes.append(f"{file}: is not read: a file of a profile ends in .yaml")
            continue
        try:
            section = read_yaml(file)
        except ConfigError as error:
            errors.append(error)
            continue
        called = section.get("name")
        if isinstance(called, str) and called:
            found.append(_profile(called, section, str(file), section.place, config.tier.name))
        elif _SECTION in section and called is None:
            line = section.keys_at[_SECTION].line
            cure = f"move what it holds into {config.file}, or write one file for each, with name: at its top"
            notes.append(f"{file}:{line}: a file of a profile holds one profile, so {_SECTION}: is ignored: {cure}")
        else:
            place = section.keys_at.get("name", section.place)
            message = f"a file of a profile needs a name: a text, got {kind_of(called)}"
            errors.append(ConfigError(message, file=str(file), line=place.line, column=place.column, key="name"))
    return found


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
    return None if isinstance(value, (int, float)) and not isinstance(value, bool) else "a number"


def _count(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) and value > 0 else "a whole number above 0"


def _seconds(value: Any) -> str | None:
    return None if _number(value) is None and value > 0 else "seconds above 0"


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


def _profile(name: str, section: Any, file: str, place: Place, tier: str) -> Profile:
    """Check each key of a profile alone, so that all that is wrong is said together."""
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
            doubts.append(_doubt(name, key, value).at(file=file, line=at.line, column=at.column))
            continue
        if key in WITHOUT_EFFECT:
            notes.append(f"{file}:{at.line}: {key} of the profile {excerpt(name)} has no effect: {WITHOUT_EFFECT[key]}")
        if key == "timeout_seconds" and isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)  # llm-orc takes it as well
        if (needed := KEYS[key](value)) is not None:
            message = f"{key} of the profile {excerpt(name)} must be {needed}, got {kind_of(value)}"
            errors.append(ConfigError(message, file=file, line=at.line, column=at.column, key=key))
        else:
            values.put(key, value, at)
    return Profile(name, values, file, place, tier, (), tuple(errors), tuple(doubts), tuple(notes))


def _doubt(name: str, key: str, value: Any) -> ConfigError:
    if is_secret(key, value):
        return ConfigError(f"{clean(excerpt(key))} of the profile {excerpt(name)} holds a key: {CURE}", key=clean(key))
    nearest = next(iter(get_close_matches(key, list(KEYS), 1)), None)
    return ConfigError(f"{excerpt(key)} is not a key of a profile ({excerpt(name)})", key=key, nearest=nearest)


def _unplaced(error: ConfigError) -> str:
    return str(ConfigError(error.message, nearest=error.nearest))
