"""How long a wide phase takes: 1,000 agents of a second, beside bare `asyncio.gather` of sleeps in the same run.

Memory: what tracemalloc counts while all are in flight, divided by their number; the run's own records included.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc

from shared.bars import Row, report

from stretto import Agent, Ensemble, Runner, Settings

AGENTS = 1000
ROUNDS = 4
SETTINGS = Settings(max_concurrent_agents=0)


def ensemble_of(agents: int, model: str) -> Ensemble:
    return Ensemble("wide", [Agent(f"a{n}", model=model) for n in range(agents)])


async def sleeps() -> float:
    gc.collect()
    started = time.perf_counter()
    await asyncio.gather(*(asyncio.sleep(1) for _ in range(AGENTS)))
    return time.perf_counter() - started


async def agents(runner: Runner, ensemble: Ensemble, *, stream: bool) -> float:
    gc.collect()
    started = time.perf_counter()
    run = await runner.run(ensemble, "hello", stream=stream)
    took = time.perf_counter() - started
    assert run.ok
    return took


async def in_turns() -> dict[str, float]:
    runner, ensemble = Runner(settings=SETTINGS), ensemble_of(AGENTS, "simulated/latency-1s")
    await runner.run(ensemble_of(10, "simulated/echo"), "hello")  # imports what is imported at first use
    found: dict[str, list[float]] = {"sleeps": [], "agents": [], "streams": []}
    for _ in range(ROUNDS):
        found["sleeps"].append(await sleeps())
        found["agents"].append(await agents(runner, ensemble, stream=False))
        found["streams"].append(await agents(runner, ensemble, stream=True))
    return {name: statistics.median(times) for name, times in found.items()}


async def memory() -> float:
    """KiB that an agent takes while it is in flight."""
    runner, ensemble = Runner(settings=SETTINGS), ensemble_of(AGENTS, "simulated/latency-1s")
    await runner.run(ensemble_of(10, "simulated/latency-1ms"), "hello")
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run = runner.start(ensemble, "hello", stream=False)
    await asyncio.sleep(0.5)  # all have been sent, none has been answered
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert not run.outcomes
    await run
    return grown / AGENTS / 1024


def measure() -> list[Row]:
    times = asyncio.run(in_turns())
    return [
        Row("1,000 agents of 1 s", times["agents"], "s", 1.15),
        Row("  the same, streamed", times["streams"], "s"),
        Row("  asyncio.gather of 1,000 sleeps of 1 s", times["sleeps"], "s"),
        Row("  agents over sleeps", times["agents"] / times["sleeps"], "x"),
        Row("memory of an agent in flight (tracemalloc)", asyncio.run(memory()), "KiB", 8),
    ]


def main() -> None:
    report("Makespan: a wide phase", measure)


if __name__ == "__main__":
    main()
