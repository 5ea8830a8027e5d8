"""Give results in llm-orc's shape: of a run, of an ensemble within another, of one agent.

Source: the results that llm-orc 0.25.2 gives as a library, field by field. What is sampled there (processor, memory) is
not measured here: those fields say 0 in 0 samples.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import ScriptFailed
from .inputs import as_text
from .outcome import plain
from .shapes import is_mapping

if TYPE_CHECKING:
    from .attempt import Attempt
    from .outcome import Outcome

_PEAKS: Mapping[str, Any] = MappingProxyType(
    {"peak_cpu": 0.0, "avg_cpu": 0.0, "peak_memory": 0.0, "avg_memory": 0.0, "sample_count": 0}
)
_BASELINE: Mapping[str, Any] = MappingProxyType(
    {"baseline_cpu": 0.0, "baseline_memory": 0.0, "resource_sample_count": 0}
)


def result(
    ensemble: str,
    outcomes: Sequence[Outcome],
    *,
    phases: Sequence[Sequence[str]],
    terminals: Collection[str],
    excused: Collection[str] = (),
    handled: Collection[str] = (),
    input: Any = None,
    started: float = 0.0,
    ended: float | None = None,
) -> dict[str, Any]:
    """Give the whole result of an ensemble as plain data that `json.dumps` takes.

    Args:
        ensemble: its name.
        outcomes: of its agents, in file order; those that exist.
        phases: one list of names per phase, agents in file order.
        terminals: names of the agents that no other depends on.
        excused: names of the agents that a guard skipped, directly or by their dependencies.
        handled: names of the agents that ran although no dependency had succeeded, and none was excused.
        input: of the ensemble, as it was given.
        started, ended: seconds since the epoch; `ended` None: it is still running.
    """
    records = {o.agent: record(o, excused=o.agent in excused, handled=o.agent in handled) for o in outcomes}
    deliverable = _deliverable(outcomes, records, terminals)
    has_errors = any(known["has_errors"] for known in records.values())
    until = max((o.ended for o in outcomes), default=started) if ended is None else ended
    return {
        "ensemble": ensemble,
        "status": "completed_with_errors" if has_errors else "completed",
        "has_errors": has_errors,
        "input": {"data": as_text(input)},
        "results": _results(outcomes, records, phases),
        "metadata": {
            "agents_used": len(outcomes),
            "started_at": started,
            "duration": f"{until - started:.2f}s",
            "completed_at": ended,
            "usage": _usage(outcomes),
            "adaptive_resource_management": _management(outcomes, phases),
        },
        **({} if deliverable is None else {"deliverable": deliverable}),
        "execution_order": [outcome.agent for outcome in outcomes],
    }


def _deliverable(outcomes: Sequence[Outcome], records: Mapping[str, Any], terminals: Collection[str]) -> str | None:
    """Give the text of the last terminal agent that has one."""
    given = (records[o.agent]["response"] for o in reversed(outcomes) if o.agent in terminals and o.ok)
    return next((text for text in given if isinstance(text, str)), None)


def _results(
    outcomes: Sequence[Outcome], records: Mapping[str, Any], phases: Sequence[Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Give records phase by phase: who was skipped, who worked and instances, what was gathered of those."""
    known = {outcome.agent: outcome for outcome in outcomes}
    results: dict[str, dict[str, Any]] = {}
    for phase in phases:
        there = [known[name] for name in phase if name in known]
        results |= {o.agent: records[o.agent] for o in there if o.status == "skipped"}
        for outcome in there:
            if _fanned_out(outcome):
                results |= {child.agent: record(child) for child in outcome.children}
            elif outcome.status != "skipped":
                results[outcome.agent] = records[outcome.agent]
        results |= {o.agent: records[o.agent] for o in there if _fanned_out(o)}
    return results


