"""Tell the time of day on the event loop's clock.

Times that are shown to users are seconds since the epoch, but differences must be those of the loop: a wall clock
that is set back would give negative waits, and a virtual loop's hour would take no time.
"""

from __future__ import annotations

import asyncio
import time

from .per_loop import PerLoop


def _since_the_epoch() -> float:
    return time.time() - asyncio.get_running_loop().time()


_ZERO = PerLoop(_since_the_epoch)


def now() -> float:
    """Give seconds since the epoch: read from the wall clock once a loop, then counted by the loop's clock."""
    return _ZERO.get() + asyncio.get_running_loop().time()
