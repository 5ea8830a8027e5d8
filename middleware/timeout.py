"""Bound the time that one request may take.

Innermost: it bounds each attempt, from sending to the last byte. Outside of `Retry` it bounds all attempts together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

from stretto.call import Call, Emit
from stretto.contract import Next
from stretto.errors import CallTimeout
from stretto.reply import Delta, Reply
from stretto.settings import check_seconds


@dataclass(frozen=True, slots=True)
class Timeout:
    """Cancel the request below after a time, and raise `CallTimeout`.

    Args:
        total: seconds above 0 from sending to the last byte. None: no bound.
        first_token: of streams, seconds above 0 from sending to the first piece. None: no bound.
        idle: of streams, seconds above 0 of silence after the first piece; stands still while `emit` waits.
            None: no bound.
        name: of the layer.

    Raises:
        ConfigError: at construction, when one is not above 0.
        CallTimeout: from a call, names the bound and its seconds.
    """

    total: float | None = None
    first_token: float | None = field(default=None, kw_only=True)
    idle: float | None = field(default=30, kw_only=True)
    name: str = field(default="timeout", kw_only=True)
    kinds = ("llm", "script", "function")

    def __post_init__(self) -> None:
        for name in ("total", "first_token", "idle"):
            check_seconds(f"Timeout.{name}", getattr(self, name))

    def __call__(self, call: Call, call_next: Next) -> Awaitable[Reply]:
        streamed = call.emit is not None and not (self.first_token is None and self.idle is None)
        if self.total is None and not streamed:
            return call_next(call)  # no coroutine in between: thousands are in flight
        return self._bounded(call, call_next, streamed)

    async def _bounded(self, call: Call, call_next: Next, streamed: bool) -> Reply:
        watch = _Watch(self, call)
        if streamed:
            call = call.with_(emit=watch.emit)
        call.attempt.on_sent(watch.sent)
        try:
            reply = await call_next(call)
        except asyncio.CancelledError:
            error = watch.end()
            if error is None:
                raise
        except BaseException:
            watch.end()
            raise
        else:
            watch.end()
            return reply
        raise error  # outside of the except block: no CancelledError as its context


class _Watch:
    """One timer that re-arms itself: whatever it finds when it fires decides."""

    __slots__ = (
        "_call",
        "_cancelling",
        "_emit",
        "_emitting",
        "_error",
        "_layer",
        "_loop",
        "_over",
        "_quiet",
        "_sent",
        "_task",
        "_timer",
    )

    def __init__(self, layer: Timeout, call: Call) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._layer = layer
        self._call = call
        self._emit: Emit | None = call.emit
        self._loop = asyncio.get_running_loop()
        self._task = task
        self._cancelling = task.cancelling()
        self._sent: float | None = None
        self._quiet: float | None = None  # since when nothing came; None before the first piece
        self._emitting = False
        self._over = False
        self._error: CallTimeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    def sent(self) -> None:
        if self._sent is None:
            self._sent = self._loop.time()
            self._arm()

    async def emit(self, delta: Delta) -> None:
        assert self._emit is not None
        first = self._quiet is None
        self._emitting = True
        try:
            await self._emit(delta)
        finally:
            self._emitting = False
            self._quiet = self._loop.time()
        if first:
            self._arm()

    def _bounds(self) -> list[tuple[float, str, float]]:
        """Give when each bound ends, its name and its seconds."""
        layer = self._layer
        assert self._sent is not None
        bounds: list[tuple[float, str, float]] = []
        if layer.total is not None:
            bounds.append((self._sent + layer.total, "total", layer.total))
        if self._emit is None:
            return bounds
        if self._quiet is None and layer.first_token is not None and not self._emitting:
            bounds.append((self._sent + layer.first_token, "first_token", layer.first_token))
        if self._quiet is not None and layer.idle is not None:
            quiet = self._loop.time() if self._emitting else self._quiet
            bounds.append((quiet + layer.idle, "idle", layer.idle))
        return bounds

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over:  # a call that was refused unsent may be sent later, by another: its task is none of ours
            return
        bounds = self._bounds()
        if bounds:
            self._timer = self._loop.call_at(min(bounds)[0], self._look)

    def _look(self) -> None:
        over = [(name, seconds) for ends, name, seconds in self._bounds() if ends <= self._loop.time()]
        if not over:
            self._timer = None
            self._arm()
            return
        name, seconds = over[0]
        self._error = CallTimeout(f"Timeout.{name} of {seconds:g} s ran out", seconds=seconds, call=self._call)
        self._error.attempt = None  # outside of Retry none may be open
        for attempt in self._call.record.attempts:
            if attempt.ended is None and attempt.error is None:
                attempt.error = self._error
                self._error.attempt = attempt.number
        self._task.cancel()

    def end(self) -> CallTimeout | None:
        """Stop; give the error when it was this timer, and nobody else, that cancelled the task."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._error is None:
            return None
        return self._error if self._task.uncancel() <= self._cancelling else None
