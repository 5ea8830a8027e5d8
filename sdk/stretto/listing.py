"""List what a folder sees: ensembles, profiles and files of settings, from which tier, and what shadows what."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config_file import read_config_files
from .errors import ConfigError
from .findings import ignored
from .inline_secrets import clean
from .lookup import Found, ensembles
from .profiles import Profile, read_profiles
from .show import one_line
from .surroundings import SettingsFile, performance_files, read_one
from .tiers import Tier, absolute, identity, tiers
from .yaml_text import Items, kind_of, read_yaml

if TYPE_CHECKING:
    from rich.console import Console

_Row = tuple[Mapping[str, Any], tuple[str, ...]]  # what it shows, and its cells
LONG_DESCRIPTION = 60  # characters of its first line, in a table


def listing(folder: Path) -> dict[str, Any]:
    """Read what a folder sees; what is broken is listed with its errors, nothing is raised.

    Returns:
        `folder`; `tiers`, the nearest first; `ensembles`, `profiles` and `settings` (the files that give them, the
        nearest first), each with `tier`, `file` and `errors`, the first two with `shadowed_by`, None for what is used;
        `warnings`.
    """
    folder = absolute(folder)
    around, notes, errors = tiers(folder), list[str](), list[ConfigError]()
    configs = read_config_files(around)
    notes.extend(ignored(doubt) for config in configs for doubt in config.doubts)
    profiles = read_profiles(configs, errors, notes)
    files = performance_files(configs, folder / "ensemble")
    return {
        "folder": str(folder),
        "tiers": [{"name": tier.name, "folder": str(tier.folder)} for tier in reversed(around)],
        "ensembles": [_ensemble(found) for found in ensembles(folder, notes)],
        "profiles": [row for name in sorted(profiles) for row in _profile_rows(profiles[name])],
        "settings": [_settings(source, around, notes) for source in reversed(files)],
        "warnings": [*_said(errors), *map(clean, notes)],
    }


def _ensemble(found: Found) -> dict[str, Any]:
    description, errors = "", list[ConfigError]()
    try:
        section = read_yaml(found.file)
    except ConfigError as error:
        errors.append(error)
    else:
        given = section.get("description")
        description = given.strip() if isinstance(given, str) else ""
        for key, kind, what in (("name", str, "a text"), ("agents", Items, "a list")):
            if not isinstance(section.get(key), kind):
                place = section.keys_at.get(key, section.place)
                wrong = ConfigError(f"{key} must be {what}, got {kind_of(section.get(key))}", key=key)
                errors.append(wrong.at(file=str(found.file), line=place.line, column=place.column))
    return {
        "name": clean(found.name),
        "tier": found.tier,
        "file": str(found.file),
        "description": clean(description),
        "shadowed_by": None if found.shadowed_by is None else str(found.shadowed_by),
        "errors": _said(errors),
    }


def _profile_rows(profile: Profile) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for one in (profile, *profile.shadows):
        errors, notes = one.complaints(strict=False)
        row = {
            "name": clean(one.name),
            "model": clean(one.values.get("model", "")),
            "provider": clean(one.values.get("provider", "")),
            "tier": one.tier,
            "file": one.file,
            "line": one.place.line,
            "shadowed_by": None if one is profile else f"{profile.file}:{profile.place.line}",
            "errors": _said(errors),
            "warnings": list(map(clean, notes)),
        }
        rows.append(row)
    return rows


def _settings(source: SettingsFile, around: Iterable[Tier], notes: list[str]) -> dict[str, Any]:
    file, errors = source.file, list[ConfigError]()
    said = read_one(source, errors)
    notes.extend(said.notes)
    same = (tier.name for tier in around if identity(tier.folder) == identity(file.parent))
    return {
        "file": str(file),
        "tier": next(same, "folder"),
        "settings": {name: getattr(said.settings, name) for name in sorted(said.settings.given)},
        "prices": sorted(map(clean, said.prices)),
        "errors": _said(errors),
    }


def _said(errors: Iterable[ConfigError]) -> list[str]:
    return [clean(str(one)) for error in errors for one in error.errors or (error,)]


def show_listing(listed: Mapping[str, Any], to: Console) -> None:
    """Print what `listing` gives, a table each for ensembles, profiles and settings; broken rows say why."""
    folder = Path(listed["folder"])
    for number, (kind, names, cells) in enumerate(_TABLES):
        if number:
            to.print()
        _table(kind, names, [(one, cells(one, folder)) for one in listed[kind]], to)


def _ensemble_cells(one: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    line = one["description"].partition("\n")[0]
    short = line if len(line) <= LONG_DESCRIPTION else f"{line[: LONG_DESCRIPTION - 3]}..."
    return one["name"], one["tier"], _near(one["file"], folder), _told(one, short, folder)


def _profile_cells(one: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    work = ", ".join(part for part in (one["model"], one["provider"]) if part)
    return one["name"], work, one["tier"], f"{_near(one['file'], folder)}:{one['line']}", _told(one, "", folder)


def _settings_cells(one: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    given = [f"{name} {value}" for name, value in one["settings"].items()]
    given += [f"prices of {', '.join(one['prices'])}"] if one["prices"] else []
    return _near(one["file"], folder), one["tier"], _told(one, ", ".join(given) or "nothing", folder)


_TABLES = (
    ("ensembles", ("ensemble", "tier", "file", "description"), _ensemble_cells),
    ("profiles", ("profile", "model", "tier", "file", ""), _profile_cells),
    ("settings", ("settings", "tier", "what they give"), _settings_cells),
)


def _table(
    kind: str, names: tuple[str, ...], rows: list[tuple[Mapping[str, Any], tuple[str, ...]]], to: Console
) -> None:
    from rich.table import Table

    if not rows:
        to.print(f"no {kind}", style="dim")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for one, cells in rows:
        style = "red" if one["errors"] else "dim" if one.get("shadowed_by") else None
        table.add_row(*map(one_line, cells), style=style)
    to.print(table)


def _told(one: Mapping[str, Any], text: str, folder: Path) -> str:
    """Give what there is to say of a row: that it is shadowed, that it is broken, else `text`."""
    if one["errors"]:
        first, *others = one["errors"]
        more = f", and {len(others)} more" if others else ""
        return f"error: {first.removeprefix(one['file'] + ':')}{more}"  # the file is in a cell of its own
    if one.get("shadowed_by"):
        return f"shadowed by {_near(one['shadowed_by'], folder)}"
    return text


def _near(file: str, folder: Path) -> str:
    """Give a path from the folder where that is shorter; one that has a line after it as well."""
    return min(file, os.path.relpath(file, folder), key=len)
