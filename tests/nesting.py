"""Runs of agents that run others, and what must be true of every outcome, however deep it stands."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from stretto import Agent, Ensemble, Inputs, Outcome, Run, Runner, Settings
from stretto.outcome import within
from watched import an_ensemble, clock, virtually

RUNNER_OPTIONS = ("middleware", "providers", "prices", "allow_scripts")
OF_THE_ENSEMBLE = ("schedule", "on_failure", "strictness", "composer", "model", "defaults", "default_input")


def child(*agents: Agent, name: str = "child", **options: Any) -> Ensemble:
    return Ensemble(name, agents, **options)


def a_run(*agents: Agent, input: Any = "x", timeout: float | None = None, stream: bool = False, **options: Any) -> Run:
    """Run agents in virtual time, to the end of everything; `options` are settings, the ensemble's and the runner's."""
    of_runner = {"middleware": [], **{key: options.pop(key) for key in RUNNER_OPTIONS if key in options}}
    ensemble = an_ensemble(*agents, **{key: options.pop(key) for key in OF_THE_ENSEMBLE if key in options})
    runner = Runner(**of_runner, settings=Settings(**options))

    async def main() -> Run:
        run = await runner.run(ensemble, input, timeout=timeout, stream=stream)
        await asyncio.sleep(7200)  # what was abandoned ends
        return run

    run = virtually(main())
    check(run)
    return run


def check(run: Run) -> None:
    """Hold a run that has ended to what is true of each."""
    assert sorted(run.outcomes) == sorted(agent.name for agent in run.ensemble.agents)
    for outcome in run.outcomes.values():
        check_outcome(outcome)
    everything = within(run.outcomes.values())
    assert run.usage.total_tokens == sum(o.usage.total_tokens for o in everything if not o.children)
    assert len(within(run.outcomes.values())) == len({id(outcome) for outcome in everything})
    data = json.loads(json.dumps(run.to_dict()))
    assert ledger(data["outcomes"].values()) == sum(len(outcome.attempts) for outcome in everything)


def ledger(outcomes: Any) -> int:
    """Count the requests in `to_dict()`."""
    return sum(len(data["attempts"]) + ledger(data["children"]) for data in outcomes)


def check_outcome(outcome: Outcome) -> None:
    """Hold an outcome, and all within it, to what is true of each."""
    assert outcome.status in ("ok", "failed", "timed_out", "cancelled", "skipped")
    assert outcome.ok or outcome.reason, outcome
    assert outcome.ended >= outcome.started
    assert outcome.timings.total == pytest.approx(outcome.ended - outcome.started, abs=1e-6)
    json.dumps(outcome.to_dict())
    inner, children = outcome.inner, outcome.children
    assert inner is not None or not children
    if outcome.status == "skipped":
        assert children == ()
    if inner is not None and inner.kind in ("ensemble", "dispatch"):
        names = [child.agent for child in children]
        assert sorted(names) == sorted(name for phase in inner.phases for name in phase)
        assert set(inner.terminals) <= set(names)
    if inner is not None and inner.kind == "loop":
        assert [child.agent for child in children] == [f"{outcome.agent}[{n + 1}]" for n in range(len(children))]
    if inner is not None and inner.kind == "fan_out":
        assert [child.agent for child in children] == [f"{outcome.agent}[{n}]" for n in range(len(children))]
    if children:
        assert outcome.attempts == ()
        assert outcome.usage.total_tokens == sum(child.usage.total_tokens for child in children)
        costs = [child.cost for child in children]
        known = [cost for cost in costs if cost is not None]
        assert outcome.cost == (pytest.approx(math.fsum(known)) if len(known) == len(costs) else None)
    for within_it in children:
        assert within_it.started >= outcome.started - 1e-6
        assert within_it.ended <= outcome.ended + 1e-6
        check_outcome(within_it)


def tree(outcome: Outcome) -> Any:
    """The status of an outcome, with those of all within it: `"ok"`, or `("ok", {"a": "ok"})`."""
    if not outcome.children:
        return outcome.status
    return outcome.status, {child.agent: tree(child) for child in outcome.children}


def trees(run: Run) -> dict[str, Any]:
    return {agent.name: tree(run[agent.name]) for agent in run.ensemble.agents}


class AtWork:
    """Agents that count how many of them are at work: `at_work("a", 3)` works for 3 seconds."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.calls = 0
        self.began: list[tuple[str, float]] = []

    def __call__(self, name: str, seconds: float = 1.0, **fields: Any) -> Agent:
        async def work(inputs: Inputs) -> Any:
            self.began.append((inputs.agent, clock()))
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.now -= 1
            return fields.get("value", inputs.agent)

        return Agent(name, function=work, **{key: value for key, value in fields.items() if key != "value"})


def gives(value: Any) -> Any:
    """A function agent's work that gives any value."""

    async def give(inputs: Inputs) -> Any:
        return value

    return give


async def echo(inputs: Inputs) -> str:
    """A function agent's work that gives what it is asked."""
    return inputs.text


async def shows(inputs: Inputs) -> Any:
    """A function agent's work that gives its input as it is."""
    return inputs.input
