"""What the pipeline costs: the default stack over the bare provider for each call, and the runner for each agent.

CPU time of this process, so that other load on the machine counts little; what is compared is measured in turns.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from shared.bars import Row, report

from stretto import Agent, Ensemble, Reply, Runner, Settings, Usage, default_stack
from stretto.call import Call
from stretto.contract import Middleware, Next
from stretto.middleware import ConcurrencyLimit, Fallback, RateLimit, Retry, Timeout, Trace
from stretto.routing import Routing
from stretto.stack import chain

CALLS = 1000
ROUNDS = 11
AGENTS = 10_000
REPLY = Reply("ok", usage=Usage(10, 1), cost=0.0, route="bench")


async def bare(call: Call) -> Reply:
    """Answer at once."""
    return REPLY


class Nowhere(SpanExporter):
    """Take spans and send them nowhere."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drop them."""
        return SpanExportResult.SUCCESS


def calls() -> list[Call]:
    services = Routing({"bench": bare}, (), None, {})
    messages = ({"role": "user", "content": "hello"},)
    return [Call(agent="a", model="bench/model", messages=messages, services=services) for _ in range(CALLS)]


async def per_call(target: Callable[[Call], Awaitable[Reply]]) -> float:
    """Microseconds of CPU a call, once."""
    fresh = calls()
    gc.collect()
    started = time.process_time()
    for call in fresh:
        await target(call)
    return (time.process_time() - started) / CALLS * 1e6


async def over(targets: dict[str, Next], base: str) -> dict[str, float]:
    """For each target the median of what it costs over `base`, measured in the same round."""
    for target in targets.values():
        await per_call(target)
    found: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        round_ = {name: await per_call(target) for name, target in targets.items()}
        for name, cost in round_.items():
            found[name].append(cost - round_[base])
    return {name: statistics.median(costs) for name, costs in found.items()}


def stack_of(*layers: Middleware) -> Next:
    return chain(layers, "llm")


def layer_costs() -> dict[str, float]:
    """Microseconds that each layer adds to the boundary alone."""
    layers: dict[str, Middleware] = {
        "Trace": Trace(),
        "Fallback": Fallback(),
        "Retry": Retry(),
        "ConcurrencyLimit()": ConcurrencyLimit(),
        "ConcurrencyLimit(8)": ConcurrencyLimit(8),
        "RateLimit()": RateLimit(),
        "RateLimit(requests=1e9)": RateLimit(requests=1e9),
        "Timeout()": Timeout(),
        "Timeout(60)": Timeout(60),
    }
    chains = {name: stack_of(layer) for name, layer in layers.items()}
    costs = asyncio.run(over({"boundary": stack_of(), **chains}, "boundary"))
    return {name: costs[name] for name in layers}


def whole_stack() -> float:
    return asyncio.run(over({"bare": bare, "stack": stack_of(*default_stack())}, "bare"))["stack"]


def busy_stack() -> float:
    """The same with every layer at work: a cap, a quota, a clock."""
    layers = default_stack(
        concurrency_limit=ConcurrencyLimit(8), rate_limit=RateLimit(requests=1e9), timeout=Timeout(60)
    )
    return asyncio.run(over({"bare": bare, "stack": stack_of(*layers)}, "bare"))["stack"]


def ensemble_of(agents: int) -> Ensemble:
    return Ensemble("wide", [Agent(f"a{n}", model="bench/model") for n in range(agents)])


def per_agent(settings: Settings) -> float:
    """Milliseconds of CPU an agent, the collector's included."""
    ensemble, found = ensemble_of(AGENTS), []
    for _ in range(3):
        runner = Runner(providers={"bench": bare}, settings=settings)
        gc.collect()
        started = time.process_time()
        run = asyncio.run(_run(runner, ensemble))
        found.append((time.process_time() - started) / AGENTS * 1e3)
        assert run.ok
        del run
    return statistics.median(found)


async def _gather() -> float:
    async def nothing() -> None:
        pass

    started = time.process_time()
    await asyncio.gather(*(nothing() for _ in range(AGENTS)))
    return (time.process_time() - started) / AGENTS * 1e3


def yardstick() -> float:
    """Milliseconds of CPU that `asyncio.gather` takes for a task: how fast the machine is just now."""
    return statistics.median(asyncio.run(_gather()) for _ in range(5))


async def _run(runner: Runner, ensemble: Ensemble) -> Any:
    return await runner.run(ensemble, "hello")


def ten_phases() -> float:
    """Milliseconds of wall time."""
    agents = [Agent(f"a{n}", model="bench/model", depends_on=[f"a{n - 1}"] if n else []) for n in range(10)]
    ensemble, runner = Ensemble("deep", agents), Runner(providers={"bench": bare})

    async def main() -> float:
        found: list[float] = []
        for _ in range(60):
            started = time.perf_counter()
            await runner.run(ensemble, "hello")
            found.append((time.perf_counter() - started) * 1e3)
        return statistics.median(found)

    return asyncio.run(main())


def traced_stack() -> float:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    cost = whole_stack()
    provider.shutdown()
    return cost


def measure() -> list[Row]:
    rows = [
        Row("default stack over the bare provider, a call", whole_stack(), "us", 20),
        Row("  the same, every layer at work", busy_stack(), "us"),
        *(Row(f"  {name}", cost, "us") for name, cost in layer_costs().items()),
        Row("ten phases of one agent", ten_phases(), "ms", 3),
        Row("10,000 agents at once, each", per_agent(Settings(max_concurrent_agents=0)), "ms", 0.06),
        Row("  with 100 places", per_agent(Settings()), "ms"),
        Row("  asyncio.gather of 10,000 empty tasks, each", yardstick(), "ms"),
        Row("  with the collector tuned", per_agent(Settings(max_concurrent_agents=0, tune_gc=True)), "ms"),
    ]
    rows.insert(1, Row("  with a tracer and its batch processor", traced_stack(), "us", 90))  # set up once, so last
    return rows


def main() -> None:
    report("Pipeline: CPU time over a provider that answers at once", measure)


if __name__ == "__main__":
    main()
