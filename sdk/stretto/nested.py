"""Do the work of an agent that runs others: an ensemble, a loop, a dispatch, the instances of a fan-out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from . import marks, telemetry
from .clock import now
from .errors import InvalidOutput
from .fan_out import fan_out
from .inner_log import complete
from .inner_run import inner_of, result_of, run_within
from .inputs import Inputs
from .outcome import Inner, Outcome
from .prompt import data, filled, mark_value, picked

if TYPE_CHECKING:
    from .drive import Drive
    from .loop import Loop
    from .stage import Stage
    from .supervisor import Supervisor


async def perform(drive: Drive, supervisor: Supervisor) -> Outcome:
    """Do the work of an agent that runs others, from its inputs to its outcome.

    Raises:
        BaseException: whatever ended it; the supervisor makes an outcome of it.
    """
    agent, desk = supervisor.agent, drive.desk
    supervisor.clock.start()
    if agent.fan_out is not None:
        return await fan_out(drive, supervisor, agent.fan_out)
    inputs = drive.composed(agent)
    given = data(agent, inputs, drive.visible)
    if supervisor.span is not None:
        telemetry.capture(supervisor.span, desk.services, telemetry.INPUT_VALUE, given)
    if agent.loop is not None:
        loop: Any = agent.loop
        return await _loop(drive, supervisor, loop, given)
    if agent.dispatch is not None:
        stage = await drive.stage.chosen(agent.name, _chosen(agent.dispatch, inputs, drive.visible), drive.path)
        return await _ensemble(drive, supervisor, stage, given, "dispatch")
    return await _ensemble(drive, supervisor, drive.stage.inner[agent.name], given, "ensemble")


def _chosen(text: str, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> str:
    for mark in marks.marks_in(marks.read(text)):
        picked(mark, inputs, outcomes)  # refuses an agent without result: a sentence that says so is no name
    return filled(text, inputs, outcomes).strip()


async def _ensemble(
    drive: Drive, supervisor: Supervisor, stage: Stage, given: Any, kind: Literal["ensemble", "dispatch"]
) -> Outcome:
    made = await run_within(drive, supervisor, stage, given, kind=kind)
    fields = result_of(made)
    complete(made.desk.log, fields["text"])
    return supervisor.outcome(**fields)


async def _loop(drive: Drive, supervisor: Supervisor, loop: Loop, given: Any) -> Outcome:
    stage, rounds, first = drive.stage.inner[supervisor.agent.name], list[Outcome](), given
    compat = drive.compat
    terminated = "exhausted"
    supervisor.inner = lambda: Inner(kind="loop", ensemble=stage.ensemble.name)
    while len(rounds) < loop.max_iterations:
        began = now()
        await asyncio.sleep(0)  # a body without agents would keep everything else from going on
        made = await run_within(drive, supervisor, stage, given, children=partial(_so_far, supervisor, rounds, began))
        fields = {**result_of(made), "inner": inner_of(made, "ensemble")}
        rounds.append(_round(made, supervisor, len(rounds) + 1, began, **fields))
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
        inner=Inner(kind="loop", ensemble=stage.ensemble.name, terminated=terminated if last.ok else ""),
    )


def _so_far(supervisor: Supervisor, rounds: Sequence[Outcome], began: float, made: Drive) -> tuple[Outcome, ...]:
    """Give the rounds that have ended, and the one that was cut off as far as it came."""
    stop = supervisor.stopped or made.stopped
    fields: dict[str, Any] = {"status": "cancelled", "reason": "it was cancelled"}
    if made.crash is not None:
        fields = {"status": "failed", "reason": supervisor.clean(str(made.crash)), "error": made.crash}
    elif stop is not None:
        fields = {"status": stop.status, "reason": stop.reason, "error": stop.error}
    inner = inner_of(made, "ensemble")
    return (*rounds, _round(made, supervisor, len(rounds) + 1, began, **fields, inner=inner))


def _round(made: Drive, supervisor: Supervisor, number: int, began: float, **fields: Any) -> Outcome:
    ended, children, text = now(), made.in_order(), fields.get("text", "")
    usage, cost, divided = supervisor.added_up(children, began, ended)
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
