"""Drive a run: open what it needs, start its clocks, run its phases, give every agent exactly one outcome."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .attempt import Record
from .call import Endpoint
from .chronicle import Chronicle
from .clock import now
from .errors import ConfigError, DeadlineExceeded
from .lifetimes import bounded
from .outcome import Outcome
from .phase import Start, fail_started, one_by_one, together
from .supervisor import Stop, Supervisor
from .verdict import judge
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

# Seconds that layers and providers have to close after a run; a stopped run gives them its grace.
CLOSING = 10.0

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
        self.failed_fast = False  # the first stop was one of ours: the run ends by its outcomes
        self.stopped: Stop | None = None
        self.crash: BaseException | None = None
        self.deadline: float | None = None
        self.chronicle = Chronicle(desk, plan, warnings)
        self._agents: dict[str, Agent] = {agent.name: agent for agent in ensemble.agents}
        self._inputs = inputs
        self._endpoints = endpoints
        self._pipelines = pipelines
        self._lifetimes = lifetimes
        self._held = held
        self._supervisors: dict[str, Supervisor] = {}
        self._places: asyncio.Semaphore | None = None
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
            if await bounded(self._open(held), math.inf, self.settings.cancel_grace, cancel=True):
                raise asyncio.CancelledError
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
            seconds = CLOSING if self.stopped is None else self.settings.cancel_grace
            await bounded(self._lifetimes.close(held), seconds, self.settings.cancel_grace, cancel=False)

    async def _open(self, held: list[Any]) -> None:
        """Open what the run uses, and let its providers prepare."""
        held += await self._lifetimes.open(self._held)
        preparing = [asyncio.ensure_future(thing.prepare()) for thing in self._held if hasattr(thing, "prepare")]
        try:
            if preparing:
                await asyncio.wait(preparing)
        finally:
            for task in preparing:
                task.cancel()
        for error in (task.exception() for task in preparing if not task.cancelled()):
            if isinstance(error, ConfigError):
                raise error
            if error is not None:  # its agents will say so: the others lose nothing by it
                _log.warning("preparing a provider failed: %s: %s", type(error).__name__, self._clean(str(error)))

    def _start_clock(self) -> asyncio.TimerHandle | None:
        self.chronicle.run_started()
        if self.settings.max_concurrent_agents and self.settings.enable_parallel_execution:
            self._places = asyncio.Semaphore(self.settings.max_concurrent_agents)
        seconds = self.settings.run_timeout
        if seconds is None:
            return None
        self.deadline = asyncio.get_running_loop().time() + seconds
        return asyncio.get_running_loop().call_at(self.deadline, self._out_of_time, "run", seconds, None)

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
        ended, waits = self._ended, self.chronicle.waits  # one bound method for all
        for name in names:
            if name in self._supervisors:  # the parallel machinery failed before it was started
                made.append(self._supervisors[name])
                continue
            agent = self._agents[name]
            timeout = self.settings.default_timeout if agent.timeout is None else agent.timeout
            phase = self._phase_of[name]
            record = Record()
            supervisor = Supervisor(agent, phase, timeout, self.settings.cancel_grace, ended, record)
            record.told = partial(waits, supervisor)
            supervisor.clean = self._cleaner
            self._supervisors[name] = supervisor
            made.append(supervisor)
        return made

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
        verdict = judge(supervisor.agent, self._inputs[name], self.outcomes, self.excused)
        if verdict is None:
            return None
        if verdict.excused:
            self.excused.add(name)
        return supervisor.outcome(verdict.status, reason=verdict.reason, error=verdict.error)

    def _placed(self, supervisor: Supervisor) -> Coroutine[Any, Any, Outcome]:
        """Take a place in the run, then work."""
        if self._places is None:
            return self._at_work(supervisor)  # no coroutine in between: thousands are in flight
        return self._in_turn(supervisor, self._places)

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
        deadlines = [time for time in (self.deadline, self._phase_deadline) if time is not None]
        return work(
            self.desk,
            supervisor,
            self._pipelines[agent.name],
            self._inputs[agent.name],
            self.outcomes,
            self._endpoints.get(agent.name, _NOWHERE),
            min(deadlines, default=None),
        )

    def _ended(self, supervisor: Supervisor, outcome: Outcome) -> None:
        """Record an outcome, the moment it exists."""
        self.outcomes[outcome.agent] = outcome
        self._ended_names.append(outcome.agent)
        self._changed.set()
        self.chronicle.agent_finished(outcome)
        if self.ensemble.on_failure == "fail_fast" and outcome.status in ("failed", "timed_out"):
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
