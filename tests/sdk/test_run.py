"""`Run`: awaited, watched, cancelled, read; what has ended stays, whatever happens to the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from stretto import Agent, Call, Delta, Ensemble, Inputs, Middleware, Next, Reply, Run, Runner, Settings, StrettoError
from stretto.errors import CallError, DeadlineExceeded, NoResult, ProviderUnavailable
from stretto.events import RunFinished
from stretto.loop import Loop
from stretto.middleware import Retry
from stretto.reply import ToolCall
from stretto.usage import Price, Usage
from watched import an_ensemble, clock, fails, hang, says, statuses, stubborn, virtually, watched

ABC = an_ensemble(
    Agent("a", function=says("one")),
    Agent("b", function=hang),
    Agent("c", function=says("three"), depends_on=["a", "b"]),
)


def a_runner(*middleware: Middleware, **options: Any) -> Runner:
    return Runner(middleware=middleware, **options)


# Awaiting, and being cancelled


def test_a_run_is_live_before_anybody_awaits_it() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=says("one", 1))), "x")
        assert run.status == "running"
        await asyncio.sleep(2)
        assert run.status == "completed"

    virtually(main())


def test_awaiting_gives_the_run_itself_any_number_of_times() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=says("one"))), "x")
        assert await run is run
        assert await run is run

    virtually(main())


def test_two_awaiters_get_the_same_run() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=says("one", 1))), "x")

        async def waiting() -> Run:
            return await run

        assert await asyncio.gather(waiting(), waiting()) == [run, run]

    virtually(main())


def test_a_timeout_around_the_await_keeps_what_has_ended_and_cancels_the_rest() -> None:
    async def main() -> None:
        run = a_runner().start(ABC, "x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await run
        assert clock() == pytest.approx(5)
        assert statuses(run) == {"a": "ok", "b": "cancelled", "c": "skipped"}
        assert run["a"].output == "one"
        assert run.status == "cancelled"

    virtually(main())


def test_a_timeout_around_runner_run_leaves_nothing_running_on() -> None:
    ticks: list[float] = []

    async def ticking(inputs: Inputs) -> str:
        while True:
            ticks.append(clock())
            await asyncio.sleep(1)

    async def main() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(2.5):
                await a_runner().run(an_ensemble(Agent("a", function=ticking)), "x")
        await asyncio.sleep(100)
        assert ticks == pytest.approx([0, 1, 2])

    virtually(main())


def test_wait_for_around_a_run_cancels_it() -> None:
    async def main() -> None:
        run = a_runner().start(ABC, "x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run, 1)
        assert run.status == "cancelled"

    virtually(main())


def test_a_cancelled_awaiter_survives_a_cancel_on_every_turn_of_the_loop() -> None:
    released: list[bool] = []

    async def clings(inputs: Inputs) -> str:
        while not released:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
        return "late"

    async def main() -> None:
        run = a_runner(settings=Settings(cancel_grace=0.03)).start(
            an_ensemble(Agent("a", function=says("one")), Agent("b", function=clings)), "x"
        )

        async def awaiting() -> None:
            await run

        task = asyncio.create_task(awaiting())
        cancels = 0
        await asyncio.sleep(0.005)
        while not task.done():
            task.cancel()
            cancels += 1
            await asyncio.sleep(0)
        assert task.cancelled()
        assert cancels > 200
        assert statuses(run) == {"a": "ok", "b": "cancelled"}
        assert "abandoned" in run["b"].reason
        released.append(True)
        await asyncio.sleep(0.01)

    asyncio.run(watched(main()))


def test_thousands_of_cancels_are_survived_while_an_agent_cleans_up() -> None:
    async def cleans_up(inputs: Inputs) -> str:
        try:
            return await hang(inputs)
        finally:
            for _ in range(5000):
                await asyncio.sleep(0)

    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=cleans_up)), "x")

        async def awaiting() -> None:
            await run

        task = asyncio.create_task(awaiting())
        cancels = 0
        await asyncio.sleep(0.001)
        while not task.done():
            task.cancel()
            cancels += 1
            await asyncio.sleep(0)
        assert cancels >= 5000
        assert run["a"].reason == "the run was cancelled"  # it ended by itself: the storm never reached it

    asyncio.run(watched(main()))


def test_a_cancelled_awaiter_waits_for_the_outcomes_before_it_is_cancelled() -> None:
    async def slow_end(inputs: Inputs) -> str:
        try:
            return await hang(inputs)
        finally:
            await asyncio.sleep(0.5)

    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=slow_end)), "x")
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await run
        assert clock() == pytest.approx(1.5)
        assert statuses(run) == {"a": "cancelled"}

    virtually(main())


def test_one_cancelled_awaiter_ends_the_run_for_the_other() -> None:
    async def main() -> None:
        run = a_runner().start(ABC, "x")

        async def awaiting() -> Run:
            return await run

        one, other = asyncio.create_task(awaiting()), asyncio.create_task(awaiting())
        await asyncio.sleep(1)
        one.cancel()
        assert (await other).status == "cancelled"
        assert one.cancelled()

    virtually(main())


def test_cancelling_a_watcher_cancels_nothing() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=says("one", 5))), "x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await run.wait()
        assert run.status == "running"
        assert (await run.wait()).ok

    virtually(main())


# cancel()


def test_cancel_may_be_called_any_number_of_times() -> None:
    async def main() -> None:
        run = a_runner().start(ABC, "x")
        await asyncio.sleep(1)
        for _ in range(3):
            run.cancel()
        await run
        run.cancel()
        assert run.status == "cancelled"
        assert statuses(run) == {"a": "ok", "b": "cancelled", "c": "skipped"}

    virtually(main())


def test_a_run_can_be_cancelled_before_its_task_has_begun() -> None:
    async def main() -> None:
        run = a_runner().start(ABC, "x")
        run.cancel()
        run.cancel()
        await run
        assert run.status == "cancelled"
        assert statuses(run) == {"a": "skipped", "b": "skipped", "c": "skipped"}
        assert run["a"].reason == "it never got a place: the run was cancelled"

    virtually(main())


@pytest.mark.parametrize("turns", range(8))
def test_a_run_can_be_cancelled_at_every_turn_of_its_beginning(turns: int) -> None:
    async def main() -> None:
        run = a_runner().start(ABC, "x")
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        await run
        assert run.status == "cancelled"
        assert set(run.outcomes) == {"a", "b", "c"}
        assert statuses(run)["c"] == "skipped"

    virtually(main())


def test_a_run_can_be_cancelled_while_a_provider_prepares() -> None:
    class Slow:
        prepared = False

        async def prepare(self) -> None:
            await asyncio.sleep(100)
            self.prepared = True

        async def __call__(self, call: Call) -> Reply:
            return Reply("never")

    async def main() -> None:
        slow = Slow()
        run = a_runner(providers={"slow": slow}).start(an_ensemble(Agent("a", model="slow/one")), "x")
        await asyncio.sleep(1)
        run.cancel()
        run.cancel()
        await run
        assert clock() == pytest.approx(1)
        assert statuses(run) == {"a": "skipped"}
        assert not slow.prepared

    virtually(main())


def test_cancelling_a_run_whose_agents_have_all_ended_changes_nothing() -> None:
    class Closing:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *exc: object) -> None:
            await asyncio.sleep(5)

        async def __call__(self, call: Call, call_next: Next) -> Reply:
            return await call_next(call)

    async def main() -> None:
        run = a_runner(Closing()).start(an_ensemble(Agent("a", function=says("one"))), "x")
        await asyncio.sleep(1)
        run.cancel()
        await run
        assert run.status == "completed"

    virtually(main())


# async with


def test_leaving_the_block_early_cancels_and_waits() -> None:
    async def main() -> None:
        async with a_runner().start(ABC, "x") as run:
            await asyncio.sleep(1)
        assert statuses(run) == {"a": "ok", "b": "cancelled", "c": "skipped"}

    virtually(main())


def test_an_error_in_the_block_ends_the_run_and_is_raised() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="mine"):
            async with a_runner().start(ABC, "x") as run:
                raise ValueError("mine")
        assert run.status == "cancelled"

    virtually(main())


def test_the_block_survives_further_cancels_while_it_waits() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=stubborn)), "x", timeout=3600)

        async def inside() -> None:
            async with run:
                await asyncio.sleep(1)

        task = asyncio.create_task(inside())
        await asyncio.sleep(1.5)
        task.cancel()
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert clock() == pytest.approx(2)
        assert statuses(run) == {"a": "cancelled"}
        await asyncio.sleep(3600)

    virtually(main())


def test_a_run_that_ended_inside_its_block_is_left_at_once() -> None:
    async def main() -> None:
        async with a_runner().start(an_ensemble(Agent("a", function=says("one"))), "x") as run:
            await run
        assert run.ok

    virtually(main())


# Loops that shut down


def test_a_run_that_nobody_awaits_is_cancelled_with_its_loop() -> None:
    async def main() -> Run:
        run = a_runner().start(ABC, "x")
        await asyncio.sleep(0.01)
        return run

    run = asyncio.run(main())
    assert run.status == "cancelled"
    assert statuses(run) == {"a": "ok", "b": "cancelled", "c": "skipped"}


def test_a_run_all_of_whose_agents_the_loop_cancelled_is_cancelled() -> None:
    async def main() -> Run:
        run = a_runner().start(an_ensemble(Agent("a", function=hang)), "x")
        await asyncio.sleep(0.01)
        return run

    run = asyncio.run(main())
    assert (run.status, run["a"].status, run["a"].reason) == ("cancelled", "cancelled", "its task was cancelled")


def test_a_run_whose_task_never_began_has_outcomes_too() -> None:
    runs: list[Run] = []

    async def main() -> None:
        runs.append(a_runner().start(ABC, "x"))
        raise KeyboardInterrupt  # the loop stops at once, and cancels what there is

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert runs[0].status == "cancelled"
    assert statuses(runs[0]) == {"a": "skipped", "b": "skipped", "c": "skipped"}


def test_an_awaiter_of_a_run_whose_task_never_began_is_not_left_waiting() -> None:
    runs: list[Run] = []

    async def awaiting() -> None:
        runs.append(a_runner().start(ABC, "x"))
        asyncio.get_running_loop().call_soon(stop)
        await runs[0]

    def stop() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    async def main() -> None:
        task = asyncio.create_task(awaiting())
        await asyncio.wait([task], timeout=1)

    with suppress(asyncio.CancelledError):
        asyncio.run(main())
    assert runs[0].status == "cancelled"


def test_ctrl_c_in_the_main_program_leaves_outcomes() -> None:
    runs: list[Run] = []

    async def main() -> None:
        runs.append(a_runner().start(ABC, "x"))
        await asyncio.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert runs[0].status == "cancelled"
    assert statuses(runs[0]) == {"a": "ok", "b": "cancelled", "c": "skipped"}


def test_an_agent_that_clings_to_life_is_abandoned_when_its_loop_shuts_down() -> None:
    async def main() -> Run:
        run = a_runner(settings=Settings(cancel_grace=0.01)).start(an_ensemble(Agent("a", function=clings)), "x")
        await asyncio.sleep(0.005)
        return run

    async def clings(inputs: Inputs) -> str:
        for _ in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.03)
        return "late"

    run = asyncio.run(main())
    assert run.status == "cancelled"
    assert "abandoned" in run["a"].reason


# Statuses of a run


@pytest.mark.parametrize(
    ("agents", "status"),
    [
        ([Agent("a", function=says("x")), Agent("b", function=says("y"))], "completed"),
        ([Agent("a", function=says("x")), Agent("b", function=fails(ValueError("no")))], "completed_with_errors"),
        ([Agent("a", function=fails(ValueError("no"))), Agent("b", function=fails(KeyError("k")))], "failed"),
        ([Agent("a", function=says("no")), Agent("b", function=says("y"), when="${a} == yes")], "completed"),
        ([Agent("a", function=hang, timeout=1)], "failed"),
        ([Agent("a", function=hang, timeout=1), Agent("b", function=says("x"))], "completed_with_errors"),
        ([Agent("a", function=says("x"), when="${input} == y")], "completed"),
        ([Agent("a", function=says("x"), when="${input} == y"), Agent("b", function=fails(OSError()))], "failed"),
    ],
)
def test_the_status_of_a_run_follows_from_its_agents(agents: list[Agent], status: str) -> None:
    async def main() -> None:
        run = await a_runner().run(an_ensemble(*agents), "x")
        assert run.status == status
        assert run.ok == (status == "completed")

    virtually(main())


def test_a_run_that_its_clock_ended_is_timed_out() -> None:
    async def main() -> None:
        run = await a_runner().run(ABC, "x", timeout=3)
        assert clock() == pytest.approx(3)
        assert run.status == "timed_out"
        assert statuses(run) == {"a": "ok", "b": "timed_out", "c": "skipped"}

    virtually(main())


def test_a_run_timeout_of_the_settings_counts_and_the_argument_wins() -> None:
    async def main() -> None:
        runner = a_runner(settings=Settings(run_timeout=7))
        assert (await runner.run(ABC, "x")).status == "timed_out"
        assert clock() == pytest.approx(7)
        await runner.run(ABC, "x", timeout=2)
        assert clock() == pytest.approx(9)

    virtually(main())


def test_a_run_that_its_clock_ended_although_all_other_agents_are_ok_is_timed_out() -> None:
    async def main() -> None:
        run = await a_runner().run(
            an_ensemble(Agent("a", function=says("x")), Agent("b", function=hang)), "x", timeout=1
        )
        assert run.status == "timed_out"

    virtually(main())


# What may be read


def test_outcomes_exist_the_moment_an_agent_ends_in_the_order_of_ending() -> None:
    async def main() -> None:
        ensemble = an_ensemble(Agent("a", function=says("x", 3)), Agent("b", function=says("y", 1)))
        run = a_runner().start(ensemble, "x")
        await asyncio.sleep(2)
        assert list(run.outcomes) == ["b"]
        with pytest.raises(KeyError):
            run["a"]
        await run
        assert list(run.outcomes) == ["b", "a"]

    virtually(main())


def test_outcomes_cannot_be_changed_from_outside() -> None:
    async def main() -> None:
        run = await a_runner().run(an_ensemble(Agent("a", function=says("x"))), "x")
        with pytest.raises(TypeError):
            run.outcomes["a"] = run["a"]  # type: ignore[index]

    virtually(main())


def test_the_output_is_that_of_the_last_terminal_agent() -> None:
    async def main() -> None:
        run = await a_runner().run(
            an_ensemble(
                Agent("end", function=says("last"), depends_on=["a"]),
                Agent("a", function=says("first")),
            ),
            "x",
        )
        assert run.output == "last"
        assert run.terminal is run["end"]

    virtually(main())


def test_there_is_no_output_before_the_terminal_agents_end() -> None:
    async def main() -> None:
        async with a_runner().start(ABC, "x") as run:
            assert run.terminal is None
            with pytest.raises(KeyError):
                run.output  # noqa: B018

    virtually(main())


def test_the_output_raises_the_error_of_an_agent_that_has_none() -> None:
    mine = ValueError("mine")

    async def main() -> None:
        run = await a_runner().run(an_ensemble(Agent("a", function=fails(mine))), "x")
        with pytest.raises(ValueError, match="mine") as raised:
            run.output  # noqa: B018
        assert raised.value is mine

    virtually(main())


def test_the_output_of_a_skipped_agent_is_no_result() -> None:
    async def main() -> None:
        run = await a_runner().run(an_ensemble(Agent("a", function=says("x"), when="${input} == y")), "x")
        with pytest.raises(NoResult, match="does not hold"):
            run.output  # noqa: B018

    virtually(main())


def test_succeeded_failed_and_skipped_are_outcomes_in_file_order() -> None:
    async def main() -> None:
        run = await a_runner().run(
            an_ensemble(
                Agent("slow", function=says("x", 2)),
                Agent("bad", function=fails(ValueError("no"))),
                Agent("after", function=says("x"), depends_on=["bad"]),
                Agent("guarded", function=says("x"), when="${input} == y"),
                Agent("quick", function=says("x")),
            ),
            "x",
        )
        assert [outcome.agent for outcome in run.succeeded] == ["slow", "quick"]
        assert [outcome.agent for outcome in run.failed] == ["bad", "after"]
        assert [outcome.agent for outcome in run.skipped] == ["after", "guarded"]

    virtually(main())


def test_usage_and_cost_are_summed_and_one_unknown_part_makes_the_cost_unknown() -> None:
    async def priced(call: Call) -> Reply:
        return Reply("x", usage=Usage(10, 5), cost=0.25 if call.model.endswith("known") else None)

    async def main() -> None:
        runner = a_runner(providers={"p": priced})
        both = await runner.run(an_ensemble(Agent("a", model="p/known"), Agent("b", model="p/other")), "x")
        assert (both.usage, both.cost, both.known_cost) == (Usage(20, 10), None, 0.25)
        one = await runner.run(an_ensemble(Agent("a", model="p/known")), "x")
        assert (one.cost, one.known_cost) == (0.25, 0.25)

    virtually(main())


def test_the_known_cost_counts_the_estimate_of_a_request_that_was_cut_off() -> None:
    async def main() -> None:
        runner = a_runner(prices={"simulated/*": Price(1e6, 1e6)})
        run = await runner.run(an_ensemble(Agent("a", model="simulated/hang", timeout=1)), "four")
        assert run.usage == Usage(5, 500, estimated=True)
        assert run.cost == run.known_cost == 505

    virtually(main())


def test_raise_for_failures_groups_what_makes_the_run_not_ok() -> None:
    async def main() -> None:
        run = await a_runner().run(
            an_ensemble(
                Agent("a", function=fails(ValueError("no"))),
                Agent("b", function=says("x"), depends_on=["a"]),
                Agent("c", function=says("x"), when="${input} == y"),
            ),
            "x",
        )
        with pytest.raises(ExceptionGroup, match="2 agents of 'e'") as raised:
            run.raise_for_failures()
        first, second = raised.value.exceptions
        assert isinstance(first, ValueError)
        assert isinstance(second, StrettoError)
        assert "no dependency succeeded" in str(second)

    virtually(main())


def test_raise_for_failures_does_nothing_when_the_run_is_ok() -> None:
    async def main() -> None:
        (await a_runner().run(an_ensemble(Agent("a", function=says("x"))), "x")).raise_for_failures()

    virtually(main())


def test_an_exit_among_the_failures_does_not_end_who_asks_for_them() -> None:
    async def main() -> None:
        run = await a_runner().run(an_ensemble(Agent("a", function=fails(SystemExit(3)))), "x")
        with pytest.raises(ExceptionGroup) as raised:
            run.raise_for_failures()
        assert "a: 3" in str(raised.value.exceptions[0])
        with pytest.raises(NoResult):
            _ = run.output

    virtually(main())


def test_to_dict_is_plain_data_with_all_that_is_known() -> None:
    async def main() -> None:
        run = await Runner().run(
            an_ensemble(
                Agent("a", model="simulated/fail-500-1"),
                Agent("b", function=fails(ValueError("no")), depends_on=["a"]),
                description="d",
            ),
            "hello",
            metadata={"tenant": "t", "odd": object},
        )
        data = json.loads(json.dumps(run.to_dict()))
        assert list(data) == [
            "stretto", "run_id", "ensemble", "ensemble_digest", "versions", "settings", "middleware", "metadata",
            "status", "started", "ended", "output", "usage", "cost", "known_cost", "phases", "outcomes",
        ]  # fmt: skip
        assert data["status"] == "completed_with_errors"
        assert data["phases"] == [["a"], ["b"]]
        assert data["output"] is None
        assert data["middleware"] == ["trace", "fallback", "retry", "concurrency_limit", "rate_limit", "timeout"]
        assert data["metadata"]["tenant"] == "t"
        assert data["outcomes"]["a"]["output"] == "hello"
        assert data["outcomes"]["a"]["attempts"][0]["error"]["type"] == "ProviderFailed"
        assert data["outcomes"]["b"]["error"] == {"type": "ValueError", "message": "no"}
        assert len(data["outcomes"]["a"]["prompt_digest"]) == 64
        assert data["ended"] > data["started"]

    virtually(main())


def test_to_dict_of_a_run_that_is_going_on_says_so() -> None:
    async def main() -> None:
        async with a_runner().start(ABC, "x") as run:
            await asyncio.sleep(1)
            data = run.to_dict()
            assert (data["status"], data["ended"], list(data["outcomes"])) == ("running", None, ["a"])

    virtually(main())


def test_to_dict_refuses_a_format_that_it_does_not_know() -> None:
    async def main() -> None:
        run = await a_runner().run(an_ensemble(Agent("a", function=says("x"))), "x")
        with pytest.raises(ValueError, match="csv"):
            run.to_dict("csv")  # type: ignore[arg-type]

    virtually(main())


def test_the_repr_shows_name_status_and_how_many_have_ended() -> None:
    async def main() -> None:
        run = await a_runner().run(an_ensemble(Agent("a", function=says("x"))), "x")
        assert repr(run) == f"<Run {run.run_id} of 'e': completed, 1 outcomes>"
        assert run.phases == [["a"]]
        assert run.warnings == ()
        assert run.ended is not None
        assert run.ended >= run.started

    virtually(main())


def test_a_listener_hears_of_the_end_once_also_when_it_comes_late() -> None:
    async def main() -> None:
        heard: list[Run] = []
        run = a_runner().start(an_ensemble(Agent("a", function=says("x"))), "x")
        run.on_end(heard.append)
        await run
        assert heard == [run]
        run.on_end(heard.append)
        assert heard == [run, run]

    virtually(main())


# A run that could not be made


def test_what_keeps_a_run_from_being_made_is_raised_and_every_agent_has_an_outcome() -> None:
    class Broken:
        async def __aenter__(self) -> None:
            raise OSError("no disk")

        async def __aexit__(self, *exc: object) -> None:
            raise AssertionError

        async def __call__(self, call: Call, call_next: Next) -> Reply:
            return await call_next(call)

    async def main() -> None:
        run = a_runner(Broken()).start(ABC, "x")
        with pytest.raises(OSError, match="no disk"):
            await run
        assert run.status == "failed"
        assert statuses(run) == {"a": "skipped", "b": "skipped", "c": "skipped"}
        assert "no disk" in run["a"].reason
        assert (await run.wait()) is run
        with pytest.raises(OSError, match="no disk"):
            run.raise_for_crash()

    virtually(main())


def test_a_run_that_could_not_be_made_has_a_first_and_a_last_event() -> None:
    class Broken:
        async def prepare(self) -> None:
            raise SystemExit("not here")

        async def __call__(self, call: Call) -> Reply:
            return Reply("never")

    runs: list[Run] = []

    async def main() -> None:
        runs.append(a_runner(providers={"b": Broken()}).start(an_ensemble(Agent("a", model="b/b")), "x"))
        await runs[0].wait()

    with pytest.raises(SystemExit):  # a task carries it out of the loop: it is no agent's
        asyncio.run(main())
    assert runs[0].status == "cancelled"
    assert statuses(runs[0]) == {"a": "skipped"}


# run.text()


class Pieces:
    """A provider that emits pieces; those of request n when it is sent the nth time."""

    def __init__(self, *requests: list[str | Delta | BaseException]) -> None:
        self.requests: Iterator[list[str | Delta | BaseException]] = iter(requests)

    async def __call__(self, call: Call) -> Reply:
        text = reasoning = ""
        for piece in next(self.requests):
            await asyncio.sleep(1)
            if isinstance(piece, BaseException):
                raise piece
            if call.emit is not None:
                await call.emit(Delta(text=piece) if isinstance(piece, str) else piece)
            text += piece if isinstance(piece, str) else ""
            reasoning += "" if isinstance(piece, str) else piece.reasoning or ""
        return Reply(text, reasoning, usage=Usage(), cost=0.0)


async def texts(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in pieces]


async def into(seen: list[str], pieces: AsyncIterator[str]) -> None:
    async for piece in pieces:
        seen.append(piece)


def test_text_gives_the_pieces_of_the_terminal_agent_alone() -> None:
    async def main() -> None:
        providers = {"p": Pieces(["not ", "this"]), "q": Pieces(["one ", Delta(reasoning="hm"), "two"])}
        run = a_runner(providers=providers).start(
            an_ensemble(Agent("a", model="p/p"), Agent("b", model="q/q", depends_on=["a"])), "x"
        )
        assert await texts(run.text()) == ["one ", "two"]
        assert run["b"].text == "one two"

    virtually(main())


def test_text_of_a_run_that_does_not_stream_is_one_piece() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", model="simulated/echo")), "one two", stream=False)
        assert await texts(run.text()) == ["one two"]

    virtually(main())


def test_text_raises_where_the_agent_began_anew() -> None:
    async def main() -> None:
        pieces = Pieces(["one ", ProviderUnavailable("cut")], ["two"])
        run = a_runner(Retry(restart_streams=True), providers={"p": pieces}).start(
            an_ensemble(Agent("a", model="p/p")), "x"
        )
        seen: list[str] = []
        with pytest.raises(StrettoError, match="began its text anew"):
            await into(seen, run.text())
        assert seen == ["one "]
        await run
        assert run.output == "two"

    virtually(main())


def test_text_does_not_mind_a_restart_before_the_first_piece() -> None:
    async def main() -> None:
        pieces = Pieces([Delta(reasoning="hm"), ProviderUnavailable("cut")], ["two"])
        run = a_runner(Retry(restart_streams=True), providers={"p": pieces}).start(
            an_ensemble(Agent("a", model="p/p")), "x"
        )
        assert await texts(run.text()) == ["two"]

    virtually(main())


def test_text_raises_the_agents_error_after_its_pieces() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", model="simulated/cut-2")), "one two three")
        seen: list[str] = []
        with pytest.raises(ProviderUnavailable):
            await into(seen, run.text())
        assert "".join(seen) == "one two "
        assert run["a"].text == "one two "
        assert run["a"].messages == ({"role": "assistant", "content": "one two "},)

    virtually(main())


def test_text_of_a_skipped_agent_is_no_result() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=says("x"), when="${input} == y")), "x")
        with pytest.raises(NoResult):
            await texts(run.text())

    virtually(main())


# Streams, and what the reply has that was never emitted


def test_what_the_reply_has_and_was_never_emitted_is_emitted_after_it() -> None:
    async def half(call: Call) -> Reply:
        assert call.emit is not None
        await call.emit(Delta(text="one "))
        tool = ToolCall("1", "f", "{}", 0)
        return Reply("one two", reasoning="hm", tool_calls=(tool,), usage=Usage(), cost=0.0)

    async def main() -> None:
        run = a_runner(providers={"p": half}).start(an_ensemble(Agent("a", model="p/p")), "x")
        await run
        deltas = [event.delta async for event in run.events() if event.type == "agent_delta"]
        assert deltas == [
            Delta(text="one "),
            Delta(reasoning="hm"),
            Delta(text="two"),
            Delta(tool_call=ToolCall("1", "f", "{}", 0)),
        ]

    virtually(main())


def test_where_the_reply_differs_from_the_stream_it_wins_after_a_restart() -> None:
    async def edits(call: Call, call_next: Next) -> Reply:
        await call_next(call)
        return Reply("edited")

    async def main() -> None:
        run = a_runner(edits).start(an_ensemble(Agent("a", model="simulated/echo")), "one two")
        await run
        deltas = [event.delta async for event in run.events() if event.type == "agent_delta"]
        assert deltas == [Delta(text="one two"), Delta(restart=True), Delta(text="edited")]
        assert run.output == run["a"].text == "edited"

    virtually(main())


def test_the_last_event_is_the_end_of_the_run_with_its_status() -> None:
    async def main() -> None:
        run = a_runner().start(an_ensemble(Agent("a", function=fails(CallError("no")))), "x")
        events = [event async for event in run.events()]
        assert isinstance(events[-1], RunFinished)
        assert events[-1].run is run
        assert events[-1].run.status == "failed"

    virtually(main())


def test_the_clock_of_the_run_is_the_error_of_those_that_it_ended() -> None:
    async def main() -> None:
        run = await a_runner().run(an_ensemble(Agent("a", function=hang)), "x", timeout=2)
        with pytest.raises(DeadlineExceeded) as raised:
            run.output  # noqa: B018
        assert (raised.value.clock, raised.value.seconds) == ("run", 2)
        assert isinstance(raised.value, TimeoutError)

    virtually(main())


# Agents that run others


def nested_run() -> Run:
    async def spends(call: Call) -> Reply:
        return Reply("x", usage=Usage(10, 5))

    async def main() -> Run:
        leaf = Ensemble("leaf", [Agent("a", model="t/m"), Agent("b", model="t/m")])
        agents = [
            Agent("c", ensemble=leaf),
            Agent("l", loop=Loop(leaf, 2)),
            Agent("f", fan_out="${input}", ensemble=leaf),
            Agent("m", model="t/m"),
        ]
        runner = a_runner(providers={"t": spends}, prices={"t/m": Price(1e6, 0)})
        return await runner.run(an_ensemble(*agents), [1, 2])

    return virtually(main())


def test_what_was_spent_within_agents_is_in_the_run_s_sums_once() -> None:
    run = nested_run()
    requests = 2 + 4 + 4 + 1
    assert run.usage == Usage(10 * requests, 5 * requests)
    assert (run.cost, run.known_cost) == (10 * requests, 10 * requests)
    assert [run[name].usage.input_tokens for name in ("c", "l", "f", "m")] == [20, 40, 40, 10]


def test_every_request_within_agents_is_in_the_ledger_once() -> None:
    def requests(outcomes: Any) -> list[str]:
        found: list[str] = []
        for outcome in outcomes:
            found += [outcome["agent"]] * len(outcome["attempts"]) + requests(outcome["children"])
        return found

    data = json.loads(json.dumps(nested_run().to_dict()))
    assert sorted(requests(data["outcomes"].values())) == ["a"] * 5 + ["b"] * 5 + ["m"]
    assert data["usage"]["input_tokens"] == 110


def test_outcomes_are_those_of_the_run_s_own_agents() -> None:
    run = nested_run()
    assert list(run.outcomes) == sorted(run.outcomes, key=lambda name: run[name].ended)
    assert set(run.outcomes) == {"c", "l", "f", "m"}
    assert [outcome.agent for outcome in run.succeeded] == ["c", "l", "f", "m"]


def test_failures_within_that_left_a_result_do_not_make_the_run_less_than_completed() -> None:
    async def main() -> Run:
        leaf = Ensemble("leaf", [Agent("a", function=says("one")), Agent("b", function=fails(ValueError("no")))])
        return await a_runner().run(an_ensemble(Agent("c", ensemble=leaf)), "x")

    run = virtually(main())
    assert (run.status, run.failed) == ("completed", ())
    run.raise_for_failures()


def test_an_agent_that_has_no_result_within_raises_its_error() -> None:
    async def main() -> Run:
        leaf = Ensemble("leaf", [Agent("b", function=fails(ValueError("no")))])
        return await a_runner().run(an_ensemble(Agent("c", ensemble=leaf)), "x")

    run = virtually(main())
    with pytest.raises(ExceptionGroup) as error:
        run.raise_for_failures()
    assert [str(one) for one in error.value.exceptions] == ["no"]
    with pytest.raises(ValueError, match="no"):
        _ = run.output
