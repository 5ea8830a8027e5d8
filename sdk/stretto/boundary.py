"""Pass one request to its provider, and keep the ledger.

Innermost in every pipeline, and of the core: no layer can bypass it, so `Record.attempts` is what was really sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import use_span

from . import telemetry
from .clock import now
from .errors import BadResponse, CallError, cleaned
from .reply import Reply
from .stream import Stream
from .usage import Usage

if TYPE_CHECKING:
    from .call import Call
    from .contract import Next


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
        call = call.with_(emit=Stream(call))
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
        reply = _settled(call, _checked(await target(call)))
        if isinstance(call.emit, Stream):
            await call.emit.end()
        return reply
    except asyncio.CancelledError:
        attempt.cancelled = attempt.error is None  # a clock of ours writes its error before it cancels
        raise
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it is that agent's failure
        failure = _failure(call, error)
        attempt.error = failure
        attempt.reason = _without_key(call, failure)
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
    cost = reply.cost
    if services is not None and call.kind == "llm":
        cost = services.cost(call.model, usage, cost)
    elif call.work is not None:
        cost = 0.0
    if services is not None and call.kind != "function" and services.redactor.knows_keys:
        reply = _without_keys(reply, services.redactor.model_text)
        if call.kind == "script":
            reply = replace(reply, raw=_data_without_keys(reply, services.redactor.model_text))
    attempt.cost = cost
    return reply if cost is reply.cost and usage is reply.usage else replace(reply, cost=cost, usage=usage)


def _without_keys(reply: Reply, clean: Callable[[str], str]) -> Reply:
    """Take the run's own keys out of all that a gateway may have echoed them into, `raw` excepted."""
    return replace(
        reply,
        text=clean(reply.text),
        reasoning=clean(reply.reasoning),
        tool_calls=tuple(
            replace(call, id=clean(call.id), name=clean(call.name), arguments=clean(call.arguments))
            for call in reply.tool_calls
        ),
        model=clean(reply.model),
        response_id=None if reply.response_id is None else clean(reply.response_id),
        finish_reason=None if reply.finish_reason is None else clean(reply.finish_reason),
        headers={name: clean(value) for name, value in reply.headers.items()},
    )


def _data_without_keys(reply: Reply, clean: Callable[[str], str]) -> Any:
    """Take the run's own keys out of what a script wrote: other than a model's, its `raw` is what others are given."""
    try:
        return cleaned(reply.raw, clean)
    except RecursionError:  # nested deeper than can be looked through: it stays the text that it came as
        return reply.text


def _failure(call: Call, error: BaseException) -> BaseException:
    """Give the error to raise: classified, located, without keys; a user's own stays as it is."""
    if not isinstance(error, CallError):
        if call.kind != "llm":
            return error
        error = CallError(_named(error), retryable=False)
    error.locate(call)
    if call.kind == "llm":
        # Foreign causes hold what the client knew: headers with the key. `from None` would only hide them.
        error.__cause__ = error.__context__ = None
    if call.services is not None:
        error.redact(call.services.redactor.error_text)
    if call.attempt.retry_after is None:
        call.attempt.retry_after = error.retry_after
    return error


def _without_key(call: Call, error: BaseException) -> str:
    text = _named(error) if not isinstance(error, CallError) else str(error)
    return text if call.services is None else call.services.redactor.error_text(text)


def _named(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - of a foreign class
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
