"""Run an agent once for each item of a list, at once; each instance is an agent of its own to the rest of a run."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import marks
from .errors import InvalidOutput
from .inner_run import named, run_within
from .inputs import Inputs, Item
from .outcome import Inner, Outcome, Status, plain
from .plan import Plan
from .prompt import picked
from .shapes import is_list, is_mapping
from .staging import inherited

if TYPE_CHECKING:
    from .agent import Agent
    from .drive import Drive
    from .stage import Path, Stage
    from .supervisor import Supervisor


async def fan_out(drive: Drive, supervisor: Supervisor, source: str) -> Outcome:
    """Do the work of a fan-out: `source` is the mark of its list.

    Raises:
        InvalidOutput: when that is no list.
        BaseException: whatever ended it.
    """
    agent = supervisor.agent
    values = _items(agent, source, drive)
    supervisor.inner = lambda: Inner(kind="fan_out")
    if not values:
        return supervisor.outcome("ok", value=[], text="[]")
    instances = [_instance(agent, number) for number in range(len(values))]
    count = len(values)
    items = {one.name: Item(value, n, count) for n, (one, value) in enumerate(zip(instances, values, strict=True))}
    stage = _stage_of(drive.stage, agent, instances)
    made = await run_within(drive, supervisor, stage, drive.inputs[agent.name], items=items)
    outcomes = made.in_order()
    without = [outcome for outcome in outcomes if not outcome.ok]
    reason = named(without, len(outcomes), agent.name)
    if len(without) == len(outcomes):
        status: Status = "timed_out" if all(outcome.status == "timed_out" for outcome in outcomes) else "failed"
        error = next((outcome.error for outcome in without if outcome.error is not None), None)
        return supervisor.outcome(status, reason=reason, error=error)
    found = [outcome.value if outcome.ok else None for outcome in outcomes]
    text = json.dumps(plain(found), ensure_ascii=False)
    return supervisor.outcome("ok", value=found, text=text, reason=reason)


def _items(agent: Agent, source: str, drive: Drive) -> Sequence[Any]:
    mark = marks.alone(marks.read(source))
    assert mark is not None  # an agent refuses another fan_out
    inputs = Inputs("", drive.inputs[agent.name], {}, drive.desk.metadata, agent.name)
    value = picked(mark, inputs, drive.visible)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidOutput(f"fan_out {source} is a text that is not JSON") from None
    if is_mapping(value) and is_list(value.get("data")):  # as llm-orc's scripts wrap their lists
        value = value["data"]
    if not is_list(value):
        raise InvalidOutput(f"fan_out {source} is no list, but a {type(value).__name__}")
    return value


def _instance(agent: Agent, number: int) -> Agent:
    """Make the agent of one item; what was checked once is not checked a thousand times."""
    made = copy.copy(agent)
    put = object.__setattr__
    put(made, "name", f"{agent.name}[{number}]")
    put(made, "fan_out", None)
    put(made, "when", None)
    return made


def _stage_of(stage: Stage, agent: Agent, instances: list[Agent]) -> Stage:
    names = [one.name for one in instances]

    def of_each(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(names, mapping[agent.name]) if agent.name in mapping else {}

    async def chosen(_: str, name: str, path: Path) -> Stage:
        return await stage.chosen(agent.name, name, path)

    return replace(
        stage,
        agents=instances,
        plan=Plan([names], dict.fromkeys(names, ())),
        settings=inherited(None, stage.settings) or stage.settings,
        fail_fast=False,
        pipelines=of_each(stage.pipelines),
        endpoints=of_each(stage.endpoints),
        targets=of_each(stage.targets),
        scripts=of_each(stage.scripts),
        composites=frozenset(names) if instances[0].composite else frozenset(),
        inner=of_each(stage.inner),
        chosen=chosen,
        held=(),
    )
