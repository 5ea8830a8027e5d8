"""What became of an agent. Failure is data: there is exactly one outcome per agent, always."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from .attempt import Attempt, Wait
from .errors import CallError, NoResult
from .reply import Reply
from .shapes import is_list, is_mapping
from .timings import Timings, timings
from .usage import Usage, added

Status = Literal["ok", "failed", "timed_out", "cancelled", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """What an agent ran within itself; the outcomes are its `children`.

    Args:
        kind: "ensemble", "dispatch", "loop" (its children are the rounds), "fan_out" (the instances).
        ensemble: name of the ensemble; "" for a fan-out.
        phases: names of its agents, by phase; () for a fan-out and a loop.
        terminals: names of the agents that no other depends on, in file order.
        excused: names of the agents that a guard skipped.
        handled: names of the agents that ran although no dependency had succeeded.
        input: of its agents, as it was given.
        terminated: of a loop: "until" or "exhausted"; else "".
    """

    kind: Literal["ensemble", "dispatch", "loop", "fan_out"]
    ensemble: str = ""
    phases: tuple[tuple[str, ...], ...] = ()
    terminals: tuple[str, ...] = ()
    excused: tuple[str, ...] = ()
    handled: tuple[str, ...] = ()
    input: Any = None
    terminated: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one agent.

    Args:
        agent: its name.
        phase: its phase, from 0.
        status: "ok", "failed", "timed_out", "cancelled" or "skipped".
        reason: for all but "ok", why; names the clocks and dependencies concerned.
        value: the result: the reply's text, or what a function returned.
        text: the result as text; partial text when it was cut off; "" when there is none.
        messages: the chat messages that this agent added, valid to send again.
        reply: the complete reply, None without one.
        error: a CallError, or the user's own exception; None without one.
        attempts: the requests sent, in order.
        waits: what it waited for: cause, key, started, seconds.
        usage: tokens of all attempts.
        cost: USD of all attempts; None when a part is unknown.
        timings: where the time went, in seconds.
        children: outcomes within it: of fan-out instances, loop rounds, or a child ensemble's agents, in file order.
        inner: what it ran within itself, None when it made a call of its own.
        started: seconds since the epoch: its phase began, or its dependencies ended.
        ended: seconds since the epoch.
        prompt_digest: SHA-256 of the messages that were sent, hexadecimal; "" when none were made.
    """

    agent: str
    phase: int
    status: Status
    reason: str = ""
    value: Any = None
    text: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    reply: Reply | None = None
    error: BaseException | None = None
    attempts: tuple[Attempt, ...] = ()
    waits: tuple[Wait, ...] = ()
    usage: Usage = Usage()
    cost: float | None = 0.0
    timings: Timings = Timings()
    children: tuple[Outcome, ...] = ()
    inner: Inner | None = None
    started: float = 0.0
    ended: float = 0.0
    prompt_digest: str = ""

    @property
    def ok(self) -> bool:
        """Whether it has a result."""
        return self.status == "ok"

    @property
    def output(self) -> Any:
        """The result.

        Raises:
            NoResult: when the agent was skipped or cancelled, or raised what is no Exception (SystemExit): that would
                end the caller instead.
            Exception: the agent's own error, when it failed or timed out.
        """
        if self.status == "ok":
            return self.value
        if isinstance(self.error, Exception) and self.status in ("failed", "timed_out"):
            raise self.error
        raise NoResult(self.agent, self.status, self.reason)

    def to_dict(self) -> dict[str, Any]:
        """Give every field as plain data that `json.dumps` takes."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["output"] = plain(data.pop("value"))
        data["reply"] = None if self.reply is None else _reply(self.reply)
        data["error"] = error_dict(self.error, self.reason)
        data["attempts"] = [_attempt(attempt) for attempt in self.attempts]
        data["waits"] = [wait._asdict() for wait in self.waits]
        data["usage"] = usage_dict(self.usage)
        data["timings"] = {f.name: getattr(self.timings, f.name) for f in fields(self.timings)}
        data["messages"] = [dict(message) for message in self.messages]
        data["children"] = [child.to_dict() for child in self.children]
        inner = self.inner
        shown = () if inner is None else (f.name for f in fields(inner) if f.name != "input")  # as prompts: a digest
        data["inner"] = None if inner is None else plain({name: getattr(inner, name) for name in shown})
        return data


def within(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Give outcomes with all that ran within them."""
    found: list[Outcome] = []
    left = list(outcomes)
    while left:
        outcome = left.pop()
        found.append(outcome)
        left.extend(outcome.children)
    return found


def summed(children: Sequence[Outcome], started: float, ended: float) -> tuple[Usage, float | None, Timings]:
    """Give tokens and USD of all that ran within an agent, and where its own time went."""
    leaves = within(children)
    waits = [wait for leaf in leaves for wait in leaf.waits]
    attempts = [attempt for leaf in leaves for attempt in leaf.attempts]
    usage = sum((child.usage for child in children), Usage())
    return usage, added([child.cost for child in children]), timings(started, ended, waits, attempts)


def plain(value: Any) -> Any:
    """Give a value that JSON can hold; what it cannot hold becomes its text."""
    try:
        return json.loads(json.dumps(value, default=str, allow_nan=False))
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, NaN, circles
        try:
            return _spelled(value)
        except RecursionError:
            return f"<{type(value).__name__} nested too deeply>"


def _spelled(value: Any) -> Any:
    if is_mapping(value):
        return {str(key): _spelled(item) for key, item in value.items()}
    if is_list(value):
        return [_spelled(item) for item in value]
    finite = isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
    return value if finite or value is None else str(value)


def usage_dict(usage: Usage) -> dict[str, Any]:
    """Give tokens as plain data."""
    return {f.name: getattr(usage, f.name) for f in fields(usage)}


def error_dict(error: BaseException | None, reason: str) -> dict[str, Any] | None:
    """Give an error as plain data: `type` and `message` at least; of a user's own the message is `reason`.

    A user's exception stays as it was raised, and may hold a key: what is reported of it is the text without.
    """
    if error is None:
        return None
    if isinstance(error, CallError):
        return plain(error.to_dict())  # type: ignore[no-any-return]
    return {"type": type(error).__name__, "message": reason}


def _reply(reply: Reply) -> dict[str, Any]:
    data = {f.name: getattr(reply, f.name) for f in fields(reply) if f.name != "raw"}
    data["usage"] = None if reply.usage is None else usage_dict(reply.usage)
    data["tool_calls"] = [{f.name: getattr(call, f.name) for f in fields(call)} for call in reply.tool_calls]
    data["headers"] = dict(reply.headers)
    return data


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "model": attempt.model,
        "started": attempt.started,
        "ended": attempt.ended,
        "first_piece": attempt.first_piece,
        "emitted": attempt.emitted,
        "cancelled": attempt.cancelled,
        "hedge": attempt.hedge,
        "usage": None if attempt.usage is None else usage_dict(attempt.usage),
        "cost": attempt.cost,
        "retry_after": attempt.retry_after,
        "error": error_dict(attempt.error, attempt.reason),
    }
