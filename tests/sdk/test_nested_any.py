"""Any tree of agents that run others, stopped at any time: one outcome each, nothing lost, nothing that runs on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from nesting import check, child
from stretto import Agent, Call, Ensemble, Inputs, Next, Reply, Run, Runner, Settings
from stretto.loop import Loop
from stretto.middleware import Retry, Timeout
from stretto.outcome import within
from stretto.references import References
from stretto.usage import Usage
from watched import clock, virtually


class Garden:
    """Random trees, from a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.made: list[Ensemble] = []
        self.at_work = 0
        self.most = 0
        self.stubborn = False
        self.over = False

    async def working(self, kind: str, seconds: float) -> Any:
        assert not self.over, "it began after the end"
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            return await self.doing(kind, seconds)
        finally:
            self.at_work -= 1

    async def doing(self, kind: str, seconds: float) -> Any:
        if kind == "clings":
            until = clock() + 30
            while clock() < until:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(until - clock())
            return "late"
        if kind == "slow to end":
            try:
                await asyncio.sleep(seconds * 10)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
                raise
        await asyncio.sleep(seconds if kind != "hangs" else 1000)
        if kind == "fails":
            raise ValueError("no")
        if kind == "cancels itself":
            raise asyncio.CancelledError
        return {"items": [1, 2, 3][: int(seconds * 7) % 4], "done": int(seconds * 10) % 2 == 0}

    def work(self) -> Callable[[Inputs], Coroutine[Any, Any, Any]]:
        kinds = ["gives"] * 12 + ["fails"] * 2 + ["hangs", "slow to end", "cancels itself"] + ["clings"] * self.stubborn
        kind, seconds = self.dice.choice(kinds), self.dice.choice([0, 0.1, 0.5, 1, 1.5, 2])

        async def working(inputs: Inputs) -> Any:
            return await self.working(kind, seconds)

        return working

    async def answer(self, call: Call) -> Reply:
        dice = random.Random(f"{call.agent}{call.ensemble}")
        await self.working(dice.choice(["gives", "gives", "fails"]), dice.choice([0, 0.2, 1]))
        return Reply("x", usage=Usage(1, 1))

    def agent(self, name: str, before: list[str], depth: int) -> Agent:
        dice = self.dice
        fields: dict[str, Any] = {"depends_on": dice.sample(before, min(len(before), dice.choice([0, 0, 1, 2])))}
        if dice.random() < 0.2:
            fields["timeout"] = dice.choice([0.5, 1, 3])
        if before and dice.random() < 0.15:
            fields["when"] = f"${{{dice.choice(before)}.done}}"
        if dice.random() < 0.2:
            fields["on_dependency_failure"] = "run"
        if dice.random() < 0.2:
            fields["fan_out"] = (
                f"${{{dice.choice(before)}.items}}" if before and dice.random() < 0.5 else "${input.items}"
            )
        kinds = ["function", "model", "child", "loop", "child", "loop", "dispatch"]
        kind = dice.choice(kinds if depth else kinds[:2])
        if kind == "child":
            fields["ensemble"] = self.ensemble(depth - 1)
        elif kind == "loop":
            carry = dice.choice([None, "${input}", "${body.items}"])
            fields["loop"] = Loop(
                self.ensemble(depth - 1), dice.choice([1, 2, 3]), dice.choice([None, "${body.done}"]), carry
            )
        elif kind == "dispatch":
            fields["dispatch"] = str(dice.randrange(len(self.made) + 1))
        elif kind == "model":
            fields["model"] = "t/m"
        else:
            fields["function"] = self.work()
        return Agent(name, **fields)

    def ensemble(self, depth: int) -> Ensemble:
        dice = self.dice
        if self.made and dice.random() < 0.3:
            return dice.choice(self.made)
        agents: list[Agent] = []
        for number in range(dice.choice([1, 2, 3, 4])):
            agents.append(self.agent(f"a{number}", [agent.name for agent in agents], depth))
        settings: dict[str, Any] = {}
        if dice.random() < 0.15:
            settings["run_timeout"] = dice.choice([0.5, 2])
        schedule: Any = dice.choice(["phases", "phases", "ready"])
        if dice.random() < 0.15 and schedule == "phases":
            settings["phase_timeout"] = dice.choice([0.5, 2])
        if dice.random() < 0.1:
            settings["enable_parallel_execution"] = False
        made = child(
            *agents,
            name=f"e{len(self.made)}",
            schedule=schedule,
            on_failure=dice.choice(["continue"] * 5 + ["fail_fast"]),
            strictness=dice.choice(["strict", "compat"]),
            settings=Settings(**settings),
            default_input={"items": [1, 2]},
        )
        self.made.append(made)
        return made


async def grown(garden: Garden, schedule: str) -> tuple[Run, int]:
    dice = garden.dice
    places = dice.choice([0, 1, 2, 5, 100])
    garden.stubborn = dice.random() < 0.3
    ensemble = garden.ensemble(3)

    async def found(self: References, name: str, around: Ensemble) -> Ensemble:
        await asyncio.sleep(0)
        return garden.made[int(name) % len(garden.made)]

    grace = dice.choice([0, 0.2, 1])
    garden.stubborn |= not grace  # what needs a moment to end is abandoned
    settings = Settings(
        max_concurrent_agents=places,
        cancel_grace=grace,
        default_timeout=dice.choice([2, 5, 60]),
        max_ensemble_depth=6,
        **({"enable_parallel_execution": False} if dice.random() < 0.1 else {}),
    )

    async def passes(call: Call, call_next: Next) -> Reply:
        return await call_next(call)

    layers: list[Any] = dice.choice([[], [passes], [Retry(2), Timeout(3)]])
    runner = Runner(middleware=layers, providers={"t": garden.answer}, settings=settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(References, "found", found)
        run = runner.start(
            ensemble, {"items": [1, 2, 3]}, timeout=dice.choice([None, None, 0.7, 2.1, 30]), stream=dice.random() < 0.5
        )
        if dice.random() < 0.6:
            if (seconds := dice.choice([0, 0.1, 0.5, 1, 1.5, 2.5, 4])) > 0:
                await asyncio.sleep(seconds)
            for _ in range(dice.randrange(20)):
                await asyncio.sleep(0)
            run.cancel()
        await run.wait()
        running = garden.at_work
        if not garden.stubborn:
            assert running == 0
        garden.over = True
        await asyncio.sleep(3600)
    assert garden.at_work == 0
    return run, places if settings.enable_parallel_execution else 1


@pytest.mark.parametrize("seed", range(150))
def test_any_tree_that_is_stopped_at_any_time_leaves_one_outcome_for_each_agent(seed: int) -> None:
    garden = Garden(seed)
    run, places = virtually(grown(garden, ""))
    check(run)
    if places and not garden.stubborn:  # the place of what was abandoned is given back, while it goes on
        assert garden.most <= places
    statuses = {outcome.status for outcome in within(run.outcomes.values())}
    assert "cancelled" not in statuses or run.status in (
        "cancelled",
        "completed",
        "completed_with_errors",
        "failed",
        "timed_out",
    )
