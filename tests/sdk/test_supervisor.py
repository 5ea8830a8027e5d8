"""The supervisor: one outcome per agent, whatever the agent does; it never raises and never hangs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from stretto import Agent, Attempt, Call, Delta, Ensemble, Inputs, Outcome, Reply, Runner, Settings
from stretto.attempt import Record
from stretto.deadline import AgentClock
from stretto.errors import CallError, CallTimeout, DeadlineExceeded, Overloaded, ProviderUnavailable
from stretto.loop import Loop
from stretto.middleware import Retry, Timeout
from stretto.supervisor import Stop, Supervisor
from stretto.usage import Usage
from watched import an_ensemble, clock, fails, hang, says, statuses, stubborn, virtually, watched


def outcome_of(agent: Agent, *middleware: Any, timeout: float | None = None, **options: Any) -> Outcome:
    """Run one agent in virtual time."""

    async def main() -> Outcome:
        run = await Runner(middleware=middleware, **options).run(an_ensemble(agent), "x", timeout=timeout)
        assert list(run.outcomes) == [agent.name]
        return run[agent.name]

    return virtually(main())


# The table of statuses


def test_an_agent_with_a_result_is_ok() -> None:
    outcome = outcome_of(Agent("a", function=says("one")))
    assert (outcome.status, outcome.ok, outcome.reason, outcome.output) == ("ok", True, "", "one")


def test_a_users_exception_is_the_agents_failure_and_stays_untouched() -> None:
    mine = ValueError("mine")
    mine.__cause__ = KeyError("why")
    mine.add_note("key sk-1234567890")
    outcome = outcome_of(Agent("a", function=fails(mine)))
    assert (outcome.status, outcome.reason) == ("failed", "mine")
    assert outcome.error is mine
    assert isinstance(mine.__cause__, KeyError)
    assert mine.__notes__ == ["key sk-1234567890"]


def test_an_error_without_a_text_is_named_by_its_class() -> None:
    assert outcome_of(Agent("a", function=fails(ValueError()))).reason == "ValueError"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), BaseException("odd"), StopAsyncIteration()])
def test_what_would_end_the_program_is_that_agents_failure(error: BaseException) -> None:
    async def main() -> None:
        run = await Runner(middleware=[]).run(
            an_ensemble(Agent("a", function=fails(error, 1)), Agent("b", function=says("b", 2))), "x"
        )
        assert statuses(run) == {"a": "failed", "b": "ok"}
        assert run["a"].error is error

    virtually(main())


def test_an_agent_that_raises_cancelled_error_though_nobody_cancelled_it_is_failed() -> None:
    outcome = outcome_of(Agent("a", function=fails(asyncio.CancelledError())))
    assert (outcome.status, outcome.reason) == ("failed", "it raised CancelledError, though nobody cancelled it")
    assert isinstance(outcome.error, asyncio.CancelledError)


def test_a_provider_whose_inner_task_was_cancelled_makes_its_agent_failed() -> None:
    async def inner(call: Call) -> Reply:
        task = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.get_running_loop().call_later(1, task.cancel)
        await task
        raise AssertionError

    outcome = outcome_of(Agent("a", model="p/p"), Retry(), providers={"p": inner})
    assert outcome.status == "failed"
    assert len(outcome.attempts) == 1


def test_an_agent_that_cancels_its_own_task_is_cancelled() -> None:
    async def cancels(inputs: Inputs) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)
        raise AssertionError

    outcome = outcome_of(Agent("a", function=cancels))
    assert (outcome.status, outcome.reason) == ("cancelled", "its task was cancelled")


def test_an_agents_own_timeout_is_its_own_error() -> None:
    async def bounded(inputs: Inputs) -> str:
        async with asyncio.timeout(1):
            await hang(inputs)
        raise AssertionError

    outcome = outcome_of(Agent("a", function=bounded))
    assert outcome.status == "failed"
    assert type(outcome.error) is TimeoutError


def test_the_agents_clock_makes_it_timed_out() -> None:
    async def main() -> None:
        run = await Runner(middleware=[]).run(an_ensemble(Agent("a", function=hang, timeout=3)), "x")
        assert clock() == pytest.approx(3)
        outcome = run["a"]
        assert (outcome.status, outcome.reason) == ("timed_out", "the agent's clock of 3 s ran out")
        assert isinstance(outcome.error, DeadlineExceeded)
        assert (outcome.error.clock, outcome.error.seconds, outcome.error.agent) == ("agent", 3, "a")

    virtually(main())


def test_an_agent_without_a_timeout_has_the_default_one() -> None:
    assert outcome_of(Agent("a", function=hang)).reason == "the agent's clock of 60 s ran out"


def test_without_any_clock_an_agent_may_take_days() -> None:
    agent = Agent("a", function=says("late", 7 * 86400))
    assert outcome_of(agent, settings=Settings(default_timeout=None)).ok


def test_the_clock_of_an_attempt_makes_its_agent_timed_out() -> None:
    outcome = outcome_of(Agent("a", model="simulated/hang"), Timeout(2))
    assert outcome.status == "timed_out"
    assert isinstance(outcome.error, CallTimeout)


def test_a_retryable_error_of_a_function_gets_its_agents_name() -> None:
    outcome = outcome_of(Agent("a", function=fails(Overloaded("busy"))))
    assert isinstance(outcome.error, Overloaded)
    assert (outcome.error.agent, outcome.error.attempt) == ("a", 1)


# What a stopped agent does


def test_an_agent_that_swallows_its_cancel_is_abandoned_after_the_grace() -> None:
    async def main() -> None:
        settings = Settings(cancel_grace=2)
        run = await Runner(middleware=[], settings=settings).run(
            an_ensemble(Agent("a", function=stubborn)), "x", timeout=5
        )
        assert clock() == pytest.approx(7)
        assert run["a"].status == "timed_out"
        assert run["a"].reason == "the clock of the run (5 s) ran out; it did not end within 2 s and was abandoned"
        assert isinstance(run["a"].error, DeadlineExceeded)
        await asyncio.sleep(3600)
        assert run["a"].status == "timed_out"  # what it gives later counts no more

    virtually(main())


def test_an_abandoned_agent_that_fails_later_complains_to_nobody() -> None:
    async def fails_late(inputs: Inputs) -> str:
        with suppress(asyncio.CancelledError):
            await hang(inputs)
        await asyncio.sleep(10)
        raise ValueError("late")

    async def main() -> None:
        run = await Runner(middleware=[]).run(an_ensemble(Agent("a", function=fails_late, timeout=1)), "x")
        assert run["a"].status == "timed_out"
        await asyncio.sleep(20)

    virtually(main())


def test_the_place_of_an_abandoned_agent_is_given_back() -> None:
    async def main() -> None:
        settings = Settings(max_concurrent_agents=1, cancel_grace=1)
        run = await Runner(middleware=[], settings=settings).run(
            an_ensemble(Agent("a", function=stubborn, timeout=2), Agent("b", function=says("b", 1))), "x"
        )
        assert statuses(run) == {"a": "timed_out", "b": "ok"}
        assert clock() == pytest.approx(4)
        await asyncio.sleep(3600)

    virtually(main())


def test_a_place_is_given_back_once() -> None:
    at_work: list[int] = [0, 0]

    async def counts(inputs: Inputs) -> str:
        at_work[0] += 1
        at_work[1] = max(at_work)
        await asyncio.sleep(10)
        at_work[0] -= 1
        return "x"

    async def ends_late(inputs: Inputs) -> str:
        with suppress(asyncio.CancelledError):
            await hang(inputs)
        await asyncio.sleep(5)
        return "late"

    async def main() -> None:
        settings = Settings(max_concurrent_agents=2, cancel_grace=1)
        agents = [Agent("late", function=ends_late, timeout=1), *(Agent(f"n{n}", function=counts) for n in range(6))]
        run = await Runner(middleware=[], settings=settings).run(an_ensemble(*agents), "x")
        assert len(run.succeeded) == 6
        assert at_work[1] == 2

    virtually(main())


def test_an_agent_that_ends_within_the_grace_was_not_abandoned() -> None:
    async def cleans_up(inputs: Inputs) -> str:
        try:
            return await hang(inputs)
        finally:
            await asyncio.sleep(0.5)

    outcome = outcome_of(Agent("a", function=cleans_up, timeout=1))
    assert (outcome.status, outcome.reason) == ("timed_out", "the agent's clock of 1 s ran out")
    assert outcome.ended - outcome.started == pytest.approx(1.5)


def test_a_result_within_the_grace_is_not_lost() -> None:
    async def finishes(inputs: Inputs) -> str:
        with suppress(asyncio.CancelledError):
            await hang(inputs)
        return "done all the same"

    outcome = outcome_of(Agent("a", function=finishes, timeout=1))
    assert (outcome.status, outcome.output) == ("ok", "done all the same")


def test_what_a_stopped_agent_raises_does_not_hide_what_stopped_it() -> None:
    async def breaks(inputs: Inputs) -> str:
        try:
            return await hang(inputs)
        except asyncio.CancelledError:
            raise ValueError("broken pipe") from None

    outcome = outcome_of(Agent("a", function=breaks, timeout=1))
    assert outcome.status == "timed_out"
    assert outcome.reason == "the agent's clock of 1 s ran out; while ending it raised ValueError: broken pipe"
    assert isinstance(outcome.error, DeadlineExceeded)


def test_a_provider_that_turns_a_cancel_into_an_error_is_not_asked_again() -> None:
    asked: list[float] = []

    async def turns(call: Call) -> Reply:
        asked.append(clock())
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise ProviderUnavailable("connection lost") from None
        raise AssertionError

    async def main() -> None:
        runner = Runner(middleware=[Retry(5, backoff=0.01)], providers={"p": turns})
        run = runner.start(an_ensemble(Agent("a", model="p/p")), "x")
        await asyncio.sleep(1)
        run.cancel()
        await run
        assert (run["a"].status, run["a"].reason) == ("cancelled", "the run was cancelled")
        await asyncio.sleep(100)
        assert asked == [0]
        assert len(run["a"].attempts) == 1

    virtually(main())


def test_an_abandoned_agents_outcome_is_its_last_event() -> None:
    async def goes_on(call: Call) -> Reply:
        assert call.emit is not None
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        await asyncio.sleep(50)
        with call.record.waiting("slot"):
            await call.emit(Delta(text="late"))
        return Reply("late")

    async def main() -> None:
        runner = Runner(middleware=[], providers={"p": goes_on})
        run = runner.start(an_ensemble(Agent("a", model="p/p", timeout=1), Agent("b", function=says("b", 90))), "x")
        await run
        told = [event.type async for event in run.events() if getattr(event, "agent", "") == "a"]
        assert told == ["agent_started", "agent_finished"]
        assert run["a"].text == ""

    virtually(main())


@pytest.mark.parametrize("grace", [0, 0.25])
def test_the_grace_is_that_of_the_settings(grace: float) -> None:
    async def main() -> None:
        runner = Runner(middleware=[], settings=Settings(cancel_grace=grace))
        run = await runner.run(an_ensemble(Agent("a", function=stubborn, timeout=1)), "x")
        assert clock() == pytest.approx(1 + grace)
        assert "abandoned" in run["a"].reason
        await asyncio.sleep(3600)

    virtually(main())


def test_an_agent_that_ends_on_a_cancel_has_time_for_that_without_any_grace() -> None:
    outcome = outcome_of(Agent("a", function=hang, timeout=1), settings=Settings(cancel_grace=0))
    assert outcome.reason == "the agent's clock of 1 s ran out"


# It never raises and never hangs


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_whose_text_cannot_be_made_is_still_the_outcomes_error() -> None:
    error = Unreadable()
    outcome = outcome_of(Agent("a", function=fails(error)))
    assert outcome.error is error
    assert outcome.reason == "Unreadable, whose text cannot be made: RuntimeError"


def bare(work: Callable[[Supervisor], Any], ended: Callable[[Supervisor, Outcome], None]) -> Supervisor:
    supervisor = Supervisor(Agent("a", function=hang), 0, None, 1, ended, Record())
    supervisor.placed = True
    supervisor.start(work, "a task")
    return supervisor


def test_a_listener_that_fails_does_not_keep_the_future_waiting(caplog: pytest.LogCaptureFixture) -> None:
    async def work(supervisor: Supervisor) -> Outcome:
        return supervisor.outcome("ok", text="x")

    def ended(supervisor: Supervisor, outcome: Outcome) -> None:
        raise OSError("no disk")

    async def main() -> None:
        supervisor = bare(work, ended)
        assert (await supervisor.future).status == "ok"
        await asyncio.wait([supervisor.task])  # type: ignore[list-item]

    with caplog.at_level(logging.ERROR, "stretto"):
        virtually(main())
    assert "no disk" in caplog.text


def test_usage_that_cannot_be_added_is_logged_and_the_cost_unknown(caplog: pytest.LogCaptureFixture) -> None:
    async def work(supervisor: Supervisor) -> Outcome:
        for usage in ({"tokens": 3}, Usage(1)):
            attempt = Attempt()
            attempt.usage = usage  # type: ignore[assignment]
            supervisor.record.attempts.append(attempt)
        raise ValueError("mine")

    async def main() -> None:
        supervisor = bare(work, lambda supervisor, outcome: None)
        outcome = await supervisor.future
        assert (outcome.status, outcome.reason, outcome.cost, outcome.usage) == ("failed", "mine", None, Usage())
        assert len(outcome.attempts) == 2

    virtually(main())
    assert "cannot be read" in caplog.text


def test_a_task_that_is_cancelled_before_its_first_step_has_an_outcome() -> None:
    async def work(supervisor: Supervisor) -> Outcome:
        raise AssertionError

    async def main() -> None:
        given: list[Outcome] = []
        supervisor = bare(work, lambda supervisor, outcome: given.append(outcome))
        supervisor.placed = False
        supervisor.stop(Stop("cancelled", "the run was cancelled"))
        outcome = await supervisor.future
        assert (outcome.status, outcome.reason) == ("skipped", "it never got a place: the run was cancelled")
        assert given == [outcome]

    virtually(main())


def test_the_first_reason_to_stop_counts() -> None:
    async def work(supervisor: Supervisor) -> Outcome:
        await asyncio.sleep(10)
        raise AssertionError

    async def main() -> None:
        supervisor = bare(work, lambda supervisor, outcome: None)
        await asyncio.sleep(1)
        supervisor.stop(Stop("timed_out", "first"))
        supervisor.stop(Stop("cancelled", "second"))
        assert (await supervisor.future).reason == "first"
        supervisor.stop(Stop("cancelled", "third"))

    virtually(main())


def test_a_future_that_was_cancelled_from_outside_is_left_alone() -> None:
    async def work(supervisor: Supervisor) -> Outcome:
        await asyncio.sleep(1)
        return supervisor.outcome("ok")

    async def main() -> None:
        given: list[Outcome] = []
        supervisor = bare(work, lambda supervisor, outcome: given.append(outcome))
        supervisor.future.cancel()
        await asyncio.sleep(2)
        assert [outcome.status for outcome in given] == ["ok"]

    virtually(main())


def test_a_clock_that_is_started_after_the_end_sets_no_timer() -> None:
    async def work(supervisor: Supervisor) -> Outcome:
        return supervisor.outcome("ok")

    async def main() -> None:
        supervisor = Supervisor(Agent("a", function=hang), 0, 3600, 1, lambda supervisor, outcome: None, Record())
        supervisor.start(work, "a task")
        await supervisor.future
        supervisor.clock.start()
        assert supervisor._clock_timer is None

    virtually(main())


def test_ten_thousand_clocks_leave_no_timer_behind() -> None:
    async def main() -> None:
        agents = [Agent(f"a{n}", function=says("x"), timeout=3600) for n in range(100)]
        await Runner(middleware=[]).run(an_ensemble(*agents), "x")
        loop: Any = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []

    virtually(main())


def test_an_outcome_says_when_it_started_and_ended_on_the_loops_clock() -> None:
    outcome = outcome_of(Agent("a", function=says("x", 2.5)))
    assert outcome.ended - outcome.started == pytest.approx(2.5)
    assert outcome.timings.provider == pytest.approx(2.5)


def test_a_provider_error_is_the_outcomes_and_names_its_place() -> None:
    outcome = outcome_of(Agent("a", model="simulated/fail-400"))
    assert isinstance(outcome.error, CallError)
    assert (outcome.error.agent, outcome.error.provider, outcome.error.model) == (
        "a",
        "simulated",
        "simulated/fail-400",
    )
    assert "simulated 400" in outcome.reason


def test_the_clock_of_an_agent_knows_what_is_left() -> None:
    async def main() -> None:
        agents_clock = AgentClock(10)
        assert agents_clock.remaining(clock()) == 10
        agents_clock.start()
        await asyncio.sleep(4)
        assert agents_clock.remaining(clock()) == pytest.approx(6)

    virtually(main())


def test_real_time_agrees() -> None:
    async def main() -> None:
        runner = Runner(middleware=[], settings=Settings(cancel_grace=0.02))
        run = await runner.run(an_ensemble(Agent("a", function=hang, timeout=0.01)), "x")
        assert statuses(run) == {"a": "timed_out"}

    asyncio.run(watched(main()))


# What an agent runs within itself


class Inside:
    """What a supervisor knows of a run within its agent, and what it asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.outcomes: list[Outcome] = []

    def children(self) -> tuple[Outcome, ...]:
        return tuple(self.outcomes)

    def stop(self, stop: Stop) -> None:
        self.asked.append(f"stop: {stop.reason}")

    def conclude(self) -> None:
        self.asked.append("conclude")
        self.outcomes.append(Outcome(agent="x", phase=0, status="cancelled", reason="late", usage=Usage(1, 2)))


