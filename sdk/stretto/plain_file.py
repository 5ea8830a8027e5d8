"""Read files, and nothing else that a path may lead to: no pipe is waited for, no device is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import ConfigError


def read_bytes(path: str | Path, most: int, *, pipe: bool = False) -> bytes:
    """Read the first bytes of a regular file, or of a pipe; whatever else is there, nothing is waited for.

    Raises:
        OSError: it cannot be read.
        ValueError: no file can have that name.
    """
    _check_kind(os.stat(path).st_mode, pipe=pipe)  # to open a device may do something
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        _check_kind(mode, pipe=pipe)
        if stat.S_ISFIFO(mode):
            os.set_blocking(descriptor, True)  # one without a writer is at its end
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def _check_kind(mode: int, *, pipe: bool) -> None:
    if not stat.S_ISREG(mode) and not (pipe and stat.S_ISFIFO(mode)):
        raise OSError(0, "Is a directory" if stat.S_ISDIR(mode) else "Is no regular file")


def read_text(name: str, most: int, *, pipe: bool = False) -> str:
    """Read a file of UTF-8 that has at most so many bytes.

    Raises:
        ConfigError: with the file, and where it can be told with the line.
    """
    try:
        data = read_bytes(name, most + 1, pipe=pipe)
    except UnicodeError:
        raise ConfigError("cannot be read: no file can have this name", file=ascii(name)[1:-1]) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=name) from None
    if len(data) > most:
        message = f"the file is larger than {most} bytes"
        raise ConfigError(message, file=name, line=1, column=1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file must be UTF-8", file=name, line=line, column=1) from None
