"""How much memory a variant takes while it runs: each figure is that of a new process.

In one process that measures one variant after the other, memory that an earlier one gave back would be taken again, and
nothing would seem to grow. `python -m studied.memory VARIANT URL AGENTS SECONDS resident|traced` prints one figure.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .serving import BENCHMARKS, Server
from .variants import VARIANTS, Variant, prepared

STATUS = Path("/proc/self/status")
LONGEST = 10.0  # seconds


def resident(line: str) -> int:
    """Give KiB of what this process holds ("VmRSS"), or has held since the high-water mark was reset ("VmHWM")."""
    return next(int(text.split()[1]) for text in STATUS.read_text().splitlines() if text.startswith(line))


def grown(variant: Variant) -> dict[str, float]:
    """KiB that the process holds more at the highest point of a run than before it; and before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = resident("VmRSS")
    variant.run()
    return {"before": before, "grown": max(0, resident("VmHWM") - before)}


def traced(variant: Variant) -> dict[str, float]:
    """KiB of Python's objects at the highest point of a run, over those before it; no stacks of threads, no buffers."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    variant.run()
    return {"traced": round((tracemalloc.get_traced_memory()[1] - before) / 1024, 1)}


def measured(server: Server, variant: str, agents: int, seconds: float, kind: str) -> dict[str, float]:
    """Measure once, in a new process."""
    command = [sys.executable, "-m", "studied.memory", variant, server.url, str(agents), str(seconds), kind]
    done = subprocess.run(command, cwd=BENCHMARKS, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def in_turns(
    server: Server, variants: Sequence[str], sizes: Sequence[int], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Measure resident memory in rounds, of which the medians count, and Python's objects once."""
    found: list[dict[str, Any]] = []
    for agents in sizes:
        # Nobody's memory grows with the number of calls that it makes one after the other: that is not waited for.
        names = [name for name in variants if name != "sequential" or agents * seconds <= LONGEST]
        held: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, results in held.items():
                results.append(measured(server, name, agents, seconds, "resident"))
        for name, results in held.items():
            figures = {what: statistics.median(one[what] for one in results) for what in ("before", "grown")}
            figures |= measured(server, name, agents, seconds, "traced")
            found.append({"variant": name, "agents": agents, **figures})
    return found


def main(name: str, url: str, agents: str, seconds: str, kind: str) -> None:
    prepared()
    with VARIANTS[name](url, [float(seconds)] * int(agents)) as variant:
        print(json.dumps({"resident": grown, "traced": traced}[kind](variant)))


if __name__ == "__main__":
    main(*sys.argv[1:])
