"""Pass one request to its provider, and keep the ledger.

Innermost in every pipeline, and of the core: no layer can bypass it, so `Record.attempts` is what was really sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import use_span

from . import telemetry
from .clock import now
from .errors import BadResponse, CallError
from .reply import Delta, Reply
from .usage import Usage

if TYPE_CHECKING:
    from .call import Call
    from .contract import Next
    from .secret import Redactor


async def send(call: Call) -> Reply:
    """Send one request: find its provider, stamp the attempt, start the agent's clock, redact and close.

    Raises:
        RuntimeError: when the call's attempt was sent before.
        CallError: of the provider; its text is redacted and its foreign cause gone.
        BaseException: what a function of the user raised, untouched.
        CancelledError: when the call's agent was stopped before.
    """
    target: Next
    if call.clock is not None and call.clock.stopped:  # its agent turned the cancel into an error that is tried again
        raise asyncio.CancelledError
    if call.work is not None:
        target = call.work
    elif call.services is not None:
        target = call.services.provider(call.model)
    else:
        raise RuntimeError("this call was made without a runner: nothing knows its provider")
    attempt, record = call.attempt, call.record
    attempt.sent(len(record.attempts) + 1, call.model)
    record.attempts.append(attempt)
    if call.clock is not None:
        call.clock.start()
    if call.emit is not None:
        call = call.with_(emit=_Stream(call))
    if call.kind == "llm" and telemetry.recorded():
        return await _traced(call, target)
    return await _closed(call, target)


async def _traced(call: Call, target: Next) -> Reply:
    span = telemetry.start(f"attempt {call.attempt.number}", "CHAIN", telemetry.request_attributes(call))
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            reply = await _closed(call, target)
        except BaseException as error:
            telemetry.failed(span, call.attempt.error or error)
            raise
        span.set_attributes(telemetry.response_attributes(reply))
        return reply


async def _closed(call: Call, target: Next) -> Reply:
    """Await the provider; whatever happens, the attempt is closed."""
    attempt = call.attempt
    try:
        return _settled(call, _checked(await target(call)))
    except asyncio.CancelledError:
        attempt.cancelled = attempt.error is None  # a clock of ours writes its error before it cancels
        raise
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it is that agent's failure
        failure = _failure(call, error)
        attempt.error = failure
    finally:
        _close(call)
    raise failure  # outside of the except block, so that no foreign context is attached


def _checked(reply: Any) -> Reply:
    if not isinstance(reply, Reply):
        raise BadResponse(f"the provider gave a {type(reply).__name__} instead of a Reply", retryable=False)
    if not isinstance(reply.text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadResponse(f"the text of the provider's Reply is a {type(reply.text).__name__}", retryable=False)
    if not isinstance(reply.usage, Usage | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadResponse(f"the usage of the provider's Reply is a {type(reply.usage).__name__}", retryable=False)
    return reply


def _settled(call: Call, reply: Reply) -> Reply:
    attempt, services = call.attempt, call.services
    usage = reply.usage if reply.usage is not None else attempt.usage
    attempt.usage = usage if usage is not None else Usage()
    cost, text, reasoning = reply.cost, reply.text, reply.reasoning
    if services is not None and call.kind == "llm":
        cost = services.cost(call.model, usage, cost)
        text = services.redactor.model_text(text)
        reasoning = services.redactor.model_text(reasoning)
    elif call.work is not None:
        cost = 0.0
    attempt.cost = cost
    if cost is reply.cost and text is reply.text and reasoning is reply.reasoning and usage is reply.usage:
        return reply
    return replace(reply, cost=cost, text=text, reasoning=reasoning, usage=usage)


def _failure(call: Call, error: BaseException) -> BaseException:
    """Give the error to raise: classified, located, without keys; a user's own stays as it is."""
    if not isinstance(error, CallError):
        if call.kind != "llm":
            return error
        error = CallError(_named(error), retryable=False)
    error.locate(call)
    if call.kind == "llm":
        _redact(call, error)
    if call.attempt.retry_after is None:
        call.attempt.retry_after = error.retry_after
    return error


def _named(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - of a foreign class
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _redact(call: Call, error: CallError) -> None:
    # Foreign causes hold what the client knew: headers with the key. `from None` would only hide them.
    error.__cause__ = error.__context__ = None
    if call.services is None:
        return
    clean = call.services.redactor.error_text
    for name, value in error.__dict__.items():
        if isinstance(value, str):
            setattr(error, name, clean(value))
        elif name == "__notes__":
            error.__notes__ = [clean(note) for note in error.__notes__]
    error.args = tuple(clean(arg) if isinstance(arg, str) else arg for arg in error.args)


def _close(call: Call) -> None:
    attempt = call.attempt
    attempt.ended = now()
    if not isinstance(attempt.usage, Usage | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        attempt.usage = None  # a provider's own kind of usage: it would not add up
    if attempt.error is None and not attempt.cancelled:
        return
    if isinstance(attempt.error, CallError) and (attempt.error.status or 0) >= 400 and attempt.usage is None:
        attempt.usage, attempt.cost = Usage(), 0.0  # answered with an error status: nothing was written
    elif call.kind != "llm":
        attempt.usage, attempt.cost = Usage(), 0.0
    elif attempt.usage is not None:
        attempt.cost = call.services.cost(call.model, attempt.usage, attempt.cost) if call.services else attempt.cost
    else:
        expected = call.estimate()
        attempt.estimate = expected, call.price.of(expected) if call.price is not None else None


class _Stream:
    """Mark the first piece, say `restart` where another request has emitted, drop what comes after the end."""

    __slots__ = ("_attempt", "_emit", "_record", "_redactor")

    def __init__(self, call: Call) -> None:
        assert call.emit is not None
        self._emit = call.emit
        self._attempt = call.attempt
        self._record = call.record
        self._redactor = call.services.redactor if call.services is not None else None

    async def __call__(self, delta: Delta) -> None:
        attempt = self._attempt
        if attempt.ended is not None:
            return
        if not attempt.emitted and delta.usage is None and delta.restart is None:
            attempt.emitted = True
            attempt.first_piece = now()
            if any(other.emitted and other is not attempt for other in self._record.attempts):
                await self._emit(Delta(restart=True))
        await self._emit(delta if self._redactor is None else _clean(delta, self._redactor))


def _clean(delta: Delta, redactor: Redactor) -> Delta:
    if delta.text is not None:
        text = redactor.model_text(delta.text)
        return delta if text is delta.text else Delta(text=text)
    if delta.reasoning is not None:
        return Delta(reasoning=redactor.model_text(delta.reasoning))
    return delta
