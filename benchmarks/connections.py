"""Thousands of agents in flight over HTTP: makespan and memory beside plain aiohttp, each in a cold process of its own.

Both open all their connections at once, to a server in another process that answers after one or two seconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from shared.bars import Row, report
from shared.serving import serving

ROUNDS = 5
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def by_stretto(url: str, count: int) -> dict[str, float]:
    from stretto import Agent, Ensemble, Runner, Settings

    ensemble = Ensemble("wide", [Agent(f"a{n}", model="m", base_url=url, timeout=60) for n in range(count)])
    settings = Settings(max_concurrent_agents=0, tune_gc=True)
    async with Runner(settings=settings) as runner:
        await runner.run(Agent("a", model="m", base_url=url), "hello")
        gc.collect()
        before = resident()
        started = time.perf_counter()
        run = runner.start(ensemble, "hello", stream=False)
        held = asyncio.ensure_future(_held(before))
        await run
        took = time.perf_counter() - started
        assert len(run.succeeded) == count, run.failed[0].reason
        return {"seconds": took, "held": await held / count}


async def by_aiohttp(url: str, count: int) -> dict[str, float]:
    import aiohttp

    async def call() -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        async with session.post(url + "/chat/completions", json=body) as response:
            json.loads(await response.read())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await call()
        gc.collect()
        before = resident()
        started = time.perf_counter()
        held = asyncio.ensure_future(_held(before))
        await asyncio.gather(*(call() for _ in range(count)))
        return {"seconds": time.perf_counter() - started, "held": await held / count}


async def _held(before: int) -> float:
    """Bytes at the highest, looked at now and then while all are in flight."""
    most = 0
    ends = time.perf_counter() + 0.9
    while time.perf_counter() < ends:
        await asyncio.sleep(0.05)
        most = max(most, resident() - before)
    return most


def in_turns(url: str, count: int) -> dict[str, list[dict[str, float]]]:
    """Run both in turns, each time in a new process."""
    found: dict[str, list[dict[str, float]]] = {"stretto": [], "aiohttp": []}
    for _ in range(ROUNDS):
        for who, results in found.items():
            command = [sys.executable, __file__, "--as", who, url, str(count)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout))
    return found


def median(results: list[dict[str, float]], what: str) -> float:
    return statistics.median(each[what] for each in results)


def measure() -> list[Row]:
    with serving(1.0) as url:
        thousand = in_turns(url, 1000)
    with serving(2.0) as url:
        many = in_turns(url, 10_000)
    seconds = {who: median(results, "seconds") for who, results in many.items()}
    kib = {who: median(results, "held") / 1024 for who, results in thousand.items()}
    return [
        Row("1,000 agents of 1 s over HTTP", median(thousand["stretto"], "seconds"), "s", 1.25),
        Row("  aiohttp + json", median(thousand["aiohttp"], "seconds"), "s"),
        Row("10,000 agents of 2 s over HTTP, over aiohttp + json", seconds["stretto"] / seconds["aiohttp"], "x", 1.0),
        Row("  the agents", seconds["stretto"], "s"),
        Row("  aiohttp + json", seconds["aiohttp"], "s"),
        Row("memory of an agent in flight, of 1,000 (resident)", kib["stretto"], "KiB", 20),
        Row("  aiohttp + json", kib["aiohttp"], "KiB"),
    ]


def main() -> None:
    if sys.argv[1:2] == ["--as"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        _, _, who, url, count = sys.argv
        print(json.dumps(asyncio.run((by_stretto if who == "stretto" else by_aiohttp)(url, int(count)))))
    else:
        report("Connections: a wide phase over HTTP", measure)


if __name__ == "__main__":
    main()
