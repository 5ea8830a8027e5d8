"""Find the script that an agent names, and say how it is started."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from .errors import ConfigError
from .tiers import Tier, absolute, is_within, project, tiers
from .yaml_text import excerpt

# Programs by suffix, the first that is there; other files are programs themselves.
_INTERPRETERS = {".py": (sys.executable or "python3",), ".sh": ("bash", "sh"), ".js": ("node",), ".rb": ("ruby",)}
_SHELLS = ("bash", "sh")
_MOST_ENTRIES = 10_000  # of a folder, to find a nearest name in
_PATH_LENGTH = 4096  # a longer text is no path


@dataclass(frozen=True, slots=True)
class Script:
    """A script that was found.

    Args:
        argv: the program and its arguments; () when it cannot be started: `note` says why.
        folder: its working folder: of the ensemble's file; in compat the project.
        inline: whether `argv` is a shell with the agent's own text; else a file is run.
        note: what is probably not as meant; "" for nothing.
    """

    argv: tuple[str, ...]
    folder: Path
    inline: bool = False
    note: str = ""


def find_script(
    text: str,
    *,
    agent: str,
    source: str | None,
    strictness: Literal["strict", "compat"],
    told_of_others: bool = False,
    path: str | None = None,
    suggest: Callable[[], bool] = lambda: True,
) -> Script:
    """Find a script: a file beside the ensemble or in its project; in compat where llm-orc looks, else shell text.

    Args:
        text: what the agent's `script` says.
        agent: its name, for errors.
        source: the ensemble's file. None: the working folder stands for its folder.
        strictness: "compat": `.llm-orc/scripts`, `.llm-orc`, the project, the library, the global folder, then beside
            the ensemble; what is no file there, and does not look like one, is run by a shell.
        told_of_others: whether the agent gets results of others: its shell text runs in another shell then.
        path: `PATH` to look for interpreters in. None: this process's.
        suggest: whether the nearest name is looked for when nothing is there, which costs time.

    Raises:
        ConfigError: it leaves the project; strict also: nothing is there (with the nearest name), it may not be
            executed, or its interpreter is missing. In compat that is a `note`, and the agent fails without a process.
    """
    beside = absolute(Path(source).parent if source is not None else Path())
    if strictness == "strict":
        return _strict(text, beside, path, agent, suggest)
    around = tiers(beside)
    folder = project(beside if _outer(beside, around) is None else Path())
    inline = partial(_inline, text, folder, path, told_of_others=told_of_others)
    word = len(text.split()) == 1
    if word and not _like_a_path(text):
        return inline()  # a word alone is a command for llm-orc, whatever files there are
    places = _theirs(beside, around)
    file = _file(text, places, agent, path_meant=word)
    if file is not None:
        return _started(file, folder, path)
    if word and _like_a_file(text):
        looked = ", ".join(dict.fromkeys(str(place.folder) for place in places))
        return Script((), folder, note=f"script {excerpt(text)} was not found in {looked}")
    return inline()


def _strict(text: str, beside: Path, path: str | None, agent: str, suggest: Callable[[], bool]) -> Script:
    places = _ours(beside, tiers(beside))
    file = _file(text, places, agent, path_meant=True)
    if file is None:
        message = f"script {excerpt(text)} is no file beside the ensemble or in its project; shell text goes into one"
        near = _nearest(text, places) if suggest() else None
        raise ConfigError(message, agent=agent, key="script", nearest=near)
    script = _started(file, beside, path)
    if script.note:
        raise ConfigError(script.note, agent=agent, key="script")
    return script


class _Place(NamedTuple):
    """Where a path may begin, and the folder that it must not leave."""

    folder: Path
    top: Path


def _outer(beside: Path, around: Sequence[Tier]) -> Path | None:
    """Give the library's or global folder when an ensemble stands in it: it has no project of its own."""
    return next((t.folder for t in around if t.name != "local" and is_within(beside, t.folder)), None)


def _ours(beside: Path, around: Sequence[Tier]) -> list[_Place]:
    top = _outer(beside, around) or project(beside)
    return [_Place(beside, top), _Place(top, top)]


def _theirs(beside: Path, around: Sequence[Tier]) -> list[_Place]:
    places: list[_Place] = []
    for tier in reversed(around):  # nearest first
        local = tier.name == "local"
        top = tier.folder.parent if local else tier.folder
        places += [_Place(tier.folder / "scripts", top), _Place(tier.folder, top), *([_Place(top, top)] * local)]
    here = project(Path())
    return list(dict.fromkeys((*places, *_ours(beside, around), _Place(here, here))))


def _like_a_path(text: str) -> bool:
    return "/" in text or Path(text).suffix != ""


def _like_a_file(text: str) -> bool:
    return "/" in text or Path(text).suffix.lower() in _INTERPRETERS


def _file(text: str, places: Sequence[_Place], agent: str, *, path_meant: bool) -> Path | None:
    """Give the file that a path names, without links.

    Raises:
        ConfigError: when the path leaves the project; with `path_meant` also when nothing is there.
    """
    if not text.strip() or len(text) > _PATH_LENGTH or "\n" in text or "\0" in text:
        return None
    inside, outside = list[Path](), list[Path]()
    for place in places:
        real = Path(os.path.realpath(place.folder / text))
        (inside if real.is_relative_to(os.path.realpath(place.top)) else outside).append(real)
    found = next(filter(os.path.isfile, inside), None)
    if found is None and (any(map(os.path.isfile, outside)) or (path_meant and not inside)):
        message = f"script {excerpt(text)} leaves its project: copy it into that, or call it from a file there"
        raise ConfigError(message, agent=agent, key="script")
    return found


def _nearest(text: str, places: Sequence[_Place]) -> str | None:
    names: list[str] = []
    for start, _ in places:
        for folder, prefix in ((start, ""), (start / "scripts", "scripts/")):
            with suppress(OSError), os.scandir(folder) as entries:
                names += [f"{prefix}{entry.name}" for entry in islice(entries, _MOST_ENTRIES) if entry.is_file()]
    return next(iter(get_close_matches(text, names, 1)), None)


def _started(file: Path, folder: Path, path: str | None) -> Script:
    programs = _INTERPRETERS.get(file.suffix.lower())
    if programs is None:
        if os.access(file, os.X_OK):
            return Script((str(file),), folder)
        known = ", ".join(_INTERPRETERS)
        return Script((), folder, note=f"script {file} may not be executed: chmod +x, or one of the suffixes {known}")
    program = _program(programs, path)
    if program is None:
        return Script((), folder, note=f"script {file} needs {programs[0]}, which is not on the PATH")
    return Script((program, str(file)), folder)


def _inline(text: str, folder: Path, path: str | None, *, told_of_others: bool) -> Script:
    """Give shell text its shell, as in llm-orc.

    Of an agent that gets results of others it runs in a plain `sh`, else in a bash that ends at the first error, at a
    variable that is not set, and at an error within a pipe.
    """
    shells = ("sh",) if told_of_others else _SHELLS
    shell = _program(shells, path)
    if shell is None:
        return Script((), folder, inline=True, note=f"a script that is shell text needs {shells[0]}, not on the PATH")
    ends: tuple[str, ...] = () if told_of_others else ("-eu",)
    if ends and Path(shell).name == "bash":
        ends = ("-eu", "-o", "pipefail")
    return Script((shell, *ends, "-c", text), folder, inline=True)


def _program(names: Sequence[str], path: str | None) -> str | None:
    return next((found for name in names if (found := shutil.which(name, path=path))), None)
