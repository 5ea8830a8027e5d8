"""Open layers and providers at first use on a loop, and close them after their last user there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

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
