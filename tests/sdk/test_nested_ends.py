"""The ends of nested runs: whoever stops them, every agent has one outcome, nothing is lost and nothing runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from nesting import AtWork, a_run, check, child, echo, gives, tree, trees
from stretto import Agent, Call, Delta, Ensemble, Inputs, Next, Outcome, Reply, Run, Runner, Settings
from stretto.drive import Drive
from stretto.errors import CallError, DeadlineExceeded
from stretto.loop import Loop
from stretto.outcome import within
from stretto.references import References
from stretto.testing import virtual_time
from stretto.usage import Usage
from watched import an_ensemble, clock, fails, hang, says, stubborn, virtually, watched


class Zoo:
    """An ensemble of every kind of agent that runs others, and what was begun and ended in it."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0

    def work(self, seconds: float, value: Any = "x") -> Callable[[Inputs], Coroutine[Any, Any, Any]]:
        async def working(inputs: Inputs) -> Any:
            self.begun += 1
            await asyncio.sleep(seconds)
            self.ended += 1
            return value

        return working

    def ensemble(self, **options: Any) -> Ensemble:
        pair = child(
            Agent("a", function=self.work(1)),
            Agent("b", function=self.work(2), depends_on=["a"]),
            name="pair",
        )
        ready = child(
            Agent("quick", function=self.work(1)),
            Agent("slow", function=self.work(4)),
            Agent("after", function=self.work(1), depends_on=["quick"]),
            Agent("deep", ensemble=pair, depends_on=["after"]),
            name="ready",
            schedule="ready",
        )
        each = child(Agent("i", fan_out="${input.n}", function=self.work(1)), name="each")
        return an_ensemble(
            Agent("split", function=self.work(1, {"items": [{"n": [1, 2]}, {"n": [3]}]})),
            Agent("nested", ensemble=ready),
            Agent("spread", fan_out="${split.items}", function=self.work(2)),
            Agent("spread_children", fan_out="${split.items}", ensemble=each),
            Agent("rounds", loop=Loop(pair, 2)),
            Agent("chosen", dispatch="pair"),
            Agent("last", function=self.work(1), depends_on=["nested", "rounds"]),
            **options,
        )

    @property
    def chosen(self) -> Ensemble:
        return child(
            Agent("a", function=self.work(1)), Agent("b", function=self.work(1), depends_on=["a"]), name="pair"
        )


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    made = Zoo()

    async def found(self: References, name: str, ensemble: Ensemble) -> Ensemble:
        await asyncio.sleep(0)  # a thread would take real time, which a virtual clock does not wait for
        return made.chosen

    monkeypatch.setattr(References, "found", found)
    return made


def leaves(run: Run) -> list[Outcome]:
    return [outcome for outcome in within(run.outcomes.values()) if outcome.inner is None and not outcome.children]


def made_calls(run: Run) -> list[Outcome]:
    """The outcomes of agents that are functions, without those of agents that run others and never got to it."""
    composite = ("nested", "spread_children", "rounds", "chosen", "deep", "i", "spread")
    return [o for o in leaves(run) if o.agent not in composite and not o.agent.startswith("spread_children[")]


def hold(zoo: Zoo, run: Run, statuses: set[str]) -> None:
    """What is true of a zoo that was stopped, whenever."""
    check(run)
    found = made_calls(run)
    assert {outcome.status for outcome in within(run.outcomes.values())} <= statuses
    assert zoo.begun == sum(outcome.status != "skipped" for outcome in found)
    assert zoo.ended == sum(outcome.status == "ok" for outcome in found)
    for outcome in found:
        assert len(outcome.attempts) == (outcome.status != "skipped")
        assert all(attempt.ended is not None for attempt in outcome.attempts)


TIMES = [0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 4.5, 5, 6, 6.5]


def test_the_zoo_runs_to_its_end(zoo: Zoo) -> None:
    run = virtually(Runner(middleware=[]).run(zoo.ensemble(), "x"))
    hold(zoo, run, {"ok"})
    assert run.status == "completed"
    assert run["spread_children"].value == [["x", "x"], ["x"]]


Stopper = Callable[[Run, Runner, int], Awaitable[None]]


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def by_cancel(run: Run, runner: Runner, count: int) -> None:
    await steps(count)
    run.cancel()
    run.cancel()
    await run.wait()


