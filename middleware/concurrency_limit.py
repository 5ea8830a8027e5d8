"""Bound how many requests are in flight at once.

Inside of `Retry`, so that a call that backs off holds no slot; outside of `RateLimit`, so that whoever passes that is
sent at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass, field

from stretto.call import Call
from stretto.contract import Next
from stretto.errors import ConfigError
from stretto.per_loop import PerLoop
from stretto.reply import Reply
from stretto.scope import Scope, check_scope, scope_of


class _Slots:
    """The slots of one scope on one loop."""

    __slots__ = ("semaphore", "users")

    def __init__(self, limit: int) -> None:
        self.semaphore = asyncio.Semaphore(limit)  # FIFO; a cancelled waiter leaves no hole
        self.users = 0


def _no_slots() -> dict[Hashable, _Slots]:
    return {}


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """Wait, first come first served, for one of `limit` slots.

    Args:
        limit: requests in flight, 1 or more. None: no cap.
        scope: "key" (provider, address, account and model), "run", "all", or a function of the call.
        name: of the layer.

    Raises:
        ConfigError: at construction, when `limit` is not a whole number of 1 or more.
    """

    limit: int | None = None
    scope: Scope = field(default="key", kw_only=True)
    name: str = field(default="concurrency_limit", kw_only=True)
    _slots: PerLoop[dict[Hashable, _Slots]] = field(
        default_factory=lambda: PerLoop(_no_slots), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        whole = isinstance(self.limit, int) and not isinstance(self.limit, bool)
        if self.limit is not None and not (whole and self.limit >= 1):
            message = f"ConcurrencyLimit.limit must be a whole number of 1 or more, or None, got {self.limit!r}"
            raise ConfigError(message, key="limit")
        check_scope(self.scope, "ConcurrencyLimit")

    def __call__(self, call: Call, call_next: Next) -> Awaitable[Reply]:
        if self.limit is None:
            return call_next(call)  # no coroutine in between: thousands are in flight
        return self._limited(call, call_next, self.limit)

    async def _limited(self, call: Call, call_next: Next, limit: int) -> Reply:
        known, key = self._slots.get(), scope_of(self.scope, call)
        slots = known.get(key)
        if slots is None:
            slots = known[key] = _Slots(limit)
        slots.users += 1
        try:
            if slots.semaphore.locked():
                with call.record.waiting("slot", key=None if key is None else str(key)):
                    await slots.semaphore.acquire()
            else:
                await slots.semaphore.acquire()
            try:
                return await call_next(call)
            finally:
                slots.semaphore.release()
        finally:
            slots.users -= 1
            if not slots.users:  # scopes come and go: runs, tenants
                known.pop(key, None)
