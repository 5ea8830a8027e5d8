"""Stand between a provider and `emit`: mark the first piece, say `restart`, let no key through.

A key may come in two pieces, so the end of a text that may be the begin of one is held back until more has come.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .clock import now
from .reply import Delta, ToolCall

if TYPE_CHECKING:
    from .call import Call


class Stream:
    """The `emit` that a provider sees; the boundary makes one for each request.

    Args:
        call: whose pieces these are; what comes after its attempt has ended is dropped.
    """

    __slots__ = ("_attempt", "_calls", "_emit", "_held", "_record", "_redactor")

    def __init__(self, call: Call) -> None:
        assert call.emit is not None
        self._emit = call.emit
        self._attempt = call.attempt
        self._record = call.record
        redactor = call.services.redactor if call.services is not None else None
        self._redactor = redactor if redactor is not None and redactor.knows_keys else None
        self._held: dict[str, str] = {}  # by kind of text
        self._calls: dict[str, ToolCall] = {}  # of which arguments are held back

    async def __call__(self, delta: Delta) -> None:
        """Pass a piece on."""
        attempt = self._attempt
        if attempt.ended is not None:
            return
        if not attempt.emitted and delta.usage is None and delta.restart is None:
            attempt.emitted = True
            attempt.first_piece = now()
            if any(other.emitted and other is not attempt for other in self._record.attempts):
                await self._emit(Delta(restart=True))
        clean = delta if self._redactor is None else self._clean(delta)
        if clean is not None:
            await self._emit(clean)

    def _clean(self, delta: Delta) -> Delta | None:
        if delta.text is not None:
            text = self._let_go("text", delta.text)
            return Delta(text=text) if text else None
        if delta.reasoning is not None:
            text = self._let_go("reasoning", delta.reasoning)
            return Delta(reasoning=text) if text else None
        call = delta.tool_call
        if call is None:
            return delta
        kind = f"tool_call {call.index}"
        whole = self._redactor.model_text if self._redactor is not None else str
        call = replace(call, id=whole(call.id), name=whole(call.name))
        self._calls[kind] = call
        arguments = self._let_go(kind, call.arguments)
        return Delta(tool_call=replace(call, arguments=arguments))

    def _let_go(self, kind: str, piece: str) -> str:
        """Give what may go out now: without keys, and without an end that may be the begin of one."""
        assert self._redactor is not None
        text = self._redactor.model_text(self._held.pop(kind, "") + piece)
        kept = self._redactor.held_back(text)
        if kept:
            self._held[kind] = text[-kept:]
            return text[:-kept]
        return text

    async def end(self) -> None:
        """Pass on what was held back: the reply is complete, so no key began there."""
        held, self._held = self._held, {}
        for kind, text in held.items():
            if kind in self._calls:
                await self._emit(Delta(tool_call=replace(self._calls[kind], arguments=text)))
            else:
                await self._emit(Delta(reasoning=text) if kind == "reasoning" else Delta(text=text))