async def by_awaiter(run: Run, runner: Runner, count: int) -> None:
    async def waits() -> Run:
        return await run

    waiting = asyncio.create_task(waits())
    await steps(count + 1)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


async def by_leaving(run: Run, runner: Runner, count: int) -> None:
    async with run:
        await steps(count)


async def by_many_cancels(run: Run, runner: Runner, count: int) -> None:
    async def waits() -> Run:
        return await run

    waiting = asyncio.create_task(waits())
    await steps(count + 1)
    for _ in range(30):
        waiting.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await waiting


STOPPERS: list[Stopper] = [by_cancel, by_awaiter, by_leaving, by_many_cancels]


@pytest.mark.parametrize("at", TIMES)
@pytest.mark.parametrize("places", [0, 1, 3])
def test_a_cancel_at_any_step_leaves_one_outcome_for_each_agent(zoo: Zoo, at: float, places: int) -> None:
    async def main(stopper: Stopper, count: int) -> Run:
        runner = Runner(middleware=[], settings=Settings(max_concurrent_agents=places))
        run = runner.start(zoo.ensemble(), "x")
        if at:
            await asyncio.sleep(at)
        await stopper(run, runner, count)
        begun, ended = zoo.begun, zoo.ended
        await asyncio.sleep(100)
        assert (zoo.begun, zoo.ended) == (begun, ended)  # nothing runs on
        return run

    stopped = 0
    for stopper in STOPPERS:
        for count in range(0, 24, 1 if stopper is by_cancel else 3):
            zoo.begun = zoo.ended = 0
            run = virtually(main(stopper, count))
            hold(zoo, run, {"ok", "cancelled", "skipped"})
            assert run.status in ("cancelled", "completed")
            stopped += run.status == "cancelled"
    assert stopped


@pytest.mark.parametrize("at", TIMES)
def test_a_run_timeout_at_any_time_says_so_everywhere(zoo: Zoo, at: float) -> None:
    async def main(seconds: float) -> Run:
        run = await Runner(middleware=[]).run(zoo.ensemble(), "x", timeout=seconds)
        begun = zoo.begun
        await asyncio.sleep(100)
        assert zoo.begun == begun
        return run

    for more in (-1e-3, 0, 1e-3):
        if at + more > 0:
            zoo.begun = zoo.ended = 0
            run = virtually(main(at + more))
            hold(zoo, run, {"ok", "timed_out", "skipped"})
            assert run.status == "timed_out"
            for outcome in within(run.outcomes.values()):
                if outcome.status == "timed_out":
                    assert isinstance(outcome.error, DeadlineExceeded)
                    assert "the clock of the run" in outcome.reason


@pytest.mark.parametrize("at", [0.5, 1, 2.5, 4])
def test_a_phase_timeout_at_any_time_lets_the_next_phase_begin(zoo: Zoo, at: float) -> None:
    run = virtually(Runner(middleware=[], settings=Settings(phase_timeout=at)).run(zoo.ensemble(), "x"))
    hold(zoo, run, {"ok", "timed_out", "skipped", "failed"})


@pytest.mark.parametrize("at", TIMES[1:])
@pytest.mark.parametrize("agent", ["nested", "rounds", "chosen"])
def test_an_agent_s_own_timeout_ends_it_alone(zoo: Zoo, agent: str, at: float) -> None:
    ensemble = zoo.ensemble()
    agents = [a if a.name != agent else _timed(a, at) for a in ensemble.agents]
    run = virtually(Runner(middleware=[]).run(Ensemble("e", agents), "x"))
    hold(zoo, run, {"ok", "timed_out", "skipped"})
    assert run[agent].ended - run[agent].started <= at + 1e-6
    others = {name: outcome.status for name, outcome in run.outcomes.items() if name not in (agent, "last")}
    assert set(others.values()) == {"ok"}
    if run[agent].status == "timed_out":
        assert isinstance(run[agent].error, DeadlineExceeded)
        assert run[agent].error.agent == agent


def _timed(agent: Agent, seconds: float) -> Agent:
    kept = {"ensemble": agent.ensemble, "loop": agent.loop, "dispatch": agent.dispatch}
    return Agent(agent.name, depends_on=agent.depends_on, timeout=seconds, **kept)  # type: ignore[arg-type]


