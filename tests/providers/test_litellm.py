"""`LiteLLM` on the wire: what is sent, what becomes of each answer, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from importlib import resources, util
from typing import Any

import httpx
import pytest
from tests.providers.make_services import NAMES, Wire, arrived, canaries

from loopback import Answer, Loopback, pieces
from stretto.agent import Agent
from stretto.call import Endpoint
from stretto.ensemble import Ensemble
from stretto.errors import (
    AuthenticationFailed,
    BadResponse,
    CallError,
    ConfigError,
    ContentBlocked,
    ContextTooLong,
    Overloaded,
    PermissionDenied,
    ProviderFailed,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from stretto.middleware.retry import Retry
from stretto.providers import litellm_setup
from stretto.providers.litellm import LiteLLM
from stretto.reply import Reply, ToolCall
from stretto.runner import Runner
from stretto.secret import Secret
from stretto.testing import CallForTests, Stack, a_call
from stretto.usage import Price, Usage

# litellm itself ignores these warnings of its own when it is imported; pytest forgets that with each test.
pytestmark = [
    pytest.mark.usefixtures("silence"),
    pytest.mark.filterwarnings("ignore:Accessing the '.*' attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier"),
]

# One of the services that litellm reaches with openai's SDK, one that it reaches with its own client.
MODELS = ["openai/gpt-5-mini", "hosted_vllm/gpt-5-mini"]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
EACH = pytest.mark.parametrize("model", MODELS, ids=["sdk", "http"])

TOOL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
DETAILS = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 7},
}


@pytest.fixture
async def provider(server: Loopback) -> AsyncIterator[LiteLLM]:
    """Give a provider; hold for every test that it leaves no task and no connection."""
    async with LiteLLM() as provider:
        yield provider
    coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
    assert not [each for each in coroutines if "/litellm/" in each.cr_code.co_filename]
    await server.all_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def to(server: Loopback, model: str = MODELS[0], stream: bool = False, **fields: Any) -> CallForTests:
    return a_call(stream, **{"model": model, "endpoint": Endpoint(server.url, Secret("sk-of-this-call")), **fields})


async def error(provider: LiteLLM, call: CallForTests) -> CallError:
    with pytest.raises(CallError) as caught:
        await provider(call)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


@EACH
@BOTH
async def test_a_reply_is_complete_streamed_or_not(
    server: Loopback, provider: LiteLLM, model: str, stream: bool
) -> None:
    call = to(server, model, stream)
    reply = await provider(call)
    assert (reply.text, reply.finish_reason, reply.route) == ("hello world", "stop", "acompletion")
    assert (reply.model, reply.response_id) == ("gpt-5-mini", "chatcmpl-1")
    assert reply.usage == call.attempt.usage == Usage(5, 2)
    assert reply.headers == call.attempt.headers
    assert reply.headers["x-request-id"] == "request-1"
    assert "".join(p.text or "" for p in call.pieces) == ("hello world" if stream else "")


@EACH
async def test_a_request_is_streamed_on_the_wire_exactly_when_the_call_emits(
    server: Loopback, provider: LiteLLM, model: str
) -> None:
    for stream in (False, True):
        await provider(to(server, model, stream))
    complete, streamed = (request.json for request in server.requests)
    assert "stream" not in complete
    assert streamed["stream"] is True
    assert streamed["stream_options"] == {"include_usage": True}


@EACH
async def test_pieces_come_as_they_are_on_the_wire(server: Loopback, provider: LiteLLM, model: str) -> None:
    message = {"reasoning_content": "hm", "tool_calls": [TOOL]}
    server.answer(Answer("three little words", message=message, finish_reason="tool_calls", usage=DETAILS))
    call = to(server, model, True)
    await provider(call)
    told = [p.text or p.reasoning or p.tool_call or p.usage for p in call.pieces]
    tool, usage = ToolCall("call_1", "f", '{"a": 1}'), Usage(100, 20, cached_tokens=40, reasoning_tokens=7)
    assert told == ["hm", tool, *pieces("three little words"), usage]


@EACH
@BOTH
async def test_reasoning_tools_and_the_details_of_usage_are_kept(
    server: Loopback, provider: LiteLLM, model: str, stream: bool
) -> None:
    message = {"reasoning_content": "hm", "tool_calls": [TOOL]}
    server.answer(Answer("", message=message, finish_reason="tool_calls", usage=DETAILS))
    reply = await provider(to(server, model, stream))
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("", "hm", "tool_calls")
    assert reply.tool_calls == (ToolCall("call_1", "f", '{"a": 1}'),)
    assert reply.usage == Usage(100, 20, cached_tokens=40, reasoning_tokens=7)


@EACH
@BOTH
async def test_usage_that_the_service_does_not_tell_is_not_invented(
    server: Loopback, provider: LiteLLM, model: str, stream: bool
) -> None:
    server.answer(Answer(usage=None))
    reply = await provider(to(server, model, stream))
    assert reply.usage is reply.cost is None


@BOTH
async def test_the_cost_is_that_of_litellms_table(server: Loopback, provider: LiteLLM, stream: bool) -> None:
    server.answer(Answer(usage=DETAILS), Answer(usage=DETAILS))
    price = provider.price("openai/gpt-5-mini")
    assert price is not None
    known = await provider(to(server, "openai/gpt-5-mini", stream))
    unknown = await provider(to(server, "hosted_vllm/mine", stream))
    assert known.cost == pytest.approx(price.of(Usage(100, 20, cached_tokens=40)))
    assert unknown.cost is None


def test_a_price_is_found_without_importing_litellm() -> None:
    shipped = litellm_setup._shipped_prices()
    entry = shipped["gpt-5-mini"]
    assert LiteLLM().price("openai/gpt-5-mini") == Price(
        entry["input_cost_per_token"] * 1e6,
        entry["output_cost_per_token"] * 1e6,
        entry["cache_read_input_token_cost"] * 1e6,
    )
    assert LiteLLM().price("anthropic/claude-sonnet-4-5") is not None
    assert LiteLLM().price("groq/gpt-5-mini") is None
    assert LiteLLM().price("openai/nobody-knows-it") is None


@EACH
async def test_what_the_call_holds_is_sent_and_stays_as_it_is(server: Loopback, provider: LiteLLM, model: str) -> None:
    picture = {"type": "image_url", "image_url": "data:image/png;base64,AAAA"}  # litellm writes this form anew
    messages = ({"role": "user", "content": [{"type": "text", "text": "hi"}, picture]},)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    params = {"temperature": 1, "tools": tools, "max_completion_tokens": 9}
    before = json.dumps([messages, params])
    extra = {"extra_headers": {"x-mine": "1"}, "extra_body": {"top_k": 3}}
    await provider(to(server, model, messages=messages, params=params, **extra))
    request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer sk-of-this-call"
    assert request.headers["x-mine"] == "1"
    assert request.json["top_k"] == 3
    assert request.json["temperature"] == 1
    assert request.json["tools"] == tools
    assert json.dumps([messages, params]) == before


async def test_metadata_reaches_openai(server: Loopback, provider: LiteLLM) -> None:
    await provider(to(server, params={"metadata": {"case": "7"}, "store": True}))
    assert server.requests[0].json["metadata"] == {"case": "7"}


STATUSES: Mapping[int, type[CallError]] = {
    302: BadResponse,
    400: RequestRejected,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: RequestRejected,
    408: ProviderFailed,
    409: ProviderFailed,
    413: RequestRejected,
    422: RequestRejected,
    429: RateLimited,
    500: ProviderFailed,
    503: Overloaded,
    529: Overloaded,
}


@EACH
@BOTH
async def test_a_status_becomes_its_error_and_each_is_one_request(
    server: Loopback, provider: LiteLLM, model: str, stream: bool
) -> None:
    for status, kind in STATUSES.items():
        headers = {"retry-after": "1.5", "location": server.url + "/elsewhere"}
        server.otherwise = Answer("no", status=status, headers=headers)
        server.requests.clear()
        call = to(server, model, stream)
        failure = await error(provider, call)
        assert type(failure) is kind
        assert failure.retryable is (kind.retryable_by_default and status >= 400)
        assert (failure.status, failure.retry_after, len(server.requests)) == (status, 1.5, 1)
        assert failure.request_id == (call.attempt.headers or {})["x-request-id"]
        assert failure.message == ("no" if status >= 400 else "a redirect, which is not followed")


async def test_a_code_in_the_body_says_more_than_the_status(server: Loopback, provider: LiteLLM) -> None:
    for code, kind in (("context_length_exceeded", ContextTooLong), ("content_filter", ContentBlocked)):
        server.answer(Answer(status=400, body={"error": {"message": "no", "code": code}}))
        assert type(await error(provider, to(server))) is kind


@EACH
@BOTH
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_cut_connection_is_no_answer(
    server: Loopback, provider: LiteLLM, model: str, stream: bool, reset: bool
) -> None:
    for after in (0, 2):
        server.answer(Answer(cut_after=after, reset=reset))
        call = to(server, model, stream)
        failure = await error(provider, call)
        assert type(failure) is ProviderUnavailable
        assert failure.retryable
        assert [p.text for p in call.pieces] == (["hello"] if stream and after else [])
    assert len(server.requests) == 2


@EACH
async def test_a_stream_that_ends_without_its_end_mark_was_cut(server: Loopback, provider: LiteLLM, model: str) -> None:
    delta = {"index": 0, "delta": {"content": "hel"}, "finish_reason": None}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
    server.answer(Answer(events=[json.dumps(chunk)], done=False))
    assert type(await error(provider, to(server, model, True))) is ProviderUnavailable


@EACH
async def test_nobody_at_the_address_is_no_answer(server: Loopback, provider: LiteLLM, model: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        failure = await error(provider, to(server, model, endpoint=Endpoint(url)))
    assert type(failure) is ProviderUnavailable
    assert "refused" in failure.message or "failed" in failure.message


@EACH
@pytest.mark.parametrize(
    "body",
    [b"garbage", b"", b"<html>", b"[1]", {}, {"choices": []}, {"error": {"message": "no", "code": 500}}],
    ids=str,
)
@BOTH
async def test_a_200_that_is_no_answer_is_a_bad_response(
    server: Loopback, provider: LiteLLM, model: str, stream: bool, body: Any
) -> None:
    server.answer(Answer(body=body))
    failure = await error(provider, to(server, model, stream))
    assert type(failure) is BadResponse
    assert failure.retryable
    assert len(server.requests) == 1


@EACH
@pytest.mark.parametrize("events", [["{bad"], []], ids=["garbage", "nothing"])
async def test_a_stream_of_no_chunks_is_a_bad_response(
    server: Loopback, provider: LiteLLM, model: str, events: list[str]
) -> None:
    server.answer(Answer(events=events))
    assert type(await error(provider, to(server, model, True))) is BadResponse


async def test_an_error_that_is_being_handled_is_not_the_cause_of_the_next(server: Loopback, provider: LiteLLM) -> None:
    request = httpx.Request("POST", server.url)
    server.answer(Answer(body=b"garbage"))
    try:
        raise httpx.HTTPStatusError("earlier", request=request, response=httpx.Response(401, request=request))
    except httpx.HTTPStatusError:
        with pytest.raises(BadResponse):
            await provider(to(server))


@EACH
@pytest.mark.parametrize("after", [0, 2])
@BOTH
async def test_a_cancelled_call_leaves_no_connection(
    server: Loopback, provider: LiteLLM, model: str, stream: bool, after: int
) -> None:
    server.answer(Answer(hang_after=after))
    call = asyncio.create_task(provider(to(server, model, stream)))
    await server.received(1)
    await asyncio.sleep(0.02)  # until it has read what there is
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await server.all_closed()


@pytest.mark.parametrize("model", [*MODELS, "deepinfra/some-model"])  # litellm sends three for the last
async def test_litellm_retries_nothing_whatever_the_application_has_set(
    server: Loopback, provider: LiteLLM, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.prepare()
    monkeypatch.setattr(litellm_setup.imported(), "num_retries", 2)
    server.otherwise = Answer(status=500)
    for stream in (False, True):
        await error(provider, to(server, model, stream))
    assert len(server.requests) == 2


async def test_three_attempts_are_three_requests(server: Loopback, provider: LiteLLM) -> None:
    server.otherwise = Answer(status=500)
    call = to(server)
    with pytest.raises(ProviderFailed):
        await Stack(Retry(3, backoff=0.001), provider=provider)(call)
    assert len(server.requests) == len(call.record.attempts) == 3


def test_a_second_run_of_the_loop_works() -> None:
    async def main() -> Reply:
        async with Loopback() as server, LiteLLM() as provider:
            await provider(to(server, MODELS[1], True))
            return await provider(to(server))

    for _ in range(2):
        assert asyncio.run(main()).text == "hello world"
        gc.collect()  # what was not closed would warn now


async def test_listeners_that_the_application_has_registered_still_hear_of_calls(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    async def listen(request: Any, answer: Any, started: Any, ended: Any) -> None:
        heard.append(request["model"])

    async with LiteLLM() as provider:
        await provider.prepare()
        monkeypatch.setattr(litellm_setup.imported(), "_async_success_callback", [listen])
        await provider(to(server))
    assert heard == ["gpt-5-mini"]
    await server.all_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}  # nor is the worker left that called it


def test_two_loops_at_once_take_nothing_from_each_other() -> None:
    async def main() -> None:
        async with Loopback() as server, LiteLLM() as provider:
            for _ in range(10):
                await asyncio.gather(*(provider(to(server, MODELS[n % 2], n % 3 == 0)) for n in range(6)))
        left.update(asyncio.all_tasks() - {asyncio.current_task()})

    left: set[Any] = set()
    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()  # a task that was lost says so now
    assert left == set()


async def test_the_process_is_left_as_it_was(provider: LiteLLM) -> None:
    await provider.prepare()
    assert not {name for name in os.environ if name.startswith("LITELLM")}
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        assert [type(handler) for handler in logging.getLogger(name).handlers] == [logging.NullHandler]
    for name in ("asyncio", "httpx"):
        assert (logging.getLogger(name).filters, logging.getLogger(name).level) == ([], logging.NOTSET)


async def test_a_service_without_an_address_of_its_own_needs_one(provider: LiteLLM) -> None:
    failure = await error(provider, a_call(model="hosted_vllm/some-model"))  # litellm would call openai
    assert type(failure) is RequestRejected
    assert "base_url" in failure.message


@pytest.mark.skipif(util.find_spec("mcp") is not None, reason="the package mcp is installed")
async def test_a_package_that_litellm_misses_is_named(server: Loopback, provider: LiteLLM) -> None:
    failure = await error(provider, to(server, "openai/o1-pro"))
    assert not failure.retryable
    assert "'mcp'" in failure.message


SERVICES: Mapping[str, Any] = json.loads(resources.files("stretto").joinpath("services.json").read_text())
CREDENTIALS = {name for service in SERVICES.values() for name in service["keys"]} | set(
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AZURE_AD_TOKEN AZURE_CLIENT_SECRET "
    "DATABRICKS_CLIENT_ID DATABRICKS_CLIENT_SECRET GIGACHAT_CREDENTIALS OPENAI_ADMIN_KEY OPENAI_ORGANIZATION "
    "OPENAI_ORG_ID OPENAI_PROJECT_ID VERTEX_PROJECT WATSONX_TOKEN WATSONX_ZENAPIKEY".split()
)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in canaries(CREDENTIALS).items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("keys")
async def test_no_key_of_the_environment_reaches_an_address_that_a_file_names() -> None:
    silent: list[str] = []
    with Wire() as server:  # in a thread: some services call with blocking clients
        async with LiteLLM() as provider:
            for prefix in (name for name, service in SERVICES.items() if service["movable"]):
                server.requests.clear()
                for stream in (False, True):
                    call = a_call(
                        stream, model=f"{prefix}/{NAMES.get(prefix, 'some-model')}", endpoint=Endpoint(server.url)
                    )
                    with contextlib.suppress(CallError):
                        await provider(call)
                assert arrived(server.requests) == [], prefix
                silent += [prefix] * (not server.requests)
    assert silent == []


@pytest.mark.usefixtures("keys")
async def test_a_downloaded_ensemble_gets_no_key(server: Loopback) -> None:
    agents = [Agent(f"a{n}", model=model, base_url=server.url) for n, model in enumerate(MODELS)]
    async with Runner(middleware=[]) as runner:
        for stream in (False, True):
            run = await runner.run(Ensemble("downloaded", agents), "hi", stream=stream)
            assert run.ok
        with pytest.raises(ConfigError, match="trusted_origins"):
            await runner.run(Agent("a", model="bedrock/some-model", base_url=server.url), "hi")
    await server.all_closed()
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer not-a-key"}
    assert arrived(server.requests) == []


async def test_an_address_that_the_environment_names_gets_its_key(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    async with Runner(middleware=[]) as runner:
        assert (await runner.run(Agent("a", model=MODELS[0]), "hi")).ok
    assert server.requests[0].headers["authorization"] == "Bearer sk-of-the-environment"
