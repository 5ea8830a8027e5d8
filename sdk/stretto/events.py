"""What happens in a run, as it happens.

Every event has `type`, `time` (seconds since the epoch) and `run_id`; those of a phase also `phase`, those of an agent
`phase` and `agent`. `to_dict()` gives plain data.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .attempt import Cause
from .outcome import Outcome, error_dict
from .reply import Delta
from .shapes import is_list

if TYPE_CHECKING:
    from .run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have in common.

    Args:
        time: seconds since the epoch.
        run_id: of the run.
    """

    type: ClassVar[str] = "event"

    time: float
    run_id: str

    def to_dict(self) -> dict[str, Any]:
        """Give the event as plain data."""
        return {"type": self.type, **{f.name: _plain(getattr(self, f.name)) for f in fields(self)}}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseException):
        return error_dict(value, type(value).__name__)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_list(value):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(v) for f in fields(value) if (v := getattr(value, f.name)) is not None}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The first event of a run.

    Args:
        ensemble: its name.
        phases: names of the agents of each phase.
        warnings: what the run will do that its owner may not expect.
    """

    type: ClassVar[str] = "run_started"

    ensemble: str
    phases: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A phase begins."""

    type: ClassVar[str] = "phase_started"

    phase: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFinished(Event):
    """Every agent of a phase has its outcome."""

    type: ClassVar[str] = "phase_finished"

    phase: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent(Event):
    """What the events of an agent have in common.

    Args:
        phase: from 0.
        agent: its name.
    """

    phase: int
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStarted(AgentEvent):
    """An agent has its place and begins."""

    type: ClassVar[str] = "agent_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWaiting(AgentEvent):
    """An agent begins to wait.

    Args:
        cause: "queue", "slot", "quota", "pause" or "backoff".
        key: what it waits for, when that has a name.
        seconds: expected, when that is known.
    """

    type: ClassVar[str] = "agent_waiting"

    cause: Cause
    key: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRetrying(AgentEvent):
    """A request failed and another one will be sent.

    Args:
        attempt: the number of the request that failed, from 1.
        error: why it failed.
        wait: seconds until the next one.
    """

    type: ClassVar[str] = "agent_retrying"

    attempt: int
    error: BaseException
    wait: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDelta(AgentEvent):
    """A piece of an agent's reply; pieces that a reader has not read yet are joined.

    Args:
        delta: exactly one of text, reasoning, tool_call, usage, restart.
    """

    type: ClassVar[str] = "agent_delta"

    delta: Delta


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFinished(AgentEvent):
    """An agent has its outcome.

    Args:
        outcome: what became of it.
    """

    type: ClassVar[str] = "agent_finished"

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The last event of a run.

    Args:
        run: the run, ended.
    """

    type: ClassVar[str] = "run_finished"

    run: Run
