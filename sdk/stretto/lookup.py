"""Find ensembles, and the folders around them that hold configuration.

Configuration stands in tiers: folders laid out as llm-orc has them. An ensemble's name is looked up in the tier that is
nearest first; native files need none of this: what stands beside the file that refers to it is found as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from .errors import ConfigError
from .findings import Suggestions, nearest
from .heading import heading
from .tiers import LOCAL, Tier, absolute, identity, is_folder, is_really_within, is_within, project, tiers
from .yaml_text import excerpt

Origin = Literal["folder", "local", "library", "global"]
SUFFIXES = (".yaml", ".yml")
MOST_ENTRIES = 10_000  # that are looked at in one folder with all below it
MOST_DEPTH = 20  # of folders below `ensembles/`
_NOT_ENSEMBLES = ("performance.yaml", "config.yaml")


@dataclass(frozen=True, slots=True)
class Found:
    """An ensemble's file.

    Args:
        name: how the command line names it: its folder below `ensembles/`, `/`, and the `name:` of the file, else the
            stem.
        file: its path.
        tier: where it was found; "folder": in the working folder itself.
        stem: its path below that place without suffix, parts joined with `/`.
        shadowed_by: the file that wins for this name. None: this one does.
    """

    name: str
    file: Path
    tier: Origin
    stem: str
    shadowed_by: Path | None = None


class Outside(ConfigError):
    """What is named leaves the project and the tiers."""


class Stems:
    """The names of the ensembles in folders, each folder looked at once in a load, and the nearest ones."""

    def __init__(self, suggestions: Suggestions) -> None:
        self._suggestions = suggestions
        self._known: dict[Path, frozenset[str]] = {}

    def nearest(self, name: str, places: Iterable[Path]) -> str | None:
        """Give the name in one of these folders that is nearest to another one."""
        if not self._suggestions.take():
            return None
        for place in places:
            if place not in self._known:
                self._known[place] = frozenset(entry.stem for entry in _beside(place))
        known = frozenset[str]().union(*(self._known[place] for place in places))
        return nearest(name, sorted(known))


def find_ensemble(name: str, *, beside: Path | None, within: Path | None = None, stems: Stems | None = None) -> Path:
    """Find the file of an ensemble that another one names.

    The file that names it stands below a tier's `ensembles/`: the tiers are searched first, as llm-orc does, and then
    its own folder. Any other file: its own folder first.

    Args:
        name: a stem, or a path relative to the file that names it or to a tier's `ensembles/`; `.yaml` and `.yml` may
            be left out. An absolute path must lie in the project or in a tier.
        beside: the file that names it. None: as if it stood in the working folder.
        within: the project that a relative path must not leave. None: `project` of the file's folder.
        stems: of the load that it is found in.

    Raises:
        Outside: it leaves the project and the tiers, by its text, or through a link that is not the user's own.
        ConfigError: nothing has that name; with the nearest one.
    """
    folder = absolute(beside.parent if beside is not None else Path())
    around = tiers(folder)
    allowed = [within if within is not None else project(folder), *(tier.folder for tier in around)]
    free = [tier.folder for tier in around if tier.own_links]
    places = [tier.ensembles for tier in reversed(around)]
    in_tier = any(is_within(folder, place) for place in places)
    places.insert(len(places) if in_tier else 0, folder)
    if "\0" in name or os.path.basename(name).strip() in ("", ".", ".."):
        raise ConfigError(f"an ensemble needs a name or a path of a file, got {excerpt(name)}", key="ensemble")
    left = None
    for place in places:
        path = Path(os.path.normpath(place / name))
        if not any(is_within(path, root) for root in allowed):
            left = "is outside"
        elif (file := _file(path)) is not None:
            if any(is_within(file, root) for root in free) or is_really_within(file, allowed):
                return file
            left = "is a link that leaves"
    if left is not None:
        message = f"the ensemble {excerpt(name)} {left} the project {allowed[0]} and the folders of configuration"
        raise Outside(f"{message}: move it there, or add a folder {LOCAL} above both", key="ensemble")
    searched = ", ".join(dict.fromkeys(str(place) for place in places))
    near = (stems or Stems(Suggestions())).nearest(name, places)
    raise ConfigError(f"no ensemble is named {excerpt(name)} in {searched}", key="ensemble", nearest=near)


def find_top(name: str) -> Path:
    """Find the file that the command line names: a path, or a name that `list` shows.

    A file of that path wins. Then, the nearest tier first: its name as `list` shows it, else the last part of that
    name; at last its stem.

    Raises:
        ConfigError: nothing has that name, with the nearest one; or several files of one tier have it.
    """
    path = Path(name)
    there = os.path.lexists(path) and not is_folder(path)
    if not name.strip() or "\0" in name or there or path.suffix in SUFFIXES:
        return path  # what cannot be read there is said by whoever reads it
    found = ensembles(Path(), [])
    for tier in dict.fromkeys(entry.tier for entry in found):
        entries = [entry for entry in found if entry.tier == tier]
        exact = [entry for entry in entries if entry.name == name]
        if exact:
            return exact[0].file
        called = [entry for entry in entries if entry.name.rpartition("/")[2] == name]
        if len({entry.name for entry in called}) > 1:
            several = ", ".join(entry.name for entry in called)
            raise ConfigError(f"several ensembles are named {excerpt(name)}: write one of {several}")
        if called:
            return called[0].file
    for entry in found:
        if name == entry.stem:
            return entry.file
    near = nearest(name, [entry.name for entry in found])
    message = f"no file and no ensemble is named {excerpt(name)}: `stretto list` shows those that are found"
    raise ConfigError(message, nearest=near)


def ensembles(start: Path, notes: list[str]) -> list[Found]:
    """Give every ensemble's file that a folder sees: its own, then the nearest tier's, each by name.

    Args:
        start: the folder.
        notes: gets what could not be looked at.
    """
    found = _beside(absolute(start))
    for tier in reversed(tiers(start)):
        found += sorted(_below(tier, notes), key=lambda entry: (entry.name, entry.stem))
    winners: dict[str, Path] = {}
    seen: set[object] = set()
    shown: list[Found] = []
    for entry in found:
        place = (identity(entry.file.parent), entry.file.name)  # the working folder may be a tier's
        if place not in seen:
            seen.add(place)
            winner = winners.setdefault(entry.name, entry.file)
            shown.append(entry if winner is entry.file else replace(entry, shadowed_by=winner))
    return shown


def _below(tier: Tier, notes: list[str]) -> Iterator[Found]:
    """Walk through a tier's ensembles, the upper folders first, links to folders included, each folder once."""
    waiting, seen, left = [("", tier.ensembles)], set[object](), MOST_ENTRIES
    for prefix, folder in waiting:  # which grows meanwhile
        if identity(folder) in seen or not is_folder(folder):
            continue
        seen.add(identity(folder))
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in islice(entries, left))
        except OSError as error:
            notes.append(f"{folder}: cannot be looked at: {error.strerror}")
            continue
        left -= len(names)
        yield from _listed(prefix, folder, names, tier.name)
        if left == 0:
            notes.append(f"{tier.ensembles}: only the first {MOST_ENTRIES} files are looked at")
            return
        if prefix.count("/") < MOST_DEPTH:
            waiting += [(f"{prefix}{name}/", folder / name) for name in names if is_folder(folder / name)]


def _beside(folder: Path) -> list[Found]:
    """Give the files of one folder that an ensemble may stand in."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, MOST_ENTRIES))
    except OSError:
        return []
    return list(_listed("", folder, names, "folder"))


def _listed(prefix: str, folder: Path, names: Iterable[str], tier: Origin) -> Iterator[Found]:
    for name in names:
        stem, suffix = os.path.splitext(name)
        file = folder / name
        # A link that leads nowhere is listed, with its error; a pipe would block whoever reads it.
        if suffix in SUFFIXES and (os.path.isfile(file) or not os.path.exists(file)):
            top = heading(file)
            if top.is_ensemble or (tier != "folder" and name not in _NOT_ENSEMBLES):
                yield Found(prefix + (top.name or stem), file, tier, prefix + stem)


def _file(path: Path) -> Path | None:
    names = [path.name] if path.suffix in SUFFIXES else []
    names += [path.name + suffix for suffix in SUFFIXES]
    return next((path.parent / name for name in names if os.path.isfile(path.parent / name)), None)
