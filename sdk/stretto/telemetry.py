"""Name everything that goes to OpenTelemetry, and start spans only where somebody records them.

Source: OpenTelemetry semantic conventions for generative AI, version 1.38 (gen-ai-spans, gen-ai-agent-spans,
gen-ai-metrics); OpenInference for `openinference.span.kind`, `input.value` and `output.value` alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from .attempt import Wait
    from .call import Call, Services
    from .reply import Reply
    from .usage import Usage

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
AGENT_NAME = "gen_ai.agent.name"
WORKFLOW_NAME = "gen_ai.workflow.name"
CONVERSATION_ID = "gen_ai.conversation.id"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

SPAN_KIND = "openinference.span.kind"
INPUT_VALUE = "input.value"
OUTPUT_VALUE = "output.value"

RUN_ID = "stretto.run.id"
DIGEST = "stretto.ensemble.digest"
STATUS = "stretto.status"
REASON = "stretto.reason"
COST = "stretto.cost_usd"
ATTEMPTS = "stretto.attempts"
LIMIT_KEY = "stretto.limit_key"
ROUTE = "stretto.route"
WAIT = "stretto.wait."
METADATA = "stretto.metadata."

# Chat parameters that the convention has a name for.
_REQUEST = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}

# litellm's prefixes whose name differs from the convention's well-known value of gen_ai.provider.name.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}


def provider_name(model: str) -> str:
    """Give the convention's name of the provider in "provider/model"."""
    prefix = model.partition("/")[0]
    return _PROVIDERS.get(prefix, prefix)


def bare_model(model: str) -> str:
    """Give the model without its prefix."""
    return model.partition("/")[2] or model


_SILENT = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)


def start(
    name: str,
    openinference: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    context: Context | None = None,
) -> Span:
    """Start a span that is not made current; its attributes are there when a sampler decides."""
    provider = trace.get_tracer_provider()
    given = None if isinstance(provider, _SILENT) else {SPAN_KIND: openinference, **some(attributes or {})}
    return _tracer(provider).start_span(name, context=context, kind=kind, attributes=given)


def some(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None: OpenTelemetry has no such value."""
    return {key: value for key, value in attributes.items() if value is not None}


@lru_cache(maxsize=1)  # making a tracer costs more than a span
def _tracer(provider: trace.TracerProvider) -> trace.Tracer:
    return trace.get_tracer("stretto", tracer_provider=provider)


def silent() -> bool:
    """Tell whether no tracer provider is set up, so that no span of any kind would be recorded."""
    return isinstance(trace.get_tracer_provider(), _SILENT)


def recorded() -> bool:
    """Tell whether the current span is recorded, so that a child of it would be."""
    return trace.get_current_span().is_recording()


def failed(span: Span, error: BaseException, clean: Callable[[str], str] = str) -> None:
    """Mark a span as failed. `clean` takes keys out: the boundary has redacted its errors, but not a user's own."""
    status = getattr(error, "status", None)
    span.set_attribute(ERROR_TYPE, str(status) if isinstance(status, int) else type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, clean(str(error))))


def request_attributes(call: Call) -> dict[str, Any]:
    """What the convention wants of a request: provider, model, address, parameters."""
    attributes: dict[str, Any] = {
        PROVIDER: provider_name(call.model),
        REQUEST_MODEL: bare_model(call.model),
        AGENT_NAME: call.agent,
        CONVERSATION_ID: call.metadata.get("conversation_id"),
        LIMIT_KEY: str(call.limit_key),
    }
    if call.endpoint.origin:
        server = urlsplit(call.endpoint.origin)
        attributes[SERVER_ADDRESS], attributes[SERVER_PORT] = server.hostname, server.port
    for name, value in call.params.items():
        if name in _REQUEST and isinstance(value, (int, float)):
            attributes[_REQUEST[name]] = value
    return attributes


def response_attributes(reply: Reply) -> dict[str, Any]:
    """What the convention wants of a response, tokens excepted."""
    attributes: dict[str, Any] = {}
    if reply.model:
        attributes[RESPONSE_MODEL] = bare_model(reply.model)
    if reply.response_id:
        attributes[RESPONSE_ID] = reply.response_id
    if reply.finish_reason:
        attributes[FINISH_REASONS] = (reply.finish_reason,)
    if reply.route:
        attributes[ROUTE] = reply.route
    return attributes


def usage_attributes(usage: Usage) -> dict[str, int]:
    """Give the tokens; those of caches and reasoning only where there are any."""
    attributes = {INPUT_TOKENS: usage.input_tokens, OUTPUT_TOKENS: usage.output_tokens}
    for name, value in (
        (CACHE_READ_TOKENS, usage.cached_tokens),
        (CACHE_CREATION_TOKENS, usage.cache_write_tokens),
        (REASONING_TOKENS, usage.reasoning_tokens),
    ):
        if value:
            attributes[name] = value
    return attributes


def wait_attributes(waits: Iterable[Wait]) -> dict[str, float]:
    """Give the seconds waited as `stretto.wait.<cause>`."""
    attributes: dict[str, float] = {}
    for wait in waits:
        attributes[WAIT + wait.cause] = attributes.get(WAIT + wait.cause, 0.0) + wait.seconds
    return attributes


def metadata_attributes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Give scalar metadata as `stretto.metadata.<key>`, and the conversation's id under the convention's name."""
    attributes: dict[str, Any] = {
        METADATA + key: value for key, value in metadata.items() if isinstance(value, (str, bool, int, float))
    }
    if "conversation_id" in metadata:
        attributes[CONVERSATION_ID] = str(metadata["conversation_id"])
    return attributes


def capture(span: Span, services: Services | None, name: str, value: Any) -> None:
    """Put `input.value` or `output.value` into a span, without keys; only where content is captured."""
    if services is not None and services.capture_content and value and span.is_recording():
        span.set_attribute(name, services.redactor.error_text(content(value)))


def content(value: Any) -> str:
    """Give messages or data as the text of `input.value` and `output.value`."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def captures_content(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment asks for prompts and replies in spans."""
    return environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().lower() == "true"
