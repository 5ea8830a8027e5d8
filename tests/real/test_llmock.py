"""Our stack against llmock, a fake of many services that judges its clients."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from real.servers import LLMOCK, llmock
from stretto import Agent, Ensemble, Runner, Settings, default_stack
from stretto.errors import AuthenticationFailed, BadResponse, CallError, ProviderUnavailable
from stretto.middleware import Retry, Timeout

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore:Accessing the '.*' attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier"),
]
KEY = "sk-for-llmock-0123"


class Mock:
    """llmock, as it is steered over HTTP."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def told(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.origin}/_llmock/{path}", data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def behave(self, **behaviour: Any) -> None:
        self.told("POST", "scenario", {"behaviors": [behaviour]})

    def findings(self) -> list[Any]:
        """Give what it found wrong with its client."""
        return list(self.told("GET", "verdict")["findings"])


@pytest.fixture(scope="module")
def served() -> Iterator[Mock]:
    assert LLMOCK.exists(), "llmock is not installed: make test-servers does it"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with llmock(port) as origin:
        yield Mock(origin)


@pytest.fixture
def mock(served: Mock) -> Mock:
    served.told("POST", "reset")
    return served


def compatible(mock: Mock, **more: Any) -> Agent:
    return Agent("a", model="gpt-4o", base_url=mock.origin + "/v1", api_key=KEY, timeout=30, **more)


def stack() -> list[Any]:
    return default_stack(retry=Retry(3, backoff=0.2), timeout=Timeout(10, idle=1))


FORMATS = {
    "compatible/gpt-4o": "/v1",
    "openai/gpt-4o": "/v1",
    "anthropic/claude-sonnet-4-5": "/anthropic",
    "gemini/gemini-2.5-flash": "/gemini/v1beta",
    "mistral/mistral-large-latest": "/mistral/v1",
    "groq/llama-3.3-70b-versatile": "/groq/openai/v1",
    "cohere_chat/command-a-03-2025": "/cohere/v2/chat",
    "xai/grok-4": "/xai/v1",
    "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo": "/together/v1",
    "perplexity/sonar": "/perplexity/v1",
}


@pytest.mark.parametrize("model", FORMATS)
@pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
async def test_each_of_its_services_is_understood(mock: Mock, model: str, stream: bool) -> None:
    agent = Agent("a", model=model, base_url=mock.origin + FORMATS[model], api_key=KEY, timeout=60)
    run = await Runner(middleware=stack()).run(agent, "Say hello.", stream=stream)
    run.raise_for_failures()
    assert run.output
    # llmock tells tokens of a stream only when asked to, which these two need not be in truth, and litellm does not.
    assert run.usage.output_tokens > 0 or (stream and model.startswith(("mistral/", "perplexity/")))
    assert len(run["a"].attempts) == 1
    assert mock.findings() == []


@pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
async def test_what_passes_is_tried_again_as_the_server_asks(mock: Mock, stream: bool) -> None:
    mock.behave(type="fail", status=429, retry_after=1, times=1)
    run = await Runner(middleware=stack()).run(compatible(mock), "hi", stream=stream)
    assert run.ok
    assert len(run["a"].attempts) == 2
    assert mock.findings() == []


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_a_stream_that_breaks_is_never_taken_for_an_answer(mock: Mock, kind: str) -> None:
    mock.behave(type="stream_fault", kind=kind, after_chunks=3, times=None)
    run = await Runner(middleware=stack()).run(compatible(mock), "Tell me a story.", stream=True)
    assert type(run["a"].error) is (BadResponse if kind == "malformed" else ProviderUnavailable)
    assert run["a"].text  # what came before it is kept


async def test_what_will_not_pass_is_not_tried_again(mock: Mock) -> None:
    for status, kind in ((401, AuthenticationFailed), (400, CallError)):
        mock.behave(type="fail", status=status, times=None)
        run = await Runner(middleware=stack()).run(compatible(mock), "hi")
        assert isinstance(run["a"].error, kind)
        assert len(run["a"].attempts) == 1
        mock.told("POST", "reset")


async def test_tools_are_called(mock: Mock) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    for stream in (False, True):
        run = await Runner(middleware=stack()).run(compatible(mock, params={"tools": [tool]}), "hi", stream=stream)
        reply = run["a"].reply
        assert reply is not None
        assert [call.name for call in reply.tool_calls] == ["look_up"]
        assert reply.finish_reason == "tool_calls"


async def test_a_thousand_agents_lose_nothing(mock: Mock) -> None:
    agents = [
        Agent(f"a{n}", model="gpt-4o", base_url=mock.origin + "/v1", api_key=KEY, timeout=120) for n in range(1000)
    ]
    async with Runner(settings=Settings(max_concurrent_agents=200)) as runner:
        run = await runner.run(Ensemble("many", agents), "hi")
    assert len(run.succeeded) == 1000
    assert mock.findings() == []
