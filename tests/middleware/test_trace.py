"""`Trace` shows each logical call as one `chat` span: all its requests, waits, tokens and its error."""

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from spans import recording
from stretto.call import Call, Endpoint
from stretto.contract import Next
from stretto.errors import ProviderFailed, RateLimited
from stretto.middleware import ConcurrencyLimit, RateLimit, Retry, Trace
from stretto.reply import Reply
from stretto.secret import Redactor, Secret
from stretto.testing import Answers, Stack, a_call, virtual_time
from stretto.usage import Usage


def reply(**fields: Any) -> Reply:
    given: dict[str, Any] = {"text": "hi", "usage": Usage(10, 5), "cost": 0.25, "route": "answers"}
    return Reply(**{**given, **fields})


def test_the_span_is_a_client_named_after_the_bare_model() -> None:
    with recording() as spans:
        virtual_time(Stack(Trace())(a_call(model="openrouter/openai/gpt-5")))
    span = spans.one("chat")
    assert (span.name, span.kind) == ("chat openai/gpt-5", SpanKind.CLIENT)
    assert span.attributes is not None
    assert span.attributes["gen_ai.provider.name"] == "openrouter"
    assert span.attributes["gen_ai.request.model"] == "openai/gpt-5"
    assert span.attributes["gen_ai.operation.name"] == "chat"
    assert span.attributes["gen_ai.agent.name"] == "tester"
    assert span.attributes["openinference.span.kind"] == "LLM"


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("openai/gpt-5", "openai"),
        ("gemini/x", "gcp.gemini"),
        ("bedrock/y", "aws.bedrock"),
        ("azure/z", "azure.ai.openai"),
        ("mistral/m", "mistral_ai"),
        ("xai/grok", "x_ai"),
    ],
)
def test_providers_have_opentelemetrys_names(model: str, provider: str) -> None:
    with recording() as spans:
        virtual_time(Stack(Trace())(a_call(model=model)))
    for span in spans.all:
        assert (span.attributes or {})["gen_ai.provider.name"] == provider


def test_parameters_have_opentelemetrys_names_and_others_are_left_out() -> None:
    params = {"temperature": 0.5, "max_tokens": 9, "seed": 3, "stop": ["x"], "user": "u"}
    with recording() as spans:
        virtual_time(Stack(Trace())(a_call(params=params)))
    attributes = spans.one("chat").attributes or {}
    asked = {name: value for name, value in attributes.items() if name.startswith("gen_ai.request.")}
    assert asked == {
        "gen_ai.request.model": "echo",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 3,
    }


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("http://localhost:8080/v1", "localhost", 8080),
        ("https://api.example.com/v1", "api.example.com", 443),
        ("http://[::1]:99/v1", "::1", 99),
        ("http://[::1]/v1", "::1", 80),
        (None, None, None),
    ],
)
def test_the_address_is_named_when_there_is_one(url: str | None, address: str | None, port: int | None) -> None:
    with recording() as spans:
        virtual_time(Stack(Trace())(a_call(endpoint=Endpoint(url))))
    attributes = spans.one("chat").attributes or {}
    assert (attributes.get("server.address"), attributes.get("server.port")) == (address, port)


def test_what_the_reply_says_stands_in_the_span() -> None:
    answer = reply(
        model="simulated/echo-2", response_id="r-1", finish_reason="stop", usage=Usage(10, 5, 4, 3, 2), route="direct"
    )
    with recording() as spans:
        virtual_time(Stack(Trace(), provider=Answers(answer))(a_call()))
    attributes = spans.one("chat").attributes or {}
    expected = {
        "gen_ai.response.model": "echo-2",
        "gen_ai.response.id": "r-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "stretto.cost_usd": 0.25,
        "stretto.route": "direct",
        "stretto.attempts": 1,
    }
    assert {name: attributes.get(name) for name in expected} == expected


def test_the_span_covers_all_requests_and_waits_and_only_it_has_tokens() -> None:
    down = ProviderFailed("down", status=500, retry_after=2)
    with recording() as spans:
        virtual_time(Stack(Trace(), Retry(3), provider=Answers(1.0, down, 1.0, down, 1.0, reply()))(a_call()))
    assert spans.paths() == [
        "chat echo",
        "chat echo > attempt 1",
        "chat echo > attempt 2",
        "chat echo > attempt 3",
    ]
    attributes = spans.one("chat").attributes or {}
    assert (attributes["stretto.attempts"], attributes["stretto.wait.backoff"]) == (3, pytest.approx(4))
    assert attributes["gen_ai.usage.input_tokens"] == 10
    assert not any("usage" in name for span in spans.named("attempt") for name in span.attributes or {})
    assert spans.one("chat").status.status_code is StatusCode.UNSET


def test_each_cause_of_waiting_is_summed_up() -> None:
    async def main() -> None:
        provider = Answers(RateLimited(status=429, retry_after=3), 1.0, "ok", 1.0, "ok")
        stack = Stack(Trace(), ConcurrencyLimit(1), RateLimit(requests=60, per=600), provider=provider)
        await asyncio.gather(stack(a_call()), stack(a_call()), return_exceptions=True)

    with recording() as spans:
        virtual_time(main())
    second = spans.named("chat")[1].attributes or {}
    assert second["stretto.wait.pause"] == pytest.approx(3)