def supervised(work: Any, grace: float = 1.0, timeout: float | None = None) -> tuple[Supervisor, list[Outcome]]:
    ended: list[Outcome] = []

    def note(supervisor: Supervisor, outcome: Outcome) -> None:
        ended.append(outcome)

    supervisor = Supervisor(Agent("me", function=hang), 0, timeout, grace, note, Record())
    supervisor.placed = True
    supervisor.start(work, "me")
    return supervisor, ended


def test_what_is_within_is_stopped_before_the_agent_s_own_task() -> None:
    async def main() -> None:
        inside = Inside()

        async def work(supervisor: Supervisor) -> Outcome:
            supervisor.runs(inside.children, inside.stop, inside.conclude)
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                inside.asked.append("cancelled")
                raise
            raise AssertionError

        supervisor, (ended) = supervised(work)
        await asyncio.sleep(1)
        supervisor.stop(Stop("timed_out", "enough"))
        supervisor.stop(Stop("cancelled", "again"))
        await supervisor.future
        assert inside.asked == ["stop: enough", "cancelled"]
        assert [(outcome.status, outcome.reason) for outcome in ended] == [("timed_out", "enough")]

    virtually(main())


def test_what_begins_within_an_agent_that_is_stopped_is_stopped_at_once() -> None:
    async def main() -> None:
        inside = Inside()

        async def work(supervisor: Supervisor) -> Outcome:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(100)
            supervisor.runs(inside.children, inside.stop, inside.conclude)
            return supervisor.outcome("cancelled")

        supervisor, _ = supervised(work)
        await asyncio.sleep(1)
        supervisor.stop(Stop("cancelled", "enough"))
        await supervisor.future
        assert inside.asked == ["stop: enough"]

    virtually(main())


