"""A guard on whatever a model or a function has given: its agent's affair, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from stretto import Agent, Ensemble, Runner
from stretto.inputs import Inputs
from stretto.testing import virtual_time

CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


class Sulking:
    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")

    def __eq__(self, other: object) -> bool:
        raise TypeError("incomparable")

    __hash__ = None  # type: ignore[assignment]


def deep() -> Any:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize("schedule", ["phases", "ready"])
@pytest.mark.parametrize("when", ["${f.x}", "${f.x} == 3", "${f.x} != 3", "${f." + "9" * 500 + "}"])
@pytest.mark.parametrize(
    "value",
    [{"x": {1, 2}}, {"x": b"y"}, {"x": CIRCLE}, {"x": Sulking()}, {"x": {(1, 2): 3}}, "[" * 3000, [1], {"x": deep()}],
    ids=["set", "bytes", "circle", "sulking", "odd key", "brackets", "list", "deep"],
)
def test_whatever_a_guard_looks_at_the_others_run_on(value: Any, when: str, schedule: Any) -> None:
    async def given(inputs: Inputs) -> Any:
        return value

    agents = [
        Agent("f", function=given),
        Agent("slow", model="simulated/latency-300ms+echo"),
        Agent("guarded", model="simulated/echo", when=when, depends_on=["f"]),
        Agent("other", model="simulated/echo", depends_on=["slow"]),
    ]
    run = virtual_time(Runner().run(Ensemble("e", agents, schedule=schedule), "hi"))
    assert (run["slow"].status, run["other"].status) == ("ok", "ok")
    assert run["guarded"].status in ("ok", "failed", "skipped")
