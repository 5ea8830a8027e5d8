"""Places in a run: one limit for all that is nested, however deep, and nobody waits for himself."""

from __future__ import annotations

from typing import Any

import pytest

from nesting import AtWork, a_run, child, trees
from stretto import Agent, Ensemble, Run, Runner, Settings
from stretto.loop import Loop
from stretto.middleware import ConcurrencyLimit
from watched import an_ensemble, virtually

LIMITS = pytest.mark.parametrize("limit", [1, 2, 3, 5])


def everything(at_work: AtWork) -> list[Agent]:
    """Agents of every kind, with 43 calls of a second each."""
    pair = child(at_work("a"), at_work("b", depends_on=["a"]), name="pair")
    wide = child(*(at_work(f"w{n}") for n in range(5)), Agent("p", ensemble=pair), name="wide", schedule="ready")
    spread = child(Agent("s", fan_out="${input}", ensemble=pair), name="spread")
    return [
        at_work("alone"),
        Agent("c", ensemble=wide),  # 7
        Agent("d", ensemble=wide),  # 7
        at_work("f", fan_out="${input.0}"),  # 3
        Agent("g", fan_out="${input}", ensemble=spread),  # 3 lists of 3 items, 2 calls each: 18
        Agent("l", loop=Loop(pair, 3)),  # 6
        at_work("last", depends_on=["c", "g", "l"]),
    ]


ITEMS = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@LIMITS
@pytest.mark.parametrize("schedule", ["phases", "ready"])
def test_never_more_agents_are_at_work_than_there_are_places(limit: int, schedule: Any) -> None:
    at_work = AtWork()
    run = a_run(*everything(at_work), input=ITEMS, max_concurrent_agents=limit, schedule=schedule)
    assert run.status == "completed"
    assert at_work.most == limit
    assert (at_work.most, at_work.calls) == (limit, 1 + 7 + 7 + 3 + 18 + 6 + 1)
    assert at_work.now == 0


def test_the_places_are_all_used() -> None:
    at_work = AtWork()
    run = a_run(*everything(at_work)[:5], input=ITEMS, max_concurrent_agents=4)
    assert run.ended is not None
    assert run.ended - run.started <= 36 / 4 + 3  # chains are two long


def test_without_a_limit_all_are_at_work_at_once() -> None:
    at_work = AtWork()
    level = child(*(at_work(f"a{n}") for n in range(10)), name="level")
    level = child(*(Agent(f"a{n}", ensemble=level) for n in range(10)), name="above")
    a_run(Agent("top", ensemble=level), max_concurrent_agents=0)
    assert at_work.most == 100


def test_one_place_is_enough_for_the_deepest_nesting() -> None:
    at_work = AtWork()
    level = child(at_work("a"), at_work("b"), name="leaf")
    for number in range(20):
        level = child(Agent("a", ensemble=level), at_work("b"), name=f"level {number}")
    run = a_run(Agent("top", ensemble=level), max_concurrent_agents=1, max_ensemble_depth=30)
    assert run.status == "completed"
    assert (at_work.most, at_work.calls) == (1, 22)


@pytest.mark.parametrize("own", [1, 2, 50, 0])
def test_a_child_cannot_have_more_places_than_the_run(own: int) -> None:
    at_work = AtWork()
    wide = child(*(at_work(f"a{n}") for n in range(9)), settings=Settings(max_concurrent_agents=own))
    a_run(Agent("c", ensemble=wide), Agent("d", ensemble=wide), max_concurrent_agents=3)
    assert at_work.most == 3


def test_places_go_to_who_came_first() -> None:
    at_work = AtWork()
    wide = child(*(at_work(f"w{n}") for n in range(3)))
    a_run(Agent("c", ensemble=wide), at_work("x"), at_work("y"), max_concurrent_agents=1)
    assert [name for name, _ in at_work.began] == ["x", "y", "w0", "w1", "w2"]


