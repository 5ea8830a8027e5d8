"""Measure every variant in turns: time, CPU and connections of each cell, and what stays open for a second run."""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .latencies import Latency
from .serving import Server
from .variants import VARIANTS, Variant

# Seconds after each run: what it left in the background (litellm logs there) counts as its own CPU time.
REST = 0.1
# One call after the other is measured in one round only where it takes longer than this; nothing else is.
LONG = 10.0


@dataclass(frozen=True)
class Cell:
    """One variant at one size and one latency; lists hold one figure a turn.

    Args:
        latency, agents, variant: what was measured.
        expected: seconds that the answers take one after the other.
        slowest: seconds that the slowest answer takes: the least that is possible.
        seconds: of wall time.
        cpu: seconds of CPU time of this process, that of the rest after it included.
        peak: connections that were open at once, at most.
        rounds: in which each turn was.
    """

    latency: str
    agents: int
    variant: str
    expected: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)


def in_turns(
    server: Server, latencies: Sequence[Latency], sizes: Sequence[int], rest: float = REST
) -> list[dict[str, Any]]:
    """Measure all cells: in each round, at each size and latency, all variants, in an order that is drawn anew.

    In one that only rotates each would always follow the same other one: after seconds of sequential idling a machine
    is slower than after threads.
    """
    cells = {
        (latency.name, agents, variant): Cell(latency.name, agents, variant)
        for latency in latencies
        for agents in sizes
        for variant in VARIANTS
    }
    names, drawn = list(VARIANTS), random.Random("order")
    for name in names:  # imports
        _turn(server, name, Cell("", 1, name), [0.001], 0, rest)
    gc.collect()
    gc.freeze()  # litellm alone holds a million objects: each full collection would walk them, in all variants
    for round_ in range(max(latency.rounds for latency in latencies)):
        for latency in latencies:
            if round_ >= latency.rounds:
                continue
            _say(f"round {round_ + 1} of {latency.rounds}, {latency.name}")
            for agents in sizes:
                for turn in range(latency.turns if agents == 1 else 1):
                    waits = latency.waits(round_ * latency.turns + turn if agents == 1 else round_, agents)
                    drawn.shuffle(names)
                    for name in names:
                        if name == "sequential" and round_ and sum(waits) > LONG:
                            continue
                        _turn(server, name, cells[latency.name, agents, name], waits, round_, rest)
    return [asdict(cell) for cell in cells.values()]


def _turn(server: Server, name: str, cell: Cell, waits: list[float], round_: int, rest: float) -> None:
    with VARIANTS[name](server.url, waits) as variant:
        gc.collect()
        server.counted()
        cpu, started = time.process_time(), time.perf_counter()
        variant.run()
        seconds = time.perf_counter() - started
        variant.rest(rest)
        cell.seconds.append(round(seconds, 6))
        cell.cpu.append(round(time.process_time() - cpu, 6))
        counted = server.counted()
        assert counted.requests == len(waits), f"{name}: {counted.requests} requests for {len(waits)} agents"
        cell.peak.append(counted.peak)
        cell.expected.append(round(sum(waits), 6))
        cell.slowest.append(round(max(waits), 6))
        cell.rounds.append(round_)


def pooled(server: Server, agents: int, seconds: float) -> list[Mapping[str, Any]]:
    """Count the connections that two runs of each variant open, one after the other."""
    found: list[Mapping[str, Any]] = []
    for name, made in VARIANTS.items():
        with made(server.url, [seconds] * agents) as variant:
            found.append({"variant": name, "agents": agents, "opened": [_opened(server, variant) for _ in range(2)]})
    return found


def _opened(server: Server, variant: Variant) -> int:
    server.counted()
    variant.run()
    return server.counted().opened


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)
