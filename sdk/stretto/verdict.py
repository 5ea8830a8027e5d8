"""Decide whether an agent gets to work: by its dependencies, and by its guard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import marks
from .errors import InvalidOutput
from .outcome import Outcome, Status
from .prompt import mark_value

if TYPE_CHECKING:
    from .agent import Agent


class Verdict(NamedTuple):
    """Why an agent does not get to work.

    Attributes:
        status: "skipped", or "failed" when its guard cannot be read.
        reason: in words.
        excused: it does not make the run less than ok.
        error: of a guard that cannot be read.
    """

    status: Status
    reason: str
    excused: bool = False
    error: InvalidOutput | None = None


def judge(
    agent: Agent, given: Any, outcomes: Mapping[str, Outcome], excused: Collection[str], *, compat: bool = False
) -> Verdict | None:
    """Give None when the agent gets to work.

    Args:
        agent: whose dependencies have all ended.
        given: its input.
        outcomes: of all agents that have ended, by name.
        excused: those of them that a guard skipped, directly or by their dependencies.
        compat: whatever keeps a guard from holding skips its agent and excuses it, as in llm-orc.
    """
    before = [outcomes[name] for name in agent.depends_on]
    all_failed = bool(before) and not any(outcome.ok for outcome in before)
    all_excused = all(outcome.agent in excused for outcome in before)
    if all_failed and agent.on_dependency_failure != "run":
        named = ", ".join(f"{outcome.agent} ({outcome.status})" for outcome in before)
        return Verdict("skipped", f"no dependency succeeded: {named}", all_excused)
    if agent.when is None:
        return None
    verdict = _guarded(agent, agent.when, given, outcomes, excused, compat)
    if verdict is None or not compat:
        return verdict
    return Verdict("skipped", verdict.reason, not all_failed or all_excused)


def _guarded(
    agent: Agent, when: str, given: Any, outcomes: Mapping[str, Outcome], excused: Collection[str], compat: bool
) -> Verdict | None:
    guard = marks.guard(when, agent=agent.name)
    try:
        name, path = guard.mark.resolve({marks.INPUT, *outcomes})
    except KeyError:  # the plan lets only llm-orc's files through
        return Verdict("skipped", f"when {when}: {guard.mark.head} is no agent", True)
    if name != marks.INPUT and not outcomes[name].ok:
        return Verdict("skipped", f"when {when}: {name} has no result", name in excused)
    try:
        value = mark_value(name, path, given, outcomes)
    except InvalidOutput as error:
        error.agent = agent.name
        return Verdict("failed", str(error), error=error)
    holds = guard.holds_in_llm_orc(value) if compat else guard.holds(value)
    return None if holds else Verdict("skipped", f"when {when} does not hold", True)
