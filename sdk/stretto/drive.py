"""Drive a run: open what it needs, start its clocks, run its phases, give every agent exactly one outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel
from opentelemetry.trace import Span, set_span_in_context

from . import marks, telemetry
from .attempt import Cause, Record
from .call import Endpoint
from .clock import now
from .errors import ConfigError, DeadlineExceeded, InvalidOutput
from .events import (
    AgentFinished,
    AgentRetrying,
    AgentStarted,
    AgentWaiting,
    PhaseFinished,
    PhaseStarted,
    RunStarted,
)
from .outcome import Outcome
from .phase import Start, fail_started, one_by_one, together
from .prompt import mark_value
from .supervisor import Stop, Supervisor
from .work import Desk, work

if TYPE_CHECKING:
    from .agent import Agent
    from .contract import Next
    from .ensemble import Ensemble
    from .lifetimes import Lifetimes
    from .plan import Plan
    from .settings import Settings

_log = logging.getLogger("stretto")
_NOWHERE = Endpoint()
_CANCELLED = Stop("cancelled", "the run was cancelled")

RunPhase = Callable[[Sequence[Supervisor], Start], Awaitable[None]]


class Drive:
    """The inside of a run; `Run` is its face.

    Args:
        ensemble: what is run.
        plan: its phases.
        settings: merged.
        desk: what all agents work with.
        inputs: by agent name.
        endpoints: by agent name.
        pipelines: the layers of each agent, down to the boundary.
        lifetimes: of layers and providers.
        held: the layers and providers that the run uses.
        warnings: for the first event.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        plan: Plan,
        settings: Settings,
        desk: Desk,
        *,
        inputs: Mapping[str, Any],
        endpoints: Mapping[str, Endpoint],
        pipelines: Mapping[str, Next],
        lifetimes: Lifetimes,
        held: Sequence[Any],
        warnings: tuple[str, ...],
    ) -> None:
        self.ensemble = ensemble
        self.plan = plan
        self.settings = settings
        self.desk = desk
        self.outcomes: dict[str, Outcome] = {}
        self.excused: set[str] = set()
        self.stopped: Stop | None = None
        self.crash: BaseException | None = None
        self.started = now()
        self.deadline: float | None = None
        self.span: Span | None = None
        self._agents: dict[str, Agent] = {agent.name: agent for agent in ensemble.agents}
        self._inputs = inputs
        self._endpoints = endpoints
        self._pipelines = pipelines
        self._lifetimes = lifetimes
        self._held = held
        self.warnings = warnings
        self._supervisors: dict[str, Supervisor] = {}
        self._places: asyncio.Semaphore | None = None
        self._ended_names: list[str] = []
        self._changed = asyncio.Event()
        self._phase_of = plan.phase_of()
        self._phase_left = [len(phase) for phase in plan.phases]
        self._phase_spans: dict[int, tuple[Span, Context | None]] = {}
        self._phase_deadline: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._under_way = False
        self._said_started = False

    async def drive(self) -> None:
        """Run everything; whatever happens, every agent has an outcome afterwards."""
        self._task = asyncio.current_task()
        held: list[Any] = []
        timer: asyncio.TimerHandle | None = None
        try:
            if self.stopped is not None:
                raise asyncio.CancelledError
            held = await self._lifetimes.open(self._held)
            await self._prepare()
            timer = self._start_clock()
            self._under_way = True
            await self._schedule()
        except asyncio.CancelledError:  # the run's own before its clocks started, else that of a loop that shuts down
            self.stopped = self.stopped or _CANCELLED
            self._stop_all(_CANCELLED)
        except Exception as error:  # noqa: BLE001 - raised by whoever awaits the run, which has its outcomes
            self.crash = error
            self._stop_all(Stop("failed", f"the run failed: {error}", error))
        except BaseException:  # a second Ctrl-C
            self._stop_all(_CANCELLED)
            raise
        finally:
            await self._all_ended()
            if timer is not None:
                timer.cancel()
            self.skip_the_rest()
            await self._close(held)

    async def _prepare(self) -> None:
        prepares = [thing.prepare for thing in self._held if hasattr(thing, "prepare")]
        for error in await asyncio.gather(*(prepare() for prepare in prepares), return_exceptions=True):
            if isinstance(error, ConfigError):
                raise error
            if isinstance(error, Exception):  # its agents will say so: the others lose nothing by it
                _log.warning("preparing a provider failed: %s: %s", type(error).__name__, error)

    def _start_clock(self) -> asyncio.TimerHandle | None:
        self._say_started()
        if self.settings.max_concurrent_agents and self.settings.enable_parallel_execution:
            self._places = asyncio.Semaphore(self.settings.max_concurrent_agents)
        seconds = self.settings.run_timeout
        if seconds is None:
            return None
        self.deadline = asyncio.get_running_loop().time() + seconds
        return asyncio.get_running_loop().call_at(self.deadline, self._out_of_time, "run", seconds, None)

    def _say_started(self) -> None:
        """Log the first event, once: a run that is stopped before its clocks start has one too."""
        if self._said_started:
            return
        self._said_started = True
        self.started = now()
        desk, phases = self.desk, tuple(map(tuple, self.plan.phases))
        desk.log.add(
            RunStarted(
                time=self.started,
                run_id=desk.run_id,
                ensemble=desk.ensemble,
                phases=phases,
                warnings=self.warnings,
            )
        )

    async def _schedule(self) -> None:
        parallel = self.settings.enable_parallel_execution
        if parallel and self.ensemble.schedule == "ready":
            await self._ready()
            return
        for number, phase in enumerate(self.plan.phases):
            await self._phase(number, phase, together if parallel else one_by_one)

    async def _phase(self, number: int, names: Sequence[str], run: RunPhase) -> None:
        supervisors = self._supervise(names)
        seconds = self.settings.phase_timeout
        timer = None
        if seconds is not None:
            self._phase_deadline = asyncio.get_running_loop().time() + seconds
            ends = asyncio.get_running_loop().call_at
            timer = ends(self._phase_deadline, self._out_of_time, f"phase {number}", seconds, supervisors)
        try:
            await run(supervisors, self._launch)
        finally:
            if timer is not None:
                timer.cancel()

    async def _ready(self) -> None:
        try:
            await self._when_ready()
        except Exception as error:  # noqa: BLE001 - of the machinery, as in `together`
            await fail_started(list(self._supervisors.values()), error)
            for phase in self.plan.phases:
                left = [name for name in phase if name not in self.outcomes]
                await one_by_one(self._supervise(left), self._launch)

    async def _when_ready(self) -> None:
        left = {name: len(before) for name, before in self.plan.dependencies.items()}
        after: dict[str, list[str]] = {name: [] for name in left}
        for name, before in self.plan.dependencies.items():
            for dependency in before:
                after[dependency].append(name)
        ready: list[str] = [name for name, count in left.items() if not count]
        counted = 0
        while True:
            for supervisor in self._supervise(ready):
                self._launch(supervisor)
            ended = self._ended_names[counted:]
            ready = []
            counted += len(ended)
            for name in ended:
                for dependant in after[name]:
                    left[dependant] -= 1
                    if not left[dependant]:
                        ready.append(dependant)
            if counted == len(left):
                return
            if not ready:
                self._changed.clear()
                await self._changed.wait()

    def _supervise(self, names: Sequence[str]) -> list[Supervisor]:
        made: list[Supervisor] = []
        for name in names:
            if name in self._supervisors:  # the parallel machinery failed before it was started
                made.append(self._supervisors[name])
                continue
            agent = self._agents[name]
            timeout = self.settings.default_timeout if agent.timeout is None else agent.timeout
            phase = self._phase_of[name]
            record = Record(partial(self._tell, name))
            supervisor = Supervisor(agent, phase, timeout, self.settings.cancel_grace, self._ended, record)
            self._supervisors[name] = supervisor
            made.append(supervisor)
        return made

    def _launch(self, supervisor: Supervisor) -> None:
        if supervisor.over:  # stopped before it was started
            return
        name, phase = supervisor.agent.name, supervisor.phase
        supervisor.started = now()
        context = self._open_phase(phase)
        skipped = self._verdict(supervisor)
        context = self._open_span(supervisor, context)
        if skipped is not None:
            supervisor.end(skipped)
            return
        supervisor.start(self._placed, f"stretto:{self.desk.ensemble}/{name}", context)

    async def _placed(self, supervisor: Supervisor) -> Outcome:
        """Take a place in the run, then work."""
        places, agent, desk = self._places, supervisor.agent, self.desk
        if places is not None:
            if places.locked():
                with supervisor.record.waiting("queue"):
                    await places.acquire()
            else:
                await places.acquire()
            supervisor.gave_back = places.release
        supervisor.placed = True
        desk.log.add(AgentStarted(time=now(), run_id=desk.run_id, phase=supervisor.phase, agent=agent.name))
        deadlines = [time for time in (self.deadline, self._phase_deadline) if time is not None]
        return await work(
            desk,
            supervisor,
            self._pipelines[agent.name],
            self._inputs[agent.name],
            self.outcomes,
            self._endpoints.get(agent.name, _NOWHERE),
            min(deadlines, default=None),
        )

    def _verdict(self, supervisor: Supervisor) -> Outcome | None:
        """Give the outcome of an agent that does not get to work, else None."""
        if self.stopped is not None:
            return supervisor.outcome("skipped", reason=f"it never got a place: {self.stopped.reason}")
        agent = supervisor.agent
        before = [self.outcomes[name] for name in agent.depends_on]
        if before and agent.on_dependency_failure != "run" and not any(outcome.ok for outcome in before):
            if all(outcome.agent in self.excused for outcome in before):
                self.excused.add(agent.name)
            named = ", ".join(f"{outcome.agent} ({outcome.status})" for outcome in before)
            return supervisor.outcome("skipped", reason=f"no dependency succeeded: {named}")
        return None if agent.when is None else self._guarded(supervisor, agent.when)

    def _guarded(self, supervisor: Supervisor, when: str) -> Outcome | None:
        agent = supervisor.agent
        guard = marks.guard(when, agent=agent.name)
        name, path = guard.mark.resolve({marks.INPUT, *self.plan.dependencies})
        if name != marks.INPUT and not self.outcomes[name].ok:
            self.excused |= {agent.name} if name in self.excused else set()
            return supervisor.outcome("skipped", reason=f"when {when}: {name} has no result")
        try:
            value = mark_value(name, path, self._inputs[agent.name], self.outcomes)
        except InvalidOutput as error:
            error.agent = agent.name
            return supervisor.outcome("failed", reason=str(error), error=error)
        if guard.holds(value):
            return None
        self.excused.add(agent.name)
        return supervisor.outcome("skipped", reason=f"when {when} does not hold")

    def _tell(
        self,
        name: str,
        cause: Cause,
        key: str | None,
        seconds: float | None,
        error: BaseException | None,
    ) -> None:
        """Make an event of an agent's wait."""
        supervisor = self._supervisors[name]
        if supervisor.over:  # abandoned: its last event was its outcome
            return
        run_id, phase, log = self.desk.run_id, supervisor.phase, self.desk.log
        if error is None:
            log.add(
                AgentWaiting(time=now(), run_id=run_id, phase=phase, agent=name, cause=cause, key=key, seconds=seconds)
            )
            return
        log.add(
            AgentRetrying(
                time=now(),
                run_id=run_id,
                phase=phase,
                agent=name,
                attempt=len(supervisor.record.attempts),
                error=error,
                wait=seconds,
            )
        )

    def _ended(self, supervisor: Supervisor, outcome: Outcome) -> None:
        """Record an outcome, the moment it exists."""
        self.outcomes[outcome.agent] = outcome
        self._ended_names.append(outcome.agent)
        self._changed.set()
        desk = self.desk
        desk.log.add(
            AgentFinished(
                time=outcome.ended,
                run_id=desk.run_id,
                phase=outcome.phase,
                agent=outcome.agent,
                outcome=outcome,
            )
        )
        if self.ensemble.on_failure == "fail_fast" and outcome.status in ("failed", "timed_out"):
            self._stop_all(Stop("cancelled", f"fail_fast: {outcome.agent} {outcome.status}"))
        phase = self._close_phase(outcome.phase)
        try:  # what may fail comes last: processors of spans are the user's
            if supervisor.span is not None:
                close_agent_span(supervisor.span, outcome, desk.services.redactor.error_text)
        finally:
            if phase is not None:
                phase.end()

    def _open_phase(self, phase: int) -> Context | None:
        if phase not in self._phase_spans:
            desk = self.desk
            desk.log.add(PhaseStarted(time=now(), run_id=desk.run_id, phase=phase))
            parent = set_span_in_context(self.span) if self.span is not None else None
            span = telemetry.start(f"phase {phase}", "CHAIN", {telemetry.RUN_ID: desk.run_id}, context=parent)
            self._phase_spans[phase] = (span, _current(span))
        return self._phase_spans[phase][1]

    def _close_phase(self, phase: int) -> Span | None:
        """Count an outcome; give the span to end when it was the last one of its phase."""
        self._phase_left[phase] -= 1
        if self._phase_left[phase] or phase not in self._phase_spans:
            return None
        self.desk.log.add(PhaseFinished(time=now(), run_id=self.desk.run_id, phase=phase))
        return self._phase_spans[phase][0]

    def _open_span(self, supervisor: Supervisor, context: Context | None) -> Context | None:
        if context is None:
            return None
        if supervisor.span is not None:  # started once more, after the parallel machinery failed
            return _current(supervisor.span)
        agent, desk = supervisor.agent, self.desk
        attributes = {
            telemetry.OPERATION: "invoke_agent",
            telemetry.AGENT_NAME: agent.name,
            telemetry.RUN_ID: desk.run_id,
            **telemetry.metadata_attributes(desk.metadata),
        }
        parent = context.run(otel.get_current)
        span = telemetry.start(f"invoke_agent {agent.name}", "AGENT", attributes, context=parent)
        supervisor.span = span
        return _current(span)

    def _out_of_time(self, clock: str, seconds: float, supervisors: Sequence[Supervisor] | None) -> None:
        reason = f"the {clock}'s clock of {seconds:g} s ran out"
        kind = clock.partition(" ")[0]
        if supervisors is None:
            self._stop_all(Stop("timed_out", reason, DeadlineExceeded(reason, clock=kind, seconds=seconds)))
            return
        for supervisor in supervisors:
            error = DeadlineExceeded(reason, clock=kind, seconds=seconds)
            error.agent = supervisor.agent.name
            supervisor.stop(Stop("timed_out", reason, error))

    def cancel(self) -> None:
        """Stop everything; may be called any number of times."""
        if self.stopped is not None:
            return
        if self._under_way:
            self._stop_all(_CANCELLED)
            return
        self.stopped = _CANCELLED
        if self._task is not None:
            self._task.cancel()

    def _stop_all(self, stop: Stop) -> None:
        if len(self.outcomes) == len(self._agents):  # too late: nothing is left to stop
            return
        if self.stopped is None:
            self.stopped = stop
        for supervisor in list(self._supervisors.values()):
            supervisor.stop(stop)

    async def _all_ended(self) -> None:
        # Reached with agents at work only when the driver itself was cancelled, by a loop that shuts down.
        while any(not supervisor.over for supervisor in self._supervisors.values()):
            self._changed.clear()
            try:
                await self._changed.wait()
            except asyncio.CancelledError:
                continue

    def skip_the_rest(self) -> None:
        """Give an outcome to all that were never supervised, also when the run's task never began."""
        self._say_started()
        if self.stopped is None:
            self._stop_all(_CANCELLED)
        for name in self._agents:
            if name not in self.outcomes:
                supervisor = self._supervisors.get(name) or self._supervise([name])[0]
                reason = (self.stopped or _CANCELLED).reason
                supervisor.end(supervisor.outcome("skipped", reason=f"it never got a place: {reason}"))

    async def _close(self, held: Sequence[Any]) -> None:
        closing = asyncio.ensure_future(self._lifetimes.close(held))
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                continue


def _current(span: Span) -> Context | None:
    """Give a context in which `span` is the current one; None when there is no tracer provider."""
    if not span.get_span_context().is_valid:  # one that was sampled out counts: else its children would be new traces
        return None
    context = copy_context()
    context.run(otel.attach, set_span_in_context(span))
    return context


def close_agent_span(span: Span, outcome: Outcome, clean: Callable[[str], str]) -> None:
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
