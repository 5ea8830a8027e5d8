"""A phase: gather over supervisors that never raise; one by one where that fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stretto import Agent, Outcome
from stretto.attempt import Record
from stretto.phase import fail_started, one_by_one, together
from stretto.supervisor import Supervisor
from watched import clock, hang, virtually


class Phase:
    """Supervisors of agents that take 1, 2, 3 ... seconds, and what happened to them."""

    def __init__(self, count: int) -> None:
        self.began: list[tuple[str, float]] = []
        self.outcomes: list[Outcome] = []
        self.supervisors = [self.supervisor(f"a{n}") for n in range(count)]

    def supervisor(self, name: str) -> Supervisor:
        return Supervisor(
            Agent(name, function=hang), 0, None, 1, lambda _, outcome: self.outcomes.append(outcome), Record()
        )

    def start(self, supervisor: Supervisor) -> None:
        name = supervisor.agent.name

        async def work(supervisor: Supervisor) -> Outcome:
            supervisor.placed = True
            self.began.append((name, clock()))
            await asyncio.sleep(int(name[1:]) + 1)
            return supervisor.outcome("ok")

        supervisor.start(work, name)

    @property
    def statuses(self) -> dict[str, str]:
        return {outcome.agent: outcome.status for outcome in self.outcomes}


def test_together_starts_all_at_once_and_waits_for_the_last() -> None:
    async def main() -> None:
        phase = Phase(3)
        await together(phase.supervisors, phase.start)
        assert phase.began == [("a0", 0), ("a1", 0), ("a2", 0)]
        assert clock() == pytest.approx(3)

    virtually(main())


def test_one_by_one_starts_each_when_the_one_before_has_ended() -> None:
    async def main() -> None:
        phase = Phase(3)
        await one_by_one(phase.supervisors, phase.start)
        assert phase.began == [("a0", 0), ("a1", pytest.approx(1)), ("a2", pytest.approx(3))]

    virtually(main())


@pytest.mark.parametrize("run", [together, one_by_one])
def test_an_empty_phase_is_over_at_once(run: Any) -> None:
    async def main() -> None:
        await run([], Phase(0).start)
        assert clock() == 0

    virtually(main())


@pytest.mark.parametrize("run", [together, one_by_one])
def test_one_that_ended_without_being_started_is_not_waited_for(run: Any) -> None:
    async def main() -> None:
        phase = Phase(2)

        def start(supervisor: Supervisor) -> None:
            supervisor.end(supervisor.outcome("skipped"))

        await run(phase.supervisors, start)
        assert phase.statuses == {"a0": "skipped", "a1": "skipped"}

    virtually(main())


def test_gather_that_breaks_before_anything_was_started_costs_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no gather")

    async def main() -> None:
        phase = Phase(3)
        monkeypatch.setattr(asyncio, "gather", broken)
        await together(phase.supervisors, phase.start)
        assert phase.statuses == {"a0": "ok", "a1": "ok", "a2": "ok"}
        assert [time for _, time in phase.began] == pytest.approx([0, 1, 3])

    virtually(main())


def test_gather_that_breaks_while_agents_work_fails_those_that_have_no_outcome(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks_later(*args: Any, **options: Any) -> Any:
        async def gathered() -> None:
            await asyncio.sleep(1.5)
            raise RuntimeError("gather broke")

        return asyncio.ensure_future(gathered())

    async def main() -> None:
        phase = Phase(3)
        monkeypatch.setattr(asyncio, "gather", breaks_later)
        await together(phase.supervisors, phase.start)
        assert phase.statuses == {"a0": "ok", "a1": "failed", "a2": "failed"}
        assert phase.outcomes[1].reason == "the parallel machinery failed: gather broke"
        assert str(phase.outcomes[1].error) == "gather broke"
        assert clock() == pytest.approx(1.5)

    virtually(main())
    assert "gather broke" in caplog.text


def test_a_start_that_breaks_in_the_middle_runs_the_others_one_by_one() -> None:
    async def main() -> None:
        phase, tries = Phase(4), list[str]()

        def start(supervisor: Supervisor) -> None:
            tries.append(supervisor.agent.name)
            if tries.count("a2") == 1 and tries[-1] == "a2":
                raise RuntimeError("no more tasks")
            phase.start(supervisor)

        await together(phase.supervisors, start)
        assert tries == ["a0", "a1", "a2", "a2", "a3"]
        assert phase.statuses == {"a0": "failed", "a1": "failed", "a2": "ok", "a3": "ok"}
        assert phase.began == [("a2", 0), ("a3", pytest.approx(3))]

    virtually(main())


def test_a_cancel_of_the_phase_is_passed_on_and_leaves_the_agents_to_their_supervisors() -> None:
    async def main() -> None:
        phase = Phase(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await together(phase.supervisors, phase.start)
        assert phase.outcomes == []
        await asyncio.wait([supervisor.task for supervisor in phase.supervisors if supervisor.task is not None])
        assert phase.statuses == {"a0": "ok", "a1": "ok"}

    virtually(main())


def test_failing_the_started_leaves_those_that_have_ended_alone() -> None:
    async def main() -> None:
        phase = Phase(2)
        phase.start(phase.supervisors[0])
        await phase.supervisors[0].future
        await fail_started(phase.supervisors, RuntimeError("broken"))
        assert phase.statuses == {"a0": "ok"}

    virtually(main())
