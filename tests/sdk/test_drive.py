"""The inside of a run: schedules, places, clocks, guards, the rollback switch; exactly one outcome per agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from stretto import Agent, Call, Ensemble, Inputs, Next, Outcome, Reply, Run, Runner, Settings
from stretto.drive import CLOSING
from stretto.errors import ConfigError, DeadlineExceeded, InvalidOutput
from stretto.usage import Usage
from watched import an_ensemble, clock, fails, hang, says, statuses, stubborn, virtually

Schedule = Literal["phases", "ready"]
SCHEDULES: tuple[Schedule, ...] = ("phases", "ready")
both_schedules = pytest.mark.parametrize("schedule", SCHEDULES)


def a_run(*agents: Agent, input: Any = "x", timeout: float | None = None, **options: Any) -> Run:
    """Run agents without layers in virtual time; `options` are settings, `schedule` and `on_failure`."""
    of_ensemble = {key: options.pop(key) for key in ("schedule", "on_failure") if key in options}

    async def main() -> Run:
        runner = Runner(middleware=[], settings=Settings(**options))
        run = await runner.run(an_ensemble(*agents, **of_ensemble), input, timeout=timeout)
        assert sorted(run.outcomes) == sorted(agent.name for agent in agents)
        await asyncio.sleep(7200)  # what was abandoned ends
        return run

    return virtually(main())


class Spans:
    """When agents begin and end: `spans("a", 3)` is work of 3 seconds."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.at_work = 0
        self.most = 0

    def __call__(self, name: str, seconds: float, **fields: Any) -> Agent:
        async def work(inputs: Inputs) -> str:
            self.began[name] = clock()
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            await asyncio.sleep(seconds)
            self.at_work -= 1
            self.ended[name] = clock()
            return name

        return Agent(name, function=work, **fields)


def near(times: Mapping[str, float]) -> Any:
    return pytest.approx(times)


# Schedules


def test_a_phase_starts_when_the_one_before_has_ended() -> None:
    spans = Spans()
    a_run(spans("quick", 1), spans("slow", 5), spans("after", 1, depends_on=["quick"]))
    assert spans.began == near({"quick": 0, "slow": 0, "after": 5})


def test_with_ready_an_agent_starts_when_its_own_dependencies_have_ended() -> None:
    spans = Spans()
    run = a_run(
        spans("quick", 1),
        spans("slow", 5),
        spans("after", 1, depends_on=["quick"]),
        spans("last", 1, depends_on=["after", "slow"]),
        schedule="ready",
    )
    assert spans.began == near({"quick": 0, "slow": 0, "after": 1, "last": 5})
    assert run.phases == [["quick", "slow"], ["after"], ["last"]]
    assert [run[name].phase for name in ("quick", "after", "last")] == [0, 1, 2]


@both_schedules
def test_agents_get_the_outcomes_of_their_dependencies(schedule: Schedule) -> None:
    async def shows(inputs: Inputs) -> Any:
        return {name: outcome.status for name, outcome in inputs.results.items()}

    run = a_run(
        Agent("good", function=says("fine")),
        Agent("bad", function=fails(ValueError("no"))),
        Agent("other", function=says("x")),
        Agent("after", function=shows, depends_on=["good", "bad"]),
        schedule=schedule,
    )
    assert run["after"].output == {"good": "ok", "bad": "failed"}


def test_ten_thousand_agents_on_a_provider_without_latency_each_have_one_outcome() -> None:
    async def at_once(call: Call) -> Reply:
        return Reply(call.agent, usage=Usage(1, 1), cost=0.0)

    async def main() -> None:
        agents = [Agent(f"a{n}", model="p/p") for n in range(10_000)]
        run = await Runner(middleware=[], providers={"p": at_once}).run(an_ensemble(*agents), "x")
        assert len(run.succeeded) == 10_000
        assert all(outcome.text == name for name, outcome in run.outcomes.items())

    virtually(main())


