"""Feed a process and read it at once, so that neither waits for the other, within bounds of memory."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from subprocess import Popen
from types import TracebackType
from typing import IO

# Bytes of standard output; a script that writes more is killed.
OUTPUT = 32 * 2**20
# Bytes of standard error that are kept: the last ones. Who writes more is not killed for it.
ERRORS = 64 * 2**10
_PIECE = 64 * 2**10  # what a pipe holds


class Pipes:
    """The three pipes of a process, and word of its end.

    Args:
        popen: the process, with three unbuffered pipes; they are closed with this.
        stdin: what it gets; it may leave any part of it unread.
        watch: a file descriptor that can be read once the process has ended. None: nobody says so.
    """

    __slots__ = ("_left", "_selector", "ended", "errors", "output", "too_much")

    def __init__(self, popen: Popen[bytes], stdin: bytes, watch: int | None) -> None:
        self.output = bytearray()
        self.errors = bytearray()
        self.too_much = False
        self.ended = False
        self._left = memoryview(stdin)
        # `poll`, because it needs no file descriptor of its own.
        self._selector = selectors.PollSelector()
        for pipe, event, act in (
            (popen.stdin, selectors.EVENT_WRITE, self._write),
            (popen.stdout, selectors.EVENT_READ, self._read),
            (popen.stderr, selectors.EVENT_READ, self._read_errors),
        ):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, event, act)
        if watch is not None:
            self._selector.register(watch, selectors.EVENT_READ, self._end)

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pipe in self._open():
            self._close(pipe)
        self._selector.close()

    def _open(self) -> list[IO[bytes]]:
        return [key.fileobj for key in self._selector.get_map().values() if not isinstance(key.fileobj, int)]

    @property
    def readable(self) -> bool:
        """Whether somebody may still write to its output."""
        return any(pipe.readable() for pipe in self._open())

    def pump(self, seconds: float | None) -> bool:
        """Wait until a pipe is ready, write and read what goes at once; tells whether one was.

        Args:
            seconds: 0 or more. None: without end.
        """
        ready = self._selector.select(seconds)
        for key, _ in ready:
            act: Callable[[IO[bytes]], None] = key.data
            act(key.fileobj)
        return bool(ready)

    def _end(self, watch: object) -> None:
        self.ended = True
        self._selector.unregister(watch)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            if self._left:
                self._left = self._left[os.write(pipe.fileno(), self._left[:_PIECE]) :]
        except BlockingIOError:
            return
        except OSError:  # it does not want to read it (EPIPE)
            self._left = self._left[:0]
        if not self._left:
            self._close(pipe)

    def _read(self, pipe: IO[bytes]) -> None:
        piece = self._piece(pipe)
        room = OUTPUT - len(self.output)
        if len(piece) > room:
            self.too_much = True
        self.output += piece[:room]

    def _read_errors(self, pipe: IO[bytes]) -> None:
        self.errors += self._piece(pipe)
        del self.errors[:-ERRORS]

    def _piece(self, pipe: IO[bytes]) -> bytes:
        try:
            piece = os.read(pipe.fileno(), _PIECE)
        except BlockingIOError:
            return b""
        except OSError:
            piece = b""
        if not piece:
            self._close(pipe)
        return piece

    def _close(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()
