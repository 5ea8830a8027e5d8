"""Run the agents of a phase at once: `asyncio.gather(return_exceptions=True)` over supervisors.

If the parallel machinery itself fails, agents that were never started are run one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from .supervisor import Stop, Supervisor

_log = logging.getLogger("stretto")

Start = Callable[[Supervisor], None]


async def together(supervisors: Sequence[Supervisor], start: Start) -> None:
    """Start all, and wait until each has its outcome."""
    try:
        ended = asyncio.gather(*(supervisor.future for supervisor in supervisors), return_exceptions=True)
        for supervisor in supervisors:
            start(supervisor)
        await ended
    except Exception as error:  # noqa: BLE001 - of the machinery: agents have their own supervisors
        await fail_started(supervisors, error)
        await one_by_one([supervisor for supervisor in supervisors if not supervisor.over], start)


async def one_by_one(supervisors: Sequence[Supervisor], start: Start) -> None:
    """Start each when the one before has its outcome."""
    for supervisor in supervisors:
        start(supervisor)
        await asyncio.wait([supervisor.future])


async def fail_started(supervisors: Sequence[Supervisor], error: Exception) -> None:
    """Stop those that were started, and wait for their outcomes: what became of them nobody knows."""
    _log.error("running agents in parallel failed; the rest is run one by one", exc_info=error)
    started = [supervisor for supervisor in supervisors if supervisor.task is not None]
    for supervisor in started:
        supervisor.placed = True  # also one that still waited for its place is failed, not skipped
        supervisor.stop(Stop("failed", f"the parallel machinery failed: {error}", error))
    if started:
        await asyncio.wait([supervisor.future for supervisor in started])
