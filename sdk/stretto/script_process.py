"""Run a script's process in a thread of its own: with bounded output, and to the death of all that it starts.

The loop only waits for a future: starting a process, feeding it, reading it and burying it happen in the thread.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from .script_pipes import Pipes
from .script_session import Session, has_ended, reap

# Seconds from SIGTERM to SIGKILL, and from there until the end is no longer waited for. Together they stay below the
# default `cancel_grace`.
TERMINATION = 0.2
DEATH = 0.5
# Seconds that those whom a script leaves behind have to close its output: the `tee` of `exec > >(tee log)`.
LINGER = 0.25
# Seconds between two looks at a process on systems that do not tell when it ends.
_LOOK = 0.02

# Those that have a process, or are about to: for the end of this program, which no script hears of.
_living: set[Process] = set()


@cache
def _register() -> None:
    """See to it that no script outlives this program, also one that nobody waits for: in a thread that ends with it."""
    atexit.register(kill_all)


def any_living() -> bool:
    """Whether there are scripts of this program that have not ended."""
    return bool(_living)


def kill_all() -> None:
    """Kill all scripts of this program, at once; from wherever, the handler of a signal too."""
    for process in tuple(_living):
        process.kill()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Args:
        status: 0 to 255, or minus the number of the signal that killed it; None: it is not known.
        output: what it wrote, at most `script_pipes.OUTPUT` bytes.
        errors: the end of what it wrote to standard error, at most `script_pipes.ERRORS` bytes.
        too_much: whether it was killed because it wrote more than that to its output.
    """

    status: int | None
    output: bytes | bytearray = b""
    errors: bytes | bytearray = b""
    too_much: bool = False


class Process:
    """One process and all that it starts: nobody of them survives it.

    Args:
        argv, folder, environment: of the process.
        stdin: what it may read; it need not.
    """

    __slots__ = ("_argv", "_environment", "_folder", "_lock", "_session", "_signal", "_stdin")

    def __init__(self, argv: tuple[str, ...], folder: str, environment: dict[bytes, bytes], stdin: bytes) -> None:
        self._argv = argv
        self._folder = folder
        self._environment = environment
        self._stdin = stdin
        self._lock = threading.RLock()  # held for moments: the loop takes it as well, and what interrupts the loop
        self._session: Session | None = None  # while it may be signalled: not yet reaped
        self._signal: int | None = None  # the last one sent

    async def run(self) -> Ended:
        """Start it and wait for its end.

        Raises:
            OSError: when it cannot be started.
            RuntimeError: when no thread can be.
            CancelledError: when the caller is cancelled; its session has been killed by then.
        """
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Ended | BaseException] = loop.create_future()

        def tell(ended: Ended | BaseException) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(over.set_result, ended)

        _register()
        _living.add(self)
        try:
            threading.Thread(target=self._whole, args=(tell,), name="stretto:script", daemon=True).start()
        except BaseException:
            _living.discard(self)
            raise
        try:
            await asyncio.wait((over,))
        except asyncio.CancelledError:
            await self._stop(over)
            raise
        except BaseException:  # the loop is gone
            self._send(signal.SIGKILL)
            raise
        ended = over.result()
        if isinstance(ended, BaseException):
            raise ended
        return ended

    async def _stop(self, over: asyncio.Future[Ended | BaseException]) -> None:
        self._send(signal.SIGTERM)
        try:
            with suppress(asyncio.CancelledError):  # the first one is raised on; a second one is in a hurry
                await asyncio.wait((over,), timeout=TERMINATION)
        finally:
            self._send(signal.SIGKILL)
        until = time.monotonic() + DEATH
        while not over.done() and (left := until - time.monotonic()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait((over,), timeout=left)

    def _send(self, number: int) -> None:
        with self._lock:
            self._signal = number
            if self._session is not None:
                self._session.signal(number)

    def kill(self) -> None:
        """Kill it and all that it has started, at once; its end is told as any other."""
        with self._lock:
            self._signal = signal.SIGKILL
            if self._session is not None:
                self._session.end()

    def _whole(self, tell: Callable[[Ended | BaseException], None]) -> None:
        ended: Ended | BaseException
        try:
            ended = self._live()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            ended = error
        finally:
            _living.discard(self)
        tell(ended)

    def _live(self) -> Ended:
        if self._signal is not None:
            return Ended(None)
        session = Session(self._argv, self._folder, self._environment)
        with Pipes(session.popen, self._stdin) as pipes:
            try:
                self._attend(session, pipes)
            finally:
                session.end()
                with self._lock:
                    self._session = None
                status = reap(session.popen)
            until = time.monotonic() + _LOOK  # one whom nobody could find may still be writing
            while pipes.readable and pipes.pump(0) and time.monotonic() < until:
                pass
        return Ended(status, pipes.output, pipes.errors, pipes.too_much)

    def _attend(self, session: Session, pipes: Pipes) -> None:
        with self._lock:
            self._session = session
            if self._signal is not None:  # it came while the process was being started
                session.signal(self._signal)
        while not (pipes.ended or pipes.too_much):
            pipes.pump(None if pipes.watched else _LOOK)
            if not pipes.watched:
                pipes.ended = has_ended(session.popen)
        until = time.monotonic() + LINGER
        while pipes.readable and not pipes.too_much and self._signal is None:
            left = until - time.monotonic()
            if left <= 0:
                return
            pipes.pump(left)
