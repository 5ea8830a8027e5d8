"""Ask another model when one has failed.

Outside of `Retry`: each model has attempts of its own, and its own limits, address and key.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from stretto.call import Call, Target
from stretto.contract import Next
from stretto.errors import (
    AuthenticationFailed,
    BadResponse,
    CallError,
    CallTimeout,
    CircuitOpen,
    ContentBlocked,
    ContextTooLong,
    InvalidOutput,
    Overloaded,
    PermissionDenied,
    ProviderFailed,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from stretto.params import CALL_FIELDS
from stretto.reply import Reply
from stretto.substitute import Substitute, substitutes

if TYPE_CHECKING:
    from stretto.deadline import AgentClock

# What another model can cure: its service may be up, its key good, its context longer, its filter another one. Not
# what ends the call whoever is asked: a budget, a deadline, the refusal of a layer that has an error of its own.
_CURED = (
    AuthenticationFailed,
    BadResponse,
    CallTimeout,
    CircuitOpen,
    ContentBlocked,
    ContextTooLong,
    InvalidOutput,
    Overloaded,
    PermissionDenied,
    ProviderFailed,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
_FROM = "stretto.fallback_from"
_NOTHING: Mapping[str, Any] = MappingProxyType({})

Other = str | Mapping[str, Any] | Substitute


@dataclass(frozen=True, slots=True)
class Fallback:
    """Ask the agent's `fallback` models in turn, else those of its own list, until one answers.

    All but the last have an equal share of the time that is left, counted from when the first request of each is
    sent; so one that hangs falls back too. Without a clock there is no share.

    Args:
        models: for agents without a `fallback`: a model, a mapping (`model`, `base_url`, `api_key_env`, `params`), or
            a list of those. With a `base_url`, a model of no service that is known is written "compatible/model".
        restart_streams: fall back also after a part of the reply was emitted; readers then see a restart.
        name: of the layer.

    Raises:
        ConfigError: at construction, names the key; from a call, when a model of the list may not be called.
        CallError: from a call, the last model's own error; `reason` names the models that had failed before.
    """

    models: Other | Sequence[Other] | None = None
    restart_streams: bool = field(default=False, kw_only=True)
    name: str = field(default="fallback", kw_only=True)
    kinds = ("llm",)
    _own: tuple[Substitute, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        own = substitutes(self.models)
        object.__setattr__(self, "_own", own)
        object.__setattr__(self, "models", tuple(map(_prefixed, own)))

    def __call__(self, call: Call, call_next: Next) -> Awaitable[Reply]:
        others = [other for other in call.fallback or self._own if not _same(call, other)]
        if not others:
            return call_next(call)  # no coroutine in between: thousands are in flight
        return self._in_turn(call, call_next, others)

    async def _in_turn(self, call: Call, call_next: Next, others: Sequence[Target | Substitute]) -> Reply:
        request = call.with_(fallback=())  # whoever stands below has nothing to do with them
        failed: list[str] = []
        left = len(others)
        while True:
            try:
                return await self._asked(request, call, call_next, left + 1)
            except CallError as error:
                failure = error
            if not left or not self._may(call, failure):
                raise _told(failure, failed)  # outside of the except block: no other error as its context
            failed.append(_named(request, failure))
            request = _another(call, _target(call, others[-left]))
            left -= 1
            _tell(call, request, failure)

    def _may(self, call: Call, failure: CallError) -> bool:
        if not _cured(call, failure):
            return False
        if self.restart_streams or not _emitted(call):
            return True
        failure.reason = failure.reason or "no other model was asked: a part of the reply was emitted"
        return False

    def _asked(self, request: Call, call: Call, call_next: Next, models: int) -> Awaitable[Reply]:
        """Ask one model, in its share of what is left when there are more."""
        if models == 1 or call.remaining() == math.inf:
            return call_next(request)
        share = _Share(call, models, restart=self.restart_streams)
        return share.bounded(request.with_(clock=share), call_next)


class _Share:
    """The clock of one model: stands in the call in the place of the agent's, which it is a part of."""

    __slots__ = (
        "_begun",
        "_call",
        "_cancelling",
        "_clock",
        "_ends",
        "_error",
        "_models",
        "_restart",
        "_task",
        "_timer",
    )

    def __init__(self, call: Call, models: int, *, restart: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._call = call
        self._clock: AgentClock | None = call.clock
        self._models = models  # that share what is left, this one included
        self._restart = restart
        self._task = task
        self._cancelling = task.cancelling()
        self._begun = False
        self._ends: float | None = None  # loop time
        self._error: CallTimeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stopped(self) -> bool:
        return self._clock is not None and self._clock.stopped

    @property
    def started(self) -> bool:
        return self._begun or (self._clock is not None and self._clock.started)

    def remaining(self, now: float) -> float:
        whole = self._call.remaining()
        if not self._begun:
            return whole / self._models
        return whole if self._ends is None else min(whole, self._ends - now)

    def start(self) -> None:
        """Start the agent's clock, and this one: the boundary calls it with each request that is sent."""
        if self._clock is not None:
            self._clock.start()
        if not self._begun:
            self._begun = True
            loop, seconds = asyncio.get_running_loop(), self._call.remaining() / self._models
            self._ends = loop.time() + seconds
            self._timer = loop.call_at(self._ends, self._strike, seconds)

    def _strike(self, seconds: float) -> None:
        self._timer = self._ends = None
        if self.stopped or (not self._restart and _emitted(self._call)):
            return  # nobody waits any more; or no other model could begin anew: it has all the time that is left
        message = f"the share of {seconds:g} s that Fallback gives to this model ran out"
        self._error = CallTimeout(message, seconds=seconds)
        for attempt in self._call.record.attempts:
            if attempt.ended is None and attempt.error is None:
                attempt.error = self._error
                self._error.attempt = attempt.number
        self._task.cancel()

    async def bounded(self, request: Call, call_next: Next) -> Reply:
        """Ask, and turn the cancel that is this clock's into its error."""
        try:
            reply = await call_next(request)
        except asyncio.CancelledError:
            error = self._end()
            if error is None:
                raise
        except BaseException:
            self._end()
            raise
        else:
            self._end()
            return reply
        error.agent, error.model, error.provider = request.agent, request.model, request.model.partition("/")[0]
        raise error  # outside of the except block: no CancelledError as its context

    def _end(self) -> CallTimeout | None:
        """Stop; give the error when it was this clock, and nobody else, that cancelled the task."""
        if self._timer is not None:
            self._timer.cancel()
        self._begun, self._ends = True, None  # a request that comes late is none of its business
        if self._error is None:
            return None
        return self._error if self._task.uncancel() <= self._cancelling else None


def _prefixed(other: Substitute) -> str:
    return other.model if other.base_url is None or "/" in other.model else f"compatible/{other.model}"


def _target(call: Call, other: Target | Substitute) -> Target:
    if isinstance(other, Target):
        return other
    assert call.services is not None  # a request was made
    return call.services.target(other)


def _same(call: Call, other: Target | Substitute) -> bool:
    """Tell whether this is the call's own model: that has failed already, and needs no share of the time."""
    if other.model != call.model or call.services is None:
        return False
    target = _target(call, other)
    return target.endpoint == call.endpoint and not target.params


def _cured(call: Call, failure: CallError) -> bool:
    """Tell whether another model may cure it: an allow-list, and never past the deadline or when the agent is stopped.

    A plain `CallError` is what became of a provider's own exception.
    """
    if call.remaining() <= 0 or (call.clock is not None and call.clock.stopped):
        return False
    return isinstance(failure, _CURED) or type(failure) is CallError


def _another(call: Call, target: Target) -> Call:
    """Give the request to another model: at its own address, with its own key."""
    own = {name: getattr(call, name) for name in CALL_FIELDS}
    if not _alike(call, target):
        del own["extra_headers"]
    given = {**call.params, **own, **(target.params or {})}
    changes: dict[str, Any] = {"model": target.model, "endpoint": target.endpoint, "fallback": ()}
    changes |= {name: _NOTHING for name in CALL_FIELDS if given.get(name) is None}
    return call.again(**changes, params={name: value for name, value in given.items() if value is not None})


def _alike(call: Call, target: Target) -> bool:
    """Tell whether it goes to the same service: a header may hold a token, which goes nowhere else."""
    same = call.model.partition("/")[0] == target.model.partition("/")[0]
    return same and call.endpoint.origin == target.endpoint.origin


def _emitted(call: Call) -> bool:
    return any(attempt.emitted for attempt in call.record.attempts)


def _named(request: Call, error: CallError) -> str:
    status = f", status {error.status}" if error.status is not None else ""
    return f"{request.model} ({type(error).__name__}{status})"


def _told(failure: CallError, failed: Sequence[str]) -> CallError:
    """Give the error with the models that had failed before in its `reason`."""
    reason = f"before it failed {', '.join(failed)}"
    if failed and reason not in failure.reason:  # a provider may raise one object again and again
        failure.reason = f"{failure.reason}; {reason}" if failure.reason else reason
    return failure


def _tell(call: Call, request: Call, failure: CallError) -> None:
    """Say to readers of events and of the span that another model is asked, and why."""
    if call.record.attempts:
        with call.record.waiting("backoff", 0.0, key=str(request.limit_key), error=failure):
            pass
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute(_FROM, call.model)
