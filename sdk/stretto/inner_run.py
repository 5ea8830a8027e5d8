"""Run a stage within an agent, and say what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from . import telemetry
from .around import Around
from .inner_log import InnerLog
from .outcome import Inner, Outcome, Status

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from .drive import Drive
    from .inputs import Item
    from .stage import Stage
    from .supervisor import Supervisor

MOST_NAMED = 5  # agents without a result, in a reason
LONGEST_REASON = 600  # characters of theirs


async def run_within(
    drive: Drive,
    supervisor: Supervisor,
    stage: Stage,
    given: Any,
    *,
    items: Mapping[str, Item] | None = None,
    children: Callable[[Drive], tuple[Outcome, ...]] | None = None,
    kind: Literal["ensemble", "dispatch"] | None = None,
) -> Drive:
    """Run a stage to its end.

    Args:
        drive: of the run around it.
        supervisor: of the agent.
        stage: what is run.
        given: its input. None: its ensemble's own.
        items: of the instances of a fan-out.
        children: gives the agent's children while it is at work. None: the outcomes within it.
        kind: of what the agent's outcome says that it ran; None: its caller says that.

    Raises:
        CancelledError: when the agent was stopped; the outcomes are kept.
        BaseException: what kept it from being run, for example a ConfigError of a provider.
    """
    if given is None and items is None:
        given = stage.ensemble.default_input
    made = _made(drive, supervisor, stage, given, items)
    if children is not None:
        supervisor.children = partial(children, made)
    if kind is not None:
        supervisor.inner = partial(inner_of, made, kind)
    span = None if items is not None else _span(stage.ensemble.name, drive.desk.run_id)
    made.chronicle.span = span if span is not None and span.get_span_context().is_valid else supervisor.span
    try:
        await made.drive()
    finally:
        if span is not None:
            span.end()
    task = supervisor.task
    if supervisor.stopped is not None or (task is not None and task.cancelling()):
        raise asyncio.CancelledError
    if made.crash is not None:
        raise made.crash
    return made


def _span(name: str, run_id: str) -> Span:
    attributes = {
        telemetry.OPERATION: "invoke_workflow",
        telemetry.WORKFLOW_NAME: name,
        telemetry.RUN_ID: run_id,
    }
    return telemetry.start(f"invoke_workflow {name}", "CHAIN", attributes)


def _made(drive: Drive, supervisor: Supervisor, stage: Stage, given: Any, items: Mapping[str, Item] | None) -> Drive:
    """Make the run of what an agent runs within itself; whoever stops the agent stops that."""
    log, stream = InnerLog(drive.desk.log, supervisor), supervisor.agent.stream
    desk = replace(
        drive.desk,
        ensemble=stage.ensemble.name,
        services=stage.routing,
        composer=stage.composer,
        input=given,
        log=log,
        stream=drive.desk.stream if stream is None else stream,
    )
    deadlines = [time for time in (drive.nearest_deadline(), supervisor.clock.ends) if time is not None]
    around = Around(
        supervisor,
        drive.places,
        min(deadlines, default=None),
        outcomes={} if items is None else dict(drive.visible),
        items=items or {},
        path=drive.path,
        parallel=drive.parallel,
    )
    made = drive.again(stage, desk, given, around)
    log.only = None if items is not None or supervisor.agent.loop is not None else made.last
    made.chronicle.flat = items is not None
    supervisor.runs(made.in_order, made.stop, made.conclude)
    return made


def inner_of(made: Drive, kind: Literal["ensemble", "dispatch"]) -> Inner:
    """Give what was run, as it stands in an outcome."""
    return Inner(
        kind=kind,
        ensemble=made.ensemble.name,
        phases=tuple(map(tuple, made.plan.phases)),
        terminals=tuple(made.terminals),
        excused=tuple(name for name in made.outcomes if name in made.excused),
        handled=made.handled(),
        input=made.desk.input,
    )


def result_of(made: Drive) -> dict[str, Any]:
    """Give status, value, text, reason and error: those of the last terminal agent that has a result."""
    terminals = [made.outcomes[name] for name in made.terminals]
    without = [o for o in made.in_order() if not o.ok and o.agent not in made.excused]
    for outcome in reversed(terminals):
        if outcome.ok:
            reason = named(without, len(made.outcomes), made.ensemble.name)
            return {"status": "ok", "value": outcome.value, "text": outcome.text, "reason": reason}
    where = f"{made.ensemble.name!r} has no result"
    if all(outcome.agent in made.excused for outcome in terminals):  # or there are none: the run of it is completed
        why = "guards skipped what would give it" if terminals else "it has no agents"
        reason = named(without, len(made.outcomes), made.ensemble.name) or f"{where}: {why}"
        return {"status": "ok", "value": None, "text": "", "reason": reason}
    worst = next((o for o in reversed(without) if o.error is not None), terminals[-1])
    stop = made.stopped
    if stop is not None and stop.status == "timed_out":  # a clock of its own
        return {"status": stop.status, "text": worst.text, "reason": f"{where}: {stop.reason}", "error": stop.error}
    status: Status = "timed_out" if worst.status == "timed_out" else "failed"
    reason = f"{where}: {worst.agent} {worst.status}: {_short(worst.reason)}"
    return {"status": status, "text": worst.text, "reason": reason, "error": worst.error}


def named(without: Sequence[Outcome], count: int, where: str) -> str:
    """Name agents without a result in a sentence; "" when there are none."""
    if not without:
        return ""
    shown = ", ".join(f"{o.agent} ({o.status}: {_short(o.reason)})" for o in without[:MOST_NAMED])
    more = f" and {len(without) - MOST_NAMED} more" if len(without) > MOST_NAMED else ""
    return f"{len(without)} of {count} of {where!r} without a result: {shown}{more}"


def _short(reason: str) -> str:
    """Give a reason as it stands in another: what is nested must not double it at each level."""
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}..."
