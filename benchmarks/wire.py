"""What a call over HTTP costs: CPU time beside aiohttp + json, and beside bare `litellm.acompletion`, in the same run.

The server is another process on the loopback address. What is compared is measured in turns.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from shared.bars import Row, report
from shared.serving import serving

from stretto import Agent, Ensemble, Runner, Settings
from stretto.call import Endpoint
from stretto.providers import LiteLLM, OpenAICompatible
from stretto.reply import Delta
from stretto.secret import Secret
from stretto.testing import a_call

CALLS = 500
ROUNDS = 9
CHUNKS = 500
STREAMS = 10
MESSAGES = [{"role": "user", "content": "hello"}]
Work = Callable[[], Awaitable[None]]


class Nowhere(SpanExporter):
    """Take spans and send them nowhere."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drop them."""
        return SpanExportResult.SUCCESS


async def in_turns(works: dict[str, Work], count: int, rest: float = 0.0) -> dict[str, float]:
    """Microseconds of CPU for one of `count`: for each work the median of all rounds but the first.

    Args:
        works: what is compared.
        count: how many each makes.
        rest: seconds after each, which count as its own: litellm goes on in the background.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS + 1):
        for name, work in works.items():
            gc.collect()
            started = time.process_time()
            await work()
            await asyncio.sleep(rest)
            found[name].append((time.process_time() - started) / count * 1e6)
    return {name: statistics.median(times[1:]) for name, times in found.items()}


class Plain:
    """aiohttp + json, as one writes it by hand."""

    def __init__(self, url: str) -> None:
        self.url = url + "/chat/completions"

    async def __aenter__(self) -> Plain:
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def call(self) -> str:
        body = {"model": "m", "messages": MESSAGES}
        async with self.session.post(self.url, json=body, headers={"authorization": "Bearer key"}) as response:
            answer = json.loads(await response.read())
        return str(answer["choices"][0]["message"]["content"])

    async def stream(self) -> str:
        body = {"model": "m", "messages": MESSAGES, "stream": True}
        text = ""
        async with self.session.post(self.url, json=body, headers={"authorization": "Bearer key"}) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:])["choices"]
                    text += choices[0]["delta"].get("content", "") if choices else ""
        return text

    async def one_by_one(self) -> None:
        for _ in range(CALLS):
            await self.call()

    async def at_once(self) -> None:
        await asyncio.gather(*(self.call() for _ in range(CALLS)))

    async def streams(self) -> None:
        for _ in range(STREAMS):
            await self.stream()


def wide(count: int) -> Ensemble:
    return Ensemble("wide", [Agent(f"a{n}", model="compatible/m") for n in range(count)])


async def complete(url: str) -> dict[str, float]:
    provider, ensemble = OpenAICompatible(url, api_key="key"), wide(CALLS)
    endpoint = Endpoint(url, Secret("key"))

    async def alone() -> None:
        for _ in range(CALLS):
            await provider(a_call(model="compatible/m", endpoint=endpoint))

    runner = Runner(providers={"compatible": provider}, settings=Settings(max_concurrent_agents=0))
    async with runner, Plain(url) as plain:

        async def run() -> None:
            assert (await runner.run(ensemble, "hello")).ok

        works = {"aiohttp": plain.at_once, "run": run, "aiohttp one by one": plain.one_by_one, "one by one": alone}
        return await in_turns(works, CALLS)


async def streamed(url: str) -> dict[str, float]:
    provider = OpenAICompatible(url, api_key="key")
    ensemble = wide(STREAMS)

    async def nowhere(delta: Delta) -> None:
        pass

    async def alone() -> None:
        for _ in range(STREAMS):
            await provider(a_call(model="compatible/m", emit=nowhere))

    async with Runner(providers={"compatible": provider}, settings=Settings(max_concurrent_agents=1)) as runner:

        async def run() -> None:
            assert (await runner.run(ensemble, "hello", stream=True)).ok

        async with Plain(url) as plain:
            return await in_turns({"aiohttp": plain.streams, "provider": alone, "run": run}, CHUNKS * STREAMS)


async def through_litellm(url: str) -> dict[str, float]:
    import litellm

    count = 60
    provider = LiteLLM()
    agents = [Agent(f"a{n}", model="openai/m", base_url=url, api_key="sk-key") for n in range(count)]
    ensemble = Ensemble("wide", agents)

    async def bare() -> None:
        calls = (
            litellm.acompletion("openai/m", MESSAGES, base_url=url, api_key="sk-key", max_retries=0)
            for _ in range(count)
        )
        await asyncio.gather(*calls)

    async with Runner(providers={"*": provider}, settings=Settings(max_concurrent_agents=0)) as runner:

        async def run() -> None:
            assert (await runner.run(ensemble, "hello")).ok

        await run()
        return await in_turns({"acompletion": bare, "run": run}, count, rest=0.15)


_FIRST = """
import sys, time
before = time.process_time()
import asyncio
import stretto
started = time.process_time()
run = asyncio.run(stretto.Runner().run(stretto.Agent("a", model="m", base_url=sys.argv[1]), "hello"))
assert run.output == "hello world"
print(time.process_time() - started)
"""


def first_call(url: str) -> float:
    """Seconds of CPU that a process takes for its first call after `import stretto`."""
    command = [sys.executable, "-c", _FIRST, url]
    times = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(5)]
    return statistics.median(times)


def traced(url: str) -> dict[str, float]:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    found = asyncio.run(complete(url))
    provider.shutdown()
    return found


def measure() -> list[Row]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with serving(chunks=CHUNKS) as url:
        rows = [Row("first call after `import stretto`", first_call(url), "s", 0.35)]
        calls, chunks = asyncio.run(complete(url)), asyncio.run(streamed(url))
        litellm = asyncio.run(through_litellm(url))
        spans: dict[str, Any] = traced(url)  # set up once, so last
    return [
        Row("500 agents of a run over 500 calls by aiohttp + json", calls["run"] / calls["aiohttp"], "x", 1.6),
        Row("  with spans batch-exported", spans["run"] / spans["aiohttp"], "x", 2.5),
        Row("  OpenAICompatible alone, one by one", calls["one by one"] / calls["aiohttp one by one"], "x"),
        Row("  aiohttp + json at once, a call", calls["aiohttp"], "us"),
        Row("  aiohttp + json one by one, a call", calls["aiohttp one by one"], "us"),
        Row("  an agent of a run", calls["run"], "us"),
        Row("a streamed chunk over aiohttp lines + json", chunks["provider"] / chunks["aiohttp"], "x", 1.3),
        Row("  through Runner.run, the run's events kept", chunks["run"] / chunks["aiohttp"], "x"),
        Row("  aiohttp lines + json, a chunk", chunks["aiohttp"], "us"),
        Row(
            "acompletion route + default stack over bare acompletion",
            litellm["run"] / litellm["acompletion"],
            "x",
            1.05,
        ),
        Row("  bare acompletion, a call", litellm["acompletion"], "us"),
        *rows,
    ]


def main() -> None:
    report("The wire: CPU time of a call over HTTP", measure)


if __name__ == "__main__":
    main()
