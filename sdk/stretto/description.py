"""Say what a run would do, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import stack as layers
from .key_shapes import clean
from .substitute import substitutes

if TYPE_CHECKING:
    from .agent import Agent
    from .routing import Routing
    from .stage import Stage


MOST_DESCRIBED = 10_000  # agents, those of an ensemble counted wherever it is named


def describe(stage: Stage, routing: Routing) -> dict[str, Any]:
    """Give name, schedule, phases and agents of a stage; what runs within an agent stands under its `ensemble`.

    Where that would be too much (two names on each of fifty levels), the agents of an ensemble stand only at its first.
    """
    known: dict[int, dict[str, Any]] = {}
    described = _described(stage, routing, known)
    if _size(described, {}) > MOST_DESCRIBED:
        _shorten(described, set())
    return described


def _size(described: dict[str, Any], known: dict[int, int]) -> int:
    if id(described) not in known:
        inner = [agent["ensemble"] for agent in described["agents"] if agent["ensemble"] is not None]
        known[id(described)] = len(described["agents"]) + sum(_size(one, known) for one in inner)
    return known[id(described)]


def _shorten(described: dict[str, Any], seen: set[int]) -> None:
    for agent in described["agents"]:
        inner = agent["ensemble"]
        if inner is None:
            continue
        if id(inner) in seen:
            agent["ensemble"] = {**inner, "agents": []}
        else:
            seen.add(id(inner))
            _shorten(inner, seen)


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
        "model": clean(routing.model(agent)) if agent.model else None,
        "depends_on": list(stage.plan.dependencies[name]),
        "timeout": timeout,
        "host": routing.host(agent),
        "key": routing.key_name(agent),
        "middleware": layers.names(stage.stacks[name]),
        "fan_out": agent.fan_out,
        "fallback": [clean(routing.named(one.model, one.base_url)) for one in substitutes(agent.fallback)],
        "script": list(stage.scripts[name].argv) if name in stage.scripts else None,
        "env": list(agent.env or ()),
        "dispatch": None if agent.dispatch is None else clean(agent.dispatch),
        "ensemble": _described(stage.inner[name], routing, known) if name in stage.inner else None,
    }


def _unclocked(agent: Agent) -> bool:
    """Whether only a timeout of its own bounds it; of a fan-out each instance has one."""
    return agent.kind in ("ensemble", "loop", "dispatch")
