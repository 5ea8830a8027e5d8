"""Compare what stretto costs with what is on record in `baseline.json`: ratios alone, measured in turns in one run.

Fails when a ratio stands above its noise band, and does so again in each of two further measurements. The band is as
wide as repetition found it, and never narrower than a floor: `--update` repeats the measurement and writes it anew.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.serving import serving
from uneven import layered

from stretto import Agent, Call, Ensemble, Reply, Runner, Settings, Usage, default_stack
from stretto.routing import Routing
from stretto.stack import chain

BASELINE = Path(__file__).with_name("baseline.json")
ROUNDS = 7  # of which a measurement is the median
REPEATED = 8  # measurements that make a baseline
CONFIRMED = 2  # further measurements that must fail as well
WIDE = 4.0  # the band in spreads; a spread is the distance of the farthest repetition from the median
WIDEST = 0.5  # of the ratio: what is noisier than this is no baseline

WIRE, CALLS, AGENTS, SLEEPERS = 200, 2000, 10_000, 200
REPLY = Reply("ok", usage=Usage(10, 1), cost=0.0, route="bench")
ALL_AT_ONCE = Settings(max_concurrent_agents=0)
Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Pair:
    """What is measured over what.

    Args:
        says: in words.
        clock: CPU time where the work is all that counts, wall time where the waiting is.
        over: the share of the ratio that is never taken for more than noise.
        work: of stretto.
        base: a yardstick that stretto has no part in; or the seconds that the work must take.
    """

    says: str
    clock: Callable[[], float]
    over: float
    work: Work
    base: Work | float


async def measured(pairs: Mapping[str, Pair]) -> dict[str, float]:
    """Measure once: for each pair the median of the rounds' ratios, all pairs in turns."""
    found: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(ROUNDS):
        for name, pair in pairs.items():
            base = pair.base if isinstance(pair.base, float) else await _took(pair.clock, pair.base)
            found[name].append(await _took(pair.clock, pair.work) / base)
    return {name: statistics.median(ratios) for name, ratios in found.items()}


async def _took(clock: Callable[[], float], work: Work) -> float:
    gc.collect()
    started = clock()
    await work()
    return clock() - started


async def pairs(url: str, stack: AsyncExitStack) -> dict[str, Pair]:
    """Open what the pairs need, and give them; each has been run once."""
    cpu, wall = time.process_time, time.perf_counter
    made = {
        "wire": Pair("an agent over HTTP, over a call by aiohttp + json", cpu, 0.2, *await _wire(url, stack)),
        "stack": Pair("a call and the default stack, over a provider alone", cpu, 0.25, *_stack()),
        "wide": Pair("an agent of 10,000, over a task of asyncio.gather", cpu, 0.25, *await _wide(stack)),
        "makespan": Pair("a phase of 200 agents of 100 ms, over 200 sleeps", wall, 0.2, *await _makespan(stack)),
        "ready": Pair("12 agents when ready, over their critical path", wall, 0.08, *await _ready(stack)),
    }
    for pair in made.values():
        await pair.work()
        if not isinstance(pair.base, float):
            await pair.base()
    return made


async def _wire(url: str, stack: AsyncExitStack) -> tuple[Work, Work]:
    from studied.variants import plain

    call = await stack.enter_async_context(plain(url))
    runner = await stack.enter_async_context(Runner(settings=ALL_AT_ONCE))
    agents = [Agent(f"a{number}", model="compatible/m", base_url=url, api_key="key") for number in range(WIRE)]
    ensemble = Ensemble("wire", agents)

    async def base() -> None:
        await asyncio.gather(*(call(0.0) for _ in range(WIRE)))

    return _run(runner, ensemble), base


def _stack() -> tuple[Work, Work]:
    async def provider(call: Call) -> Reply:
        await asyncio.sleep(0)
        return REPLY

    services = Routing({"bench": provider}, (), None, {})
    messages = ({"role": "user", "content": "hello"},)
    through = chain(default_stack(), "llm")

    def made() -> Call:
        return Call(agent="a", model="bench/m", messages=messages, services=services)

    async def work() -> None:
        for _ in range(CALLS):
            await through(made())

    async def base() -> None:
        call = made()
        for _ in range(CALLS):
            await provider(call)

    return work, base


async def _wide(stack: AsyncExitStack) -> tuple[Work, Work]:
    async def provider(call: Call) -> Reply:
        return REPLY

    runner = await stack.enter_async_context(Runner(providers={"bench": provider}, settings=ALL_AT_ONCE))
    ensemble = Ensemble("wide", [Agent(f"a{number}", model="bench/m") for number in range(AGENTS)])

    async def nothing() -> None:
        pass

    async def base() -> None:
        await asyncio.gather(*(nothing() for _ in range(AGENTS)))

    return _run(runner, ensemble), base


