"""How long 100 scripts of 0.3 s take in 16 places, and how long they hold the event loop.

The limit: seven rounds of 0.3 s, beside the same number of `subprocess.run` in as many threads.
"""

from __future__ import annotations

import asyncio
import math
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.bars import Row, report

from stretto import Agent, Ensemble, Runner, Settings

SCRIPTS, PLACES, SECONDS = 100, 16, 0.3
LIMIT = math.ceil(SCRIPTS / PLACES) * SECONDS


async def longest_pause(stopped: asyncio.Event) -> float:
    """Give the longest time in which the loop did not come back, beyond a millisecond of sleep."""
    longest = 0.0
    while not stopped.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before - 0.001)
    return longest


async def agents(folder: Path) -> tuple[float, float]:
    script = folder / "sleep.sh"
    script.write_text(f"sleep {SECONDS}\n")
    ensemble = Ensemble(
        "scripts", [Agent(f"s{n}", script="sleep.sh") for n in range(SCRIPTS)], source=str(folder / "e.yaml")
    )
    runner = Runner(allow_scripts=True, settings=Settings(max_concurrent_agents=PLACES))
    stopped = asyncio.Event()
    watching = asyncio.create_task(longest_pause(stopped))
    started = time.perf_counter()
    run = await runner.run(ensemble, "x")
    took = time.perf_counter() - started
    stopped.set()
    assert run.ok
    return took, await watching


def threads() -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(PLACES) as pool:
        list(pool.map(lambda _: subprocess.run(["sleep", str(SECONDS)], check=True), range(SCRIPTS)))
    return time.perf_counter() - started


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        took, pause = asyncio.run(agents(Path(folder)))
    beside = threads()
    return [
        Row(f"{SCRIPTS} scripts of {SECONDS} s in {PLACES} places", took, "s"),
        Row("  over seven rounds of it, the limit", took / LIMIT, "x", 1.15),
        Row("  the same by subprocess.run in threads", beside / LIMIT, "x"),
        Row("  longest pause of the event loop", pause * 1000, "ms", 50),
    ]


if __name__ == "__main__":
    report("Scripts", measure)
