"""An agent's clock stands until its first request is admitted."""

from __future__ import annotations

import asyncio
import math

import pytest

from stretto import Agent, Runner
from stretto.deadline import AgentClock
from stretto.middleware import ConcurrencyLimit, RateLimit, Retry
from watched import an_ensemble, clock, statuses, virtually


def test_it_stands_until_it_is_started() -> None:
    async def main() -> None:
        agents = AgentClock(10)
        await asyncio.sleep(100)
        assert (agents.started, agents.ends, agents.remaining(clock())) == (False, None, 10)

    virtually(main())


def test_it_runs_from_its_first_start_on() -> None:
    async def main() -> None:
        agents = AgentClock(10)
        await asyncio.sleep(5)
        agents.start()
        await asyncio.sleep(3)
        agents.start()
        assert agents.ends == pytest.approx(15)
        assert agents.remaining(clock()) == pytest.approx(7)

    virtually(main())


def test_whoever_arms_it_is_told_once_when_it_ends() -> None:
    async def main() -> None:
        told: list[float | None] = []
        bounded, unbounded = AgentClock(10, told.append), AgentClock(None, told.append)
        for _ in range(2):
            bounded.start()
            unbounded.start()
        assert told == [10, None]

    virtually(main())


def test_without_a_bound_there_is_always_time() -> None:
    async def main() -> None:
        agents = AgentClock()
        agents.start()
        assert agents.remaining(clock()) == math.inf

    virtually(main())


def test_after_its_end_less_than_nothing_is_left() -> None:
    async def main() -> None:
        agents = AgentClock(1)
        agents.start()
        await asyncio.sleep(3)
        assert agents.remaining(clock()) == pytest.approx(-2)

    virtually(main())


@pytest.mark.parametrize("layer", [ConcurrencyLimit(1), RateLimit(requests=1, per=2)])
def test_waiting_for_a_slot_or_a_quota_before_the_first_request_costs_nothing(layer: object) -> None:
    async def main() -> None:
        agents = [Agent(f"a{n}", model="simulated/latency-8s", timeout=8.5) for n in range(5)]
        run = await Runner(middleware=[layer]).run(an_ensemble(*agents), "x")  # type: ignore[list-item]
        assert set(statuses(run).values()) == {"ok"}
        assert run["a4"].timings.total > 8.5

    virtually(main())


def test_back_off_and_further_requests_are_covered() -> None:
    async def main() -> None:
        agent = Agent("a", model="simulated/latency-1s+fail-503+retry-after-2s", timeout=4.5)
        run = await Runner(middleware=[Retry(9, backoff=0.001)]).run(agent, "x")
        assert clock() <= 4.5
        assert [attempt.number for attempt in run["a"].attempts] == [1, 2]

    virtually(main())