def test_leaving_the_runner_ends_all_that_is_nested(zoo: Zoo) -> None:
    async def main() -> Run:
        async with Runner(middleware=[]) as runner:
            run = runner.start(zoo.ensemble(), "x")
            await asyncio.sleep(2.5)
        return run

    hold(zoo, virtually(main()), {"ok", "cancelled", "skipped"})


# What is stopped, and why


def test_the_reason_of_a_cancel_is_that_of_all_within() -> None:
    async def main() -> Run:
        line = child(Agent("a", function=hang), Agent("b", function=echo, depends_on=["a"]))
        run = Runner(middleware=[]).start(an_ensemble(Agent("c", ensemble=child(Agent("d", ensemble=line)))), "x")
        await asyncio.sleep(1)
        run.cancel()
        return await run

    run = virtually(main())
    assert trees(run) == {"c": ("cancelled", {"d": ("cancelled", {"a": "cancelled", "b": "skipped"})})}
    a, b = run["c"].children[0].children
    assert a.reason == "the run was cancelled"
    assert b.reason == "it never got a place: the run was cancelled"


def test_what_waits_for_a_place_within_is_skipped() -> None:
    async def main() -> Run:
        pair = child(Agent("a", function=hang), Agent("b", function=hang))
        runner = Runner(middleware=[], settings=Settings(max_concurrent_agents=1))
        run = runner.start(an_ensemble(Agent("c", ensemble=pair), Agent("d", ensemble=pair)), "x")
        await asyncio.sleep(5)
        run.cancel()
        return await run

    run = virtually(main())
    expected = {"c": ("cancelled", {"a": "cancelled", "b": "skipped"})}
    assert trees(run) == {**expected, "d": ("cancelled", {"a": "skipped", "b": "skipped"})}
    assert run["c"].children[1].waits[0].cause == "queue"
    assert run["c"].children[1].timings.queue == pytest.approx(5)


def test_finished_work_within_is_kept() -> None:
    pair = child(Agent("a", function=says("one", 1)), Agent("b", function=hang))
    run = a_run(Agent("c", ensemble=pair), timeout=5)
    assert trees(run) == {"c": ("timed_out", {"a": "ok", "b": "timed_out"})}
    assert run["c"].children[0].value == "one"
    assert run["c"].inner is not None
    assert (run["c"].inner.kind, run["c"].inner.terminals) == ("ensemble", ("a", "b"))


def test_partial_text_within_is_kept() -> None:
    async def streams(call: Call) -> Reply:
        assert call.emit is not None
        await call.emit(Delta(text="half a "))
        await asyncio.sleep(100)
        return Reply("half a text")

    run = a_run(Agent("c", ensemble=child(Agent("a", model="t/m"))), timeout=5, stream=True, providers={"t": streams})
    assert (run["c"].status, run["c"].text, run["c"].children[0].text) == ("timed_out", "half a ", "half a ")


def test_a_fan_out_that_is_cut_off_says_what_it_was() -> None:
    run = a_run(Agent("f", fan_out="${input}", function=hang), input=[1, 2], timeout=5)
    assert trees(run) == {"f": ("timed_out", {"f[0]": "timed_out", "f[1]": "timed_out"})}
    assert run["f"].inner is not None
    assert run["f"].inner.kind == "fan_out"
    assert run["f"].value is None


def test_a_loop_that_is_cut_off_says_what_it_was() -> None:
    run = a_run(Agent("l", loop=Loop(child(Agent("a", function=says("one", 2)), name="body"), 9)), timeout=5)
    assert run["l"].inner is not None
    assert (run["l"].inner.kind, run["l"].inner.ensemble, run["l"].inner.terminated) == ("loop", "body", "")
    assert [made.status for made in run["l"].children] == ["ok", "ok", "timed_out"]


def test_the_timeout_of_an_agent_that_runs_others_counts_from_its_start_not_from_its_first_call() -> None:
    at_work = AtWork()
    pair = child(at_work("a", 4))
    run = a_run(at_work("first", 3), Agent("c", ensemble=pair, timeout=5), max_concurrent_agents=1)
    assert trees(run) == {"first": "ok", "c": ("timed_out", {"a": "timed_out"})}
    assert run["c"].timings.total == pytest.approx(5)
    assert run["c"].children[0].timings.queue == pytest.approx(3)


