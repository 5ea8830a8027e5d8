"""Start an agent's clock when its first request is admitted.

Waiting for a place, a slot or a limit before the first request costs an agent nothing of its timeout.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class AgentClock:
    """The clock of one agent, which stands until `start`.

    Args:
        timeout: seconds above 0. None: no bound.
        on_start: called once, with the loop time at which the clock runs out (None: never).

    Attributes:
        stopped: the agent was stopped, by this clock or another reason: no request is sent for it any more.
    """

    __slots__ = ("_on_start", "ends", "started", "stopped", "timeout")

    def __init__(self, timeout: float | None = None, on_start: Callable[[float | None], None] | None = None) -> None:
        self.timeout = timeout
        self.started = False
        self.stopped = False
        self.ends: float | None = None
        self._on_start = on_start

    def start(self) -> None:
        """Start it, unless it runs already."""
        if self.started:
            return
        self.started = True
        if self.timeout is not None:
            self.ends = asyncio.get_running_loop().time() + self.timeout
        if self._on_start is not None:
            on_start, self._on_start = self._on_start, None  # who made it, and is held by it, needs no cycle
            on_start(self.ends)

    def remaining(self, now: float) -> float:
        """Give the seconds left at loop time `now`; the whole timeout before the start, inf without a bound."""
        if self.timeout is None:
            return math.inf
        return self.timeout if self.ends is None else self.ends - now
