"""Find ensembles, and the folders around them that hold configuration.

Configuration stands in tiers: folders laid out as llm-orc has them. An ensemble's name is looked up in the tier that is
nearest first; native files need none of this: what stands beside the file that refers to it is found as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from .errors import ConfigError
from .yaml_text import excerpt, top_texts

TierName = Literal["local", "library", "global"]
SUFFIXES = (".yaml", ".yml")
LOCAL = ".llm-orc"
LIBRARY = "llm-orchestra-library"
ENSEMBLES = "ensembles"
MOST_ENTRIES = 10_000  # that are looked at in one folder with all below it
MOST_DEPTH = 20  # of folders below `ensembles/`
_NOT_ENSEMBLES = ("performance.yaml", "config.yaml")


@dataclass(frozen=True, slots=True)
class Tier:
    """A folder of configuration that exists.

    Args:
        name: "global": `$XDG_CONFIG_HOME/llm-orc`, else `~/.config/llm-orc`. "library": `$LLM_ORC_LIBRARY_PATH`, else
            `llm-orchestra-library` beside a `.llm-orc` or in the working folder; it holds ensembles and scripts only.
            "local": a `.llm-orc`.
        folder: its path.
    """

    name: TierName
    folder: Path

    @property
    def ensembles(self) -> Path:
        """The folder of its ensembles, there or not."""
        return self.folder / ENSEMBLES


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
    tier: Literal["folder", "local", "library", "global"]
    stem: str
    shadowed_by: Path | None = None


def tiers(start: Path) -> tuple[Tier, ...]:
    """Give the tiers around a folder that exist, lowest first: what stands in a later one wins.

    From low to high: global; library; the nearest `.llm-orc` at or above the working folder; the nearest one at or above
    `start`, when it is another. Neither walk stops before the root of the file system, so the home folder's counts too.
    """
    here = _working_folder()
    local = [folder for folder in (_nearest(here), _nearest(start)) if folder is not None]
    asked = os.environ.get("LLM_ORC_LIBRARY_PATH")
    beside = [folder.parent / LIBRARY for folder in reversed(local)] + ([here / LIBRARY] if here is not None else [])
    library = next((folder for folder in ([Path(asked)] if asked else beside) if _is_folder(folder)), None)
    found = [Tier("global", _global()), *([Tier("library", library)] if library is not None else ())]
    found += [Tier("local", folder) for folder in local]
    last = {_identity(tier.folder): tier for tier in found}  # the same folder twice counts where it is highest
    return tuple(tier for tier in found if last[_identity(tier.folder)] is tier and _is_folder(tier.folder))


def project(start: Path) -> Path:
    """Give the folder that references of a file in `start` stay in.

    It is the one with the nearest `.llm-orc` at or above `start`, else `start`. The home folder is no project, though its
    `.llm-orc` is a tier: whatever was downloaded into it would be one.
    """
    local = _nearest(start)
    if local is None or _identity(local.parent) in (_identity(_home()), _identity(Path(local.anchor))):
        return _absolute(start)
    return local.parent


def find_ensemble(name: str, *, beside: Path | None, within: Path | None = None) -> Path:
    """Find the file of an ensemble that another one names.

    The file that names it stands below a tier's `ensembles/`: the tiers are searched first, as llm-orc does, and then
    its own folder. Any other file: its own folder first.

    Args:
        name: a stem, or a path relative to the file that names it or to a tier's `ensembles/`; `.yaml` and `.yml` may be
            left out. An absolute path must lie in the project or in a tier.
        beside: the file that names it. None: as if it stood in the working folder.
        within: the project that a relative path must not leave. None: `project` of the file's folder.

    Raises:
        ConfigError: it leaves the project and the tiers, or nothing has that name; with the nearest names.
    """
    folder = _absolute(beside.parent if beside is not None else Path())
    around = tiers(folder)
    allowed = [within if within is not None else project(folder), *(tier.folder for tier in around)]
    places = [tier.ensembles for tier in reversed(around)]
    in_tier = any(_is_within(folder, place) for place in places)
    places.insert(len(places) if in_tier else 0, folder)
    if not name.strip() or "\0" in name or name.endswith(("/", os.sep)):
        raise ConfigError(f"an ensemble needs a name or a path of a file, got {excerpt(name)}", key="ensemble")
    left = False
    for place in places:
        path = Path(os.path.normpath(place / name))
        if not any(_is_within(path, root) for root in allowed):
            left = True
        elif (file := _file(path)) is not None:
            return file
    if left:
        message = f"the ensemble {excerpt(name)} is outside the project {allowed[0]} and the folders of configuration"
        raise ConfigError(f"{message}: move it there, or add a folder {LOCAL} above both", key="ensemble")
    searched = ", ".join(dict.fromkeys(str(place) for place in places))
    known = {entry.stem for place in places for entry in _beside(place)}
    nearest = next(iter(get_close_matches(name, sorted(known), 1)), None)
    raise ConfigError(f"no ensemble is named {excerpt(name)} in {searched}", key="ensemble", nearest=nearest)


def find_top(name: str) -> Path:
    """Find the file that the command line names: a path, or a name that `list` shows.

    A file of that path wins. Then, the nearest tier first: its name as `list` shows it, else the last part of that name;
    at last its stem.

    Raises:
        ConfigError: nothing has that name, with the nearest one; or several files of one tier have it.
    """
    path = Path(name)
    if not name.strip() or "\0" in name or os.path.lexists(path) or path.suffix in SUFFIXES:
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
    nearest = next(iter(get_close_matches(name, [entry.name for entry in found], 1)), None)
    message = f"no file and no ensemble is named {excerpt(name)}: `stretto list` shows those that are found"
    raise ConfigError(message, nearest=nearest)


def ensembles(start: Path, notes: list[str]) -> list[Found]:
    """Give every ensemble's file that a folder sees: its own, then the nearest tier's, each by name.

    Args:
        start: the folder.
        notes: gets what could not be looked at.
    """
    found: list[Found] = [
        replace(entry, tier="folder") for entry in _beside(start) if _looks_like_an_ensemble(entry.file)
    ]
    for tier in reversed(tiers(start)):
        found += sorted(_below(tier, notes), key=lambda entry: (entry.name, entry.stem))
    winners: dict[str, Path] = {}
    seen: set[tuple[int, int] | str] = set()
    shown: list[Found] = []
    for entry in found:
        if (identity := _identity(entry.file)) not in seen:
            seen.add(identity)
            winner = winners.setdefault(entry.name, entry.file)
            shown.append(entry if winner is entry.file else replace(entry, shadowed_by=winner))
    return shown