def record(outcome: Outcome, *, excused: bool = False, handled: bool = False) -> dict[str, Any]:
    """Give what became of one agent, as plain data.

    Args:
        outcome: of the agent.
        excused: a guard skipped it, directly or by its dependencies.
        handled: it ran although no dependency had succeeded, and none was excused.
    """
    if _fanned_out(outcome):
        return _gathered(outcome)
    data: dict[str, Any] = {"response": response(outcome), "status": _status(outcome), "model_substituted": False}
    if outcome.ok:
        data["model_substituted"] = _substituted(outcome)
        data |= {"outcome": "succeeded", "has_errors": _has_errors(outcome)}
        if handled:
            data |= {"outcome": "handled_failure", "has_errors": True, "handled_failure": True}
            data["handled_failure_reason"] = "it ran although no dependency had succeeded"
        if outcome.reply is not None and outcome.reply.route == "script" and isinstance(data["response"], str):
            data["agent_requests"] = []
    elif outcome.status == "skipped":
        if not excused:
            data["reason"] = outcome.reason
        data |= {"outcome": "skipped_by_guard" if excused else "skipped_by_failure", "has_errors": not excused}
    else:
        data["error"] = outcome.reason
        if isinstance(outcome.error, ScriptFailed) and outcome.error.payload is not None:
            data["payload"] = dict(outcome.error.payload)
        data |= {"outcome": "failed", "has_errors": True}
    return data


def _gathered(outcome: Outcome) -> dict[str, Any]:
    """Give the record of a fan-out: what its instances say, in the order of the items."""
    instances: list[dict[str, Any]] = []
    for index, child in enumerate(outcome.children):
        instances.append({"index": index, "status": _status(child)} | ({} if child.ok else {"error": child.reason}))
    status = _status(outcome)
    data = {"response": response(outcome), "status": status, "fan_out": True, "instances": instances}
    if not outcome.ok:
        told = [f"[{instance['index']}] {instance['error']}" for instance in instances if "error" in instance]
        data["error"] = "; ".join(told) or outcome.reason
    word = "succeeded" if status == "success" else status
    return {**data, "outcome": word, "has_errors": _has_errors(outcome)}


def response(outcome: Outcome) -> Any:
    """Give what an agent answered: a text, JSON text of what ran within it, a fan-out's list; None without result."""
    inner = outcome.inner
    if _fanned_out(outcome):
        return [response(child) for child in outcome.children]
    if not outcome.ok:
        return None
    if inner is None:
        return _script_data(outcome)
    if inner.kind == "loop":
        told = {
            "output": plain(_object(outcome.value)),
            "iterations": len(outcome.children),
            "terminated": inner.terminated,
            "has_errors": _has_errors(outcome),
        }
        failures = [{"iteration": n, "error": o.reason} for n, o in enumerate(outcome.children, 1) if not o.ok]
        if failures:
            told["iteration_failures"] = failures
        return json.dumps(told, ensure_ascii=False)
    whole = result(
        inner.ensemble,
        outcome.children,
        phases=inner.phases,
        terminals=inner.terminals,
        excused=inner.excused,
        handled=inner.handled,
        input=inner.input,
        started=outcome.started,
        ended=outcome.ended,
    )
    return json.dumps(whole, ensure_ascii=False)


def _script_data(outcome: Outcome) -> Any:
    """Give a text; a list, a number and the like, which only scripts give, stay data."""
    by_script = outcome.reply is not None and outcome.reply.route == "script"
    return outcome.text if not by_script or isinstance(outcome.value, str | dict) else plain(outcome.value)


def _object(value: Any) -> Any:
    """Give what a loop's `until` and `carry` see: an object as it is, a text as the `value` of one, else nothing."""
    found = value
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            found = json.loads(value)
    return found if is_mapping(found) else {"value": value} if isinstance(value, str) else {}


def _fanned_out(outcome: Outcome) -> bool:
    """Tell whether instances ran: where the items could not be read there are none, but for an empty list."""
    inner = outcome.inner
    return inner is not None and inner.kind == "fan_out" and (outcome.ok or bool(outcome.children))


def _status(outcome: Outcome) -> str:
    if outcome.ok:
        partial = _fanned_out(outcome) and not all(child.ok for child in outcome.children)
        return "partial" if partial else "success"
    return "skipped" if outcome.status == "skipped" and not _fanned_out(outcome) else "failed"