def test_the_timeout_around_wins_over_a_longer_one_within() -> None:
    inner = child(Agent("d", ensemble=child(Agent("a", function=hang, timeout=50)), timeout=20))
    run = a_run(Agent("c", ensemble=inner, timeout=5))
    assert trees(run) == {"c": ("timed_out", {"d": ("timed_out", {"a": "timed_out"})})}
    assert run["c"].timings.total == pytest.approx(5)
    assert run["c"].children[0].children[0].reason == "the agent's clock of 5 s ran out"


def test_the_timeout_within_is_the_failure_of_what_is_within_alone() -> None:
    inner = child(Agent("d", ensemble=child(Agent("a", function=hang)), timeout=3), Agent("e", function=says("x", 9)))
    run = a_run(Agent("c", ensemble=inner, timeout=20))
    assert trees(run) == {"c": ("ok", {"d": ("timed_out", {"a": "timed_out"}), "e": "ok"})}


# The stubborn


@pytest.mark.parametrize("grace", [0, 0.5, 2])
def test_what_ignores_its_cancel_within_is_abandoned_and_every_agent_has_an_outcome(grace: float) -> None:
    line = child(Agent("a", function=stubborn), Agent("b", function=echo, depends_on=["a"]), Agent("c", function=hang))
    deep = child(Agent("d", ensemble=line), Agent("e", fan_out="${input}", function=stubborn), name="deep")
    run = a_run(Agent("top", ensemble=deep), input=[1, 2], timeout=3, cancel_grace=grace)
    below = ("timed_out", {"a": "timed_out", "b": "skipped", "c": "timed_out"})
    spread = ("timed_out", {"e[0]": "timed_out", "e[1]": "timed_out"})
    assert trees(run) == {"top": ("timed_out", {"d": below, "e": spread})}
    abandoned = [outcome for outcome in leaves(run) if "abandoned" in outcome.reason]
    assert {outcome.agent for outcome in abandoned} >= {"a", "e[0]", "e[1]"}
    assert run["top"].timings.total <= 3 + grace + 1e-6


def test_a_loop_that_is_held_up_longer_than_the_grace_loses_no_outcome() -> None:
    async def blocks(inputs: Inputs) -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            time.sleep(0.03)  # noqa: ASYNC251 - the point
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.02)
            raise
        return "x"

    line = child(Agent("a", function=blocks), Agent("b", function=echo, depends_on=["a"]))
    deep = child(Agent("c", ensemble=line), Agent("d", loop=Loop(line, 3)))

    async def main() -> Run:
        runner = Runner(middleware=[], settings=Settings(cancel_grace=0.01))
        run = runner.start(an_ensemble(Agent("top", ensemble=deep), Agent("more", ensemble=deep)), "x")
        await asyncio.sleep(0.01)
        run.cancel()
        await run
        await asyncio.sleep(0.05)
        return run

    with asyncio.Runner() as loop:
        run = loop.run(watched(main()))
    check(run)
    below = ("cancelled", {"a": "cancelled", "b": "skipped"})
    assert tree(run["top"]) == ("cancelled", {"c": below, "d": ("cancelled", {"d[1]": below})})


def test_a_place_is_given_back_by_what_is_abandoned() -> None:
    clings = Agent("c", ensemble=child(Agent("a", function=stubborn)), timeout=2)
    later = child(Agent("d", ensemble=child(Agent("e", function=says("late", 1)))))
    run = a_run(clings, Agent("b", ensemble=later), max_concurrent_agents=1)
    assert trees(run) == {"c": ("timed_out", {"a": "timed_out"}), "b": ("ok", {"d": ("ok", {"e": "ok"})})}
    assert run["b"].timings.queue == pytest.approx(2.9)