@pytest.mark.parametrize("grace", [0, 2])
def test_an_agent_that_is_abandoned_has_what_is_within_concluded_first(grace: float) -> None:
    async def main() -> None:
        inside = Inside()

        async def work(supervisor: Supervisor) -> Outcome:
            supervisor.runs(inside.children, inside.stop, inside.conclude)
            until = clock() + 50
            while clock() < until:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(until - clock())
            return supervisor.outcome("ok")

        supervisor, ended = supervised(work, grace)
        await asyncio.sleep(1)
        supervisor.stop(Stop("cancelled", "enough"))
        outcome = await supervisor.future
        assert clock() == pytest.approx(1 + grace)
        assert inside.asked == ["stop: enough", "conclude"]
        assert [child.agent for child in outcome.children] == ["x"]
        assert outcome.usage == Usage(1, 2)
        await asyncio.sleep(100)
        supervisor.abandon()
        assert ended == [outcome]
        assert inside.asked == ["stop: enough", "conclude"]

    virtually(main())


def test_an_agent_that_was_not_stopped_is_not_abandoned() -> None:
    async def main() -> None:
        async def work(supervisor: Supervisor) -> Outcome:
            await asyncio.sleep(5)
            return supervisor.outcome("ok")

        supervisor, _ = supervised(work)
        await asyncio.sleep(1)
        supervisor.abandon()
        assert (await supervisor.future).status == "ok"

    virtually(main())


def test_a_ledger_within_that_cannot_be_read_costs_the_sums_and_not_the_outcome(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def breaks(call: Call, call_next: Any) -> Reply:
        reply: Reply = await call_next(call)
        call.record.waits.append("rubbish")  # type: ignore[arg-type]
        return reply

    breaks.kinds = ("function",)  # type: ignore[attr-defined]
    body = Ensemble("body", [Agent("x", function=says("one"), middleware=[breaks])])
    with caplog.at_level(logging.CRITICAL, "stretto"):
        for agent in (Agent("me", ensemble=body), Agent("me", loop=Loop(body, 2))):
            outcome = outcome_of(agent)
            assert (outcome.status, outcome.value, outcome.cost) == ("ok", "one", None)
