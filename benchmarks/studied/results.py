"""Read what the study has measured: medians of the turns of a cell, ratios of variants that were measured in turns."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Results:
    """What `study.py` wrote.

    Args:
        data: as it stands in the JSON file.
    """

    data: Mapping[str, Any]

    @property
    def latencies(self) -> list[str]:
        return list(dict.fromkeys(cell["latency"] for cell in self.data["cells"]))

    @property
    def fixed(self) -> list[str]:
        """The latencies at which all answers take equally long."""
        return [name for name in self.latencies if name not in self.data["drawn"]]

    @property
    def sizes(self) -> list[int]:
        return sorted({cell["agents"] for cell in self.data["cells"]})

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(cell["variant"] for cell in self.data["cells"]))

    def cell(self, latency: str, agents: int, variant: str) -> Mapping[str, Any] | None:
        wanted = (latency, agents, variant)
        for cell in self.data["cells"]:
            if (cell["latency"], cell["agents"], cell["variant"]) == wanted:
                return cell if cell["seconds"] else None
        return None

    def speedup(self, latency: str, agents: int, variant: str) -> float | None:
        """The expected sequential time over the measured one."""
        return self._median(latency, agents, variant, lambda cell, turn: cell["expected"][turn] / cell["seconds"][turn])

    def possible(self, latency: str, agents: int) -> float | None:
        """The same when all take just as long as the slowest answer."""
        return self._median(latency, agents, "async", lambda cell, turn: cell["expected"][turn] / cell["slowest"][turn])

    def seconds(self, latency: str, agents: int, variant: str) -> float | None:
        return self._median(latency, agents, variant, lambda cell, turn: cell["seconds"][turn])

    def over(self, latency: str, agents: int, variant: str) -> float | None:
        """Milliseconds beyond the slowest answer; one after the other: beyond all of them."""
        least = "expected" if variant == "sequential" else "slowest"
        return self._median(
            latency, agents, variant, lambda cell, turn: (cell["seconds"][turn] - cell[least][turn]) * 1e3
        )

    def cpu(self, latency: str, agents: int, variant: str) -> float | None:
        """Milliseconds of CPU time for each agent."""
        return self._median(latency, agents, variant, lambda cell, turn: cell["cpu"][turn] / agents * 1e3)

    def share(self, latency: str, agents: int, variant: str) -> float | None:
        """CPU time over wall time."""
        return self._median(latency, agents, variant, lambda cell, turn: cell["cpu"][turn] / cell["seconds"][turn])

    def peak(self, latency: str, agents: int, variant: str) -> int | None:
        cell = self.cell(latency, agents, variant)
        return max(cell["peak"]) if cell else None

    def ratio(self, latency: str, agents: int, variant: str, base: str) -> float | None:
        """How long a variant takes, over another: the median of the turns that both were measured in."""
        one, other = self.cell(latency, agents, variant), self.cell(latency, agents, base)
        if one is None or other is None:
            return None
        return statistics.median(a / b for a, b in zip(one["seconds"], other["seconds"], strict=False))

    def memory(self, agents: int, variant: str) -> Mapping[str, float] | None:
        rows = (row for row in self.data["memory"] if row["agents"] == agents and row["variant"] == variant)
        return next(rows, None)

    def _median(self, latency: str, agents: int, variant: str, figure: Any) -> float | None:
        cell = self.cell(latency, agents, variant)
        if cell is None:
            return None
        return statistics.median(figure(cell, turn) for turn in range(len(cell["seconds"])))
