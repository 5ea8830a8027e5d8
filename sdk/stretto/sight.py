"""Look at one call from above: what was given, what was emitted, what came back."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from typing import Any, NamedTuple, cast

from .call import Call, Emit
from .inspection import Findings
from .reply import Delta, Reply
from .shapes import is_mapping

# Seconds in which pieces may still come when some are missing.
LATER = 0.05
_WAIT_FOR_EMIT = "await every emit before the next one and before the reply is given"


class Spoken(NamedTuple):
    """What a reply says, or what its pieces add up to.

    Attributes:
        text, reasoning: of the answer.
        tool_calls: name and arguments of each, by index.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[tuple[int, str, str], ...] = ()


def of_pieces(pieces: Iterable[Delta]) -> Spoken:
    """Add up the pieces since the last restart."""
    text, reasoning, tools = "", "", dict[int, tuple[str, str]]()
    for piece in pieces:
        if piece.restart:
            text, reasoning, tools = "", "", {}
        elif piece.text is not None:
            text += piece.text
        elif piece.reasoning is not None:
            reasoning += piece.reasoning
        elif piece.tool_call is not None:
            call = piece.tool_call
            name, arguments = tools.get(call.index, ("", ""))
            tools[call.index] = (call.name or name, arguments + call.arguments)
    return Spoken(text, reasoning, tuple((index, *tool) for index, tool in sorted(tools.items())))


def of_reply(reply: Reply) -> Spoken:
    """Give what a reply says."""
    return Spoken(
        reply.text, reply.reasoning, tuple((call.index, call.name, call.arguments) for call in reply.tool_calls)
    )


class Sight:
    """One call on its way into a layer or a provider, and its reply on the way out.

    Args:
        findings: where faults go.
        call: that came.

    Attributes:
        pieces: those that were emitted, in order.
        reply: None until it was given.
    """

    give = "a Reply"  # what to give instead of something else
    alone = False  # its context is its own: a client library may leave something there

    def __init__(self, findings: Findings, call: Call) -> None:
        self.call = call
        self.pieces: list[Delta] = []
        self.reply: Reply | None = None
        self.report = findings.report
        self._emitting = False
        self._over = False

    async def through(self, work: Callable[[Call], Any]) -> Reply:
        """Send the call through `work`.

        Raises:
            BaseException: what that raised.
        """
        given = self.call.with_(emit=self.emit) if self.call.emit is not None else self.call
        picture, context = _picture(given), dict(copy_context().items())
        try:
            called = work(given)
            reply: Any = await called if inspect.isawaitable(called) else called
            if reply is called and isinstance(reply, Reply):
                self.report("gave its Reply without being awaited", "write it as `async def`")
        finally:
            self._over = True
            self._look_at_call(given, picture)
            if not self.alone:
                self._look_at_context(context)
        if isinstance(reply, Reply):
            self.reply = reply
            if self.call.emit is not None and of_pieces(self.pieces) != of_reply(reply):
                await asyncio.sleep(LATER)  # a piece that comes too late says more than one that is missing
            self.compare(reply)
            return reply
        if inspect.iscoroutine(reply):
            reply.close()
        what = f"gave {'nothing' if reply is None else f'a {type(reply).__name__}'} instead of a Reply"
        self.report(what, f"return {self.give}")
        raise TypeError(what)

    def compare(self, reply: Reply) -> None:
        """Hold the pieces against the reply."""
        raise NotImplementedError

    def _look_at_call(self, given: Call, before: Mapping[str, Any]) -> None:
        after = _picture(given)
        changed = next((name for name in before if after[name] != before[name]), None)
        if changed is not None:
            cure = f"make another one, call.with_({changed}=...), or copy what is in it"
            self.report(f"changed the {changed} of the call that it was given", cure)

    def _look_at_context(self, before: Mapping[Any, Any]) -> None:
        after = dict(copy_context().items())
        leaked = [var for var in {**before, **after} if before.get(var, self) is not after.get(var, self)]
        if leaked:
            cure = "keep the token that set() gives, and reset(token) in `finally`"
            self.report(f"left the context variable {leaked[0].name!r} changed", cure)

    async def emit(self, delta: Delta) -> None:
        """Take a piece; this is the `emit` of the call that was given."""
        emit, given = cast("Emit", self.call.emit), cast("Any", delta)  # there is one, and it may be given anything
        if self._over:
            self.report("emitted a piece after it had given the reply", _WAIT_FOR_EMIT)
            return
        if self._emitting:
            self.report("called emit while another piece was being emitted", _WAIT_FOR_EMIT)
        if not isinstance(given, Delta):
            self.report(f"emitted a {type(given).__name__} instead of a Delta", "emit Delta(text=...)")
            return
        self._emitting = True
        self.pieces.append(delta)
        try:
            await emit(delta)
        finally:
            self._emitting = False


def _picture(call: Call) -> dict[str, Any]:
    """Give a copy of what a layer must not change; the rest of a call is frozen through and through."""
    fields = ("messages", "params", "extra_headers", "extra_body", "metadata")
    picture: dict[str, Any] = {name: _copied(getattr(call, name)) for name in fields}
    for name in ("model", "emit", "deadline", "attempt", "record"):
        picture[name] = getattr(call, name)
    return picture


def _copied(value: Any) -> Any:
    if is_mapping(value):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(item) for item in cast("list[Any]", value)]  # what it holds is unknown
    return value
