"""Try a provider: below the boundary, and looked at before the boundary has cleaned what it gave."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from .bench import Stack
from .call import Call
from .errors import CallError
from .inspection import Findings
from .reply import Reply, ToolCall
from .sight import Sight, Spoken, of_pieces, of_reply
from .trial import Trial
from .usage import Usage

_TYPES: tuple[tuple[str, type, bool], ...] = (
    ("text", str, False),
    ("reasoning", str, False),
    ("tool_calls", tuple, False),
    ("usage", Usage, True),
    ("finish_reason", str, True),
    ("model", str, False),
    ("route", str, False),
    ("response_id", str, True),
)
_NO_KEY = "take it out: errors are shown, logged and kept"


class Heard(Sight):
    """One call in a provider."""

    alone = True

    def compare(self, reply: Reply) -> None:
        self._look_at_reply(reply)
        if self.call.emit is None:
            return
        emitted, wanted = of_pieces(self.pieces), of_reply(reply)
        if any(piece.restart for piece in self.pieces):
            self.report("emitted a restart", "leave it out: the boundary says when a reply begins anew")
        elif emitted == Spoken() != wanted:
            self.report("emitted no piece though call.emit was given", "emit Delta(text=...) as the text comes")
        elif emitted != wanted:
            cure = "what the pieces add up to must be what the reply says"
            self.report(f"emitted {emitted}, and its reply says {wanted}", cure)

    def _look_at_reply(self, reply: Reply) -> None:
        for name, kind, optional in _TYPES:
            value: Any = getattr(reply, name)
            if not (isinstance(value, kind) or (optional and value is None)):
                cure = f"it is a {kind.__name__}{' or None' if optional else ''}"
                self.report(f"gave a reply with a {name} of type {type(value).__name__}", cure)
        for call in reply.tool_calls:
            if not isinstance(call, ToolCall):  # pyright: ignore[reportUnnecessaryIsInstance]
                self.report(
                    f"gave a {type(call).__name__} among the tool calls", "make them ToolCall(id, name, arguments)"
                )
        cost: Any = reply.cost
        if cost is not None and not (isinstance(cost, (int, float)) and 0 <= cost < math.inf):
            self.report(f"gave a reply with the cost {cost!r}", "it is USD of 0 or more; None when it is unknown")
        self.look_at_headers(reply.headers, "reply")
        self.look_at_headers(self.call.attempt.headers or {}, "attempt")

    def look_at_headers(self, headers: Any, where: str) -> None:
        """Report headers that are not as all layers expect them."""
        if not isinstance(headers, dict | MappingProxyType):
            self.report(f"gave the {where} headers of type {type(headers).__name__}", "make a plain dict of them")
            return
        for name, value in cast("Mapping[Any, Any]", headers).items():  # what it holds is unknown
            if not isinstance(name, str) or not isinstance(value, str) or name != name.lower():
                self.report(f"gave the {where} the header {name!r}", "names are in lower case, values are texts")
            elif name == "set-cookie":
                self.report(f"gave the {where} the header set-cookie", "leave it out: it may be a credential")


class ProviderTrial(Trial):
    """A provider below the boundary.

    Args:
        findings: where faults go.
        provider: that is tried.
        timeout: seconds that one call may take.
        patience: seconds that its tasks have to end when they were cancelled.

    Attributes:
        heard: the calls that reached it, in order.
    """

    def __init__(self, findings: Findings, provider: Any, timeout: float, patience: float) -> None:
        super().__init__(findings, provider, timeout)
        self.patience = patience
        self.heard: list[Heard] = []
        self._errors: dict[int, Exception] = {}  # as they were raised, before the boundary classified them
        self.stack = Stack(provider=self._seen)

    async def _seen(self, call: Call) -> Reply:
        heard = Heard(self.findings, call)
        self.heard.append(heard)
        try:
            return await heard.through(self.subject)
        except Exception as error:
            self._errors[id(call.record)] = error
            heard.look_at_headers(call.attempt.headers or {}, "attempt")
            self._look_at_error(call, error)
            raise

    async def _through(self, call: Call) -> Reply:
        try:
            return await self.stack(call)
        except CallError as error:
            raised = self._errors.get(id(call.record), error)
        raise raised

    def _look_at_error(self, call: Call, error: Exception) -> None:
        """Look at it here: above, the boundary has taken out what a provider must not say."""
        if not isinstance(error, CallError):
            return
        foreign = error.__cause__ or error.__context__
        if not isinstance(foreign, CallError | asyncio.CancelledError | None):
            cure = "raise it outside of the `except` block, or clear __cause__ and __context__: what they hold is shown"
            self.findings.report(f"raised {type(error).__name__} with a {type(foreign).__name__} behind it", cure)
        key = call.endpoint.api_key
        if key is not None and key.reveal() in f"{error} {error!r} {error.to_dict()}":
            self.findings.report(f"raised {type(error).__name__} with the key in it", _NO_KEY)

    def refuses(self, error: BaseException) -> bool:
        return False
