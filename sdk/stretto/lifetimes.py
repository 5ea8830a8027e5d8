"""Open layers and providers at first use on a loop, and close them after their last user there."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any

from .errors import ConfigError
from .per_loop import PerLoop

_log = logging.getLogger("stretto")


class _Opened:
    __slots__ = ("lock", "ready", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.ready = False
        self.users = 0


class Lifetimes:
    """What is open on each loop, and how many use it.

    One object may be used by several runners: whoever comes first opens it, whoever leaves last closes it.
    """

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self._opened: PerLoop[dict[int, tuple[_Opened, Any]]] = PerLoop(dict)

    async def open(self, objects: Iterable[Any]) -> list[Any]:
        """Open those that have `__aenter__`; give those that must be closed again.

        Raises:
            Exception: of an `__aenter__`; what was opened before is closed first.
        """
        held: list[Any] = []
        try:
            for thing in objects:
                if hasattr(thing, "__aenter__"):
                    await self._hold(thing)
                    held.append(thing)
        except BaseException:
            await self.close(held)
            raise
        return held

    def reserve(self, things: Iterable[Any], held: list[Any]) -> None:
        """Keep open what others will open, until `held` is closed; what stands in it already is passed over."""
        for thing in things:
            if hasattr(thing, "__aenter__") and not any(thing is other for other in held):
                self._opened.get().setdefault(id(thing), (_Opened(), thing))[0].users += 1
                held.append(thing)

    async def _hold(self, thing: Any) -> None:
        opened = self._opened.get().setdefault(id(thing), (_Opened(), thing))[0]
        opened.users += 1
        try:
            async with opened.lock:
                if not opened.ready:
                    await thing.__aenter__()
                    opened.ready = True
        except BaseException:
            await self._let_go(thing, opened)
            raise

    async def close(self, objects: Iterable[Any]) -> None:
        """Give back what `open` gave; a failing `__aexit__` is logged, and the others are closed all the same."""
        async with AsyncExitStack() as closing:  # a cancel of one leaves no other open
            for thing in reversed(list(objects)):
                known = self._opened.get().get(id(thing))
                if known is not None:
                    closing.push_async_callback(self._let_go, thing, known[0])

    async def _let_go(self, thing: Any, opened: _Opened) -> None:
        opened.users -= 1
        if opened.users:
            return
        async with opened.lock:  # somebody may open it again while it is being closed
            if opened.users:
                return
            try:
                if opened.ready:
                    opened.ready = False
                    await thing.__aexit__(None, None, None)
            except Exception as error:  # noqa: BLE001 - of somebody else's object; the others must be closed
                # no traceback and no text: they may hold a key
                _log.error("closing %s failed: %s", type(thing).__name__, type(error).__name__)
            finally:
                self._forget(thing, opened)

    def _forget(self, thing: Any, opened: _Opened) -> None:
        known = self._opened.get()
        if not opened.users and known.get(id(thing), (None,))[0] is opened:  # not what came after it
            del known[id(thing)]


async def prepare(things: Iterable[Any], clean: Callable[[str], str]) -> None:
    """Await the `prepare()` of those that have one, all at once.

    Args:
        things: layers and providers.
        clean: takes keys out of what is logged.

    Raises:
        ConfigError: of one of them. Another error is logged: its agents will say so, and the others lose nothing by it.
    """
    preparing = [asyncio.ensure_future(thing.prepare()) for thing in things if hasattr(thing, "prepare")]
    try:
        if preparing:
            await asyncio.wait(preparing)
    finally:
        for task in preparing:
            task.cancel()
    for error in (task.exception() for task in preparing if not task.cancelled()):
        if isinstance(error, ConfigError):
            raise error
        if error is not None:
            _log.warning("preparing a provider failed: %s: %s", type(error).__name__, clean(str(error)))


async def bounded(work: Coroutine[Any, Any, None], seconds: float, grace: float, *, cancel: bool) -> bool:
    """Await the opening or closing of what is not ours; what has not ended in time is abandoned.

    Args:
        work: what to await.
        seconds: that it has; inf: no bound.
        grace: seconds that it has at most once this is cancelled.
        cancel: a cancel of this cancels the work at once.

    Returns:
        Whether this was cancelled meanwhile; it may be so any number of times.

    Raises:
        Exception: of the work.
    """
    task, loop, cancelled = asyncio.ensure_future(work), asyncio.get_running_loop(), False
    ends = loop.time() + seconds
    while not task.done():
        try:
            await asyncio.wait([task], timeout=None if ends == math.inf else max(0.0, ends - loop.time()))
        except asyncio.CancelledError:
            if not cancelled:
                cancelled, ends = True, min(ends, loop.time() + grace)
                if cancel:
                    task.cancel()
            continue
        if not task.done():
            task.cancel()
            _log.warning("opening or closing what a run uses did not end in time, and was abandoned")
            break
    if task.done() and not task.cancelled():
        task.result()
    return cancelled
