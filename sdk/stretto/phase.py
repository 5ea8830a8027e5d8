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
    except Exception as error:
        _log.exception("running agents in parallel failed; the rest is run one by one")
        await one_by_one(_fail_started(supervisors, error), start)


async def one_by_one(supervisors: Sequence[Supervisor], start: Start) -> None:
    """Start each when the one before has its outcome."""
    for supervisor in supervisors:
        start(supervisor)
        await asyncio.wait([supervisor.future])


def _fail_started(supervisors: Sequence[Supervisor], error: Exception) -> list[Supervisor]:
    never_started = [s for s in supervisors if s.task is None and not s.over]
    for supervisor in supervisors:
        if supervisor.task is not None:
            supervisor.stop(Stop("failed", f"the parallel machinery failed: {error}", error))
    return never_started