def test_a_stubborn_one_says_nothing_after_the_end() -> None:
    async def clings(call: Call) -> Reply:
        for _ in range(10):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
            if call.emit is not None:
                await call.emit(Delta(text="."))
        return Reply("." * 10)

    async def main() -> list[Any]:
        runner = Runner(middleware=[], providers={"t": clings}, settings=Settings(cancel_grace=0.5))
        run = runner.start(an_ensemble(Agent("c", ensemble=child(Agent("a", model="t/m")), timeout=2)), "x")
        events = [event async for event in run.events()]
        await asyncio.sleep(100)
        return [event.type for event in events]

    assert virtually(main())[-4:] == ["agent_delta", "agent_finished", "phase_finished", "run_finished"]


# Cancels that are nobody's


def test_a_task_within_that_is_cancelled_by_a_stranger_fails_its_agent_alone() -> None:
    async def cancels(inputs: Inputs) -> str:
        for task in asyncio.all_tasks():
            if task.get_name().endswith("/a"):
                task.cancel()
        return "done"

    pair = child(Agent("a", function=hang), Agent("b", function=cancels))
    run = a_run(Agent("c", ensemble=pair))
    assert trees(run) == {"c": ("ok", {"a": "cancelled", "b": "ok"})}


def test_the_task_of_an_agent_that_runs_others_may_be_cancelled_by_a_stranger() -> None:
    async def cancels(inputs: Inputs) -> str:
        await asyncio.sleep(1)
        for task in asyncio.all_tasks():
            if task.get_name().rpartition("/")[2] in ("c", "l", "f"):
                task.cancel()
        return "done"

    line = child(Agent("a", function=hang), Agent("b", function=echo, depends_on=["a"]))
    run = a_run(
        Agent("c", ensemble=line),
        Agent("l", loop=Loop(line, 2)),
        Agent("f", fan_out="${input}", ensemble=line),
        Agent("stranger", function=cancels),
        input=[1],
    )
    below = ("cancelled", {"a": "cancelled", "b": "skipped"})
    assert trees(run) == {
        "c": below,
        "l": ("cancelled", {"l[1]": below}),
        "f": ("cancelled", {"f[0]": below}),
        "stranger": "ok",
    }
    assert run["c"].reason == "its task was cancelled"


def test_an_agent_within_that_raises_a_cancel_though_nobody_cancelled_it_has_failed() -> None:
    run = a_run(Agent("c", ensemble=child(Agent("a", function=fails(asyncio.CancelledError())))))
    assert trees(run) == {"c": ("failed", {"a": "failed"})}


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_is_no_exception_fails_its_agent_alone(error: BaseException) -> None:
    run = a_run(Agent("c", ensemble=child(Agent("a", function=fails(error)))), Agent("d", function=says("x", 1)))
    assert trees(run) == {"c": ("failed", {"a": "failed"}), "d": "ok"}


def test_a_loop_that_shuts_down_gives_every_agent_within_an_outcome(zoo: Zoo) -> None:
    runs: list[Run] = []

    async def main() -> None:
        runs.append(Runner(middleware=[]).start(zoo.ensemble(), "x"))
        await asyncio.sleep(2.5)

    virtual_time(main())
    (run,) = runs
    assert run.status == "cancelled"
    check(run)


# Failures of what is around the agents


def test_a_layer_that_does_not_open_is_the_run_s_failure_and_no_agent_is_lost() -> None:
    class Broken:
        name = "broken"

        async def __aenter__(self) -> None:
            raise OSError("no file")

        async def __aexit__(self, *error: object) -> None: ...

        async def __call__(self, call: Call, call_next: Next) -> Reply:
            return await call_next(call)

    inner = child(Agent("a", function=echo), middleware=[Broken()])

    async def main() -> Run:
        run = Runner(middleware=[]).start(an_ensemble(Agent("c", ensemble=inner)), "x")
        await run.wait()
        with pytest.raises(OSError, match="no file"):
            await run
        return run

    run = virtually(main())
    assert trees(run) == {"c": "skipped"}
    assert run.status == "failed"


