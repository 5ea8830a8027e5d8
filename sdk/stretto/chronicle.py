"""Write down what happens in a run: the events, and the spans of its phases and agents."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

from opentelemetry import context as otel
from opentelemetry.trace import Span, set_span_in_context

from . import telemetry
from .clock import now
from .events import (
    AgentFinished,
    AgentRetrying,
    AgentStarted,
    AgentWaiting,
    PhaseFinished,
    PhaseStarted,
    RunStarted,
)

if TYPE_CHECKING:
    from .attempt import Cause
    from .outcome import Outcome
    from .plan import Plan
    from .supervisor import Supervisor
    from .work import Desk


class Chronicle:
    """The events and spans of one run.

    Args:
        desk: of the run.
        plan: its phases.
        warnings: for the first event.

    Attributes:
        started: seconds since the epoch at which the run's clocks started.
        span: the run's own, when somebody records it.
        flat: the agents' spans stand under the run's, without one for their phase.
    """

    def __init__(self, desk: Desk, plan: Plan, warnings: tuple[str, ...]) -> None:
        self.warnings = warnings
        self.started = now()
        self.span: Span | None = None
        self.flat = False
        self._desk = desk
        self._plan = plan
        self._said_started = False
        self._left = [len(phase) for phase in plan.phases]
        self._phases: dict[int, tuple[Span | None, Context | None]] = {}

    def run_started(self) -> None:
        """Log the first event, once: a run that is stopped before its clocks start has one too."""
        if self._said_started:
            return
        self._said_started = True
        self.started = now()
        self._desk.log.add(
            RunStarted(
                time=self.started,
                run_id=self._desk.run_id,
                ensemble=self._desk.ensemble,
                phases=tuple(map(tuple, self._plan.phases)),
                warnings=self.warnings,
            )
        )

    def agent_launched(self, supervisor: Supervisor) -> Context | None:
        """Open the agent's phase and span; give the context for its task, None without a tracer provider."""
        phase = self._open_phase(supervisor.phase)
        if phase is None:
            return None
        if supervisor.span is not None:  # started once more, after the parallel machinery failed
            return _current(supervisor.span)
        agent, desk = supervisor.agent, self._desk
        attributes = {
            telemetry.OPERATION: "invoke_agent",
            telemetry.AGENT_NAME: agent.name,
            telemetry.RUN_ID: desk.run_id,
            **telemetry.metadata_attributes(desk.metadata),
        }
        parent = phase.run(otel.get_current)
        supervisor.span = telemetry.start(f"invoke_agent {agent.name}", "AGENT", attributes, context=parent)
        return _current(supervisor.span)

    def _open_phase(self, phase: int) -> Context | None:
        if phase not in self._phases:
            desk = self._desk
            desk.log.add(PhaseStarted(time=now(), run_id=desk.run_id, phase=phase))
            parent = set_span_in_context(self.span) if self.span is not None else None
            if self.flat:
                self._phases[phase] = (None, None if self.span is None else _current(self.span))
                return self._phases[phase][1]
            span = telemetry.start(f"phase {phase}", "CHAIN", {telemetry.RUN_ID: desk.run_id}, context=parent)
            self._phases[phase] = (span, _current(span))
        return self._phases[phase][1]

    def agent_started(self, supervisor: Supervisor) -> None:
        """Log that an agent has its place."""
        desk = self._desk
        desk.log.add(AgentStarted(time=now(), run_id=desk.run_id, phase=supervisor.phase, agent=supervisor.agent.name))

    def waits(
        self,
        supervisor: Supervisor,
        cause: Cause,
        key: str | None,
        seconds: float | None,
        error: BaseException | None,
    ) -> None:
        """Log that an agent begins to wait, or, with an error, that it will send another request."""
        if supervisor.over:  # abandoned: its last event was its outcome
            return
        run_id, phase, agent = self._desk.run_id, supervisor.phase, supervisor.agent.name
        if error is None:
            event: AgentWaiting | AgentRetrying = AgentWaiting(
                time=now(),
                run_id=run_id,
                phase=phase,
                agent=agent,
                cause=cause,
                key=key,
                seconds=seconds,
            )
        else:
            number = len(supervisor.record.attempts)
            event = AgentRetrying(
                time=now(),
                run_id=run_id,
                phase=phase,
                agent=agent,
                attempt=number,
                error=error,
                wait=seconds,
            )
        self._desk.log.add(event)

    def agent_finished(self, outcome: Outcome) -> None:
        """Log an outcome."""
        self._desk.log.add(
            AgentFinished(
                time=outcome.ended,
                run_id=self._desk.run_id,
                phase=outcome.phase,
                agent=outcome.agent,
                outcome=outcome,
            )
        )

    def agent_closed(self, supervisor: Supervisor, outcome: Outcome) -> None:
        """Log the end of the phase when it was its last agent, then end the spans.

        What may fail comes last: processors of spans are the user's.
        """
        phase, ended = outcome.phase, None
        self._left[phase] -= 1
        if not self._left[phase] and phase in self._phases:
            self._desk.log.add(PhaseFinished(time=now(), run_id=self._desk.run_id, phase=phase))
            ended = self._phases[phase][0]
        try:
            if supervisor.span is not None:
                telemetry.capture(supervisor.span, self._desk.services, telemetry.OUTPUT_VALUE, outcome.text)
                _close(supervisor.span, outcome, self._desk.services.redactor.error_text)
        finally:
            if ended is not None:
                ended.end()


def _current(span: Span) -> Context | None:
    """Give a context in which `span` is the current one; None when there is no tracer provider."""
    if not span.get_span_context().is_valid:  # one that was sampled out counts: else its children would be new traces
        return None
    context = copy_context()
    context.run(otel.attach, set_span_in_context(span))
    return context


def _close(span: Span, outcome: Outcome, clean: Callable[[str], str]) -> None:
    """Say in the agent's span what became of it, and where its time went."""
    if span.is_recording():
        span.set_attribute(telemetry.STATUS, outcome.status)
        if outcome.reason:
            span.set_attribute(telemetry.REASON, clean(outcome.reason))
        if outcome.cost is not None:
            span.set_attribute(telemetry.COST, outcome.cost)
        span.set_attributes(telemetry.wait_attributes(outcome.waits))
        if outcome.error is not None:
            telemetry.failed(span, outcome.error, clean)
    span.end()
