"""Stand in for what surrounds a layer in a run: the service below it, a layer that tries again, errors of others."""

from __future__ import annotations

import asyncio

from .call import Call
from .contract import KINDS, Next
from .errors import CallError, Overloaded
from .reply import Delta, Reply, ToolCall
from .usage import Usage

# Virtual seconds that a service takes before each piece: a timeout of any use does not strike.
PAUSE = 0.001


class Leave(BaseException):
    """What SystemExit is, but for the event loop, which would stop."""


class OwnError(Exception):
    """An exception of a user's function."""


class Service:
    """What stands below: it answers each call with words of its own, after it has failed as often as it should.

    Args:
        error: raised for the first requests of each logical call.
        failures: how many of them fail.
        pieces: emitted before a failure.
        silent: it emits nothing.
        empty: its reply is empty.
    """

    def __init__(
        self,
        error: Exception | None = None,
        failures: int = 0,
        *,
        pieces: int = 0,
        silent: bool = False,
        empty: bool = False,
    ) -> None:
        self._error = error if error is not None else Overloaded("busy", retry_after=2)
        self.failures = failures
        self._pieces = pieces
        self._silent = silent
        self._empty = empty

    async def __call__(self, call: Call) -> Reply:
        await asyncio.sleep(PAUSE)
        words = [] if self._empty else ["The ", "answer ", "to ", str(call.messages[-1].get("content")), "."]
        tool = ToolCall("call-1", "look", '{"at": 1}')
        pieces = [Delta(reasoning="Hm."), *(Delta(text=word) for word in words), Delta(tool_call=tool)]
        if len(call.record.attempts) <= self.failures:
            await self._emit(call, pieces[: self._pieces])
            raise self._error if not isinstance(self._error, CallError) else _again(self._error)
        await self._emit(call, [] if self._empty else pieces)
        if self._empty:
            return Reply("", usage=Usage(3, 0), cost=0.0)
        return Reply("".join(words), "Hm.", (tool,), usage=Usage(3, len(words)), cost=0.0, finish_reason="stop")

    async def _emit(self, call: Call, pieces: list[Delta]) -> None:
        if call.emit is None or self._silent:
            return
        for piece in pieces:
            await asyncio.sleep(PAUSE)
            await call.emit(piece)
        if pieces:
            await call.emit(Delta(usage=Usage(3, len(pieces))))


def _again(error: CallError) -> CallError:
    return type(error)(error.message, status=error.status, retry_after=error.retry_after)


class Sending:
    """A layer that tries again, as `Retry` does: around the one that is tried, or within it."""

    name = "sending"
    kinds = KINDS

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        try:
            return await call_next(call)
        except CallError as error:
            if call.attempt.started is None:
                raise
            with call.record.waiting("backoff", PAUSE, error=error):
                await asyncio.sleep(PAUSE)
        return await call_next(call.again())
