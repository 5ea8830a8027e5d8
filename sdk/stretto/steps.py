"""Drive a coroutine step by step: count its awaits, cancel it at one of them, measure how long it holds the loop.

A step is what runs between two turns of the event loop.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Seconds of computing above which a step is busy: what it waits then may be for a processor that others use.
BUSY = 0.005

if sys.platform == "linux":
    import resource

    def gave_way() -> int | None:
        """Count how often this thread has stopped by itself, for a sleep or an answer; None when nobody counts."""
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

else:

    def gave_way() -> int | None:
        """Count how often this thread has stopped by itself, for a sleep or an answer; None when nobody counts."""
        return None


class Pulse:
    """Say how long the step that runs now has been running; another thread may look.

    Attributes:
        thread: identifier of the thread whose steps these are.
    """

    __slots__ = ("_since", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self._since: float | None = None

    def begin(self) -> None:
        """Take note that a step begins."""
        self._since = time.perf_counter()

    def end(self) -> None:
        """Take note that it has ended."""
        self._since = None

    def seconds(self) -> float:
        """Give how long the present step has been running; 0.0 between two steps."""
        since = self._since
        return 0.0 if since is None else time.perf_counter() - since


class Steps(Generic[T]):
    """Await a coroutine, and look at each of its steps.

    Args:
        main: what to await.
        pulse: told of each step.
        cancel_at: the await, from 1, at which the task that awaits this is cancelled. 0: none.
        late: cancel it when what it awaits has ended, and before it goes on; else while it waits.

    Attributes:
        count: of the awaits that suspended.
        blocked: seconds in which its steps neither computed nor gave the loop a turn, all together. Time in which
            the processor was another program's does not count, where the system tells.
        busy: seconds that its longest step computed, counted by the thread's own clock.
    """

    __slots__ = ("_at", "_late", "_main", "_pulse", "blocked", "busy", "count")

    def __init__(self, main: Coroutine[Any, Any, T], pulse: Pulse, *, cancel_at: int = 0, late: bool = False) -> None:
        self._main = main
        self._pulse = pulse
        self._at = cancel_at
        self._late = late
        self.count = 0
        self.blocked = 0.0
        self.busy = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[], Any] = partial(self._main.send, None)
        while True:
            try:
                awaited = self._measured(step)
            except StopIteration as end:
                value: T = end.value
                return value
            self.count += 1
            if self.count == self._at:
                self._cancel(awaited)
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - handed on, outside of this block: no foreign context
                step = partial(self._main.throw, error)
            else:
                step = partial(self._main.send, sent)

    def _measured(self, step: Callable[[], Any]) -> Any:
        wall, own, stops = time.perf_counter(), time.thread_time(), gave_way()
        self._pulse.begin()
        try:
            return step()
        finally:
            self._pulse.end()
            computed = time.thread_time() - own
            self.busy = max(self.busy, computed)
            if computed < BUSY and (stops is None or gave_way() != stops):
                self.blocked += max(0.0, time.perf_counter() - wall - computed)

    def _cancel(self, awaited: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not (self._late and isinstance(awaited, asyncio.Future)):
            asyncio.get_running_loop().call_soon(task.cancel)
            return

        def ended(_: object) -> None:  # called before the task is woken
            task.cancel()

        future: Any = awaited  # pyright: ignore[reportUnknownVariableType]
        future.add_done_callback(ended)


def ordinal(number: int) -> str:
    """Give 3 as "3rd"."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
