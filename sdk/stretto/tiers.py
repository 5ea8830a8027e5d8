"""Find the folders of configuration around a file, and the project that it belongs to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import ConfigError

TierName = Literal["local", "library", "global"]
LOCAL = ".llm-orc"
LIBRARY = "llm-orchestra-library"


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
    def own_links(self) -> bool:
        """Whether its links may lead anywhere: they are the user's own, and came with no project."""
        return self.name == "global" or identity(self.folder.parent) == identity(_home())

    @property
    def ensembles(self) -> Path:
        """The folder of its ensembles, there or not."""
        return self.folder / "ensembles"


def tiers(start: Path) -> tuple[Tier, ...]:
    """Give the tiers around a folder that exist, lowest first: what stands in a later one wins.

    From low to high: global; library; the nearest `.llm-orc` at or above the working folder; the nearest one at or
    above `start`, when it is another. A walk ends at the root of the file system: the home folder's counts too.
    """
    here = _working_folder()
    local = [folder for folder in (_nearest(here), _nearest(start)) if folder is not None]
    asked = os.environ.get("LLM_ORC_LIBRARY_PATH")
    beside = [folder.parent / LIBRARY for folder in reversed(local)] + ([here / LIBRARY] if here is not None else [])
    library = next((folder for folder in ([Path(asked)] if asked else beside) if is_folder(folder)), None)
    found = [Tier("global", _global())]
    found += [Tier("library", library)] if library is not None else []
    found += [Tier("local", folder) for folder in local]
    last = {identity(tier.folder): tier for tier in found}  # the same folder twice counts where it is highest
    return tuple(tier for tier in found if last[identity(tier.folder)] is tier and is_folder(tier.folder))


def project(start: Path) -> Path:
    """Give the folder that references of a file in `start` stay in.

    It is the one with the nearest `.llm-orc` at or above `start`, else `start`. The home folder is no project, though
    its `.llm-orc` is a tier: whatever was downloaded into the home folder would be part of it.
    """
    folder, local = absolute(start), _nearest(start)
    if local is None:
        return folder
    if identity(local.parent) not in (identity(_home()), identity(Path(local.anchor))):
        return local.parent
    return local if is_within(folder, local) else folder


def _nearest(start: Path | None) -> Path | None:
    """Give the `.llm-orc` in a folder or in the nearest one above it."""
    if start is None:
        return None
    folder = absolute(start)
    return next((above / LOCAL for above in (folder, *folder.parents) if is_folder(above / LOCAL)), None)


def _global() -> Path:
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(given) if os.path.isabs(given) else _home() / ".config") / "llm-orc"


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # stays "~" where there is none


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None


def absolute(folder: Path) -> Path:
    """Give an absolute path without `..`, links left as they are unless `..` leads through one."""
    try:
        return Path(os.path.realpath(folder)) if ".." in folder.parts else folder.absolute()
    except (OSError, ValueError):  # the working folder was removed; no file can have such a name
        return folder


def is_folder(path: Path) -> bool:
    """Tell whether a folder is there; never raises, as `Path.is_dir` does where a folder above must not be read."""
    return os.path.isdir(path)


def is_within(path: Path, root: Path) -> bool:
    """Tell whether an absolute path is `root` or below it, by its text: a link stays where it is."""
    return path.is_relative_to(absolute(root))


def real(path: str | Path) -> Path:
    """Give a path without links; the path itself where that cannot be told."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return Path(path)


def is_really_within(path: Path, roots: Iterable[Path]) -> bool:
    """Tell whether what a path leads to lies in one of the folders, links followed on both sides."""
    found = real(path)
    return any(found.is_relative_to(real(root)) for root in roots)


def check_inside(tier: Tier, file: Path) -> None:
    """Refuse a file of a tier that is a link which leaves the project: whoever wrote that chose it, and not its user.

    Raises:
        ConfigError: with the file.
    """
    if not tier.own_links and not is_really_within(file, (tier.folder, project(tier.folder))):
        message = "is a link that leaves its project, and is not read: copy the file"
        raise ConfigError(message, file=str(file), line=1, column=1)


def identity(path: Path) -> object:
    """Give what is equal for two paths of the same file or folder."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return str(path)
    return found.st_dev, found.st_ino
