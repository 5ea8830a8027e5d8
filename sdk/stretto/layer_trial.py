"""Try a layer: in a stack over a service that is told what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from types import MappingProxyType
from typing import Any

from .attempt import Record
from .bench import Stack, a_call
from .call import Call
from .contract import Middleware
from .inspection import Findings, said
from .passage import Watched
from .reply import Delta
from .stand_ins import Service
from .trial import Outcome, Trial

# Virtual seconds to the deadline of a call: far away, and there.
FAR = 1e7


class Plan:
    """What is tried.

    Args:
        findings: where faults go.
        fresh: gives the layer of each trial.
        kind: of the calls.
        fields: of the calls.
    """

    def __init__(self, findings: Findings, fresh: Callable[[], Any], kind: Any, fields: dict[str, Any]) -> None:
        self.findings = findings
        self.fresh = fresh
        self.kind = kind
        self.fields = fields
        self.answers = False  # it has answered several calls, one by one
        self._numbers = count(1)

    def call(self, kind: Any, stream: bool, work: Any) -> Call:
        """Make a call like no other one, with a far deadline."""
        question = {"role": "user", "content": f"question {next(self._numbers)}"}
        given: dict[str, Any] = {
            "kind": kind,
            "model": "simulated/echo" if kind == "llm" else "",
            "messages": ({"role": "system", "content": "Be short."}, question),
            "params": MappingProxyType({"stop": ["END"]}),
            "metadata": MappingProxyType({}),
            "deadline": asyncio.get_running_loop().time() + FAR,
            "record": Record(),
            "work": None if kind == "llm" else work,
            **self.fields,
        }
        call = a_call(stream, **given)
        read_slowly(call)
        return call


def read_slowly(call: Call, seconds: float = 0.0) -> None:
    """Let a reader take its time with each piece."""
    take = call.emit
    if take is None:
        return

    async def emit(delta: Delta) -> None:
        await take(delta)
        await asyncio.sleep(seconds)  # a reader is another task

    object.__setattr__(call, "emit", emit)


class LayerTrial(Trial):
    """A layer over a service.

    Args:
        plan: what is tried.
        service: below.
        outside, inside: a layer around it, and one within.
        layer: None: a new one.
        kind: of the calls. None: the plan's.
    """

    def __init__(
        self,
        plan: Plan,
        service: Service,
        *,
        outside: Middleware | None = None,
        inside: Middleware | None = None,
        layer: Any = None,
        kind: Any = None,
    ) -> None:
        super().__init__(plan.findings, plan.fresh() if layer is None else layer)
        self._plan = plan
        self._service = service
        self._kind = kind or plan.kind
        self._watched = Watched(self.subject, plan.findings)
        layers = (outside, self._watched, inside)
        self.stack = Stack(*(layer for layer in layers if layer is not None), provider=service)

    async def send(self, stream: bool, *, cancel_at: int = 0, late: bool = False) -> Outcome:
        """Send a call like no other one."""
        return await self.sent(self._plan.call(self._kind, stream, self._service), cancel_at=cancel_at, late=late)

    async def _no_task_left(self) -> None:
        await super()._no_task_left()
        self._watched.unsent()
        self.findings.check()

    @property
    def failing(self) -> bool:
        """Whether the service has failed at first: a layer may then refuse for a while."""
        return self._service.failures > 0

    def answered(self, outcome: Outcome, cure: str) -> None:
        """Report the refusal of a call like those that the layer has answered.

        Raises:
            AssertionError: for the first fault found.
        """
        if self._plan.answers and outcome.error is not None:
            self.findings.report(f"refused a call ({said(outcome.error)}), though it answers such calls", cure)
        self.findings.check()

    def requests(self) -> int:
        """Give the number of requests that the layer has sent for its calls; shadow traffic does not count."""
        passages = self._watched.passages
        return sum(request.call.record is passage.call.record for passage in passages for request in passage.requests)

    def not_mixed_up(self) -> None:
        """Report a call that got the reply of another, though it was answered itself.

        Raises:
            AssertionError: for the first fault found.
        """
        passages = self._watched.passages
        told = {id(request.reply): passage for passage in passages for request in passage.requests}
        for passage in passages:
            owner = told.get(id(passage.reply))
            asked = any(request.reply is not None for request in passage.requests)
            if asked and owner is not None and owner is not passage:
                cure = "keep what belongs to one call in local variables or in call.scratch, never on the layer"
                self.findings.report("gave one call the reply of another", cure)
        self.findings.check()
