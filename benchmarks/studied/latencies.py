"""The latencies of the study: two fixed ones, and a long tail whose draws are the same for every variant."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

# A lognormal: the median that many chat services show for a short answer, and one in a hundred takes six times that.
MEDIAN = 0.3
SIGMA = 0.8
LONGEST = 4.0


@dataclass(frozen=True)
class Latency:
    """How long answers take.

    Args:
        name: in tables.
        seconds: of each answer. None: drawn from the long tail.
        rounds: how often each cell is measured.
        turns: how often a single agent is measured in each round; it is cheap, and its bar the narrowest.
        scale: multiplies what is drawn.
    """

    name: str
    seconds: float | None
    rounds: int
    turns: int = 1
    scale: float = 1.0

    def waits(self, draw: int, agents: int) -> list[float]:
        """Give the seconds of each agent's answer: the same for all who ask."""
        if self.seconds is not None:
            return [self.seconds] * agents
        return [tail(f"{draw}/{agent}") * self.scale for agent in range(agents)]


def tail(seed: str) -> float:
    """Draw seconds from the long tail."""
    return min(LONGEST, random.Random(seed).lognormvariate(math.log(MEDIAN), SIGMA))


FULL = (Latency("300 ms", 0.3, 5, turns=5), Latency("2 s", 2.0, 3), Latency("long-tailed", None, 4))
QUICK = (Latency("30 ms", 0.03, 1), Latency("40 ms", 0.04, 1), Latency("long-tailed", None, 1, scale=0.1))
