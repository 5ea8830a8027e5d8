"""What a user writes must type-check; this file is checked by mypy and pyright, and never run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from stretto import (
    Agent,
    Call,
    Delta,
    Ensemble,
    Inputs,
    Middleware,
    Next,
    Outcome,
    Plan,
    Reply,
    Run,
    Runner,
    Secret,
    Settings,
    Timings,
    Usage,
    default_stack,
    load,
)
from stretto.errors import CallError, Overloaded
from stretto.events import AgentDelta, AgentFinished, Event
from stretto.loop import Loop
from stretto.middleware import ConcurrencyLimit, Fallback, RateLimit, Retry, RetryThrottle, Timeout, Trace
from stretto.outcome import Inner
from stretto.providers import LiteLLM, Local, OpenAICompatible, Simulated, wire
from stretto.substitute import Substitute
from stretto.testing import (
    Answers,
    Stack,
    a_call,
    assert_middleware_contract,
    assert_provider_contract,
    virtual_time,
)


async def a_layer(call: Call, call_next: Next) -> Reply:
    reply = await call_next(call.with_(params={"temperature": 0}))
    with call.record.waiting("quota", 1.0, key=str(call.limit_key)):
        await asyncio.sleep(0)
    return reply


class Editing:
    name = "editing"
    kinds = ("llm", "function")

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        emit = call.emit
        if emit is None:
            return await call_next(call)

        async def upper(delta: Delta) -> None:
            await emit(Delta(text=delta.text.upper()) if delta.text is not None else delta)

        return await call_next(call.with_(emit=upper))


async def a_function(inputs: Inputs) -> Mapping[str, int]:
    if not inputs.text:
        raise Overloaded("busy", retry_after=2)
    return {"words": len(inputs.text.split())}


def a_plain_function(inputs: Inputs) -> str:
    return inputs.results["a"].text


layers: list[Middleware] = [a_layer, Editing(), Trace(), Retry(5, throttle=RetryThrottle()), ConcurrencyLimit(3)]
layers += default_stack(a_layer, retry=Retry(2), timeout=None, rate_limit=RateLimit(requests=5, scope="run"))

ensemble = Ensemble(
    "typed",
    [
        Agent("a", model="simulated/echo", params={"seed": 1}, timeout=3, middleware=[Timeout(5, first_token=2)]),
        Agent("b", function=a_function, depends_on=["a"], on_dependency_failure="run"),
        Agent("c", function=a_plain_function, depends_on=["a"], when="${a} != no"),
        Agent(
            "d", model="openai/x", base_url="http://localhost:1", api_key=Secret("not-a-key"), prompt=lambda i: i.text
        ),
    ],
    schedule="ready",
    composer=lambda inputs: inputs.text,
    settings=Settings(default_timeout=None, max_concurrent_agents=0),
)


nested = Ensemble(
    "nested",
    [
        Agent("script", script="scripts/list.py", parameters={"most": 3}, env=["REGION"]),
        Agent("each", model="simulated/echo", fan_out="${script.items}", prompt="${item}", depends_on=["script"]),
        Agent("child", ensemble=ensemble, timeout=30),
        Agent("by_name", ensemble="review.yaml"),
        Agent("loop", loop={"body": ensemble, "max_iterations": 3, "until": "${body.done}"}),
        Agent("typed_loop", loop=Loop(ensemble, 3, carry="${body}")),
        Agent("chosen", dispatch="${script.name}", depends_on=["script"]),
        Agent("a", model="openai/x", fallback="anthropic/y"),
        Agent("b", model="openai/x", fallback=["anthropic/y", {"model": "m", "base_url": "http://localhost:1"}]),
        Agent("c", model="openai/x", fallback=Substitute("anthropic/y", params={"temperature": 0})),
    ],
    strictness="compat",
)
layers += default_stack(fallback=Fallback(["openai/gpt-5-mini"]))


async def main() -> None:
    made: Plan = load("file.yaml", strictness="strict").plan()
    phases: list[list[str]] = made.phases
    providers: dict[str, Next] = {
        "openai": Simulated(latency=0.1),
        "compatible": OpenAICompatible("http://localhost:1/v1", api_key="not-a-key", connect_timeout=2),
        "gateway": Gateway(),
        "local": Local(),
        "*": LiteLLM(route="auto", max_response_bytes=2**20, trust_env=False),
    }
    async with Runner(middleware=layers, providers=providers, allow_scripts=True) as runner:
        run: Run = await runner.run(ensemble, {"topic": "x"}, inputs={"a": "y"}, timeout=5, metadata={"tenant": "t"})
        async with runner.start(ensemble, [{"role": "user", "content": "hi"}]) as live:
            async for event in live.events():
                told: Event = event
                if isinstance(told, AgentDelta):
                    piece: str | None = told.delta.text
                    print(piece, phases)
                elif isinstance(told, AgentFinished):
                    outcome: Outcome = told.outcome
                    timings: Timings = outcome.timings
                    print(timings.provider)
            async for text in live.text():
                print(text.upper())
        results: dict[str, object] = (await runner.run(nested)).to_dict("llm-orc")["results"]
        print(results)
    children: tuple[Outcome, ...] = run["a"].children
    within: Inner | None = run["a"].inner
    print(children, within.terminated if within is not None else "")
    usage: Usage = run.usage
    cost: float | None = run.cost
    print(usage.input_tokens, cost, run["a"].error, run.failed[0].reason)
    try:
        run.raise_for_failures()
    except* CallError as group:
        print(group.exceptions)


async def test_with_the_kit() -> None:
    reply: Reply = await Stack(a_layer, Retry(), provider=Answers("ok", 3.0))(a_call(stream=True))
    print(reply.text)


class Gateway:
    def __init__(self) -> None:
        self._wire = wire.Wire(connect_timeout=2)

    async def __call__(self, call: Call) -> Reply:
        response: wire.Response = await self._wire.send("POST", "http://localhost:1", {}, b"{}", trusted=True)
        call.attempt.headers = response.headers
        if response.status != 200:
            raise wire.error_of(await wire.answer_of(response))
        async for data in response.chunks():
            for event in wire.Events(ndjson=True).feed(data):
                print(event.name, event.data)
        return wire.reply_of({}, "gateway")


number: None = virtual_time(test_with_the_kit())
assert_middleware_contract(a_layer)
assert_middleware_contract(lambda: Retry(2), metadata={"tenant": "t"})
assert_provider_contract(Gateway, model="gateway/m", failing=["gateway/none"])
