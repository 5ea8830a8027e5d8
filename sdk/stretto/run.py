"""A run: awaited, watched, read. What has ended stays, whatever happens to the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from . import llm_orc_result, telemetry
from .clock import now
from .errors import NoResult, StrettoError
from .events import AgentDelta, RunFinished
from .gc_tuning import tuned_gc
from .outcome import Outcome, plain, usage_dict, within
from .usage import Usage, added

if TYPE_CHECKING:
    from types import TracebackType

    from .drive import Drive
    from .event_log import EventReader

_log = logging.getLogger("stretto")

RunStatus = Literal["running", "completed", "completed_with_errors", "failed", "timed_out", "cancelled"]


class Run:
    """A run that is live: await it, watch it, cancel it.

    Whoever awaits it and is cancelled cancels the run; its outcomes stay. `async with` ends it when it is left.

    Attributes:
        run_id: unique, hexadecimal.
        ensemble: what is run.
        metadata: as given, read-only.
    """

    def __init__(self, drive: Drive, stack: tuple[str, ...]) -> None:
        self._drive = drive
        self._stack = stack
        self._over = asyncio.Event()
        self._status: RunStatus = "running"
        self._ended: float | None = None
        self._listeners: list[Callable[[Run], object]] = []
        self.run_id = drive.desk.run_id
        self.ensemble = drive.ensemble
        self.metadata = drive.desk.metadata
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"stretto:{drive.ensemble.name}")
        self._task.add_done_callback(self._conclude)

    async def _run(self) -> None:
        drive = self._drive
        span = telemetry.start(f"invoke_workflow {drive.ensemble.name}", "CHAIN", self._attributes())
        drive.chronicle.span = span if span.get_span_context().is_valid else None
        telemetry.capture(span, drive.desk.services, telemetry.INPUT_VALUE, drive.desk.input)
        try:
            with tuned_gc(drive.settings.tune_gc):
                await drive.drive()
        finally:
            if span.is_recording():
                status = self._concluded()
                span.set_attribute(telemetry.STATUS, status)
                telemetry.capture(
                    span, drive.desk.services, telemetry.OUTPUT_VALUE, self.terminal and self.terminal.text
                )
                if status in ("failed", "timed_out") and drive.stopped is not None and drive.stopped.error:
                    telemetry.failed(span, drive.stopped.error, drive.desk.services.redactor.error_text)
            span.end()

    def _conclude(self, task: asyncio.Task[None]) -> None:
        """Give the run its end, also where its task was cancelled before its first step or failed."""
        drive = self._drive
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("the end of run %s failed", self.run_id, exc_info=error)
            if len(drive.outcomes) < len(self.ensemble.agents) and drive.crash is None:
                drive.crash = error
        drive.skip_the_rest()
        self._ended = now()
        self._status = self._concluded()
        drive.desk.log.add(RunFinished(time=self._ended, run_id=self.run_id, run=self))
        drive.desk.log.close()
        self._over.set()
        for listener in self._listeners:
            listener(self)

    def _attributes(self) -> dict[str, Any]:
        return {
            telemetry.OPERATION: "invoke_workflow",
            telemetry.WORKFLOW_NAME: self.ensemble.name,
            telemetry.RUN_ID: self.run_id,
            telemetry.DIGEST: None if telemetry.silent() else self.ensemble.digest,
            **telemetry.metadata_attributes(self.metadata),
        }

    def _concluded(self) -> RunStatus:
        stopped = self._drive.stopped
        if stopped is not None and stopped.status in ("cancelled", "timed_out") and not self._drive.failed_fast:
            return "timed_out" if stopped.status == "timed_out" else "cancelled"
        if self._drive.crash is not None:
            return "failed"
        if not self.failed:
            return "completed"
        return "completed_with_errors" if self.succeeded else "failed"

    def __await__(self) -> Generator[Any, None, Run]:
        return self._owned().__await__()

    async def _owned(self) -> Run:
        """Wait for the end; when cancelled, cancel the run and wait until every outcome exists."""
        cancelled = False
        while not self._over.is_set():
            try:
                await self._over.wait()
            except asyncio.CancelledError:  # may come thousands of times a second
                cancelled = True
                self.cancel()
        if cancelled:
            raise asyncio.CancelledError
        self.raise_for_crash()
        return self

    def raise_for_crash(self) -> None:
        """Do nothing, unless the run itself could not be made.

        Raises:
            BaseException: what kept it from being made, for example a ConfigError of a provider.
        """
        if self._drive.crash is not None:
            raise self._drive.crash

    async def wait(self) -> Run:
        """Wait for the end as a watcher: cancelling this cancels nothing."""
        await self._over.wait()
        return self

    def cancel(self) -> None:
        """Cancel the run: agents at work are cancelled, the others skipped; may be called any number of times."""
        self._drive.cancel()

    def on_end(self, listener: Callable[[Run], object]) -> None:
        """Call `listener` with the run when it has ended; at once when it has."""
        if self._over.is_set():
            listener(self)
        else:
            self._listeners.append(listener)

    async def __aenter__(self) -> Run:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        cancelled = False
        while not self._over.is_set():
            try:
                await self._over.wait()
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    def events(self) -> EventReader:
        """Read the run's events, from the first on; any number of readers, none of which slows the run."""
        return self._drive.desk.log.reader()

    async def text(self) -> AsyncIterator[str]:
        """Read the pieces of the terminal agent's text.

        Raises:
            StrettoError: when the agent began its text anew: `events()` shows that.
            BaseException: the agent's own error, when it has no result.
        """
        name, seen = self._terminal, 0
        async for event in self.events():
            if not isinstance(event, AgentDelta) or event.agent != name:
                continue
            if event.delta.restart and seen:
                raise StrettoError(f"agent {name!r} began its text anew: read run.events(), which shows it")
            if event.delta.text:
                seen += len(event.delta.text)
                yield event.delta.text
        if name and not self[name].ok:
            self[name].output  # noqa: B018 - raises
        if name and not seen and self[name].text:
            yield self[name].text

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """The outcomes that exist, by agent name, in the order of ending."""
        return MappingProxyType(self._drive.outcomes)

    def __getitem__(self, name: str) -> Outcome:
        return self._drive.outcomes[name]

    @property
    def status(self) -> RunStatus:
        """running, completed, completed_with_errors, failed, timed_out or cancelled."""
        return self._status

    @property
    def ok(self) -> bool:
        """Whether it is completed: every agent ok, or excused by a guard."""
        return self._status == "completed"

    @property
    def succeeded(self) -> tuple[Outcome, ...]:
        """The outcomes with a result, in file order."""
        return tuple(outcome for outcome in self._in_order() if outcome.ok)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes that make the run not ok, in file order."""
        excused = self._drive.excused
        return tuple(o for o in self._in_order() if not o.ok and o.agent not in excused)

    @property
    def skipped(self) -> tuple[Outcome, ...]:
        """The outcomes of the agents that never got a place, in file order."""
        return tuple(outcome for outcome in self._in_order() if outcome.status == "skipped")

    def _in_order(self) -> list[Outcome]:
        return list(self._drive.in_order())

    @property
    def terminal(self) -> Outcome | None:
        """The outcome of the last terminal agent; None before its end."""
        return self._drive.outcomes.get(self._terminal)

    @property
    def _terminal(self) -> str:
        return self._drive.last or ""

    @property
    def output(self) -> Any:
        """The result of the last terminal agent: one that no other depends on, the last in file order.

        Raises:
            BaseException: that agent's error, when it has no result.
            NoResult: when the ensemble has no agents.
            KeyError: before its end.
        """
        if not self.ensemble.agents:
            raise NoResult(self.ensemble.name, "skipped", "the ensemble has no agents")
        return self[self._terminal].output

    @property
    def usage(self) -> Usage:
        """Tokens of all agents that have ended."""
        return sum((outcome.usage for outcome in self._drive.outcomes.values()), Usage())

    @property
    def cost(self) -> float | None:
        """USD of all agents that have ended; None when a part is unknown."""
        return added([outcome.cost for outcome in self._drive.outcomes.values()])

    @property
    def known_cost(self) -> float:
        """USD of what is known; attempts of unknown cost count nothing."""
        attempts = (attempt for outcome in within(self._drive.outcomes.values()) for attempt in outcome.attempts)
        costs = (a.cost if a.estimate is None else a.estimate[1] for a in attempts)
        return sum(cost for cost in costs if cost is not None)

    @property
    def phases(self) -> list[list[str]]:
        """The names of the agents of each phase."""
        return self._drive.plan.phases

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the plan and the stack warn of."""
        return self._drive.chronicle.warnings

    @property
    def started(self) -> float:
        """Seconds since the epoch at which its clocks started."""
        return self._drive.chronicle.started

    @property
    def ended(self) -> float | None:
        """Seconds since the epoch; None while it is running."""
        return self._ended

    def raise_for_failures(self) -> None:
        """Do nothing when the run is ok.

        Raises:
            ExceptionGroup: of the errors of the agents that make the run not ok; a StrettoError stands for an agent
                that was skipped or cancelled, or that raised what is no Exception.
        """
        errors: list[Exception] = []
        for outcome in self.failed:
            error = outcome.error
            if not isinstance(error, Exception):
                error = StrettoError(f"{outcome.agent}: {outcome.reason}")
            errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} agents of {self.ensemble.name!r} have no result", errors)

    def to_dict(self, format: Literal["stretto", "llm-orc"] = "stretto") -> dict[str, Any]:
        """Give the run as plain data that `json.dumps` takes.

        Args:
            format: "stretto"; "llm-orc": the result of llm-orc 0.25, field by field.

        Raises:
            ValueError: for another format.
        """
        drive = self._drive
        if format == "llm-orc":
            return llm_orc_result.result(
                self.ensemble.name,
                drive.in_order(),
                phases=self.phases,
                terminals=drive.terminals,
                excused=drive.excused,
                handled=drive.handled(),
                input=drive.desk.input,
                started=self.started,
                ended=self.ended,
            )
        if format != "stretto":
            raise ValueError(f"to_dict knows the formats 'stretto' and 'llm-orc', got {format!r}")
        from importlib.metadata import version  # 20 ms, for those who ask

        terminal = self.terminal
        return {
            "stretto": 1,
            "run_id": self.run_id,
            "ensemble": self.ensemble.name,
            "ensemble_digest": self.ensemble.digest,
            "versions": {name: version(name) for name in ("stretto", "litellm")},
            "settings": self._drive.settings.to_dict(),
            "middleware": list(self._stack),
            "metadata": plain(dict(self.metadata)),
            "status": self.status,
            "started": self.started,
            "ended": self.ended,
            "output": plain(terminal.value) if terminal is not None and terminal.ok else None,
            "usage": usage_dict(self.usage),
            "cost": self.cost,
            "known_cost": self.known_cost,
            "phases": self.phases,
            "outcomes": {outcome.agent: outcome.to_dict() for outcome in self._in_order()},
        }

    def __repr__(self) -> str:
        return f"<Run {self.run_id} of {self.ensemble.name!r}: {self._status}, {len(self.outcomes)} outcomes>"
