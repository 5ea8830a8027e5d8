"""See one call's way through a layer from both sides: what the layer was given, sent down, emitted and gave back."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Coroutine
from typing import Any

from .call import Call
from .contract import Middleware, Next, layer_kinds
from .inspection import Findings, said
from .reply import Delta, Reply
from .sight import Sight, Spoken, of_pieces, of_reply

_SEND_AGAIN = "send another request with call_next(call.again())"


class Request:
    """One request that a layer sent down.

    Attributes:
        call: as the layer gave it to `call_next`.
        pieces: what came up for its `emit`.
        reply: None until it was answered.
        work: what `call_next` gave to be awaited.
    """

    __slots__ = ("call", "pieces", "reply", "work")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.pieces: list[Delta] = []
        self.reply: Reply | None = None
        self.work: Coroutine[Any, Any, Reply] | None = None


class Watched:
    """Stand in a stack in the place of a layer, and look at everything that passes it.

    Args:
        layer: the one that is looked at.
        findings: where its faults go.

    Attributes:
        passages: of the calls that came by, in order.
    """

    name = "watched"

    def __init__(self, layer: Middleware, findings: Findings) -> None:
        self.layer = layer
        self.kinds = layer_kinds(layer)
        self.findings = findings
        self.passages: list[Passage] = []

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        passage = Passage(self, call, call_next)
        self.passages.append(passage)
        return await passage.sent()

    def of_another(self, request: Call, own: Call) -> bool:
        """Tell whether a request belongs to the logical call of another passage."""
        others = (passage.call.record for passage in self.passages)
        return request.record is not own.record and any(record is request.record for record in others)

    def unsent(self) -> None:
        """Report requests that were made with `call_next` and never awaited."""
        for passage in self.passages:
            for request in passage.requests:
                work = request.work
                if work is not None and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                    work.close()
                    cure = "write `await call_next(call)`"
                    self.findings.report("called call_next and did not await what it gave", cure)


class Passage(Sight):
    """One call in a layer.

    Attributes:
        requests: those that it sent, in order.
    """

    give = "what `await call_next(call)` gave, or a Reply of its own"

    def __init__(self, watched: Watched, call: Call, call_next: Next) -> None:
        super().__init__(watched.findings, call)
        self.requests: list[Request] = []
        self._watched = watched
        self._next = call_next

    async def sent(self) -> Reply:
        """Send the call through the layer.

        Raises:
            BaseException: what the layer raised.
        """
        return await self.through(lambda given: self._watched.layer(given, self._below))

    def _below(self, *given: Any, **named: Any) -> Awaitable[Reply]:
        """Take a request from the layer; this is its `call_next`."""
        if named or len(given) != 1 or not isinstance(given[0], Call):
            words = [type(value).__name__ for value in given] + [f"{name}=..." for name in named]
            what = f"called call_next({', '.join(words)})"
            self.report(what, "call_next takes one Call, without a keyword")
            raise TypeError(what)
        request = Request(given[0])
        self._look_at_request(request.call)
        self.requests.append(request)
        request.work = self._sent(request)
        return request.work

    def _look_at_request(self, request: Call) -> None:
        own = self.call
        if self._watched.of_another(request, own):
            cure = "keep what belongs to one call in local variables or in call.scratch, never on the layer"
            self.report("sent the request of another call", cure)
        elif request.attempt.started is not None:
            self.report("sent the same attempt twice", _SEND_AGAIN)
        elif request.record is own.record and _later(request.deadline, own.deadline):
            cure = "a deadline may only be lowered: make requests with call.with_(...) and call.again(...)"
            self.report("raised the deadline of the call", cure)

    async def _sent(self, request: Request) -> Reply:
        call, emit = request.call, request.call.emit
        if emit is not None:

            async def seen(delta: Delta) -> None:
                request.pieces.append(delta)
                try:
                    await emit(delta)
                except Exception as error:
                    cure = "a Delta holds one of five things: pass on what it does not edit"
                    self.report(f"raised {said(error)} in the `emit` that it gave to a request", cure, error)
                    raise

            call = call.with_(emit=seen)
        request.reply = await self._next(call)
        return request.reply

    def compare(self, reply: Reply) -> None:
        """Hold the pieces against the reply."""
        emitted, wanted = of_pieces(self.pieces), of_reply(reply)
        answered = [r for r in self.requests if r.reply is not None and r.call.record is self.call.record]
        if self.call.emit is None or emitted == wanted or (not self.pieces and not answered):
            return  # of a cache, say: the runner emits what a reply has
        if self.requests and not answered:
            return  # it answers for a service that failed: the runner says restart, and emits the reply
        if not answered:
            cure = "emit what the reply says, or nothing"
            self.report(f"emitted {emitted.text!r}, and its reply says {wanted.text!r}", cure)
            return
        self._explain(emitted, wanted, answered[-1])

    def _explain(self, emitted: Spoken, wanted: Spoken, request: Request) -> None:
        assert request.reply is not None
        came, restarted = of_pieces(request.pieces), any(piece.restart for piece in request.pieces)
        if emitted == Spoken() and request.call.emit is None:
            cure = "leave emit to the request, or emit the whole reply"
            self.report("took `emit` away from the request, so that no piece came", cure)
        elif emitted == Spoken() and came == Spoken():
            pass  # nothing came to be passed on: the runner emits the reply
        elif emitted == Spoken():
            self.report("swallowed every piece", "pass them on, those that it held back included, before the reply")
        elif restarted and not any(piece.restart for piece in self.pieces):
            self.report("did not pass Delta(restart=True) on", "pass on every Delta that it does not edit")
        elif emitted == came:
            cure = "wrap `emit` and edit the pieces alike"
            self.report(f"edited the reply, {wanted}, but not its pieces, {emitted}", cure)
        elif wanted == of_reply(request.reply):
            self.report(f"edited the pieces, {emitted}, but not the reply, {wanted}", "edit the reply alike")
        else:
            cure = "what the pieces add up to must be what the reply says"
            self.report(f"edited the pieces to {emitted}, and the reply to {wanted}", cure)


def _later(deadline: float | None, than: float | None) -> bool:
    return than is not None and (deadline is None or deadline > than)
