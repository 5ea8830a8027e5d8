"""Send no more requests in a period than a provider allows, and keep the pause that it asks for.

The last gate: whoever passes it is sent at once. Inside of `ConcurrencyLimit`: outside of it, admitted requests would
pile up and be sent together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from aiolimiter import AsyncLimiter

from stretto.call import Call, LimitKey
from stretto.contract import Next
from stretto.errors import CallError, ConfigError, RateLimited
from stretto.per_loop import PerLoop
from stretto.reply import Reply
from stretto.scope import Scope, check_scope, scope_of
from stretto.settings import check_seconds

# The share of a period's requests that may go out at once. A sliding period then sees at most 1.05 x the limit.
BURST = 0.05
# Lanes that nobody has used for a period are dropped when there are more than this.
MANY = 1000


class _Lane:
    """The quota of one scope: a small bucket of aiolimiter behind a FIFO gate, so that only the head waits in it.

    aiolimiter alone admits twice its rate in the first period: its bucket is as large as the rate.
    """

    __slots__ = ("bucket", "gate", "interval", "used", "waiting")

    def __init__(self, requests: float, per: float) -> None:
        burst = max(1, int(requests * BURST))
        # The bit more keeps rounding errors of its level from looking like a request too many.
        self.bucket = AsyncLimiter(burst + 1e-6, per * burst / requests * (1 + 1e-5))
        self.gate = asyncio.Lock()
        self.interval = per / requests
        self.used = 0.0
        self.waiting = 0


@dataclass(slots=True)
class _Pause:
    until: float  # loop time
    error: CallError


class _State:
    """What one loop keeps: lanes by scope, pauses by limit key."""

    __slots__ = ("lanes", "pauses")

    def __init__(self) -> None:
        self.lanes: dict[Hashable, _Lane] = {}
        self.pauses: dict[LimitKey, _Pause] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Wait, first come first served, until a request may be sent.

    Without numbers it only keeps the pause after a Retry-After, for all who use the key.

    Args:
        requests: in each period, above 0. None: no quota.
        per: seconds of the period, above 0.
        scope: whom the quota counts together: "key", "run", "all", or a function of the call.
        max_pause: seconds, above 0; whoever would have to wait longer for a pause fails at once.
        max_wait: seconds, above 0; whoever would have to wait longer for the quota fails at once. None: no bound.
        name: of the layer.

    Raises:
        ConfigError: at construction, when a number is not above 0.
        RateLimited: from a call, when the wait would pass `max_wait` or the call's deadline.
        CallError: from a call, the server's own error, when its pause would pass `max_pause` or the deadline.
    """

    requests: float | None = None
    per: float = 60
    scope: Scope = "key"
    max_pause: float = 60
    max_wait: float | None = None
    name: str = "rate_limit"
    _state: PerLoop[_State] = field(default_factory=lambda: PerLoop(_State), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = isinstance(self.requests, (int, float)) and not isinstance(self.requests, bool)
        if self.requests is not None and not (numbers and 0 < self.requests < float("inf")):
            message = f"RateLimit.requests must be above 0, or None, got {self.requests!r}"
            raise ConfigError(message, key="requests")
        for name in ("per", "max_pause"):
            if getattr(self, name) is None:
                raise ConfigError(f"RateLimit.{name} must be seconds above 0, got None", key=name)
            check_seconds(f"RateLimit.{name}", getattr(self, name))
        check_seconds("RateLimit.max_wait", self.max_wait)
        check_scope(self.scope, "RateLimit")

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        state = self._state.get()
        if self.requests is not None:
            await self._in_turn(state, call, self.requests)
        elif state.pauses:
            await self._pass_pause(state, call)
        try:
            return await call_next(call)
        except CallError as error:
            if error.retry_after and call.attempt.started is not None:
                _pause(state, call.limit_key, error)
            raise

    async def _in_turn(self, state: _State, call: Call, requests: float) -> None:
        lane = self._lane(state, call, requests)
        if not lane.waiting and lane.bucket.has_capacity() and not state.pauses:
            await lane.bucket.acquire()  # nothing to wait for: it does not suspend
            return
        self._refuse_long(call, lane)
        lane.waiting += 1
        try:
            with call.record.waiting("quota", lane.waiting * lane.interval, key=str(scope_of(self.scope, call))):
                await lane.gate.acquire()
            try:
                await self._pass_pause(state, call)
                if lane.bucket.has_capacity():
                    await lane.bucket.acquire()
                else:
                    with call.record.waiting("quota", lane.interval, key=str(scope_of(self.scope, call))):
                        await lane.bucket.acquire()
            finally:
                lane.gate.release()
        finally:
            lane.waiting -= 1

    def _lane(self, state: _State, call: Call, requests: float) -> _Lane:
        key = scope_of(self.scope, call)
        lane = state.lanes.get(key)
        now = asyncio.get_running_loop().time()
        if lane is None:
            if len(state.lanes) >= MANY:
                idle = [k for k, other in state.lanes.items() if not other.waiting and other.used < now - self.per]
                for old in idle:
                    del state.lanes[old]
            lane = state.lanes[key] = _Lane(requests, self.per)
        lane.used = now
        return lane

    def _refuse_long(self, call: Call, lane: _Lane) -> None:
        wait = lane.waiting * lane.interval
        if self.max_wait is not None and wait > self.max_wait:
            reason = f"the wait of {wait:.1f} s for the quota is above RateLimit.max_wait of {self.max_wait:g} s"
        elif wait > call.remaining():
            reason = f"the wait of {wait:.1f} s for the quota passes the deadline in {call.remaining():.1f} s"
        else:
            return
        raise RateLimited("refused by RateLimit", call=call, retry_after=wait, reason=reason)

    async def _pass_pause(self, state: _State, call: Call) -> None:
        """Wait until the pause of the call's key has ended; it may grow meanwhile."""
        loop, key = asyncio.get_running_loop(), call.limit_key
        while (pause := state.pauses.get(key)) is not None:
            left = pause.until - loop.time()
            if left <= 0:
                del state.pauses[key]
                return
            if left > self.max_pause:
                raise _paused(pause.error, call, left, f"above RateLimit.max_pause of {self.max_pause:g} s")
            if left > call.remaining():
                raise _paused(pause.error, call, left, f"which passes the deadline in {call.remaining():.1f} s")
            with call.record.waiting("pause", left, key=str(key)):
                await asyncio.sleep(left)


def _pause(state: _State, key: LimitKey, error: CallError) -> None:
    until = asyncio.get_running_loop().time() + (error.retry_after or 0.0)
    known = state.pauses.get(key)
    if known is None or known.until < until:
        state.pauses[key] = _Pause(until, error)


def _paused(error: CallError, call: Call, left: float, why: str) -> CallError:
    """Give the server's own error once more, for a call that was not sent."""
    again = type(error).from_dict({**error.to_dict(), "agent": call.agent, "attempt": None})
    again.retry_after = left
    again.reason = f"the server asked to wait {left:.1f} s more, {why}"
    return again
