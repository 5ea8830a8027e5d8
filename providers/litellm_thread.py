"""Await litellm, which makes its request in a thread, so that a cancel meanwhile drops nothing.

The thread gives back a coroutine. Nobody would take it from a future that was cancelled, and Python warns of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any


class Unbroken:
    """Await a coroutine; a future that it waits for goes on when this is cancelled, and what it gives is closed.

    Args:
        main: what to await.
        begun: tells whether the request has gone out; from then on a cancel goes the usual way.
    """

    __slots__ = ("_begun", "_main")

    def __init__(self, main: Coroutine[Any, Any, Any], begun: Callable[[], bool]) -> None:
        self._main = main
        self._begun = begun

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(self._main.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            sent = None
            try:
                if isinstance(awaited, asyncio.Future) and not self._begun():
                    awaited._asyncio_future_blocking = False  # its own await has said that it is waited for
                    yield from asyncio.shield(awaited).__await__()  # pyright: ignore[reportUnknownArgumentType]
                else:
                    sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - handed on, outside of this block: no foreign context
                if isinstance(awaited, asyncio.Future):
                    awaited.add_done_callback(_close)  # pyright: ignore[reportUnknownMemberType]
                step = partial(self._main.throw, error)
            else:
                step = partial(self._main.send, sent)


def _close(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and future.exception() is None and asyncio.iscoroutine(future.result()):
        future.result().close()