class CountsLooks(dict[str, Outcome]):
    """Outcomes that count how often somebody goes through all of them."""

    looks = 0

    def __iter__(self) -> Iterator[str]:
        self.looks += 1
        return super().__iter__()


def test_ready_does_not_go_through_all_outcomes_at_every_end() -> None:
    async def main() -> None:
        agents = [Agent(f"a{n}", function=says("x", n)) for n in range(200)]
        run = Runner(middleware=[], settings=Settings(max_concurrent_agents=0)).start(
            an_ensemble(*agents, schedule="ready"), "x"
        )
        outcomes = run._drive.outcomes = CountsLooks()
        await run
        assert outcomes.looks < 10

    virtually(main())


def a_chain(length: int, first: Agent) -> list[Agent]:
    links = [Agent(f"a{n}", function=says("x"), depends_on=[f"a{n - 1}"]) for n in range(1, length)]
    return [first, *links]


@both_schedules
def test_a_chain_of_two_thousand_agents_is_run(schedule: Schedule) -> None:
    run = a_run(*a_chain(2000, Agent("a0", function=says("x"))), schedule=schedule)
    assert run.status == "completed"


@both_schedules
def test_a_chain_of_two_thousand_agents_is_skipped_from_the_second_on(schedule: Schedule) -> None:
    run = a_run(*a_chain(2000, Agent("a0", function=fails(ValueError("no")))), schedule=schedule)
    assert run.status == "failed"
    assert len(run.skipped) == 1999
    assert run["a1999"].reason == "no dependency succeeded: a1998 (skipped)"


@both_schedules
def test_a_chain_whose_first_agent_a_guard_skips_is_excused_to_its_end(schedule: Schedule) -> None:
    run = a_run(*a_chain(2000, Agent("a0", function=says("x"), when="${input} == y")), schedule=schedule)
    assert len(run.skipped) == 2000
    assert run.status == "completed"


@both_schedules
def test_a_cancelled_run_skips_all_that_had_not_begun(schedule: Schedule) -> None:
    async def main() -> None:
        ensemble = an_ensemble(Agent("a", function=hang), *a_chain(500, Agent("a0", function=hang)), schedule=schedule)
        run = Runner(middleware=[]).start(ensemble, "x")
        await asyncio.sleep(1)
        run.cancel()
        await run
        assert [outcome.agent for outcome in run.failed if outcome.status == "cancelled"] == ["a", "a0"]
        assert len(run.skipped) == 499

    virtually(main())


# Places


def test_no_more_agents_are_at_work_than_there_are_places() -> None:
    spans = Spans()
    a_run(*(spans(f"a{n}", 1) for n in range(25)), max_concurrent_agents=10)
    assert spans.most == 10
    assert max(spans.ended.values()) == pytest.approx(3)


def test_a_hundred_places_are_the_default_and_zero_means_no_limit() -> None:
    few, many = Spans(), Spans()
    a_run(*(few(f"a{n}", 1) for n in range(150)))
    a_run(*(many(f"a{n}", 1) for n in range(150)), max_concurrent_agents=0)
    assert (few.most, many.most) == (100, 150)


def test_waiting_for_a_place_costs_nothing_of_the_timeout() -> None:
    spans = Spans()
    agents = [spans(f"a{n}", 4, timeout=5) for n in range(3)]
    run = a_run(*agents, max_concurrent_agents=1)
    assert run.status == "completed"
    assert spans.ended == near({"a0": 4, "a1": 8, "a2": 12})
    assert run["a2"].timings.queue == pytest.approx(8)
    assert [(wait.cause, wait.seconds) for wait in run["a2"].waits] == [("queue", pytest.approx(8))]


def test_places_are_given_in_file_order() -> None:
    spans = Spans()
    a_run(*(spans(name, 1) for name in "dcba"), max_concurrent_agents=1)
    assert list(spans.began) == list("dcba")