def test_failed_requests_are_errors_and_so_is_the_call_when_it_fails() -> None:
    with recording() as spans, pytest.raises(ProviderFailed):
        virtual_time(Stack(Trace(), Retry(2), provider=Answers(ProviderFailed("down", status=503)))(a_call()))
    for span in spans.all:
        assert (span.status.status_code, (span.attributes or {})["error.type"]) == (StatusCode.ERROR, "503")
    assert "down" in (spans.one("chat").status.description or "")
    assert spans.one("chat").events == ()


def test_an_error_without_a_status_is_named_by_its_class() -> None:
    async def odd(call: Call, call_next: Next) -> Reply:
        raise LookupError("odd")

    with recording() as spans, pytest.raises(LookupError):
        virtual_time(Stack(Trace(), odd)(a_call()))
    assert spans.paths() == ["chat echo"]
    assert (spans.one("chat").attributes or {})["error.type"] == "LookupError"


def test_a_request_that_was_cut_off_by_a_timeout_names_the_timeout() -> None:
    from stretto.middleware import Timeout

    with recording() as spans, pytest.raises(TimeoutError):
        virtual_time(Stack(Trace(), Timeout(2), provider=Answers(9.0, "ok"))(a_call()))
    assert [(span.attributes or {})["error.type"] for span in spans.all] == ["CallTimeout", "CallTimeout"]


def test_a_cancelled_call_ends_its_spans() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(Stack(Trace(), provider=Answers(9.0, "ok"))(a_call()))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])

    with recording() as spans:
        virtual_time(main())
    assert spans.paths() == ["chat echo", "chat echo > attempt 1"]
    assert (spans.one("chat").attributes or {})["error.type"] == "CancelledError"


def test_a_call_that_was_answered_without_a_request_has_no_tokens() -> None:
    async def cached(call: Call, call_next: Next) -> Reply:
        return Reply("again", usage=Usage(100, 100), cost=0.0, route="cache")

    with recording() as spans:
        virtual_time(Stack(Trace(), cached)(a_call()))
    attributes = spans.one("chat").attributes or {}
    assert (attributes["stretto.attempts"], attributes["stretto.route"]) == (0, "cache")
    assert "gen_ai.usage.input_tokens" not in attributes


def captured(capture: bool) -> list[dict[str, Any]]:
    stack = Stack(Trace(), provider=Answers("a secret answer"))
    stack._bench.capture_content = capture
    with recording() as spans:
        virtual_time(stack(a_call()))
    return [dict(span.attributes or {}) for span in spans.all]


def test_prompts_and_replies_are_in_no_span_unless_asked_for() -> None:
    without = captured(False)
    assert "hello" not in str(without)
    assert "a secret answer" not in str(without)
    chat = captured(True)[0]
    assert chat["input.value"] == '[{"role": "user", "content": "hello"}]'
    assert chat["output.value"] == "a secret answer"


def test_no_span_holds_a_key_whatever_text_it_came_in() -> None:
    key = "correct-horse-battery"

    async def leaking(call: Call, call_next: Next) -> Reply:
        await call_next(call)
        raise LookupError(f"{key} and sk-abcdefghijkl")

    stack = Stack(Trace(), leaking, provider=Answers(f"the key is {key}"))
    stack._bench.redactor = Redactor([Secret(key)])
    stack._bench.capture_content = True
    call = a_call(
        messages=({"role": "user", "content": f"my key is {key}"},),
        endpoint=Endpoint("http://localhost:1", Secret(key)),
        extra_headers={"authorization": f"Bearer {key}"},
    )
    with recording() as spans, pytest.raises(LookupError):
        virtual_time(stack(call))
    assert len(spans.all) == 2
    assert key not in spans.text()
    assert "sk-abc" not in spans.text()


def test_a_users_own_span_in_a_layer_sits_between_chat_and_attempt() -> None:
    from opentelemetry import trace

    async def mine(call: Call, call_next: Next) -> Reply:
        with trace.get_tracer("mine").start_as_current_span("mine"):
            return await call_next(call)

    async def provider(call: Call) -> Reply:
        with trace.get_tracer("http").start_as_current_span("POST"):
            return Reply("ok")

    with recording() as spans:
        virtual_time(Stack(Trace(), mine, provider=provider)(a_call()))
    assert spans.path(spans.one("POST")) == "chat echo > mine > attempt 1 > POST"


def test_without_a_tracer_provider_the_call_passes_and_nothing_is_made() -> None:
    with recording() as spans:
        pass
    call = a_call()
    assert virtual_time(Stack(Trace(), Retry(2), provider=Answers(ProviderFailed(), "ok"))(call)).text == "ok"
    assert (spans.all, len(call.record.attempts)) == ([], 2)


def test_functions_have_no_chat_span() -> None:
    async def work(call: Call) -> Reply:
        return Reply("ok")

    with recording() as spans:
        virtual_time(Stack(Trace())(a_call(kind="function", work=work)))
    assert spans.all == []
