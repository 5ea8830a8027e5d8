"""Say what a run would do, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import stack as layers
from .substitute import substitutes

if TYPE_CHECKING:
    from .agent import Agent
    from .routing import Routing
    from .stage import Stage


def describe(stage: Stage, routing: Routing) -> dict[str, Any]:
    """Give name, schedule, phases and agents of a stage; what runs within an agent stands under its `ensemble`."""
    return _described(stage, routing, {})


def _described(stage: Stage, routing: Routing, known: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Describe a stage once, however often it is named: ten names on each of five levels are a hundred thousand."""
    if id(stage) not in known:
        phase_of = stage.plan.phase_of()
        known[id(stage)] = {
            "ensemble": stage.ensemble.name,
            "schedule": stage.ensemble.schedule,
            "phases": stage.plan.phases,
            "agents": [_agent(agent, phase_of[agent.name], stage, routing, known) for agent in stage.agents],
        }
    return known[id(stage)]


def _agent(
    agent: Agent, phase: int, stage: Stage, routing: Routing, known: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    name = agent.name
    timeout = stage.settings.default_timeout if agent.timeout is None and not _unclocked(agent) else agent.timeout
    return {
        "name": name,
        "phase": phase,
        "kind": agent.kind,
        "model": routing.model(agent) if agent.model else None,
        "depends_on": list(stage.plan.dependencies[name]),
        "timeout": timeout,
        "host": routing.host(agent),
        "key": routing.key_name(agent),
        "middleware": layers.names(stage.stacks[name]),
        "fan_out": agent.fan_out,
        "fallback": [routing.named(one.model, one.base_url) for one in substitutes(agent.fallback)],
        "script": list(stage.scripts[name].argv) if name in stage.scripts else None,
        "dispatch": agent.dispatch,
        "ensemble": _described(stage.inner[name], routing, known) if name in stage.inner else None,
    }


def _unclocked(agent: Agent) -> bool:
    """Whether only a timeout of its own bounds it; of a fan-out each instance has one."""
    return agent.kind in ("ensemble", "loop", "dispatch")