def test_who_waits_for_a_place_when_the_run_ends_is_skipped() -> None:
    run = a_run(Agent("a", function=hang), Agent("b", function=says("x")), timeout=2, max_concurrent_agents=1)
    assert statuses(run) == {"a": "timed_out", "b": "skipped"}
    assert run["b"].reason == "it never got a place: the clock of the run (2 s) ran out"
    assert run["b"].timings.queue == pytest.approx(2)


def test_a_failing_agent_gives_its_place_back() -> None:
    agents = [Agent(f"a{n}", function=fails(ValueError("no"), 1)) for n in range(5)]
    run = a_run(*agents, max_concurrent_agents=1)
    assert set(statuses(run).values()) == {"failed"}


# Clocks


def test_a_phase_timeout_ends_the_phase_and_the_next_one_has_its_own() -> None:
    run = a_run(
        Agent("a", function=hang),
        Agent("b", function=says("x", 1)),
        Agent("c", function=says("x", 2.5), depends_on=["b"]),
        Agent("d", function=hang, depends_on=["b"]),
        phase_timeout=3,
    )
    assert statuses(run) == {"a": "timed_out", "b": "ok", "c": "ok", "d": "timed_out"}
    assert run.status == "completed_with_errors"
    error = run["d"].error
    assert isinstance(error, DeadlineExceeded)
    assert (error.clock, error.seconds, error.agent) == ("phase", 3, "d")
    assert run["d"].reason == "the clock of phase 1 (3 s) ran out"
    assert run["d"].ended - run["a"].started == pytest.approx(6)


def test_who_had_no_place_when_its_phase_ended_is_skipped() -> None:
    run = a_run(Agent("a", function=hang), Agent("b", function=says("x")), phase_timeout=3, max_concurrent_agents=1)
    assert statuses(run) == {"a": "timed_out", "b": "skipped"}
    assert "phase 0" in run["b"].reason


def test_a_phase_timeout_counts_with_the_rollback_switch_too() -> None:
    run = a_run(
        Agent("a", function=says("x", 2)),
        Agent("b", function=hang),
        Agent("c", function=says("x")),
        Agent("d", function=says("x", 2), depends_on=["a"]),
        phase_timeout=3,
        enable_parallel_execution=False,
    )
    assert statuses(run) == {"a": "ok", "b": "timed_out", "c": "skipped", "d": "ok"}


def test_the_runs_clock_is_absolute_over_all_phases() -> None:
    run = a_run(*a_chain(5, Agent("a0", function=says("x", 2))), timeout=1)
    assert set(statuses(run).values()) == {"timed_out", "skipped"}


@pytest.mark.parametrize(
    ("clocks", "name", "after"),
    [
        ({"default_timeout": 1, "phase_timeout": 2, "run_timeout": 3}, "agent", 1),
        ({"default_timeout": 2, "phase_timeout": 1, "run_timeout": 3}, "phase", 1),
        ({"default_timeout": 3, "phase_timeout": 2, "run_timeout": 1}, "run", 1),
    ],
)
def test_the_smallest_clock_wins(clocks: dict[str, float], name: str, after: float) -> None:
    run = a_run(Agent("a", function=hang), **clocks)
    error = run["a"].error
    assert isinstance(error, DeadlineExceeded)
    assert error.clock == name
    assert run["a"].ended - run["a"].started == pytest.approx(after)


def test_the_deadline_of_a_call_is_that_of_phase_and_run() -> None:
    left: list[tuple[float | None, float]] = []

    async def looks(call: Call) -> Reply:
        left.append((call.deadline, call.remaining()))
        return Reply("x", usage=Usage(), cost=0.0)

    async def main() -> None:
        settings = Settings(phase_timeout=30, run_timeout=100, default_timeout=20)
        ensemble = an_ensemble(Agent("a", model="p/p"), Agent("b", model="p/p", timeout=500, depends_on=["a"]))
        await Runner(middleware=[], providers={"p": looks}, settings=settings).run(ensemble, "x")

    virtually(main())
    assert left == [(30, 20), (30, 30)]


