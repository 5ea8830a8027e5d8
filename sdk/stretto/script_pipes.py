"""Feed a process and read it at once, so that neither waits for the other, within bounds of memory."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from subprocess import Popen
from typing import IO, Any

from .script_session import watch

# Bytes of standard output; a script that writes more is killed.
OUTPUT = 32 * 2**20
# Bytes of standard error that are kept: the last ones. Who writes more is not killed for it.
ERRORS = 64 * 2**10
_PIECE = 64 * 2**10  # what a pipe holds


class Pipes:
    """The three pipes of a process, and word of its end. Used as a context: it closes them.

    Args:
        popen: the process, with three unbuffered pipes.
        stdin: what it gets; it may leave any part of it unread.
    """

    __slots__ = ("_left", "_pipes", "_selector", "_watch", "ended", "errors", "output", "too_much")

    def __init__(self, popen: Popen[bytes], stdin: bytes) -> None:
        assert popen.stdin is not None
        assert popen.stdout is not None
        assert popen.stderr is not None
        self.output = bytearray()
        self.errors = bytearray()
        self.too_much = False
        self.ended = False
        self._left = memoryview(stdin)
        self._pipes = (popen.stdin, popen.stdout, popen.stderr)
        self._selector = selectors.PollSelector()  # it needs no file descriptor of its own
        acts = (self._write, self._read, self._read_errors)
        for pipe, act in zip(self._pipes, acts, strict=True):
            os.set_blocking(pipe.fileno(), False)
            event = selectors.EVENT_READ if pipe.readable() else selectors.EVENT_WRITE
            self._selector.register(pipe, event, act)
        self._watch = watch(popen.pid)
        if self._watch is not None:
            self._selector.register(self._watch, selectors.EVENT_READ, self._end)

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()
        if self._watch is not None:
            os.close(self._watch)

    @property
    def watched(self) -> bool:
        """Whether `ended` becomes true by itself."""
        return self._watch is not None

    @property
    def readable(self) -> bool:
        """Whether somebody may still write to its output."""
        return not all(pipe.closed for pipe in self._pipes[1:])

    def pump(self, seconds: float | None) -> bool:
        """Wait until something can be done, and do what goes at once; tells whether there was anything.

        Args:
            seconds: how long to wait, 0 or more. None: without end.
        """
        ready = self._selector.select(seconds)
        for key, _ in ready:
            act: Callable[[Any], None] = key.data
            act(key.fileobj)
        return bool(ready)

    def _end(self, fd: int) -> None:
        self.ended = True
        self._selector.unregister(fd)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            written = os.write(pipe.fileno(), self._left[:_PIECE])
        except BlockingIOError:
            written = 0
        except BrokenPipeError:  # nobody wants to read the rest
            written = len(self._left)
        self._left = self._left[written:]
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
        piece = os.read(pipe.fileno(), _PIECE)  # something is there: nobody else reads it
        if not piece:
            self._close(pipe)
        return piece

    def _close(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()
