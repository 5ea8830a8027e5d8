"""Run a coroutine on a loop whose clock jumps: an hour of back-off takes milliseconds, in a deterministic order."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Turns of the loop without a jump after which the clock creeps on.
STILL = 1000


class WaitsForEver(RuntimeError):
    """Everything waits for something that will never happen."""


class _NoWaiting(selectors.BaseSelector):
    """A selector that never sleeps: it tells the loop's clock to jump instead."""

    def __init__(self, real: selectors.BaseSelector, patience: float) -> None:
        self._real = real
        self._patience = patience
        self.skipped = 0.0
        self._still = 0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:  # nothing is scheduled: only a thread or a socket can go on
            ready = self._real.select(self._patience)
            if not ready:
                raise WaitsForEver(
                    f"nothing happened for {self._patience:g} s of real time: the program waits for ever"
                )
            return ready
        ready = self._real.select(0)
        self._still = 0 if timeout > 0 or ready else self._still + 1
        if self._still > STILL:
            # A timer that is due within the loop's resolution fires before its time; code that then waits for the
            # rest, nanoseconds, would do so for ever on a clock that stands.
            self.skipped = max(self.skipped + 1e-9, math.nextafter(self.skipped, math.inf))
        elif not ready and timeout > 0:
            self.skipped += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> Any:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer when nothing is left to do.

    Args:
        patience: seconds of real time to wait for a thread or a socket when no timer is set; above 0.
    """

    def __init__(self, patience: float = 10.0) -> None:
        self._clock = _NoWaiting(selectors.DefaultSelector(), patience)
        super().__init__(self._clock)

    def time(self) -> float:
        """Give the virtual seconds since the loop was made."""
        return self._clock.skipped

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads of the default executor, however long that takes: virtual seconds do not bound them."""
        await super().shutdown_default_executor()


def virtual_time(main: Coroutine[Any, Any, T], *, patience: float = 10.0) -> T:
    """Run a coroutine to its end in virtual time, and close the loop.

    Sockets and threads work, but real time that they need is not counted: timers may overtake them.

    Args:
        main: what to run.
        patience: seconds of real time, above 0, to wait for a thread or a socket when no timer is set.

    Raises:
        RuntimeError: when everything waits for something that will never happen.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(patience)) as runner:
        return runner.run(main)