def test_the_clocks_start_after_the_providers_have_prepared() -> None:
    class Slow:
        async def prepare(self) -> None:
            await asyncio.sleep(50)

        async def __call__(self, call: Call) -> Reply:
            await asyncio.sleep(1)
            return Reply("x", usage=Usage(), cost=0.0)

    async def main() -> None:
        run = await Runner(providers={"p": Slow()}).run(Agent("a", model="p/p", timeout=2), "x", timeout=2)
        assert run.ok
        assert run.ended is not None
        assert run.ended - run.started == pytest.approx(1)

    virtually(main())


# Preparing


class Prepares:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def prepare(self) -> None:
        if self.error is not None:
            raise self.error

    async def __call__(self, call: Call) -> Reply:
        if self.error is not None:
            raise self.error
        return Reply("x", usage=Usage(), cost=0.0)


def test_a_provider_that_cannot_prepare_fails_its_agents_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        runner = Runner(middleware=[], providers={"p": Prepares(OSError("no model")), "q": Prepares()})
        run = await runner.run(an_ensemble(Agent("a", model="p/p"), Agent("b", model="q/q")), "x")
        assert statuses(run) == {"a": "failed", "b": "ok"}
        assert "OSError: no model" in run["a"].reason

    virtually(main())
    assert "preparing a provider failed: OSError: no model" in caplog.text


def test_a_config_error_while_preparing_is_raised_and_nothing_is_called() -> None:
    async def main() -> None:
        runner = Runner(middleware=[], providers={"p": Prepares(ConfigError("install it")), "q": Prepares()})
        run = runner.start(an_ensemble(Agent("a", model="p/p"), Agent("b", model="q/q")), "x")
        with pytest.raises(ConfigError, match="install it"):
            await run
        assert run.status == "failed"
        assert statuses(run) == {"a": "skipped", "b": "skipped"}
        assert run["b"].attempts == ()

    virtually(main())


# Dependencies and guards


@both_schedules
def test_an_agent_none_of_whose_dependencies_succeeded_is_skipped_and_says_why(schedule: Schedule) -> None:
    run = a_run(
        Agent("a", function=fails(ValueError("no"))),
        Agent("b", function=hang, timeout=1),
        Agent("c", function=says("x"), depends_on=["a", "b"]),
        schedule=schedule,
    )
    assert run["c"].status == "skipped"
    assert run["c"].reason == "no dependency succeeded: a (failed), b (timed_out)"
    assert run["c"].attempts == ()


def test_an_agent_one_of_whose_dependencies_succeeded_is_run() -> None:
    run = a_run(
        Agent("a", function=fails(ValueError("no"))),
        Agent("b", function=says("x")),
        Agent("c", function=says("x"), depends_on=["a", "b"]),
    )
    assert run["c"].ok


def test_on_dependency_failure_run_runs_it_all_the_same() -> None:
    run = a_run(
        Agent("a", function=fails(ValueError("no"))),
        Agent("b", function=says("x"), depends_on=["a"], on_dependency_failure="run"),
    )
    assert statuses(run) == {"a": "failed", "b": "ok"}


async def verdict(inputs: Inputs) -> Any:
    return {"verdict": inputs.text, "score": 3}


@pytest.mark.parametrize(
    ("when", "status"),
    [
        ("${a.verdict} == good", "ok"),
        ("${a.verdict} == bad", "skipped"),
        ("${a.verdict} != bad", "ok"),
        ("${a.score} == 3", "ok"),
        ("${a.score}", "ok"),
        ("${input} == good", "ok"),
        ("${input} != good", "skipped"),
    ],
)
def test_a_guard_decides(when: str, status: str) -> None:
    run = a_run(Agent("a", function=verdict), Agent("b", function=says("x"), when=when, depends_on=["a"]), input="good")
    assert run["b"].status == status
    assert run.status == "completed"
    if status == "skipped":
        assert run["b"].reason == f"when {when} does not hold"


def test_a_guard_makes_its_agent_a_dependency_also_without_depends_on() -> None:
    run = a_run(Agent("b", function=says("x"), when="${a.score} == 3"), Agent("a", function=verdict))
    assert run.phases == [["a"], ["b"]]
    assert statuses(run) == {"b": "ok", "a": "ok"}


