"""Do the work of an agent that runs others: an ensemble, a loop, a dispatch, the instances of a fan-out."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import marks, telemetry
from .clock import now
from .errors import InvalidOutput
from .inner_log import complete
from .inputs import Inputs, Item
from .outcome import Inner, Outcome, Status, plain, summed
from .plan import Plan
from .prompt import data, filled, mark_value, picked
from .shapes import is_list, is_mapping
from .staging import inherited

if TYPE_CHECKING:
    from .agent import Agent
    from .drive import Drive
    from .loop import Loop
    from .staging import Stage
    from .supervisor import Supervisor

MOST_NAMED = 5  # agents without a result, in a reason


async def perform(drive: Drive, supervisor: Supervisor) -> Outcome:
    """Do the work of an agent that runs others, from its inputs to its outcome.

    Raises:
        BaseException: whatever ended it; the supervisor makes an outcome of it.
    """
    agent, desk = supervisor.agent, drive.desk
    supervisor.clock.start()
    if agent.fan_out is not None:
        return await _fan_out(drive, supervisor, agent.fan_out)
    inputs = drive.composed(agent)
    given = data(agent, inputs, drive.visible)
    if supervisor.span is not None:
        telemetry.capture(supervisor.span, desk.services, telemetry.INPUT_VALUE, given)
    if agent.loop is not None:
        loop: Any = agent.loop
        return await _loop(drive, supervisor, loop, given)
    if agent.dispatch is not None:
        name = filled(agent.dispatch, inputs, drive.visible).strip()
        stage = await drive.stage.chosen(agent.name, name)
        return await _ensemble(drive, supervisor, stage, given, "dispatch")
    return await _ensemble(drive, supervisor, drive.stage.inner[agent.name], given, "ensemble")


async def _ensemble(drive: Drive, supervisor: Supervisor, stage: Stage, given: Any, kind: Any) -> Outcome:
    made = await _run(drive, supervisor, stage, given)
    fields = _result(made)
    complete(made.desk.log, fields["text"])
    return supervisor.outcome(**fields, inner=_inner(made, kind))


async def _run(
    drive: Drive,
    supervisor: Supervisor,
    stage: Stage,
    given: Any,
    *,
    items: Mapping[str, Item] | None = None,
) -> Drive:
    """Run a stage to its end.

    Raises:
        CancelledError: when the agent was stopped; the outcomes are kept.
        BaseException: what kept it from being run, for example a ConfigError of a provider.
    """
    if given is None and items is None:
        given = stage.ensemble.default_input
    made = drive.within(supervisor, stage, given, items=items)
    span = None
    if items is None:
        name = stage.ensemble.name
        attributes = {
            telemetry.OPERATION: "invoke_workflow",
            telemetry.WORKFLOW_NAME: name,
            telemetry.RUN_ID: drive.desk.run_id,
        }
        span = telemetry.start(f"invoke_workflow {name}", "CHAIN", attributes)
    made.chronicle.span = span if span is not None and span.get_span_context().is_valid else supervisor.span
    try:
        await made.drive()
    finally:
        if span is not None:
            span.end()
    if supervisor.stopped is not None:
        raise asyncio.CancelledError
    if made.crash is not None:
        raise made.crash
    return made


def _inner(made: Drive, kind: Any) -> Inner:
    return Inner(
        kind=kind,
        ensemble=made.ensemble.name,
        phases=tuple(map(tuple, made.plan.phases)),
        terminals=tuple(made.terminals),
        excused=tuple(name for name in made.outcomes if name in made.excused),
        handled=made.handled(),
        input=made.desk.input,
    )


def _result(made: Drive) -> dict[str, Any]:
    """Give status, value, text, reason and error: those of the last terminal agent that has a result."""
    terminals = [made.outcomes[name] for name in made.terminals]
    without = [o for o in made.in_order() if not o.ok and o.agent not in made.excused]
    for outcome in reversed(terminals):
        if outcome.ok:
            reason = _named(without, len(made.outcomes), made.ensemble.name)
            return {"status": "ok", "value": outcome.value, "text": outcome.text, "reason": reason}
    if not terminals:
        return {"status": "ok", "value": None, "text": "", "reason": f"{made.ensemble.name!r} has no agents"}
    worst = next((o for o in reversed(without) if o.error is not None), terminals[-1])
    status: Status = "timed_out" if worst.status == "timed_out" else "failed"
    reason = f"{made.ensemble.name!r} has no result: {worst.agent} {worst.status}: {worst.reason}"
    return {"status": status, "text": worst.text, "reason": reason, "error": worst.error}


def _named(without: Sequence[Outcome], count: int, where: str) -> str:
    if not without:
        return ""
    named = ", ".join(f"{outcome.agent} ({outcome.status}: {outcome.reason})" for outcome in without[:MOST_NAMED])
    more = f" and {len(without) - MOST_NAMED} more" if len(without) > MOST_NAMED else ""
    return f"{len(without)} of {count} of {where!r} without a result: {named}{more}"


async def _loop(drive: Drive, supervisor: Supervisor, loop: Loop, given: Any) -> Outcome:
    stage, rounds, first = drive.stage.inner[supervisor.agent.name], list[Outcome](), given
    compat = drive.compat
    terminated = "exhausted"
    while len(rounds) < loop.max_iterations:
        began = now()
        made = await _round(drive, supervisor, stage, given, rounds)
        rounds.append(_round_outcome(made, supervisor, len(rounds) + 1, began))
        last = rounds[-1]
        supervisor.children = lambda: tuple(rounds)
        supervisor.seen = lambda: rounds[-1].text
        if not last.ok:
            if compat:  # as in llm-orc: only the last round decides
                continue
            break
        if loop.until is not None and _until(loop.until, last, first, compat):
            terminated = "until"
            break
        if loop.carry is not None and len(rounds) < loop.max_iterations:
            given = _carried(loop.carry, last, first, given if compat else None)
    last = rounds[-1]
    reason = last.reason
    if last.ok and terminated == "exhausted" and loop.until is not None:
        reason = f"exhausted: until {loop.until} did not hold in {len(rounds)} rounds" + (f"; {reason}" * bool(reason))
    return supervisor.outcome(
        last.status,
        value=last.value,
        text=last.text,
        reason=reason,
        error=last.error,
        inner=Inner(kind="loop", ensemble=stage.ensemble.name, terminated=terminated),
    )


async def _round(drive: Drive, supervisor: Supervisor, stage: Stage, given: Any, rounds: list[Outcome]) -> Drive:
    began = now()
    try:
        return await _run(drive, supervisor, stage, given)
    finally:
        if supervisor.stopped is not None:  # the round that was cut off is kept as far as it came
            inside, number = supervisor.children(), len(rounds) + 1
            cut = _of_children(inside, supervisor, number, began, status=supervisor.stopped.status)
            supervisor.children = lambda: (*rounds, cut)


def _round_outcome(made: Drive, supervisor: Supervisor, number: int, began: float) -> Outcome:
    fields = _result(made)
    return _of_children(made.in_order(), supervisor, number, began, **fields, inner=_inner(made, "ensemble"))


def _of_children(
    children: tuple[Outcome, ...], supervisor: Supervisor, number: int, began: float, **fields: Any
) -> Outcome:
    ended = now()
    usage, cost, divided = summed(children, began, ended)
    text = fields.get("text", "")
    return Outcome(
        agent=f"{supervisor.agent.name}[{number}]",
        phase=supervisor.phase,
        messages=({"role": "assistant", "content": text},) if text else (),
        usage=usage,
        cost=cost,
        timings=divided,
        children=children,
        started=began,
        ended=ended,
        **fields,
    )


def _until(until: str, last: Outcome, given: Any, compat: bool) -> bool:
    guard = marks.guard(until, agent=None, key="loop.until")
    name, path = guard.mark.resolve((marks.BODY,))
    try:
        value = mark_value(name, path, given, {}, {marks.BODY: last.value})
        return guard.holds_in_llm_orc(value) if compat else guard.holds(value)
    except InvalidOutput:
        if compat:  # as in llm-orc: what is not there does not hold
            return False
        raise


def _carried(carry: str, last: Outcome, given: Any, before: Any) -> Any:
    """Give the next round's input: a mark alone carries data. Where it names no field, in compat that of this round."""
    try:
        return _carried_value(carry, last, given)
    except InvalidOutput:
        if before is None:
            raise
        return before