async def _makespan(stack: AsyncExitStack) -> tuple[Work, Work]:
    runner = await stack.enter_async_context(Runner(settings=ALL_AT_ONCE))
    ensemble = Ensemble("phase", [Agent(f"a{number}", model="simulated/latency-100ms") for number in range(SLEEPERS)])

    async def base() -> None:
        await asyncio.gather(*(asyncio.sleep(0.1) for _ in range(SLEEPERS)))

    return _run(runner, ensemble), base


async def _ready(stack: AsyncExitStack) -> tuple[Work, float]:
    runner = await stack.enter_async_context(Runner(settings=ALL_AT_ONCE))
    graph = layered(12, 3, scale=0.2)
    agents = [
        Agent(name, model=f"simulated/latency-{seconds * 1000:.3f}ms", depends_on=list(graph.after.get(name, ())))
        for name, seconds in graph.seconds.items()
    ]
    return _run(runner, Ensemble("ready", agents, schedule="ready")), graph.critical_path()


def _run(runner: Runner, ensemble: Ensemble) -> Work:
    async def work() -> None:
        run = await runner.run(ensemble, "hello")
        assert run.ok, run.failed[0].reason

    return work


def band(ratios: Sequence[float], floor: float) -> dict[str, float]:
    """Make a row of the baseline of repeated measurements: their median, and the most that is still noise.

    Raises:
        ValueError: when they are so far apart that nothing could be told from noise.
    """
    middle = statistics.median(ratios)
    spread = max(abs(ratio - middle) for ratio in ratios)
    if WIDE * spread > WIDEST * middle:
        raise ValueError(f"too noisy for a baseline, try again when the machine is quieter: {sorted(ratios)}")
    return {
        "ratio": round(middle, 4),
        "spread": round(spread, 4),
        "limit": round(middle + max(WIDE * spread, floor * middle), 4),
    }


def slower(baseline: Mapping[str, Any], found: Mapping[str, float]) -> list[str]:
    """Name the ratios that stand above their band."""
    return [name for name, row in baseline.items() if not found[name] <= row["limit"]]


async def update(url: str) -> dict[str, Any]:
    """Measure again and again; give the baseline."""
    async with AsyncExitStack() as stack:
        made = await pairs(url, stack)
        repeated = [await measured(made) for _ in range(REPEATED)]
    rows = {name: band([each[name] for each in repeated], pair.over) for name, pair in made.items()}
    return {"python": version(), "rows": {name: {"says": made[name].says, **row} for name, row in rows.items()}}


async def compare(
    baseline: Mapping[str, Any], measure: Callable[[Sequence[str]], Awaitable[Mapping[str, float]]]
) -> bool:
    """Measure, print, and measure again what seems slower; tell whether nothing is.

    Args:
        baseline: the rows on record, by name.
        measure: gives the ratios of these names.
    """
    found = await measure(list(baseline))
    suspects = slower(baseline, found)
    for name, row in baseline.items():
        print(line(row, found[name]))
    for number in range(CONFIRMED):
        if not suspects:
            break
        print(f"once more ({number + 1} of {CONFIRMED}): {', '.join(suspects)}", flush=True)
        found = await measure(suspects)
        for name in suspects:
            print(line(baseline[name], found[name]))
        suspects = slower({name: baseline[name] for name in suspects}, found)
    for name in suspects:
        print(f"SLOWER: {name}, {baseline[name]['says']}: {found[name] / baseline[name]['ratio'] - 1:+.0%}")
    return not suspects


async def check(baseline: Mapping[str, Any], url: str) -> bool:
    """Compare what is measured now with the baseline."""
    async with AsyncExitStack() as stack:
        made = await pairs(url, stack)
        if set(made) != set(baseline):
            print(f"The baseline has {sorted(baseline)}, measured are {sorted(made)}: write it anew with --update.")
            return False
        return await compare(baseline, lambda names: measured({name: made[name] for name in names}))


def line(row: Mapping[str, Any], found: float) -> str:
    said = "" if found <= row["limit"] else "  ABOVE"
    return f"  {row['says']:<58} {found:>7.3f}   on record {row['ratio']:>7.3f}, at most {row['limit']:>7.3f}{said}"


def version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def main() -> int:
    parser = argparse.ArgumentParser(description="Performance: ratios beside those on record")
    parser.add_argument("--update", action="store_true", help="write baseline.json anew, a minute or two")
    asked = parser.parse_args()
    with serving() as url:
        if asked.update:
            made = asyncio.run(update(url))
            BASELINE.write_text(json.dumps(made, indent=2) + "\n")
            for row in made["rows"].values():
                print(line(row, row["ratio"]))
            return 0
        baseline = json.loads(BASELINE.read_text())
        if baseline["python"] != version():
            print(f"The baseline is Python {baseline['python']}'s, and this is {version()}: nothing is compared.")
            return 0
        return 0 if asyncio.run(check(baseline["rows"], url)) else 1


if __name__ == "__main__":
    sys.exit(main())