def test_a_guard_on_an_agent_without_result_skips() -> None:
    run = a_run(Agent("a", function=fails(ValueError("no"))), Agent("b", function=says("x"), when="${a.score} == 3"))
    assert run["b"].reason == "when ${a.score} == 3: a has no result"
    assert run.status == "failed"  # no guard said no: it is not excused


def test_a_guard_on_an_excused_agent_is_excused() -> None:
    run = a_run(
        Agent("a", function=says("x"), when="${input} == y"),
        Agent("b", function=says("x"), when="${a} == x"),
        Agent("c", function=says("x")),
    )
    assert statuses(run) == {"a": "skipped", "b": "skipped", "c": "ok"}
    assert run.status == "completed"


def test_a_guard_on_a_field_that_is_not_there_fails_its_agent() -> None:
    run = a_run(Agent("a", function=verdict), Agent("b", function=says("x"), when="${a.mood} == good"))
    error = run["b"].error
    assert isinstance(error, InvalidOutput)
    assert error.agent == "b"
    assert "'mood'" in run["b"].reason
    assert run.status == "completed_with_errors"


def test_a_dependant_of_an_excused_and_a_failed_agent_is_not_excused() -> None:
    run = a_run(
        Agent("a", function=says("x"), when="${input} == y"),
        Agent("b", function=fails(ValueError("no"))),
        Agent("c", function=says("x"), depends_on=["a", "b"]),
    )
    assert [outcome.agent for outcome in run.failed] == ["b", "c"]


# fail_fast


@both_schedules
def test_fail_fast_cancels_who_is_at_work_and_skips_the_others(schedule: Schedule) -> None:
    run = a_run(
        Agent("ok", function=says("x")),
        Agent("bad", function=fails(ValueError("no"), 1)),
        Agent("working", function=hang),
        Agent("waiting", function=says("x"), depends_on=["working"]),
        schedule=schedule,
        on_failure="fail_fast",
    )
    assert statuses(run) == {"ok": "ok", "bad": "failed", "working": "cancelled", "waiting": "skipped"}
    assert run["working"].reason == "fail_fast: bad failed"
    assert run["waiting"].reason == "it never got a place: fail_fast: bad failed"
    assert run.status == "completed_with_errors"


def test_fail_fast_strikes_for_a_clock_too_and_with_nothing_ok_the_run_is_failed() -> None:
    run = a_run(Agent("slow", function=hang, timeout=1), Agent("b", function=hang), on_failure="fail_fast")
    assert run["b"].reason == "fail_fast: slow timed_out"
    assert run.status == "failed"


def test_fail_fast_reaches_agents_that_have_not_taken_their_first_step() -> None:
    run = a_run(Agent("bad", function=fails(ValueError("no"))), Agent("b", function=says("x")), on_failure="fail_fast")
    assert run["b"].status in ("cancelled", "skipped")


def test_fail_fast_by_a_guard_stops_agents_of_its_phase_that_were_not_started_yet() -> None:
    run = a_run(
        Agent("a", function=verdict),
        Agent("b", function=says("x"), when="${a.mood}"),
        Agent("c", function=says("x"), depends_on=["a"]),
        on_failure="fail_fast",
    )
    assert statuses(run) == {"a": "ok", "b": "failed", "c": "skipped"}


def test_fail_fast_strikes_not_for_what_a_guard_skips() -> None:
    run = a_run(
        Agent("a", function=says("x"), when="${input} == y"), Agent("b", function=says("x", 1)), on_failure="fail_fast"
    )
    assert run.status == "completed"


def test_without_fail_fast_the_others_go_on() -> None:
    run = a_run(Agent("bad", function=fails(ValueError("no"))), Agent("b", function=says("x", 5)))
    assert statuses(run) == {"bad": "failed", "b": "ok"}