def _has_errors(outcome: Outcome) -> bool:
    """Tell whether it, or what its result was made of, has failed."""
    inner = outcome.inner
    if not outcome.ok or inner is None:
        return not outcome.ok
    if inner.kind == "loop":  # the rounds before the last one have left nothing
        return bool(outcome.children) and _has_errors(outcome.children[-1])
    return any(_has_errors(child) for child in outcome.children if child.agent not in inner.excused)


def _substituted(outcome: Outcome) -> bool:
    """Tell whether another model answered than the one that was asked first."""
    answered = _answered(outcome)
    return answered is not None and answered.model != outcome.attempts[0].model


def _answered(outcome: Outcome) -> Attempt | None:
    return next((a for a in reversed(outcome.attempts) if a.error is None and not a.cancelled), None)


def _usage(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Give the tokens of the models that answered; those within an ensemble are in its own result."""
    leaves = [child for o in outcomes for child in (o.children if _fanned_out(o) else (o,))]
    agents = {leaf.agent: _spent(leaf) for leaf in leaves if leaf.ok and leaf.inner is None and _model(leaf)}
    spent = list(agents.values())
    totals = {
        "total_tokens": sum(one["total_tokens"] for one in spent),
        "total_input_tokens": sum(one["input_tokens"] for one in spent),
        "total_output_tokens": sum(one["output_tokens"] for one in spent),
        "total_cost_usd": sum((one["cost_usd"] for one in spent), 0.0),
        "total_duration_ms": sum(one["duration_ms"] for one in spent),
        "agents_count": len(spent),
    }
    return {"agents": agents, "totals": totals}


def _model(outcome: Outcome) -> str:
    """Give the model that answered, without its prefix; "" where none was asked."""
    answered = _answered(outcome)
    if answered is not None:
        return answered.model.partition("/")[2]
    return outcome.reply.model if outcome.reply is not None else ""  # of a cache


def _spent(outcome: Outcome) -> dict[str, Any]:
    usage, attempts = outcome.usage, outcome.attempts
    costs = [attempt.cost if attempt.estimate is None else attempt.estimate[1] for attempt in attempts]
    times = [time for attempt in attempts for time in (attempt.started, attempt.ended) if time is not None]
    seconds = max(times) - min(times) if times else 0.0
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cost_usd": sum((cost for cost in costs if cost is not None), 0.0),  # theirs is a number: what is known
        "duration_ms": round(seconds * 1000),
        "model": _model(outcome),
        "model_profile": None,
        "start_time": min(times, default=outcome.started),
        "resource_duration_seconds": seconds,
        **_PEAKS,
        **_BASELINE,
        "cpu_samples": list[float](),
        "memory_samples": list[float](),
    }


def _management(outcomes: Sequence[Outcome], phases: Sequence[Sequence[str]]) -> dict[str, Any]:
    known = {outcome.agent: outcome for outcome in outcomes}
    ended = [[known[name] for name in phase if name in known] for phase in phases]
    samples = {"raw_cpu_samples": list[float](), "raw_memory_samples": list[float]()}
    return {
        "adaptive_used": False,
        "management_type": "user_configured",
        "concurrency_decisions": [],
        "resource_metrics": [],
        "execution_metrics": {**_PEAKS, **samples},
        "phase_metrics": [_phase(index, there) for index, there in enumerate(ended)],
    }


def _phase(index: int, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    names = [child.agent for o in outcomes for child in (o.children if _fanned_out(o) else (o,))]
    started = min((outcome.started for outcome in outcomes), default=0.0)
    ended = max((outcome.ended for outcome in outcomes), default=0.0)
    return {
        "phase_index": index,
        "phase_name": f"phase_{index}",
        "agent_count": len(names),
        "phase_start_time": started,
        "agent_names": names,
        "start_time": started,
        "duration_seconds": ended - started,
        "end_time": ended,
        "agents_completed": len(names),
        **_PEAKS,
    }