def test_waiting_for_a_place_within_is_told_and_counted_around() -> None:
    at_work = AtWork()
    pair = child(at_work("a", 3), at_work("b", 3))
    run = a_run(Agent("c", ensemble=pair), max_concurrent_agents=1)
    assert [wait.cause for outcome in run["c"].children for wait in outcome.waits] == ["queue"]
    assert run["c"].timings.provider == pytest.approx(6)  # while one waits the other works
    assert run["c"].children[1].timings.queue == pytest.approx(3)


def test_one_at_a_time_is_one_at_a_time_at_every_level() -> None:
    at_work = AtWork()
    run = a_run(*everything(at_work), input=ITEMS, enable_parallel_execution=False)
    assert run.status == "completed"
    assert at_work.most == 1
    times = [began for _, began in at_work.began]
    assert times == [pytest.approx(n) for n in range(len(times))]


def test_one_at_a_time_is_in_file_order() -> None:
    at_work = AtWork()
    pair = child(at_work("a"), at_work("b"), schedule="ready")
    a_run(at_work("x"), Agent("c", ensemble=pair), at_work("y"), enable_parallel_execution=False)
    assert [name for name, _ in at_work.began] == ["x", "a", "b", "y"]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_child_cannot_undo_one_at_a_time_around_it(depth: int) -> None:
    at_work = AtWork()
    level = child(*(at_work(f"a{n}") for n in range(4)), settings=Settings(enable_parallel_execution=True))
    for number in range(depth - 1):
        level = child(Agent("a", ensemble=level), name=f"level {number}")
    ensemble = an_ensemble(
        Agent("c", ensemble=level), Agent("d", ensemble=level), settings=Settings(enable_parallel_execution=False)
    )
    run = virtually(Runner(middleware=[]).run(ensemble, "x"))
    assert run.ok
    assert at_work.most == 1


def test_a_child_may_be_one_at_a_time_for_itself() -> None:
    at_work = AtWork()
    slow = child(*(at_work(f"a{n}") for n in range(4)), settings=Settings(enable_parallel_execution=False))
    run = a_run(Agent("c", ensemble=slow), Agent("d", ensemble=slow))
    assert at_work.most == 2
    assert run["c"].timings.total == pytest.approx(4)


@LIMITS
def test_a_limit_of_layers_and_that_of_the_run_do_not_lock_each_other(limit: int) -> None:
    at_work = AtWork()

    async def main() -> Run:
        layer = ConcurrencyLimit(2)
        settings = Settings(max_concurrent_agents=limit)
        return await Runner(middleware=[layer], settings=settings).run(Ensemble("e", everything(at_work)), ITEMS)

    assert virtually(main()).status == "completed"


def test_places_are_given_back_by_what_fails_within() -> None:
    at_work = AtWork()

    async def odd(inputs: Any) -> str:
        if inputs.index % 2:
            raise ValueError("odd")
        return "even"

    failing = child(Agent("f", fan_out="${input}", function=odd), Agent("g", fan_out="${f}", function=odd))
    run = a_run(Agent("c", ensemble=failing), at_work("x", depends_on=["c"]), input=[1] * 50, max_concurrent_agents=2)
    assert run.status == "completed"
    assert trees(run)["x"] == "ok"


def test_a_fan_out_of_ensembles_of_fan_outs_of_loops_ends_with_one_place() -> None:
    at_work = AtWork()
    body = child(Agent("f", fan_out="${input}", ensemble=child(at_work("a"), name="leaf")), name="body")
    looped = child(Agent("l", loop=Loop(body, 2)), name="looped")
    run = a_run(Agent("top", fan_out="${input}", ensemble=looped), input=[[1, 2], [3], []], max_concurrent_agents=1)
    assert run.status == "completed"
    assert run["top"].value == [["a", "a"], ["a"], []]
    assert (at_work.most, at_work.calls) == (1, 6)