def test_the_last_agents_failure_leaves_nothing_to_stop() -> None:
    run = a_run(Agent("a", function=says("x")), Agent("b", function=fails(ValueError("no"), 1)), on_failure="fail_fast")
    assert run.status == "completed_with_errors"


# The rollback switch


def test_the_rollback_switch_runs_one_at_a_time_in_file_order_within_phases() -> None:
    spans = Spans()
    a_run(
        spans("late", 1, depends_on=["c"]),
        spans("c", 3),
        spans("a", 2),
        spans("b", 1, depends_on=["a"]),
        enable_parallel_execution=False,
    )
    assert spans.most == 1
    assert spans.began == near({"c": 0, "a": 3, "late": 5, "b": 6})


def test_the_rollback_switch_wins_over_ready_and_over_places() -> None:
    spans = Spans()
    a_run(
        *(spans(f"a{n}", 1) for n in range(4)),
        schedule="ready",
        max_concurrent_agents=3,
        enable_parallel_execution=False,
    )
    assert spans.most == 1


def test_the_rollback_switch_goes_on_after_failures_and_abandoned_agents() -> None:
    run = a_run(
        Agent("a", function=fails(ValueError("no"))),
        Agent("b", function=stubborn, timeout=1),
        Agent("c", function=says("x")),
        enable_parallel_execution=False,
    )
    assert statuses(run) == {"a": "failed", "b": "timed_out", "c": "ok"}


def test_a_run_is_cancelled_with_the_rollback_switch_too() -> None:
    run = a_run(Agent("a", function=hang), Agent("b", function=says("x")), timeout=1, enable_parallel_execution=False)
    assert statuses(run) == {"a": "timed_out", "b": "skipped"}


# When the parallel machinery fails


def break_task(monkeypatch: pytest.MonkeyPatch, number: int, times: int = 1) -> None:
    """Let the loop refuse the task of an agent, the `number`th from 1, so many times."""
    made, create = [0], asyncio.BaseEventLoop.create_task

    def broken(self: Any, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
        if name is not None and name.startswith("stretto:e/"):
            made[0] += 1
            if number <= made[0] < number + times:
                raise RuntimeError("no more tasks")
        return create(self, coro, name=name, context=context)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_task", broken)


@both_schedules
def test_when_task_creation_breaks_the_others_run_one_by_one(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_task(monkeypatch, 2)
    spans = Spans()
    run = a_run(
        spans("a", 1),
        spans("b", 1),
        spans("c", 1),
        spans("d", 1, depends_on=["b"]),
        schedule=schedule,
        max_concurrent_agents=0,
    )
    assert statuses(run) == {"a": "failed", "b": "ok", "c": "ok", "d": "ok"}
    assert run["a"].reason == "the parallel machinery failed: no more tasks"
    assert spans.most == 1
    assert run.status == "completed_with_errors"
    assert "the rest is run one by one" in caplog.text


def test_a_started_agent_that_clings_to_life_is_over_before_the_rest_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: dict[str, float] = {}

    async def main() -> None:
        async def marks(inputs: Inputs) -> str:
            begun[inputs.agent] = clock()
            return "x"

        ensemble = an_ensemble(
            Agent("a", function=stubborn),
            Agent("b", function=says("x", 1)),
            Agent("c", function=marks, depends_on=["b"]),
            schedule="ready",
        )
        break_task(monkeypatch, 3)
        run = await Runner(middleware=[], settings=Settings(cancel_grace=2)).run(ensemble, "x")
        assert statuses(run) == {"a": "failed", "b": "ok", "c": "ok"}
        assert begun == near({"c": 3})
        await asyncio.sleep(3600)

    virtually(main())


def test_when_gather_breaks_all_run_one_by_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*futures: Any, return_exceptions: bool = False) -> Any:
        raise RuntimeError("no gather")

    monkeypatch.setattr("stretto.phase.asyncio.gather", broken)
    spans = Spans()

    async def main() -> None:
        run = await Runner(middleware=[]).run(
            an_ensemble(spans("a", 1), spans("b", 1), spans("c", 1, depends_on=["a"])), "x"
        )
        assert run.status == "completed"

    virtually(main())
    assert spans.began == near({"a": 0, "b": 1, "c": 2})


def test_when_tasks_can_no_more_be_made_at_all_the_run_fails_with_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    break_task(monkeypatch, 2, times=1000)

    async def main() -> None:
        run = Runner(middleware=[]).start(an_ensemble(*(Agent(f"a{n}", function=says("x")) for n in range(4))), "x")
        with pytest.raises(RuntimeError, match="no more tasks"):
            await run
        assert run.status == "failed"
        assert statuses(run) == {"a0": "failed", "a1": "skipped", "a2": "skipped", "a3": "skipped"}

    virtually(main())


def test_a_driver_that_is_cancelled_again_and_again_still_waits_for_every_outcome() -> None:
    async def main() -> None:
        runner = Runner(middleware=[], settings=Settings(cancel_grace=2))
        run = runner.start(an_ensemble(Agent("a", function=stubborn), Agent("b", function=says("x"))), "x")
        await asyncio.sleep(1)
        for _ in range(15):
            run._task.cancel()  # as a loop does that shuts down
            await asyncio.sleep(0.1)
        await run
        assert clock() == pytest.approx(3)
        assert run.status == "cancelled"
        assert statuses(run) == {"a": "cancelled", "b": "ok"}
        await asyncio.sleep(3600)

    virtually(main())


def test_layers_are_closed_under_cancels_too() -> None:
    class Closes:
        closed = False

        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *exc: object) -> None:
            await asyncio.sleep(0.8)
            self.closed = True

        async def __call__(self, call: Call, call_next: Next) -> Reply:
            return await call_next(call)

    async def main() -> None:
        layer = Closes()
        run = Runner(middleware=[layer]).start(Agent("a", function=says("x")), "x")
        await asyncio.sleep(0.1)
        for _ in range(5):
            run._task.cancel()
            await asyncio.sleep(0.1)
        await run
        assert layer.closed
        assert run.status == "completed"

    virtually(main())


