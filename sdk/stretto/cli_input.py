"""Read what the command line gives as input: a text, a file, stdin, or one of those for each agent."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import ConfigError

if TYPE_CHECKING:
    from .ensemble import Ensemble


def read(value: str, what: str, spelled: str = "{}") -> str:
    """Read a text, @FILE, or - for stdin.

    Args:
        value: what was given.
        what: its name, for errors.
        spelled: how the argument is written.

    Raises:
        UsageError: a text is the name of a file: both spellings are shown.
        ConfigError: a file cannot be read, or is no UTF-8.
    """
    if value == "-":
        return _decoded(sys.stdin.buffer.read() if sys.stdin is not None else b"", what)
    if value.startswith("@"):
        try:
            data = Path(value[1:]).read_bytes()
        except OSError as error:
            raise ConfigError(f"{what}: {value[1:]} cannot be read: {error.strerror}") from None
        return _decoded(data, f"{what}: {value[1:]}")
    if os.path.isfile(value):  # which never raises, whatever the text is
        file, text = shlex.quote(spelled.format(f"@{value}")), shlex.quote(value)
        raise click.UsageError(
            f"{what} {value!r} is the name of a file: write {file} for what the file holds, "
            f"or for the text itself: printf %s {text} | stretto run FILE {spelled.format('-')}"
        )
    return _decoded(os.fsencode(value), what)


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{what} must be UTF-8") from None


def named(values: tuple[str, ...], ensemble: Ensemble) -> dict[str, str]:
    """Read the inputs of agents, each NAME=TEXT, NAME=@FILE or NAME=-.

    Raises:
        UsageError: for another form, a name that is no agent's, or one that is given twice.
        ConfigError: as of `read`.
    """
    given: dict[str, str] = {}
    names = [agent.name for agent in ensemble.agents]
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--input must be NAME=TEXT or NAME=@FILE, got {value!r}")
        if name not in names:
            nearest = get_close_matches(name, names, 1)
            hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
            raise click.UsageError(f"--input names {name!r}, which is no agent of {ensemble.name!r}{hint}")
        if name in given:
            raise click.UsageError(f"--input names {name!r} twice")
        given[name] = read(text, f"--input {name}", f"--input {name}={{}}")
    return given


def check_stdin(input: str | None, inputs: tuple[str, ...]) -> str | None:
    """Refuse to read stdin twice; give a warning when it is a pipe that nobody reads.

    Raises:
        UsageError: two inputs are to be read from it.
    """
    readers = [value for value in inputs if value.endswith("=-")] + ["-"] * (input == "-")
    if len(readers) > 1:
        raise click.UsageError("stdin can be read once: write - for one input only")
    if input is None and not readers and _is_piped():
        return "stdin is a pipe and is not read: write - as INPUT to read it"
    return None


def _is_piped() -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):  # closed, replaced, or None
        return False
