"""Watch over one agent: a future and two timers. It never raises and never hangs.

The first timer is the agent's clock: it cancels the agent's task. The second is the grace: it abandons the task. Either
way the future gets an outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from .agent import Agent
from .attempt import Record
from .clock import now
from .deadline import AgentClock
from .errors import CallError, CallTimeout, DeadlineExceeded
from .outcome import Inner, Outcome, Status, summed
from .timings import Timings, timings
from .usage import Usage

_log = logging.getLogger("stretto")


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an agent is stopped.

    Args:
        status: what its outcome will say, when it was at work.
        reason: in words.
        error: the clock that ran out, else None.
    """

    status: Status
    reason: str
    error: BaseException | None = None


Ended = Callable[["Supervisor", Outcome], None]
Work = Callable[["Supervisor"], Coroutine[Any, Any, Outcome]]


class Supervisor:
    """One agent of a run, from its start to its outcome.

    Args:
        agent: whose.
        phase: from 0.
        timeout: seconds of the agent's clock. None: no bound.
        grace: seconds that it has to end once it was stopped.
        ended: called once, with the outcome, the moment that exists.
        record: the ledger of its call.
    """

    __slots__ = (
        "_clock_timer",
        "_conclude_inner",
        "_ended",
        "_grace_timer",
        "_stop_inner",
        "agent",
        "children",
        "clean",
        "clock",
        "future",
        "gave_back",
        "grace",
        "inner",
        "over",
        "phase",
        "placed",
        "prompt_digest",
        "record",
        "seen",
        "span",
        "started",
        "stopped",
        "task",
    )

    def __init__(
        self, agent: Agent, phase: int, timeout: float | None, grace: float, ended: Ended, record: Record
    ) -> None:
        self.agent = agent
        self.phase = phase
        self.record = record
        self.clock = AgentClock(timeout, self._arm)
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.started = now()
        self.stopped: Stop | None = None
        self.placed = False
        self.over = False
        self.gave_back: Callable[[], None] | None = None
        self.seen: Callable[[], str] = str  # the partial text
        self.clean: Callable[[str], str] = str  # takes keys out of what is reported
        self.prompt_digest = ""
        self.span: Any = None
        self.grace = grace
        self.children: Callable[[], tuple[Outcome, ...]] = tuple  # the outcomes of what it runs within itself
        self.inner: Callable[[], Inner | None] = _nothing  # what that was
        self._stop_inner: Callable[[Stop], None] | None = None
        self._conclude_inner: Callable[[], None] | None = None
        self._ended = ended
        self._clock_timer: asyncio.TimerHandle | None = None
        self._grace_timer: asyncio.TimerHandle | None = None

    def start(self, work: Work, name: str, context: Context | None = None) -> None:
        """Start the agent's task, which awaits `work(self)`."""
        supervised = self._supervised(work)
        try:
            self.task = asyncio.get_running_loop().create_task(supervised, name=name, context=context)
        except BaseException:
            supervised.close()
            raise
        self.task.add_done_callback(self._never_ran)

    async def _supervised(self, work: Work) -> None:
        try:
            outcome = await work(self)
        except GeneratorExit:
            raise  # the loop is gone: nobody waits for an outcome any more
        except BaseException as error:  # noqa: BLE001 - SystemExit too: a task would carry it out of the loop
            outcome = self.outcome_of(error)
        self.end(outcome)

    def _never_ran(self, task: asyncio.Task[None]) -> None:
        # Cancelled before its first step, or cancelled between two lines of ours.
        if not self.over:
            error = asyncio.CancelledError() if task.cancelled() else task.exception() or asyncio.CancelledError()
            self.end(self.outcome_of(error))
        elif not task.cancelled():
            task.exception()  # read, so that an abandoned task does not complain
        self.task = None  # a run is kept, and with it its supervisors: not their coroutines and contexts

    def stop(self, stop: Stop) -> None:
        """Cancel the agent; the first reason counts. It is abandoned when it has not ended after the grace."""
        if self.over or self.stopped is not None:
            return
        self.stopped = stop
        self.clock.stopped = True
        if self.task is None:
            self.end(self.outcome_of(asyncio.CancelledError()))
            return
        if self._stop_inner is not None:  # first: their grace is over before this one's
            self._stop_inner(stop)
        self.task.cancel()
        self._grace_timer = asyncio.get_running_loop().call_later(self.grace, self.abandon)

    def runs(
        self, children: Callable[[], tuple[Outcome, ...]], stop: Callable[[Stop], None], conclude: Callable[[], None]
    ) -> None:
        """Take note of what it runs within itself: how to get its outcomes, to stop it, to wait for it no longer."""
        self.children = children
        self._stop_inner = stop
        self._conclude_inner = conclude
        if self.stopped is not None:
            stop(self.stopped)

    def abandon(self) -> None:
        """Wait no longer for an agent that was stopped."""
        if self.over or self.stopped is None:
            return
        if self._conclude_inner is not None:  # each agent within it has an outcome, too
            self._conclude_inner()
        reason = f"{self.stopped.reason}; it did not end within {self.grace:g} s and was abandoned"
        self.end(self.outcome(self.stopped.status, reason=reason, error=self.stopped.error))

    def _arm(self, ends: float | None) -> None:
        if ends is not None and not self.over:  # one that was abandoned may go on
            self._clock_timer = asyncio.get_running_loop().call_at(ends, self._out_of_time)

    def _out_of_time(self) -> None:
        seconds = self.clock.timeout or 0.0
        reason = f"the agent's clock of {seconds:g} s ran out"
        self.stop(Stop("timed_out", reason, self._deadline(reason, "agent", seconds)))

    def _deadline(self, message: str, clock: str, seconds: float) -> DeadlineExceeded:
        error = DeadlineExceeded(message, clock=clock, seconds=seconds)
        error.agent = self.agent.name
        error.model = self.agent.model
        return error

    def end(self, outcome: Outcome) -> None:
        """Give the future its outcome, and the run; only the first counts."""
        if self.over:
            return
        self.over = True
        for timer in (self._clock_timer, self._grace_timer):
            if timer is not None:
                timer.cancel()
        self._clock_timer = self._grace_timer = None
        self.record.told = None  # nobody hears of it from here on, and a run is kept
        if self.gave_back is not None:
            self.gave_back()
            self.gave_back = None
        try:
            self._ended(self, outcome)
        except Exception:  # noqa: BLE001 - of a span processor; whoever waits for this agent must not do so for ever
            _log.exception("taking note of the end of agent %r failed", self.agent.name)
        finally:
            if not self.future.done():
                self.future.set_result(outcome)

    def outcome_of(self, error: BaseException) -> Outcome:
        """Give the outcome of an agent that ended with an error or was cancelled."""
        stop = self.stopped
        if isinstance(error, asyncio.CancelledError):
            if stop is None and self.task is not None and self.task.cancelling():
                stop = Stop("cancelled", "its task was cancelled")
            if stop is None:
                return self.outcome(
                    "failed", reason="it raised CancelledError, though nobody cancelled it", error=error
                )
            if not self.placed:
                return self.outcome("skipped", reason=f"it never got a place: {stop.reason}")
            return self.outcome(stop.status, reason=stop.reason, error=stop.error)
        if isinstance(error, CallError):
            error.redact(self.clean)  # of a layer: the boundary has not seen it
        text = self.clean(_text(error))
        if stop is not None:  # what a cancelled agent raises is a consequence of that
            reason = f"{stop.reason}; while ending it raised {type(error).__name__}: {text}"
            return self.outcome(stop.status, reason=reason, error=stop.error)
        status: Status = "timed_out" if isinstance(error, (CallTimeout, DeadlineExceeded)) else "failed"
        return self.outcome(status, reason=text or type(error).__name__, error=error)

    def outcome(self, status: Status, **fields: Any) -> Outcome:
        """Make an outcome with all that the ledger knows."""
        children = self.children()
        ended = now()
        text = self.seen() if "text" not in fields else fields.pop("text")
        messages = fields.pop("messages", None)
        if messages is None:
            messages = ({"role": "assistant", "content": text},) if text else ()
        record = self.record
        usage, cost, divided = self.added_up(children, self.started, ended)
        return Outcome(
            agent=self.agent.name,
            phase=self.phase,
            status=status,
            text=text,
            messages=messages,
            attempts=tuple(record.attempts),
            waits=tuple(record.waits),
            usage=usage,
            cost=cost,
            timings=divided,
            children=children,
            inner=fields.pop("inner", None) or self.inner(),
            started=self.started,
            ended=ended,
            prompt_digest=self.prompt_digest,
            **fields,
        )

    def added_up(
        self, children: Sequence[Outcome], started: float, ended: float
    ) -> tuple[Usage, float | None, Timings]:
        """Give tokens, USD and where the time went: of what ran within it, else of its own call."""
        record = self.record
        try:
            if children:
                return summed(children, started, ended)
            return record.usage, record.cost, timings(started, ended, record.waits, record.attempts)
        except Exception:  # noqa: BLE001 - somebody wrote into it what does not add up; the outcome must exist
            _log.exception("the ledger of agent %r cannot be read", self.agent.name)
            return Usage(), None, Timings()


def _nothing() -> None:
    return None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - of a user's own class
        return f"{type(error).__name__}, whose text cannot be made: {type(broken).__name__}"
