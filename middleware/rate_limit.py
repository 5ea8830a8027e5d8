"""Send no more requests in a period than a provider allows, and keep the pause that it asks for.

The last gate: whoever passes it is sent at once. Inside of `ConcurrencyLimit`: outside of it, admitted requests would
pile up and be sent together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from copy import copy
from dataclasses import dataclass, field

from stretto.call import Call, LimitKey
from stretto.contract import Next
from stretto.errors import CallError, ConfigError, RateLimited
from stretto.per_loop import PerLoop
from stretto.reply import Reply
from stretto.scope import Scope, check_scope, scope_of
from stretto.settings import check_seconds

# The share of a period's requests that may go out at once. A sliding period then sees at most 1.05 x the limit.
BURST = 0.05
# Lanes that are as new are dropped when there are more than this.
MANY = 1000


class _Lane:
    """The quota of one scope: a small bucket of aiolimiter behind a FIFO gate, so that only the head waits in it.

    aiolimiter alone admits twice its rate in the first period: its bucket is as large as the rate.
    """

    __slots__ = ("_burst", "_drained", "_interval", "bucket", "gate", "waiting")

    def __init__(self, requests: float, per: float) -> None:
        from aiolimiter import AsyncLimiter  # 3 ms that a program without a quota saves

        self._burst = max(1, int(requests * BURST))
        # The bits more keep rounding errors of its level from looking like a request too many.
        self.bucket = AsyncLimiter(self._burst + 1e-6, per * self._burst / requests * (1 + 1e-5))
        self.gate = asyncio.Lock()
        self.waiting = 0
        self._interval = per / requests * (1 + 2e-5)
        self._drained = 0.0  # loop time at which the bucket will be as new; aiolimiter does not tell

    async def take(self) -> None:
        await self.bucket.acquire()
        self._drained = max(self._drained, asyncio.get_running_loop().time()) + self._interval

    def wait(self, ahead: int) -> float:
        """Give the seconds until there is room, when `ahead` others go first."""
        room = self._drained + (ahead + 1 - self._burst) * self._interval
        return max(0.0, room - asyncio.get_running_loop().time())

    def idle(self, now: float) -> bool:
        return not self.waiting and self._drained < now


class _Pause:
    """What a server asked for. Whoever waits is woken, first come first served, when it ends or grows."""

    __slots__ = ("error", "over", "timer", "until")

    def __init__(self, until: float, error: CallError, timer: asyncio.TimerHandle) -> None:
        self.until = until  # loop time
        self.error = error
        self.timer = timer
        self.over = asyncio.Event()


class _State:
    """What one loop keeps: lanes by scope, pauses by limit key."""

    __slots__ = ("lanes", "pauses")

    def __init__(self) -> None:
        self.lanes: dict[Hashable, _Lane] = {}
        self.pauses: dict[LimitKey, _Pause] = {}

    def pause(self, key: LimitKey, error: CallError, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        known = self.pauses.get(key)
        if known is not None:
            if known.until >= until:
                return
            self._end(key)  # those who wait look anew how long it takes
        self.pauses[key] = _Pause(until, error, loop.call_at(until, self._end, key))

    def _end(self, key: LimitKey) -> None:
        pause = self.pauses.pop(key)
        pause.timer.cancel()
        pause.over.set()


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
        if state.pauses:
            await self._pass_pause(state, call)
        if self.requests is not None:
            await self._in_turn(state, call, self.requests)
            while state.pauses and call.limit_key in state.pauses:  # begun meanwhile: it gave up its turn
                await self._pass_pause(state, call)
                await self._in_turn(state, call, self.requests)
        try:
            return await call_next(call)
        except CallError as error:
            if error.retry_after and call.attempt.started is not None:
                state.pause(call.limit_key, error, error.retry_after)
            raise

    async def _in_turn(self, state: _State, call: Call, requests: float) -> None:
        key = scope_of(self.scope, call)
        lane = state.lanes.get(key) or self._lane(state, key, requests)
        if not lane.waiting and lane.bucket.has_capacity():
            await lane.take()  # nothing to wait for: it does not suspend
            return
        wait = lane.wait(lane.waiting)
        self._refuse_long(call, wait)
        lane.waiting += 1
        try:
            with call.record.waiting("quota", wait, key=None if key is None else str(key)):
                async with lane.gate:
                    await asyncio.sleep(lane.wait(0))
                    if call.limit_key not in state.pauses:
                        await lane.take()
        finally:
            lane.waiting -= 1

    def _lane(self, state: _State, key: Hashable, requests: float) -> _Lane:
        if len(state.lanes) >= MANY:
            now = asyncio.get_running_loop().time()
            for old in [old for old, lane in state.lanes.items() if lane.idle(now)]:
                del state.lanes[old]
        state.lanes[key] = lane = _Lane(requests, self.per)
        return lane

    def _refuse_long(self, call: Call, wait: float) -> None:
        if self.max_wait is not None and wait > self.max_wait:
            reason = f"the wait of {wait:.1f} s for the quota is above RateLimit.max_wait of {self.max_wait:g} s"
        elif wait >= (remaining := call.patience()):
            reason = f"the wait of {wait:.1f} s for the quota passes the deadline in {remaining:.1f} s"
        else:
            return
        raise RateLimited("refused by RateLimit", call=call, retry_after=wait, reason=reason)

    async def _pass_pause(self, state: _State, call: Call) -> None:
        """Wait until the pause of the call's key has ended; it may grow meanwhile."""
        loop, key = asyncio.get_running_loop(), call.limit_key
        while (pause := state.pauses.get(key)) is not None:
            left = pause.until - loop.time()
            if left > self.max_pause:
                raise _paused(pause.error, call, left, f"above RateLimit.max_pause of {self.max_pause:g} s")
            if left >= (remaining := call.remaining()):
                raise _paused(pause.error, call, left, f"which passes the deadline in {remaining:.1f} s")
            with call.record.waiting("pause", left, key=str(key)):
                await pause.over.wait()


def _paused(error: CallError, call: Call, left: float, why: str) -> CallError:
    """Give the server's own error once more, for a call that was not sent."""
    again = copy(error)
    again.agent, again.attempt, again.retry_after = call.agent, None, left
    again.reason = f"the server asked to wait {left:.1f} s more, {why}"
    return again