def test_ctrl_c_inside_the_driver_itself_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*futures: Any, return_exceptions: bool = False) -> Any:
        raise KeyboardInterrupt

    runs: list[Run] = []

    async def main() -> None:
        monkeypatch.setattr("stretto.phase.asyncio.gather", interrupted)
        runs.append(Runner(middleware=[]).start(an_ensemble(Agent("a", function=hang)), "x"))
        try:
            await runs[0].wait()
        finally:
            monkeypatch.undo()  # the loop's own way out needs gather

    with pytest.raises(KeyboardInterrupt):
        virtually(main())
    assert runs[0].status == "cancelled"
    assert statuses(runs[0]) == {"a": "skipped"}


# Spans that cannot be ended


class Fails(SpanProcessor):
    """A processor of the user's that fails when a span ends whose name begins so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span.name)
        if span.name.startswith(self.name):
            raise OSError("exporter is gone")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield provider
    provider.shutdown()


@both_schedules
@pytest.mark.parametrize("name", ["invoke_agent", "phase", "invoke_workflow"])
def test_a_span_processor_that_fails_keeps_no_run_from_its_end(
    name: str, schedule: Schedule, traced: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    processor = Fails(name)
    traced.add_span_processor(processor)

    async def main() -> None:
        ensemble = an_ensemble(
            Agent("a", function=says("x")), Agent("b", function=says("y"), depends_on=["a"]), schedule=schedule
        )
        run = Runner(middleware=[]).start(ensemble, "x")
        assert (await run).status == "completed"
        types = [event.type async for event in run.events()]
        assert types.count("agent_finished") == types.count("phase_finished") == 2

    with caplog.at_level(logging.ERROR):
        virtually(main())
    assert {"invoke_agent a", "phase 0", "invoke_workflow e"} <= set(processor.ended)


class Keeps(SpanProcessor):
    def __init__(self) -> None:
        self.spans: dict[str, ReadableSpan] = {}

    def on_end(self, span: ReadableSpan) -> None:
        self.spans[span.name] = span


def test_the_span_of_an_agent_that_is_started_a_second_time_is_the_first_one(
    traced: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = Keeps()
    traced.add_span_processor(processor)
    break_task(monkeypatch, 2)

    async def main() -> None:
        agents = [Agent(name, function=says("x")) for name in "abc"]
        run = await Runner(middleware=[]).run(an_ensemble(*agents), "x")
        assert run["b"].ok

    virtually(main())
    assert set(processor.spans) == {"invoke_workflow e", "phase 0", *(f"invoke_agent {name}" for name in "abc")}
    begun = [processor.spans[f"invoke_agent {name}"].start_time or 0 for name in "abc"]
    assert begun == sorted(begun)


def test_spans_say_status_reason_and_waits(traced: TracerProvider) -> None:
    processor = Keeps()
    traced.add_span_processor(processor)

    async def main() -> None:
        runner = Runner(middleware=[], settings=Settings(max_concurrent_agents=1))
        ensemble = an_ensemble(Agent("a", function=says("x", 1)), Agent("b", function=hang))
        await runner.run(ensemble, "x", timeout=3)

    virtually(main())
    agent = dict(processor.spans["invoke_agent b"].attributes or {})
    assert agent["stretto.status"] == "timed_out"
    assert agent["stretto.reason"] == "the clock of the run (3 s) ran out"
    assert agent["error.type"] == "DeadlineExceeded"
    assert agent["stretto.wait.queue"] == pytest.approx(1)
    run = dict(processor.spans["invoke_workflow e"].attributes or {})
    assert (run["stretto.status"], run["error.type"]) == ("timed_out", "DeadlineExceeded")
    phase = processor.spans["phase 0"]
    assert phase.parent is not None
    assert phase.parent.span_id == processor.spans["invoke_workflow e"].get_span_context().span_id


def test_ensemble_and_plan_are_not_changed_by_a_run() -> None:
    ensemble = Ensemble("e", [Agent("a", function=says("x"))])
    before = ensemble.plan()

    async def main() -> None:
        runner = Runner(middleware=[])
        first, second = runner.start(ensemble, "x"), runner.start(ensemble, "y")
        await asyncio.gather(first, second)
        assert first.run_id != second.run_id

    virtually(main())
    assert ensemble.plan() == before


# What does not open or close


class Stubborn:
    """A layer that does not let itself be opened, or closed."""

    def __init__(self, *, opening: float = 0, closing: float = 0) -> None:
        self.opening, self.closing = opening, closing

    async def __aenter__(self) -> None:
        ends = asyncio.get_running_loop().time() + self.opening
        while asyncio.get_running_loop().time() < ends:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(ends - asyncio.get_running_loop().time())

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.sleep(self.closing)

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        return await call_next(call)


def test_a_layer_that_never_closes_does_not_hold_the_run() -> None:
    async def main() -> None:
        run = await Runner(middleware=[Stubborn(closing=1e6)]).run(Agent("a", function=says("x")), "x")
        assert (run.status, run.output) == ("completed", "x")
        assert asyncio.get_running_loop().time() == pytest.approx(CLOSING)

    virtually(main())


def test_a_cancelled_awaiter_waits_for_a_layer_that_never_closes_no_longer_than_the_grace() -> None:
    async def main() -> None:
        run = Runner(middleware=[Stubborn(closing=1e6)]).start(Agent("a", function=hang), "x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await run
        assert statuses(run) == {"a": "cancelled"}
        assert asyncio.get_running_loop().time() == pytest.approx(3)

    virtually(main())


def test_a_cancelled_awaiter_waits_for_a_layer_that_never_opens_no_longer_than_the_grace() -> None:
    async def main() -> None:
        run = Runner(middleware=[Stubborn(opening=100)]).start(Agent("a", function=hang), "x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await run
        assert statuses(run) == {"a": "skipped"}
        assert asyncio.get_running_loop().time() == pytest.approx(3)
        await asyncio.sleep(200)  # the layer is done with itself at last

    virtually(main())
