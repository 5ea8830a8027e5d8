"""Send a failed request again: the only owner of retries anywhere in the stack.

Outside of the limits, so that a call that backs off holds no slot and asks for its quota anew.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stretto.call import Call
from stretto.contract import Next
from stretto.errors import CallError, ConfigError
from stretto.per_loop import PerLoop
from stretto.reply import Reply
from stretto.settings import check_seconds

if TYPE_CHECKING:
    from tenacity import RetryCallState


class _Tokens:
    __slots__ = ("left", "time")

    def __init__(self) -> None:
        self.left = -1.0  # until the first use
        self.time = 0.0


@dataclass(frozen=True, slots=True)
class RetryThrottle:
    """Keep retries a small share of all calls, so that a service that is down is not hit harder.

    A retry costs one token. It starts with `per_second` tokens; time refills it up to that, calls up to `most`.

    Args:
        ratio: tokens that each call brings, 0 or more.
        per_second: tokens that each second brings, 0 or more.
        most: tokens that it holds, 1 or more.

    Raises:
        ConfigError: at construction, names the field and its bound.
    """

    ratio: float = 0.2
    per_second: float = 10
    most: float = 100
    _tokens: PerLoop[_Tokens] = field(default_factory=lambda: PerLoop(_Tokens), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, bound in (("ratio", 0), ("per_second", 0), ("most", 1)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and value >= bound):
                message = f"RetryThrottle.{name} must be {bound} or more, got {value!r}"
                raise ConfigError(message, key=name)

    def _filled(self) -> _Tokens:
        tokens, now = self._tokens.get(), asyncio.get_running_loop().time()
        if tokens.left < 0:
            tokens.left, tokens.time = min(self.per_second, self.most), now
        elif tokens.left < self.per_second:
            tokens.left = min(self.per_second, self.most, tokens.left + (now - tokens.time) * self.per_second)
        tokens.time = now
        return tokens

    def count(self) -> None:
        """Take note of a call."""
        tokens = self._filled()
        tokens.left = min(self.most, tokens.left + self.ratio)

    def spend(self) -> bool:
        """Take a token for a retry; False when there is none."""
        tokens = self._filled()
        if tokens.left < 1:
            return False
        tokens.left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Retry:
    """Send a request again when its error says that this may help, after a wait with full jitter.

    A Retry-After of the server is a floor for the wait. A refusal that sent nothing is not tried again.

    Args:
        attempts: requests for each call, the first included, 1 or more.
        backoff: seconds, above 0; the first wait is between 0 and this, and the bound doubles each time.
        max_backoff: seconds that the bound grows to, above 0.
        max_wait: seconds, above 0; when the server asks for more, the call fails at once.
        throttle: bounds the retries of all calls together. None: no bound.
        restart_streams: try again also after a part of the reply was emitted; readers then see a restart.
        on: foreign errors of functions that are tried again as well.
        name: of the layer.

    Raises:
        ConfigError: at construction, names the field and its bound.
        CallError: from a call, the last request's own error; `reason` says why it was not tried again.
    """

    attempts: int = 3
    backoff: float = field(default=0.5, kw_only=True)
    max_backoff: float = field(default=20, kw_only=True)
    max_wait: float = field(default=60, kw_only=True)
    throttle: RetryThrottle | None = field(default_factory=RetryThrottle, kw_only=True)
    restart_streams: bool = field(default=False, kw_only=True)
    on: tuple[type[Exception], ...] = field(default=(ConnectionError, TimeoutError), kw_only=True)
    name: str = field(default="retry", kw_only=True)
    kinds = ("llm", "script", "function")

    def __post_init__(self) -> None:
        attempts: Any = self.attempts
        if not (isinstance(attempts, int) and not isinstance(attempts, bool) and attempts >= 1):
            raise ConfigError(
                f"Retry.attempts must be a whole number of 1 or more, got {self.attempts!r}", key="attempts"
            )
        for name in ("backoff", "max_backoff", "max_wait"):
            if getattr(self, name) is None:
                raise ConfigError(f"Retry.{name} must be seconds above 0, got None", key=name)
            check_seconds(f"Retry.{name}", getattr(self, name))
        throttle: Any = self.throttle
        if not (throttle is None or isinstance(throttle, RetryThrottle)):
            raise ConfigError(f"Retry.throttle must be a RetryThrottle or None, got {throttle!r}", key="throttle")
        try:
            issubclass(Exception, self.on)
        except TypeError:
            message = f"Retry.on must be a tuple of exception classes, got {self.on!r}"
            raise ConfigError(message, key="on") from None

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        if self.throttle is not None:
            self.throttle.count()
        try:
            return await call_next(call)
        except Exception as error:
            if self.attempts == 1 or not self.may(call, error):
                raise
            failure = error
        # tenacity is entered only now: it costs 30 us, which the happy path need not pay
        return await _Again(self, call, call_next, failure).reply()

    def may(self, call: Call, error: BaseException) -> bool:
        """Tell whether another request may help: an allow-list, and never for what was not sent."""
        if call.attempt.started is None:
            return False
        if isinstance(error, CallError):
            return error.retryable
        return isinstance(error, self.on)


class _Again:
    """The retries of one call, whose first request has failed."""

    __slots__ = ("_call", "_call_next", "_failure", "_first", "_layer")

    def __init__(self, layer: Retry, call: Call, call_next: Next, failure: Exception) -> None:
        self._layer = layer
        self._call = call
        self._call_next = call_next
        self._first: Exception | None = failure
        self._failure: BaseException = failure

    async def reply(self) -> Reply:
        from tenacity import AsyncRetrying, retry_if_exception  # 7 ms that a program without a failure saves

        retrying = AsyncRetrying(
            stop=self._stop,
            wait=self._wait,
            retry=retry_if_exception(lambda error: self._layer.may(self._call, error)),
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(self._send)

    async def _send(self) -> Reply:
        failure, self._first = self._first, None
        if failure is not None:  # the first request was sent before tenacity counted: hand it its failure
            raise failure
        self._call = self._call.again()
        return await self._call_next(self._call)

    def _wait(self, state: RetryCallState) -> float:
        layer = self._layer
        doubled = layer.backoff * 2 ** min(state.attempt_number - 1, 64)  # beyond that a float overflows
        outcome = state.outcome
        self._failure = (outcome.exception() if outcome is not None else None) or self._failure
        return max(random.uniform(0, min(layer.max_backoff, doubled)), self._floor())

    def _floor(self) -> float:
        error = self._failure
        return (error.retry_after or 0.0) if isinstance(error, CallError) else 0.0

    def _stop(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self._layer.attempts:
            return True
        reason = self._reason(state.upcoming_sleep)
        error = self._failure
        if reason and isinstance(error, CallError) and not error.reason:
            error.reason = reason
        return bool(reason)

    async def _sleep(self, seconds: float) -> None:
        call = self._call
        key = str(call.limit_key) if call.model else None
        with call.record.waiting("backoff", seconds, key=key, error=self._failure):
            await asyncio.sleep(seconds)

    def _reason(self, wait: float) -> str:
        """Say why it is not tried again; "" when it is."""
        layer, call = self._layer, self._call
        if not layer.restart_streams and any(attempt.emitted for attempt in call.record.attempts):
            return "not tried again: a part of the reply was emitted"
        if (floor := self._floor()) > layer.max_wait:
            return (
                f"not tried again: the server asked to wait {floor:.1f} s, above Retry.max_wait of {layer.max_wait:g} s"
            )
        if wait >= call.remaining():
            return f"not tried again: the wait of {wait:.1f} s passes the deadline in {call.remaining():.1f} s"
        if layer.throttle is not None and not layer.throttle.spend():
            return "not tried again: the retry throttle is empty"
        return ""
