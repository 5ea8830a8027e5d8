"""Find what a layer or a provider does wrong: say the first fault in one sentence, and see what is left on a loop.

Common ground of the contract kits.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from types import AsyncGeneratorType
from typing import Any, TypeVarTuple
from weakref import WeakSet

from .errors import CallError
from .steps import Pulse
from .virtual_loop import VirtualLoop

# Seconds of real time that one step may take, and that all may take together: then it is given up.
STEP = 10.0
WHOLE = 300.0
# Turns of the loop that a task, cancelled with its owner, has to end.
TURNS = 20


Ts = TypeVarTuple("Ts")


class Findings:
    """The faults of one subject, in the order in which they were found; the first one counts.

    Args:
        subject: "the layer redact".

    Attributes:
        when: what is being tried: "streamed", "cancelled at its 3rd await".
        hangs: what to do when it never ends.
        raises: what to do when it raises what it should not.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.pulses: list[Pulse] = []
        self.when = ""
        self.hangs = ""
        self.raises = ""
        self._found: list[tuple[str, BaseException | None]] = []

    def trying(self, when: str, *, hangs: str, raises: str) -> None:
        """Say what is tried next, and what to advise when it hangs or raises."""
        self.when, self.hangs, self.raises = when, hangs, raises

    def report(self, what: str, cure: str, error: BaseException | None = None) -> None:
        """Note a fault: what it did, and what to do instead."""
        self._found.append((f"{self.subject}, {self.when}, {what}: {cure}", error))

    def check(self) -> None:
        """Raise the first fault, if there is one.

        Raises:
            AssertionError: one sentence; its cause is what the subject raised, if it did.
        """
        if self._found:
            sentence, error = self._found[0]
            raise AssertionError(sentence) from error


class WatchedLoop(VirtualLoop):
    """A virtual loop that knows its timers."""

    def __init__(self, patience: float) -> None:
        self._timers: list[asyncio.TimerHandle] = []
        super().__init__(patience)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set a timer, and remember it."""
        handle = super().call_at(when, callback, *args, context=context)
        self._timers.append(handle)
        return handle

    def last_timer(self) -> float | None:
        """Give the loop time of the last timer that is set; None when there is none."""
        now = self.time()
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > now]
        return max((timer.when() for timer in self._timers), default=None)


class Generators:
    """The async generators that the running loop iterates: which were left open?

    Made in a coroutine; it lasts until the loop stops.
    """

    def __init__(self) -> None:
        self._seen: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()
        self._abandoned: list[str] = []
        self._of_loop = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._first, finalizer=self._final)

    def _first(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._seen.add(generator)
        if self._of_loop.firstiter is not None:
            self._of_loop.firstiter(generator)

    def _final(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._abandoned.append(_name(generator))
        if self._of_loop.finalizer is not None:
            self._of_loop.finalizer(generator)

    def left(self) -> list[str]:
        """Give the names of those that were dropped, or still stand, before their end."""
        standing = [
            _name(generator)
            for generator in self._seen
            if isinstance(generator, AsyncGeneratorType) and generator.ag_frame is not None  # pyright: ignore[reportUnnecessaryComparison]
        ]
        return [*self._abandoned, *standing]


def _name(thing: Any) -> str:
    return getattr(thing, "__qualname__", type(thing).__name__)


async def other_tasks(patience: float = 0.0) -> set[asyncio.Task[Any]]:
    """Give the tasks of this loop beside the present one, once those that were cancelled have had their time.

    Args:
        patience: seconds of the loop's time, beside some turns of it.
    """
    for turn in range(2 * TURNS):
        if len(asyncio.all_tasks()) == 1:
            break
        await asyncio.sleep(0 if turn < TURNS else patience / TURNS)
    return asyncio.all_tasks() - {asyncio.current_task()}


async def cancelled_all(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended; one that goes on all the same is left."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # retrieved, so that nothing is logged


def task_name(task: asyncio.Task[Any]) -> str:
    """Give the name of what a task runs."""
    return _name(task.get_coro())


def said(error: BaseException) -> str:
    """Give an error's class, and its text on one line."""
    text = " ".join((error.message if isinstance(error, CallError) else str(error)).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def in_a_thread(findings: Findings, work: Callable[[], None]) -> None:
    """Do the work in a thread of its own, so that it may be asked for inside of a running loop, and may block.

    Raises:
        AssertionError: the fault that the work found, or that one step does not end.
    """
    errors: list[BaseException] = []
    ended = threading.Event()

    def body() -> None:
        try:
            with _uncollected():
                work()
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=body, name="stretto:contract", daemon=True).start()
    begun = time.perf_counter()
    while not ended.wait(0.05):
        stuck = next((pulse for pulse in list(findings.pulses) if pulse.seconds() > STEP), None)
        if stuck is not None:
            _give_up(findings, f"held the event loop for more than {STEP:g} s{_place(stuck.thread)}")
        if time.perf_counter() - begun > WHOLE:
            _give_up(findings, f"did not come to an end within {WHOLE:g} s")
    if errors:
        error = errors[0]
        if isinstance(error, AssertionError):
            raise AssertionError(*error.args) from error.__cause__  # without the kit's own frames
        raise error


@contextmanager
def _uncollected() -> Generator[None]:
    """Hold the garbage collector: what others have left would end in the middle of a call, and look like the call's."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def in_two_threads(work: Callable[[], None]) -> None:
    """Do the same in two threads at the same time, one of them the caller's.

    Raises:
        BaseException: of either.
    """
    errors: list[BaseException] = []
    together = threading.Barrier(2)

    def thread() -> None:
        try:
            together.wait(timeout=10)
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    other = threading.Thread(target=thread, name="stretto:contract", daemon=True)
    other.start()
    thread()
    other.join()
    if errors:
        raise errors[0]


def _give_up(findings: Findings, what: str) -> None:
    findings.report(what, "what blocks belongs into a thread or an async client")
    findings.check()


def _place(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    return "" if frame is None else f", at {frame.f_code.co_filename}:{frame.f_lineno}"


def accepts(thing: Any, arguments: int) -> bool | None:
    """Tell whether it may be called with so many positional arguments; None when that cannot be known."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    with suppress(TypeError):
        signature.bind(*range(arguments))
        return True
    return False


def is_async(thing: Any) -> bool:
    """Tell whether it is an async function, or an object that is called as one."""
    return inspect.iscoroutinefunction(thing) or inspect.iscoroutinefunction(getattr(thing, "__call__", None))  # noqa: B004


def maker(make: Any, arguments: int) -> Callable[[], Any]:
    """Give what makes the subject: `make` itself, or, when it is the subject, a function that gives it.

    Args:
        make: a class, a function without arguments, or the subject.
        arguments: positional ones that the subject takes; a factory takes none.
    """
    if isinstance(make, type):
        kind: Callable[[], Any] = make
        return kind
    none, own = accepts(make, 0), accepts(make, arguments)
    if not callable(make) or is_async(make) or none is False:
        return lambda: make
    factory: Callable[[], Any] = make
    if none and not own:
        return factory
    made = factory()  # it takes none as well as all: what it gives decides
    if inspect.iscoroutine(made):
        made.close()
    return (lambda: make) if inspect.isawaitable(made) else factory
