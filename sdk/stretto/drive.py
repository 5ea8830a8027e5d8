"""Drive a run: open what it needs, start its clocks, run its phases, give every agent exactly one outcome."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .attempt import Record
from .chronicle import Chronicle
from .clock import now
from .errors import DeadlineExceeded
from .inputs import as_text
from .lifetimes import bounded, prepare
from .nested import perform
from .outcome import Outcome
from .phase import Start, fail_started, one_by_one, together
from .plan import Readiness
from .prompt import compose
from .supervisor import Stop, Supervisor
from .verdict import judge
from .work import Desk, work

if TYPE_CHECKING:
    from .agent import Agent
    from .around import Around
    from .inputs import Inputs, Item
    from .lifetimes import Lifetimes
    from .stage import Stage

_log = logging.getLogger("stretto")
_CANCELLED = Stop("cancelled", "the run was cancelled")

# Seconds that layers and providers have to close after a run; a stopped run gives them its grace.
CLOSING = 10.0

# What an agent that runs others has to spare for them to end before it is abandoned itself.
WITHIN = 0.9

RunPhase = Callable[[Sequence[Supervisor], Start], Awaitable[None]]


class Drive:
    """The inside of a run; `Run` is its face.

    Args:
        stage: what is run, ready.
        desk: what all agents work with.
        inputs: by agent name.
        lifetimes: of layers and providers.
        held: the layers and providers that the run uses.
        warnings: for the first event.
        around: of a run within an agent, the run around it.
    """

    def __init__(
        self,
        stage: Stage,
        desk: Desk,
        *,
        inputs: Mapping[str, Any],
        lifetimes: Lifetimes,
        held: Sequence[Any],
        warnings: tuple[str, ...] = (),
        around: Around | None = None,
    ) -> None:
        self.stage = stage
        self.ensemble = stage.ensemble
        self.plan = plan = stage.plan
        self.settings = stage.settings
        self.desk = desk
        self.outcomes: dict[str, Outcome] = {}
        self.visible: Mapping[str, Outcome] = self.outcomes  # to its agents
        self.excused: set[str] = set()
        self.failed_fast = False  # the first stop was one of ours: the run ends by its outcomes
        self.stopped: Stop | None = None
        self.crash: BaseException | None = None
        self.deadline: float | None = None
        self.chronicle = Chronicle(desk, plan, warnings)
        self._agents: dict[str, Agent] = {agent.name: agent for agent in stage.agents}
        self.inputs = inputs
        self._texts: dict[int, str] = {}  # of inputs that are data, by id
        self.items: Mapping[str, Item] = {}
        self.compat = stage.ensemble.strictness == "compat"
        self._grace = stage.settings.cancel_grace
        self._lifetimes = lifetimes
        self._held = held
        self._supervisors: dict[str, Supervisor] = {}
        self.places: asyncio.Semaphore | None = None
        self._around = around
        self.parallel = stage.settings.enable_parallel_execution
        self.path: tuple[str, ...] = (stage.ensemble.name,)
        if around is not None:
            self.deadline, self.places, self.items = around.deadline, around.places, around.items
            self._grace = around.supervisor.grace * WITHIN
            self.parallel &= around.parallel
            self.path = around.path if around.items else (*around.path, *self.path)
            if around.items:  # instances do not see each other
                self.visible = around.outcomes
        self._ended_names: list[str] = []
        self._changed = asyncio.Event()
        self._phase_of = plan.phase_of()
        self._phase_deadline: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._under_way = False
        self._cleaner = self._clean  # one object for ten thousand agents: the garbage collector walks each

    async def drive(self) -> None:
        """Run everything; whatever happens, every agent has an outcome afterwards."""
        self._task = asyncio.current_task()
        held: list[Any] = []
        timer: asyncio.TimerHandle | None = None
        try:
            if self.stopped is not None:
                raise asyncio.CancelledError
            if self._held and await bounded(self._opened(held), math.inf, self._grace, cancel=True):
                raise asyncio.CancelledError
            timer = self._start_clock()
            self._under_way = True
            await self._schedule()
        except asyncio.CancelledError:  # the run's own before its clocks started, else that of a loop that shuts down
            self.stopped = self.stopped or self._reason_around()
            self._stop_all(self.stopped)
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
            if held:
                seconds = CLOSING if self.stopped is None else self._grace
                await bounded(self._lifetimes.close(held), seconds, self._grace, cancel=False)

    def _reason_around(self) -> Stop:
        if self._around is None:
            return _CANCELLED
        around = self._around.supervisor
        return around.stopped or Stop("cancelled", f"the task of {around.agent.name} was cancelled")

    async def _opened(self, held: list[Any]) -> None:
        held += await self._lifetimes.open(self._held)
        await prepare(self._held, self._clean)

    def _start_clock(self) -> asyncio.TimerHandle | None:
        self.chronicle.run_started()
        if self._around is None and self.settings.max_concurrent_agents and self.parallel:
            self.places = asyncio.Semaphore(self.settings.max_concurrent_agents)
        seconds = self.settings.run_timeout
        if seconds is None:
            return None
        ends = asyncio.get_running_loop().time() + seconds
        if self.deadline is not None and self.deadline <= ends:  # that of the run around it comes first
            return None
        self.deadline = ends
        return asyncio.get_running_loop().call_at(ends, self._out_of_time, "run", seconds, None)

    async def _schedule(self) -> None:
        if self.parallel and self.ensemble.schedule == "ready" and len(self.plan.phases) > 1:
            await self._ready()
            return
        for number, phase in enumerate(self.plan.phases):
            await self._phase(number, phase, together if self.parallel else one_by_one)

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
        readiness, counted = Readiness(self.plan.dependencies), 0
        ready = readiness.first()
        while True:
            for supervisor in self._supervise(ready):
                self._launch(supervisor)
            ended = self._ended_names[counted:]
            counted += len(ended)
            ready = readiness.after(ended)
            if counted == len(self._agents):
                return
            if not ready:
                self._changed.clear()
                await self._changed.wait()

    def _supervise(self, names: Sequence[str]) -> list[Supervisor]:
        made: list[Supervisor] = []
        ended, waits = self._ended, self.chronicle.waits  # one bound method for all
        for name in names:
            if name in self._supervisors:  # the parallel machinery failed before it was started
                made.append(self._supervisors[name])
                continue
            agent = self._agents[name]
            phase = self._phase_of[name]
            record = Record()
            supervisor = Supervisor(agent, phase, self._timeout(agent), self._grace, ended, record)
            record.told = partial(waits, supervisor)
            supervisor.clean = self._cleaner
            self._supervisors[name] = supervisor
            made.append(supervisor)
        return made

    def _timeout(self, agent: Agent) -> float | None:
        if agent.name not in self.stage.composites:
            return self.settings.default_timeout if agent.timeout is None else agent.timeout
        return agent.timeout if agent.fan_out is None else None  # of a fan-out each instance has its own

    def _clean(self, text: str) -> str:
        return self.desk.services.redactor.error_text(text)  # looked up anew: a layer may have brought another key

    def _launch(self, supervisor: Supervisor) -> None:
        if supervisor.over:  # stopped before it was started
            return
        supervisor.started = now()
        context = self.chronicle.agent_launched(supervisor)
        ended = self._verdict(supervisor)
        if ended is not None:
            supervisor.end(ended)
            return
        supervisor.start(self._placed, f"stretto:{self.desk.ensemble}/{supervisor.agent.name}", context)

    def _verdict(self, supervisor: Supervisor) -> Outcome | None:
        """Give the outcome of an agent that does not get to work, else None."""
        if self.stopped is not None:
            return supervisor.outcome("skipped", reason=f"it never got a place: {self.stopped.reason}")
        name = supervisor.agent.name
        try:
            verdict = judge(supervisor.agent, self.inputs[name], self.visible, self.excused, compat=self.compat)
        except Exception as error:  # noqa: BLE001 - of a value that a function gave: its agent's failure, nobody else's
            return supervisor.outcome_of(error)
        if verdict is None:
            return None
        if verdict.excused:
            self.excused.add(name)
        return supervisor.outcome(verdict.status, reason=verdict.reason, error=verdict.error)

    def _placed(self, supervisor: Supervisor) -> Coroutine[Any, Any, Outcome]:
        """Take a place in the run, then work; an agent that runs others holds none, else they might wait for it."""
        if self.places is None or supervisor.agent.name in self.stage.composites:
            return self._at_work(supervisor)  # no coroutine in between: thousands are in flight
        return self._in_turn(supervisor, self.places)

    async def _in_turn(self, supervisor: Supervisor, places: asyncio.Semaphore) -> Outcome:
        if places.locked():
            with supervisor.record.waiting("queue"):
                await places.acquire()
        else:
            await places.acquire()
        supervisor.gave_back = places.release
        return await self._at_work(supervisor)

    def _at_work(self, supervisor: Supervisor) -> Coroutine[Any, Any, Outcome]:
        agent = supervisor.agent
        supervisor.placed = True
        self.chronicle.agent_started(supervisor)
        return perform(self, supervisor) if agent.name in self.stage.composites else work(self, supervisor)

    def composed(self, agent: Agent) -> Inputs:
        """Write what an agent is asked."""
        name, desk = agent.name, self.desk
        given, item = self.inputs[name], self.items.get(name)
        text = given if isinstance(given, str) else self._texts.get(id(given))
        if text is None:  # once for all: a fan-out over it would write it out for each item
            text = self._texts[id(given)] = as_text(given)
        return compose(agent, given, self.visible, desk.composer, desk.metadata, item, text=text, compat=self.compat)

    def nearest_deadline(self) -> float | None:
        """Give the loop time at which the run or the phase ends, whichever comes first; None: no bound."""
        deadlines = [time for time in (self.deadline, self._phase_deadline) if time is not None]
        return min(deadlines, default=None)

    def again(self, stage: Stage, desk: Desk, input: Any, around: Around) -> Drive:
        """Make the drive of a run within an agent of this one."""
        inputs = {agent.name: input for agent in stage.agents}
        return Drive(stage, desk, inputs=inputs, lifetimes=self._lifetimes, held=stage.held, around=around)

    @property
    def terminals(self) -> list[str]:
        """The names of the agents that no other depends on, in file order."""
        needed = {name for before in self.plan.dependencies.values() for name in before}
        return [agent.name for agent in self.stage.agents if agent.name not in needed]

    @property
    def last(self) -> str | None:
        """The name of the last terminal agent; None without agents."""
        return next(reversed(self.terminals), None)

    def handled(self) -> tuple[str, ...]:
        """Give the names of the agents that ran although no dependency had succeeded, and none was excused."""
        return tuple(
            agent.name
            for agent in self.stage.agents
            if agent.on_dependency_failure == "run"
            and agent.depends_on
            and agent.name in self.outcomes
            and not any(self.outcomes[name].ok or name in self.excused for name in agent.depends_on)
        )

    def in_order(self) -> tuple[Outcome, ...]:
        """Give the outcomes that exist, in file order."""
        return tuple(self.outcomes[name] for name in self._agents if name in self.outcomes)

    def stop(self, stop: Stop) -> None:
        """Stop everything, because the agent that runs this is stopped."""
        self._stop_all(stop)

    def conclude(self) -> None:
        """Give every agent its outcome now, because the agent that runs this is abandoned."""
        for supervisor in list(self._supervisors.values()):
            supervisor.abandon()
        self.skip_the_rest()

    def _ended(self, supervisor: Supervisor, outcome: Outcome) -> None:
        """Record an outcome, the moment it exists."""
        self.outcomes[outcome.agent] = outcome
        self._ended_names.append(outcome.agent)
        self._changed.set()
        self.chronicle.agent_finished(outcome)
        if self.stage.fail_fast and outcome.status in ("failed", "timed_out"):
            self.failed_fast |= self.stopped is None
            self._stop_all(Stop("cancelled", f"fail_fast: {outcome.agent} {outcome.status}"))
        self.chronicle.agent_closed(supervisor, outcome)

    def _out_of_time(self, clock: str, seconds: float, supervisors: Sequence[Supervisor] | None) -> None:
        named = clock if clock.startswith("phase") else f"the {clock}"
        reason = f"the clock of {named} ({seconds:g} s) ran out"
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
        self.chronicle.run_started()
        if self.stopped is None:
            self._stop_all(_CANCELLED)
        for name in self._agents:
            if name not in self.outcomes:
                supervisor = self._supervisors.get(name) or self._supervise([name])[0]
                reason = (self.stopped or _CANCELLED).reason
                supervisor.end(supervisor.outcome("skipped", reason=f"it never got a place: {reason}"))
