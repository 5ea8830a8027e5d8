"""`LiteLLM` sends over our own session: bounded, to no other address, one request a call, and only in calls of ours."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from formats import FORMATS, Said
from loopback import Answer, Loopback
from stretto.call import Endpoint
from stretto.errors import BadResponse, CallError, ConfigError, ProviderFailed, RequestRejected
from stretto.providers import litellm_setup
from stretto.providers.litellm import LiteLLM
from stretto.providers.session import Wire
from stretto.reply import Delta
from stretto.secret import Secret
from stretto.testing import CallForTests, a_call

# litellm itself ignores these warnings of its own when it is imported; pytest forgets that with each test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Accessing the '.*' attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier"),
]
ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
# One of each way in which litellm comes by a client: openai's SDK, its own handed over, its own found.
EACH = pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "lemonade/m"], ids=["sdk", "http", "own"])
# They do not know max_retries, so that litellm would send three requests.
STUBBORN = (
    "ai21 ai21_chat baseten codestral deepinfra featherless_ai hyperbolic inception morph nscale nvidia_nim sambanova "
    "v0 zai"
).split()
NEVER = ("amazon_nova", "custom", "maritalk", "nlp_cloud", "oobabooga", "petals", "aiohttp_openai", "voyage")


@pytest.fixture
async def provider(server: Loopback) -> AsyncIterator[LiteLLM]:
    """Give a provider; hold for every test that it leaves no task and no connection."""
    async with LiteLLM() as provider:
        yield provider
    await server.all_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def to(server: Loopback, model: str, stream: bool = False, **fields: Any) -> CallForTests:
    return a_call(stream, **{"model": model, "endpoint": Endpoint(server.url, Secret("sk-of-this-call")), **fields})


async def error(provider: LiteLLM, call: CallForTests) -> CallError:
    with pytest.raises(CallError) as caught:
        await provider(call)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize("prefix", STUBBORN)
async def test_a_service_that_knows_no_max_retries_is_asked_once(
    server: Loopback, provider: LiteLLM, prefix: str
) -> None:
    await provider.prepare()
    server.otherwise = Answer(status=500)
    began = time.monotonic()
    for count, stream in enumerate((False, True), 1):
        assert type(await error(provider, to(server, f"{prefix}/some-model", stream))) is ProviderFailed
        assert len(server.requests) == count
    assert time.monotonic() - began < 1  # nor does it sleep before it is refused


async def test_what_litellm_would_send_again_is_not_sent_again(server: Loopback, provider: LiteLLM) -> None:
    told = {"error": {"message": "extra_parameters ['user'] are not permitted", "code": "422"}}
    server.otherwise = Answer(status=422, body=told)
    failure = await error(provider, to(server, "azure_ai/m", params={"user": "u"}))
    assert (type(failure), failure.status, len(server.requests)) == (RequestRejected, 422, 1)


@EACH
@BOTH
async def test_an_answer_is_bounded(server: Loopback, model: str, stream: bool) -> None:
    server.otherwise = Answer("word " * 1000)
    async with LiteLLM(max_response_bytes=2000) as provider:
        failure = await error(provider, to(server, model, stream))
    assert (type(failure), failure.retryable) == (BadResponse, False)
    assert "max_response_bytes" in failure.message
    await server.all_closed()


@EACH
@BOTH
async def test_no_redirect_is_followed(server: Loopback, provider: LiteLLM, model: str, stream: bool) -> None:
    async with Loopback() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            server.answer(Answer(status=status, headers={"location": elsewhere.url}))
            failure = await error(provider, to(server, model, stream))
            assert (type(failure), failure.status, failure.retryable) == (BadResponse, status, False)
        assert elsewhere.requests == []
    assert len(server.requests) == 5


@EACH
async def test_a_metadata_address_is_not_called(provider: LiteLLM, model: str) -> None:
    failure = await error(provider, a_call(model=model, endpoint=Endpoint("http://169.254.169.254/v1", Secret("k"))))
    assert not failure.retryable
    assert "trusted_origins" in failure.message


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "cohere", "bedrock"])
async def test_streams_share_a_connection(
    server: Loopback, provider: LiteLLM, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = FORMATS[name]
    for variable, value in form.environment.items():
        monkeypatch.setenv(variable, value)
    key = None if form.key is None else Secret(form.key)
    for _ in range(3):
        server.answer(form.answer(Said(), True))
        await provider(a_call(True, model=form.model, endpoint=Endpoint(form.base_url(server.origin), key)))
    assert server.connections == 1


@EACH
async def test_a_model_may_say_the_same_a_hundred_times(server: Loopback, provider: LiteLLM, model: str) -> None:
    server.answer(Answer(" ".join(["again"] * 150)))
    assert (await provider(to(server, model, True))).text.count("again") == 150


@pytest.mark.parametrize(
    ("model", "finish"), [("perplexity/sonar", "stop"), ("azure_ai/deepseek-v3", "content_filter")]
)
async def test_some_services_end_without_an_end_mark(
    server: Loopback, provider: LiteLLM, model: str, finish: str
) -> None:
    server.answer(Answer("two words", finish_reason=finish, done=False))
    reply = await provider(to(server, model, True))
    assert (reply.text, reply.finish_reason) == ("two words", finish)


async def test_an_answer_that_litellm_makes_up_is_none(server: Loopback, provider: LiteLLM) -> None:
    told = {"message": "Could not finish the message because max_tokens or model output limit was reached.",
            "type": "invalid_request_error", "code": None}  # fmt: skip
    server.answer(Answer(status=400, body={"error": told}))
    assert type(await error(provider, to(server, "openai/m"))) is RequestRejected


async def test_the_applications_own_calls_are_none_of_ours(
    server: Loopback, provider: LiteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.prepare()
    litellm = litellm_setup.imported()
    theirs: list[str] = []

    async def listen(request: Any, answer: Any, began: Any, ended: Any) -> None:
        if not theirs:
            theirs.append("")  # of their own call they hear as well
            reply = await litellm.acompletion("openai/m", [{"role": "user", "content": "hi"}], **options)
            theirs[0] = reply.choices[0].message.content

    async with Loopback(Answer("from elsewhere")) as elsewhere:
        moved = Answer(status=307, headers={"location": elsewhere.url + "/chat/completions"})
        options = {"base_url": server.url, "api_key": "sk-of-this-call", "max_retries": 0}
        monkeypatch.setattr(litellm, "_async_success_callback", [listen])
        server.answer(Answer("ours"), moved)
        before = set(litellm.in_memory_llm_clients_cache.cache_dict)
        assert (await provider(to(server, "openai/m"))).text == "ours"
        await litellm_setup.end_chores()
        assert theirs == ["from elsewhere"]  # theirs follow redirects
        made = set(litellm.in_memory_llm_clients_cache.cache_dict) - before
        for name in made:
            await litellm.in_memory_llm_clients_cache.cache_dict.pop(name).close()


@EACH
async def test_what_a_listener_of_the_pieces_raises_is_left_as_it_is(
    server: Loopback, provider: LiteLLM, model: str
) -> None:
    async def refuse(delta: Delta) -> None:
        raise KeyError("mine")

    call = to(server, model, True)
    object.__setattr__(call, "emit", refuse)
    with pytest.raises(KeyError, match="mine"):
        await provider(call)


@EACH
async def test_litellm_keeps_no_client_of_ours(server: Loopback, provider: LiteLLM, model: str) -> None:
    await provider.prepare()
    known = litellm_setup.imported().in_memory_llm_clients_cache.cache_dict
    before = dict(known)
    for stream in (False, True):
        await provider(to(server, model, stream))
    assert known == before


async def test_a_client_that_blocks_is_refused(server: Loopback, provider: LiteLLM) -> None:
    call = to(server, "openai/m")
    await provider(call)
    clients = provider._clients.get()
    with clients.exchange(call).current(), pytest.raises(CallError, match="blocks"):
        litellm_setup.imported().module_level_client.get(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize("prefix", NEVER)
async def test_a_service_that_cannot_be_reached_over_the_session_is_refused(
    server: Loopback, provider: LiteLLM, prefix: str
) -> None:
    call = to(server, f"{prefix}/m")
    with pytest.raises(ConfigError, match=f"{prefix} is not supported"):
        provider.check(call.model, call.endpoint)
    assert type(await error(provider, call)) is RequestRejected
    assert server.requests == []


async def test_databricks_does_not_sign_in_on_its_own(
    server: Loopback, provider: LiteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = to(server, "databricks/m")
    assert (await provider(call)).text == "hello world"
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "somebody")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "a-secret")
    failure = await error(provider, to(server, "databricks/m"))
    assert "DATABRICKS_CLIENT_ID" in failure.message
    assert len(server.requests) == 1


def test_a_setting_that_cannot_be_is_refused_at_construction() -> None:
    with pytest.raises(ConfigError, match="'direct' does not exist yet: there are 'auto' and 'acompletion'"):
        LiteLLM(route="direct")
    with pytest.raises(ConfigError, match="'fast' is none: there are 'auto' and 'acompletion'"):
        LiteLLM(route="fast")
    for wrong in (0, -1, float("nan"), "1", None):
        with pytest.raises(ConfigError, match="connect_timeout"):
            LiteLLM(connect_timeout=wrong)  # type: ignore[arg-type]
    for wrong in (0, 1.5, True, None):
        with pytest.raises(ConfigError, match="max_response_bytes"):
            LiteLLM(max_response_bytes=wrong)  # type: ignore[arg-type]
    assert LiteLLM(route="acompletion").route == "acompletion"


def test_nothing_is_said_at_exit() -> None:
    program = """
        import asyncio
        from loopback import Loopback
        from stretto import Agent, Runner

        async def main():
            async with Loopback() as server:
                async with Runner() as runner:
                    for model in ("openai/m", "hosted_vllm/m", "lemonade/m"):
                        for stream in (False, True):
                            agent = Agent("a", model=model, base_url=server.url, api_key="sk-key")
                            run = await runner.run(agent, "hi", stream=stream)
                            assert run.ok, run
                await server.all_closed()

        asyncio.run(main())
    """
    # Warnings in other packages' own code, while they are imported.
    foreign = ["-W", "error", "-W", "ignore::DeprecationWarning", "-W", "ignore::SyntaxWarning"]
    command = [sys.executable, "-X", "dev", *foreign, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT / "tests", check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", 0)


ELSEWHERE = "http://127.0.0.1:9"  # nobody is there


@pytest.mark.parametrize(
    "model",
    [
        "bedrock/agentcore/arn:aws:bedrock-agentcore:evil.test/x:1:runtime/y",
        "bedrock/converse/arn:aws:x@evil.test/:1:y",
    ],
)
async def test_a_models_name_leads_no_call_elsewhere(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "a-key-of-the-environment")
    monkeypatch.setattr(Wire, "send", _nothing_is_sent)
    async with LiteLLM() as provider:
        for stream in (False, True):
            failure = await error(provider, a_call(stream, model=model))
            assert not failure.retryable


async def test_settings_of_the_application_lead_no_call_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "send", _nothing_is_sent)
    async with LiteLLM() as provider:
        await provider.prepare()
        monkeypatch.setattr(litellm_setup.imported(), "api_base", ELSEWHERE)
        for stream in (False, True):
            call = a_call(
                stream, model="anthropic/claude-sonnet-4-5", endpoint=Endpoint(None, Secret("sk-of-this-call"))
            )
            failure = await error(provider, call)
            assert "which is not an address of anthropic" in failure.message


async def test_fallbacks_of_the_application_are_refused(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LiteLLM() as provider:
        await provider.prepare()
        monkeypatch.setattr(litellm_setup.imported(), "model_fallbacks", ["groq/x"])
        assert "model_fallbacks" in (await error(provider, to(server, "openai/gpt-5-mini"))).message
    assert server.requests == []


async def test_what_comes_after_the_end_mark_does_not_count(server: Loopback) -> None:
    late = _chunks("EVIL")[0]
    chunks = [f"data: {event}\n\n" for event in _chunks("fine")] + [f"data: [DONE]\n\ndata: {late}\n\n"]
    server.answer(Answer(chunks=["".join(chunks).encode()], content_type="text/event-stream"))
    async with LiteLLM() as provider:
        assert (await provider(to(server, "openai/gpt-5-mini", True))).text == "fine"


def _chunks(text: str) -> list[str]:
    for_each = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = ({"delta": {"content": text}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"})
    return [json.dumps({**for_each, "choices": [{"index": 0, **choice}]}) for choice in choices]


def _nothing_is_sent(*_: Any, **__: Any) -> Any:
    raise AssertionError("it was sent")


@pytest.mark.parametrize("model", ["openai/gpt-5-mini", "hosted_vllm/m"])
async def test_a_call_that_is_cancelled_before_it_is_sent_drops_nothing(server: Loopback, model: str) -> None:
    async with LiteLLM() as provider:
        await provider.prepare()
        for turns in range(24):  # litellm makes its request in a thread
            call = asyncio.create_task(provider(to(server, model, turns % 2 == 0)))
            for _ in range(turns // 4):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await asyncio.sleep(0.05)  # the threads' turn
        gc.collect()  # what was dropped would warn now
    await server.all_closed()


@pytest.mark.parametrize(
    ("prefix", "url", "home"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions", True),
        ("openai", "http://api.openai.com/v1/chat/completions", False),
        ("openai", "https://api.openai.com.evil.test/v1", False),
        ("openai", "https://evil.test/api.openai.com", False),
        ("ollama", "http://localhost:11434/api/chat", True),
        ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com/model/x/converse", True),
        ("bedrock", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/x/converse", True),
        ("bedrock", "http://bedrock-runtime.eu-west-1.amazonaws.com/model/x/converse", False),
        ("bedrock", "https://bedrock-agentcore.bucket.s3.amazonaws.com/x", False),
        ("bedrock", "https://bedrock-agentcore.evil.test/x.amazonaws.com", False),
        ("vertex_ai", "https://us-central1-aiplatform.googleapis.com/v1/projects", True),
        ("vertex_ai", "https://storage.googleapis.com/bucket", False),
        ("nobody", "https://nobody.test/v1", False),
    ],
)
def test_a_service_is_at_home_at_its_own_hosts_only(prefix: str, url: str, home: bool) -> None:
    assert litellm_setup.at_home(prefix, url) is home