def _carried_value(carry: str, last: Outcome, given: Any) -> Any:
    parts, bound = marks.read(carry), {marks.BODY: last.value}
    mark = marks.alone(parts)
    if mark is not None:
        name, path = mark.resolve((marks.BODY,))
        return mark_value(name, path, given, {}, bound)

    def value(name: str, path: tuple[str, ...]) -> str:
        return marks.as_literal(mark_value(name, path, given, {}, bound))

    return marks.fill(parts, (marks.BODY,), value)


async def _fan_out(drive: Drive, supervisor: Supervisor, source: str) -> Outcome:
    agent = supervisor.agent
    values = _items(agent, source, drive)
    inner = Inner(kind="fan_out")
    if not values:
        return supervisor.outcome("ok", value=[], text="[]", inner=inner)
    instances = [_instance(agent, number) for number in range(len(values))]
    count = len(values)
    items = {one.name: Item(value, n, count) for n, (one, value) in enumerate(zip(instances, values, strict=True))}
    stage = _stage_of(drive.stage, agent, instances)
    made = await _run(drive, supervisor, stage, drive.inputs[agent.name], items=items)
    outcomes = made.in_order()
    without = [outcome for outcome in outcomes if not outcome.ok]
    reason = _named(without, len(outcomes), agent.name)
    if len(without) == len(outcomes):
        late = all(outcome.status == "timed_out" for outcome in outcomes)
        return supervisor.outcome("timed_out" if late else "failed", reason=reason, error=without[0].error, inner=inner)
    found = [outcome.value if outcome.ok else None for outcome in outcomes]
    text = json.dumps(plain(found), ensure_ascii=False)
    return supervisor.outcome("ok", value=found, text=text, reason=reason, inner=inner)


def _items(agent: Agent, source: str, drive: Drive) -> Sequence[Any]:
    mark = marks.alone(marks.read(source))
    assert mark is not None  # an agent refuses another fan_out
    inputs = Inputs("", drive.inputs[agent.name], {}, drive.desk.metadata, agent.name)
    value = picked(mark, inputs, drive.visible)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
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

    async def chosen(_: str, name: str) -> Stage:
        return await stage.chosen(agent.name, name)

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
