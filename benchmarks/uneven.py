"""Unequal graphs over HTTP: what `schedule="phases"` and `"ready"` make of them, beside the critical path.

The critical path is the longest chain of answers that wait for each other: no schedule can be quicker. The bound of
phases is the sum of the slowest answer of each phase.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.bars import Row, report
from studied.latencies import tail
from studied.serving import Server, answering
from studied.variants import prompt

from stretto import Agent, Ensemble, Runner, Settings

ROUNDS = 3
SCHEDULES: tuple[Literal["phases", "ready"], ...] = ("phases", "ready")


@dataclass(frozen=True)
class Graph:
    """Agents, how long each takes, and which it waits for.

    Args:
        name: in tables.
        seconds: of each agent's answer, in file order; dependencies first.
        after: the agents that each waits for; missing: none.
    """

    name: str
    seconds: Mapping[str, float]
    after: Mapping[str, Sequence[str]]

    def ensemble(self, schedule: Literal["phases", "ready"], url: str) -> Ensemble:
        agents = [
            Agent(
                name,
                model="compatible/m",
                base_url=url,
                depends_on=list(self.after.get(name, ())),
                prompt=prompt(seconds) + ("\n${dependencies}" if self.after.get(name) else ""),
            )
            for name, seconds in self.seconds.items()
        ]
        return Ensemble(self.name, agents, schedule=schedule)

    def critical_path(self) -> float:
        """Seconds of the longest chain."""
        ends: dict[str, float] = {}
        for name, seconds in self.seconds.items():
            ends[name] = seconds + max((ends[before] for before in self.after.get(name, ())), default=0.0)
        return max(ends.values())

    def phases(self) -> float:
        """Seconds of the slowest answers of all phases together."""
        planned = self.ensemble("phases", "http://127.0.0.1:1/v1").plan().phases
        return sum(max(self.seconds[name] for name in phase) for phase in planned)


def cross(scale: float) -> Graph:
    """Two chains of two: slow then quick beside quick then slow."""
    slow, quick = 1.0 * scale, 0.25 * scale
    seconds = {"slow-1": slow, "quick-1": quick, "quick-2": quick, "slow-2": slow}
    return Graph("2 x 2 cross", seconds, {"quick-2": ["slow-1"], "slow-2": ["quick-1"]})


def layered(agents: int, width: int, scale: float) -> Graph:
    """Layers of `width` agents with long-tailed times; each waits for one or two of the layer before."""
    drawn = random.Random(f"layered/{agents}")
    seconds: dict[str, float] = {}
    after: dict[str, Sequence[str]] = {}
    layer: list[str] = []
    for start in range(0, agents, width):
        names = [f"a{number}" for number in range(start, start + width)]
        for name in names:
            seconds[name] = tail(f"layered/{agents}/{name}") * scale
            if layer:
                after[name] = sorted(drawn.sample(layer, drawn.choice((1, 2))))
        layer = names
    return Graph(f"{agents} agents", seconds, after)


def graphs(scale: float = 1.0) -> list[Graph]:
    return [cross(scale), layered(6, 2, scale), layered(12, 3, scale), layered(24, 4, scale)]


def in_turns(server: Server, rounds: int = ROUNDS, scale: float = 1.0) -> list[dict[str, Any]]:
    """Measure all graphs, both schedules in turns; the seconds of each round."""
    found: list[dict[str, Any]] = [
        {
            "graph": graph.name,
            "sequential": sum(graph.seconds.values()),
            "bound of phases": graph.phases(),
            "critical path": graph.critical_path(),
            "phases": [],
            "ready": [],
        }
        for graph in graphs(scale)
    ]
    for round_ in range(rounds):
        for row, graph in zip(found, graphs(scale), strict=True):
            for schedule in SCHEDULES[:: -1 if round_ % 2 else 1]:
                row[schedule].append(round(_once(server, graph.ensemble(schedule, server.url)), 6))
    return found


def _once(server: Server, ensemble: Ensemble) -> float:
    async def main() -> float:
        async with Runner(settings=Settings(max_concurrent_agents=0)) as runner:
            first = Agent("first", model="compatible/m", base_url=server.url, prompt=prompt(0.0))
            assert (await runner.run(first, "hello")).ok
            gc.collect()
            started = time.perf_counter()
            run = await runner.run(ensemble, "hello")
            took = time.perf_counter() - started
            assert run.ok, run.failed[0].reason
            return took

    return asyncio.run(main())


def measure() -> list[Row]:
    with answering() as server:
        found = in_turns(server)
    rows: list[Row] = []
    for row in found:
        ready, phases = statistics.median(row["ready"]), statistics.median(row["phases"])
        path = row["critical path"]
        rows += [
            Row(f"{row['graph']}: ready over the critical path", ready / path, "x", 1.05),
            Row("  phases over the critical path", phases / path, "x"),
            Row("  ready", ready, "s"),
            Row("  phases", phases, "s"),
            Row("  the critical path", path, "s"),
            Row("  the slowest of each phase", row["bound of phases"], "s"),
            Row("  all, one after the other", row["sequential"], "s"),
        ]
    return rows


def main() -> None:
    report("Unequal graphs: time over HTTP", measure)


if __name__ == "__main__":
    main()
