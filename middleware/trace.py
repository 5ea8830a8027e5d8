"""Show each logical call as one `chat` span, over all its requests and waits.

Outermost: what any layer below does happens inside its span.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import SpanKind, use_span

from stretto import telemetry
from stretto.call import Call
from stretto.contract import Next
from stretto.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Make the `chat` span: model, parameters, tokens, cost, requests, waits, error.

    Prompts and replies are put in only where `Runner(capture_content=True)` or OpenTelemetry's environment variable
    asks for them. Without a tracer provider it passes the call on.

    Args:
        name: of the layer.
    """

    name: str = "trace"

    def __call__(self, call: Call, call_next: Next) -> Awaitable[Reply]:
        if telemetry.silent():
            return call_next(call)  # no coroutine in between: thousands are in flight
        return _traced(call, call_next)


async def _traced(call: Call, call_next: Next) -> Reply:
    attributes = {telemetry.OPERATION: "chat", **telemetry.request_attributes(call)}
    span = telemetry.start(f"chat {telemetry.bare_model(call.model)}", "LLM", attributes, kind=SpanKind.CLIENT)
    if not span.is_recording():
        return await call_next(call)
    services = call.services
    clean = services.redactor.error_text if services is not None else str
    telemetry.capture(span, services, telemetry.INPUT_VALUE, list(map(dict, call.messages)))
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        ended: dict[str, Any] = {}
        try:
            reply = await call_next(call)
        except BaseException as error:
            telemetry.failed(span, error, clean)
            raise
        else:
            ended = telemetry.response_attributes(reply)
            telemetry.capture(span, services, telemetry.OUTPUT_VALUE, reply.text)
            return reply
        finally:
            span.set_attributes(ended | _ledger(call))  # at once: each time costs two microseconds


def _ledger(call: Call) -> dict[str, Any]:
    """Give what the record knows: all requests, hedges and retries included."""
    record = call.record
    attributes: dict[str, Any] = {telemetry.ATTEMPTS: len(record.attempts)}
    if record.attempts:
        attributes |= telemetry.usage_attributes(record.usage)
        if record.cost is not None:
            attributes[telemetry.COST] = record.cost
    return attributes | telemetry.wait_attributes(record.waits)
