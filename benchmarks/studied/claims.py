"""Hold the claims of the study that stretto began with, and stretto's own goals, against what was measured.

A verdict is reckoned, never written: a claim that does not hold is said so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .results import Results


@dataclass(frozen=True)
class Claim:
    """One claim beside what was measured.

    Args:
        says: the claim.
        measured: the figures, in words.
        holds: whether they bear it out. None: they were not measured.
    """

    says: str
    measured: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        return {True: "holds", False: "**does not hold**", None: "not measured"}[self.holds]


def seeds(results: Results) -> list[Claim]:
    """The claims of the first study."""
    return [
        *(_sequential(results, latency) for latency in results.latencies),
        _times("async parallel: 3 times faster at 5 agents", results, "async", 5, 3.0),
        _times("async parallel: 10 times faster at 15 agents", results, "async", 15, 10.0),
        *_drawn("3 times at 5 agents", results, "async", 5, 3.0),
        *_drawn("10 times at 15 agents", results, "async", 15, 10.0),
        _times("async parallel: 298 % at 3 agents", results, "async", 3, 2.98, percent=True),
        _times("async parallel: 1498 % at 15 agents", results, "async", 15, 14.98, percent=True),
        _beside_async(
            "threads: comparable, slightly slower than async (by 10 % at most)", results, "threads", 1.0001, 1.1
        ),
        _beside_async("hybrid: no better than async (not quicker by 0.5 %)", results, "hybrid", 0.995, math.inf),
        _memory("async parallel: below 0.2 MB more memory (at 15 agents)", results, "async", 15, percent=False),
        _memory("async parallel: below 1 % more memory (at 15 agents)", results, "async", 15, percent=True),
        _alone("async parallel: no slower with one agent (within 1 % of one call)", results, "async"),
        _pooled(results),
    ]


def goals(results: Results) -> list[Claim]:
    """stretto's own goals."""
    whole = "the default stack on `OpenAICompatible`"
    return [
        _times(f"{whole}: at least 4.8 times at 5 agents", results, "stretto", 5, 4.8),
        _times(f"{whole}: at least 14 times at 15 agents", results, "stretto", 15, 14.0),
        _alone(f"{whole}: a single agent within 1 % of the bare call", results, "stretto"),
        _memory(f"{whole}: below 0.2 MB more memory (at 15 agents)", results, "stretto", 15, percent=False),
        _memory(f"{whole}: below 1 % more memory (at 15 agents)", results, "stretto", 15, percent=True),
        _times("beside it, litellm's route: 4.8 times at 5 agents", results, "stretto, litellm", 5, 4.8),
        _times("beside it, litellm's route: 14 times at 15 agents", results, "stretto, litellm", 15, 14.0),
        _alone("beside it, litellm's route: a single agent within 1 %", results, "stretto, litellm"),
        _ready(results),
    ]


def _listed(found: Sequence[tuple[str, float | None]], form: Callable[[float], str]) -> str:
    return ", ".join(f"{form(figure)} ({name})" for name, figure in found if figure is not None)


def _verdict(found: Sequence[tuple[str, float | None]], test: Callable[[float], bool]) -> bool | None:
    figures = [figure for _, figure in found if figure is not None]
    return all(map(test, figures)) if figures else None


def _sequential(results: Results, latency: str) -> Claim:
    found = [results.speedup(latency, agents, "sequential") for agents in results.sizes]
    figures = [figure for figure in found if figure is not None]
    says = f"sequential: 99.7 to 99.9 % of the expected time, or nearer ({latency})"
    if not figures:
        return Claim(says, "", None)
    measured = f"{min(figures):.2%} to {max(figures):.2%}".replace("%", " %")
    return Claim(says, measured, min(figures) >= 0.997)


def _times(says: str, results: Results, variant: str, agents: int, bar: float, *, percent: bool = False) -> Claim:
    found = [(latency, results.speedup(latency, agents, variant)) for latency in results.fixed]
    return Claim(
        says,
        _listed(found, lambda x: f"{100 * x:.1f} %" if percent else f"{x:.2f} x"),
        _verdict(found, lambda x: x >= bar),
    )


def _drawn(says: str, results: Results, variant: str, agents: int, bar: float) -> list[Claim]:
    claims: list[Claim] = []
    for latency in results.data["drawn"]:
        figure, possible = results.speedup(latency, agents, variant), results.possible(latency, agents)
        measured = "" if figure is None else f"{figure:.2f} x; {possible:.2f} x is possible"
        claims.append(
            Claim(f"the same when answers are {latency}: {says}", measured, None if figure is None else figure >= bar)
        )
    return claims


def _beside_async(says: str, results: Results, variant: str, least: float, most: float) -> Claim:
    """Judge by the median of all ratios: a single one is a millisecond either way."""
    found = [results.ratio(latency, agents, variant, "async") for latency in results.fixed for agents in (5, 10, 15)]
    ratios = [ratio for ratio in found if ratio is not None]
    if not ratios:
        return Claim(says, "", None)
    middle = statistics.median(ratios)
    measured = f"{middle:.3f} x the time ({min(ratios):.3f} to {max(ratios):.3f}, at 5 to 15 agents)"
    return Claim(says, measured, least <= middle < most)


def _memory(says: str, results: Results, variant: str, agents: int, *, percent: bool) -> Claim:
    row, base = results.memory(agents, variant), results.memory(agents, "sequential")
    if row is None or base is None:
        return Claim(says, "", None)
    more = row["grown"] - base["grown"]
    if percent:
        return Claim(says, f"{more / row['before']:.2%}".replace("%", " %"), more < row["before"] / 100)
    return Claim(says, f"{more * 1.024 / 1000:.2f} MB", more * 1.024 < 200)


def _alone(says: str, results: Results, variant: str) -> Claim:
    found = [(latency, results.ratio(latency, 1, variant, "sequential")) for latency in results.fixed]
    return Claim(says, _listed(found, lambda x: f"{x:.4f} x"), _verdict(found, lambda x: x <= 1.01))


def _pooled(results: Results) -> Claim:
    opened = {row["variant"]: row["opened"][1] for row in results.data["pooled"]}
    wrong = [f"{variant}: {count}" for variant, count in opened.items() if count]
    measured = "a second run opens none, in any variant" if opened and not wrong else ", ".join(wrong)
    return Claim("connections are pooled", measured, not wrong if opened else None)


def _ready(results: Results) -> Claim:
    found = [(row["graph"], statistics.median(row["ready"]) / row["critical path"]) for row in results.data["uneven"]]
    says = 'unequal graphs: `schedule="ready"` within 5 % of the critical path'
    return Claim(says, _listed(found, lambda x: f"{x:.3f} x"), _verdict(found, lambda x: x <= 1.05))