def test_a_machinery_within_that_fails_is_the_failure_of_its_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Drive._phase

    async def breaks(self: Drive, number: int, *rest: Any) -> None:
        if self.ensemble.name == "body" and number == 1:
            raise RuntimeError("broken machinery")
        await original(self, number, *rest)

    monkeypatch.setattr(Drive, "_phase", breaks)
    body = child(Agent("a", function=echo), Agent("b", function=echo, depends_on=["a"]), name="body")
    run = a_run(Agent("c", ensemble=body), Agent("l", loop=Loop(body, 2)), Agent("d", function=echo))
    assert trees(run) == {
        "c": ("failed", {"a": "ok", "b": "skipped"}),
        "l": ("failed", {"l[1]": ("failed", {"a": "ok", "b": "skipped"})}),
        "d": "ok",
    }
    assert run["c"].reason == "broken machinery"


def test_an_error_of_a_layer_within_is_redacted_at_every_level() -> None:
    async def leaks(call: Call, call_next: Next) -> Reply:
        raise CallError("it said sk-abcdefghijklmnopqrstuvwx", call=call)

    leaks.kinds = ("function",)  # type: ignore[attr-defined]
    run = a_run(Agent("c", ensemble=child(Agent("a", function=echo, middleware=[leaks]))))
    assert "sk-abc" not in str(run.to_dict())
    assert run["c"].status == "failed"


def test_the_key_of_a_child_is_known_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def echoes(call: Call) -> Reply:
        key = call.endpoint.api_key
        return Reply(f"key: {key.reveal() if key else None}")

    async def shouts(inputs: Inputs) -> str:
        raise ValueError("the secret is thesecretofachild")

    keyed = child(Agent("a", model="t/m", api_key="thesecretofachild"), name="keyed", prices={})
    run = a_run(
        Agent("c", ensemble=keyed),
        Agent("d", ensemble=child(Agent("e", function=shouts))),
        providers={"t": echoes},
    )
    assert "thesecretofachild" not in str(run.to_dict())


def test_ten_thousand_leaves_below_three_levels_are_cancelled_at_once() -> None:
    at_work = AtWork()
    leaf = child(*(at_work(f"a{n}", 5) for n in range(20)), name="leaf")
    middle = child(*(Agent(f"m{n}", ensemble=leaf) for n in range(20)), name="middle")

    async def main() -> Run:
        runner = Runner(middleware=[], settings=Settings(max_concurrent_agents=0))
        run = runner.start(an_ensemble(*(Agent(f"t{n}", ensemble=middle) for n in range(5))), "x")
        await asyncio.sleep(1)
        run.cancel()
        return await run

    run = virtually(main())
    assert {outcome.status for outcome in within(run.outcomes.values())} == {"cancelled"}
    assert len(within(run.outcomes.values())) == 5 + 5 * 20 + 5 * 20 * 20
    assert at_work.now == 0


def test_tokens_of_what_was_cut_off_are_estimated_and_added_up() -> None:
    async def slow(call: Call) -> Reply:
        await asyncio.sleep(1 if call.agent == "a" else 100)
        return Reply("x", usage=Usage(10, 5))

    pair = child(Agent("a", model="t/m"), Agent("b", model="t/m"))
    run = a_run(Agent("c", ensemble=pair), timeout=5, providers={"t": slow})
    assert run["c"].usage.estimated
    assert run["c"].usage.total_tokens > 15


def test_what_an_agent_gives_in_the_step_of_its_cancel_is_kept() -> None:
    async def main(at: int) -> Run:
        line = child(Agent("a", function=gives("one")), Agent("b", function=hang, depends_on=["a"]))
        run = Runner(middleware=[]).start(an_ensemble(Agent("c", ensemble=line)), "x")
        await steps(at)
        run.cancel()
        return await run

    seen: set[str] = set()
    for at in range(20):
        run = virtually(main(at))
        check(run)
        seen.add(str(tree(run["c"])))
    assert str(("cancelled", {"a": "ok", "b": "cancelled"})) in seen


def test_the_loop_s_time_is_that_of_the_run_however_deep() -> None:
    level = child(Agent("a", function=says("x", 1)))
    for number in range(5):
        level = child(Agent("a", ensemble=level), Agent("b", function=says("x", 1)), name=f"level {number}")
    run = virtually(_at_the_end_of(level))
    assert run[0]["a"].timings.total == pytest.approx(1)
    assert run[1] == pytest.approx(1)


async def _at_the_end_of(ensemble: Ensemble) -> tuple[Run, float]:
    run = await Runner(middleware=[]).run(ensemble, "x")
    return run, clock()
