"""Try a layer or a provider on the running loop: opened, called, cancelled, closed, and nothing may be left."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextlib import suppress
from statistics import median
from types import TracebackType
from typing import Any, NamedTuple, Self

from .call import Call
from .contract import Next
from .errors import CallError
from .inspection import Findings, Generators, WatchedLoop, cancelled_all, other_tasks, said, task_name
from .steps import Pulse, Steps

# Times that a timer may be set anew when everything has ended.
REARMED = 20
_ITS_TASKS = "await what a call began before it ends, cancelled or not; what must outlive a call is ended in __aexit__"


class Outcome(NamedTuple):
    """How a call ended.

    Attributes:
        reply: None when it was not answered.
        error: what came out instead.
        awaits: that its task made.
        blocked, busy: as of `Steps`.
    """

    reply: Any
    error: BaseException | None
    awaits: int
    blocked: float
    busy: float

    def what(self) -> str:
        """Say it in the past tense."""
        return f"raised {said(self.error)}" if self.error is not None else "gave a reply"


def no_blocking(findings: Findings, blocked: float, busy: float, outcomes: Sequence[Outcome]) -> None:
    """Report what keeps the loop from going on, by the median: a machine that is slow at times changes nothing.

    Args:
        findings: where the fault goes.
        blocked: seconds of each call that are too many to be blocked.
        busy: seconds of one step that are too many to compute.
        outcomes: of several calls.

    Raises:
        AssertionError: for the first fault found.
    """
    stood, computed = median(o.blocked for o in outcomes), median(o.busy for o in outcomes)
    if stood > blocked:
        cure = "await asyncio.sleep, use an async client, or asyncio.to_thread"
        findings.report(f"blocked the event loop for {stood * 1000:.0f} ms in each call", cure)
    elif computed > busy:
        findings.report(f"computed for {computed * 1000:.0f} ms in one go in each call", "compute in asyncio.to_thread")
    findings.check()


class Trial:
    """A subject that is opened if it wants to be; at the end it is closed, and nothing may be left.

    Args:
        findings: where faults go.
        subject: the layer or the provider.
        timeout: seconds of the loop's time that one call may take. None: it ends when nothing happens any more.

    Attributes:
        stack: what calls are sent through.
    """

    patience = 0.0  # seconds that tasks have to end when they were cancelled
    stack: Next

    def __init__(self, findings: Findings, subject: Any, timeout: float | None = None) -> None:
        self.findings = findings
        self.subject = subject
        self._timeout = timeout
        self._pulse = Pulse()
        findings.pulses.append(self._pulse)

    async def __aenter__(self) -> Self:
        self._generators = Generators()
        if hasattr(self.subject, "__aenter__"):
            await self.lifetime("__aenter__")
        if hasattr(self.subject, "prepare"):  # a run awaits it before its clocks start
            await self.lifetime("prepare")
        return self

    async def lifetime(self, method: str, *arguments: None) -> None:
        """Await a method of the subject's that makes or ends what it needs.

        Raises:
            AssertionError: when it raises.
        """

        async def work() -> None:
            awaited = getattr(self.subject, method)(*arguments)
            if inspect.isawaitable(awaited):
                await awaited
            else:
                self.findings.report(f"has a {method} that is not async", f"write it as `async def {method}`")

        try:
            await asyncio.wait_for(Steps(work(), self._pulse), self._timeout)
        except Exception as error:  # noqa: BLE001 - of the subject: reported
            self.findings.report(f"raised {said(error)} in {method}", self.findings.raises, error)
        self.findings.check()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            if isinstance(error, AssertionError) and hasattr(self.subject, "__aexit__"):
                with suppress(Exception):  # its fault is known
                    await self.subject.__aexit__(None, None, None)
            return
        if hasattr(self.subject, "__aexit__"):
            await self.lifetime("__aexit__", None, None, None)
        await self._no_task_left()
        await self._no_timer_left()
        left = self._generators.left()
        if left:
            cure = "close it, `async with contextlib.aclosing(...)`"
            self.findings.report(f"left the async generator {left[0]} open", cure)
        self.findings.check()
        self.findings.pulses.remove(self._pulse)

    async def nothing_runs_on(self) -> None:
        """Report a task that goes on though no call is there; a subject that is closed may end it then.

        Raises:
            AssertionError: for the first fault found.
        """
        if not hasattr(self.subject, "__aexit__"):
            await self._no_task_left()

    async def _no_task_left(self) -> None:
        tasks = await other_tasks(self.patience)
        if tasks:
            name = task_name(next(iter(tasks)))
            await asyncio.wait(tasks, timeout=self.patience or 1.0)  # what else it does says more
            self.findings.check()
            await cancelled_all(tasks)
            self.findings.report(f"left a task behind ({name})", _ITS_TASKS)
        self.findings.check()

    async def _no_timer_left(self) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, WatchedLoop):
            return  # its timers would take real time
        for _ in range(REARMED):
            last = loop.last_timer()
            if last is None:
                return
            await asyncio.sleep(last - loop.time())
            await asyncio.sleep(0)
        self.findings.report("left a timer that sets itself again and again", "cancel it when the call has ended")

    async def sent(self, call: Call, *, cancel_at: int = 0, late: bool = False) -> Outcome:
        """Send a call in a task of its own, and cancel that at an await if asked to."""
        steps = Steps(self._through(call), self._pulse, cancel_at=cancel_at, late=late)
        left: list[BaseException] = []

        async def work() -> Any:
            try:
                return await steps
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - in a task SystemExit would end the loop
                left.append(error)
                return None

        task = asyncio.get_running_loop().create_task(work())
        await asyncio.wait([task], timeout=self._timeout)
        if not task.done():
            await cancelled_all({task})
            self.findings.report(f"had not ended after {self._timeout:g} s", self.findings.hangs)
            self.findings.check()
        error = asyncio.CancelledError() if task.cancelled() else next(iter(left), None)
        reply = None if error is not None else task.result()
        return Outcome(reply, error, steps.count, steps.blocked, steps.busy)

    async def _through(self, call: Call) -> Any:
        return await self.stack(call)

    def refuses(self, error: BaseException) -> bool:
        """Tell whether an error is an answer that the subject may give to a plain call."""
        return isinstance(error, CallError)

    def fine(self, outcome: Outcome) -> None:
        """Report an outcome that is neither a reply nor a refusal.

        Raises:
            AssertionError: for the first fault found.
        """
        self.findings.check()
        error = outcome.error
        if isinstance(error, asyncio.CancelledError):
            cure = "raise CancelledError only when the call was cancelled"
            self.findings.report("raised CancelledError though nobody had cancelled it", cure)
        elif error is not None and not self.refuses(error):
            self.findings.report(f"raised {said(error)}", self.findings.raises, error)
        self.findings.check()

    def cancelled(self, outcome: Outcome) -> None:
        """Report an outcome that is not the cancel.

        Raises:
            AssertionError: for the first fault found.
        """
        self.findings.check()
        if not isinstance(outcome.error, asyncio.CancelledError):
            self.findings.report(f"swallowed the cancel and {outcome.what()}", self.findings.raises, outcome.error)
        self.findings.check()
