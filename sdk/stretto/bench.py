"""Send a call through layers to a provider without a runner: what tests of both stand on."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from .attempt import Record
from .call import Call, Endpoint, Target
from .contract import Middleware, Next
from .errors import CallError
from .reply import Delta, Reply
from .secret import Redactor
from .stack import chain, checked
from .usage import Price, Usage

if TYPE_CHECKING:
    from .substitute import Substitute


class _Bench:
    """The services of a call that no runner made: one provider for everything."""

    def __init__(self, provider: Next, prices: Mapping[str, Price] | None = None) -> None:
        self.redactor = Redactor()
        self.capture_content = False
        self._provider = provider
        self._prices = prices or {}

    def endpoint(self, model: str, given: Endpoint | None) -> Endpoint:
        return given if given is not None else Endpoint()

    def named(self, model: str, base_url: str | None) -> str:
        return model

    def target(self, substitute: Substitute) -> Target:
        return Target(substitute.model, Endpoint(substitute.base_url), substitute.params)

    def provider(self, model: str) -> Next:
        return self._provider

    def price(self, model: str) -> Price | None:
        return self._prices.get(model)

    def cost(self, model: str, usage: Usage | None, told: float | None) -> float | None:
        price = self.price(model)
        return told if price is None or usage is None else price.of(usage)


class CallForTests(Call):
    """A `Call` that remembers what it emitted.

    Attributes:
        pieces: the deltas, in order.
    """

    __slots__ = ("pieces",)
    pieces: list[Delta]


def a_call(stream: bool = False, **fields: Any) -> CallForTests:
    """Make a call to `simulated/echo` that says "hello"; any field may be given.

    Args:
        stream: whether it emits; the deltas are then in `call.pieces`.
        fields: of `Call`.
    """
    pieces: list[Delta] = []

    async def emit(delta: Delta) -> None:
        pieces.append(delta)

    given: dict[str, Any] = {
        "agent": "tester",
        "ensemble": "tests",
        "run_id": "0",
        "model": "simulated/echo",
        "messages": ({"role": "user", "content": "hello"},),
        "emit": emit if stream else None,
        "record": Record(),
    }
    call = CallForTests(**{**given, **fields})
    object.__setattr__(call, "pieces", pieces)
    return call


class Answers:
    """A provider that gives the answers it was made with, in order; the last one again and again.

    Args:
        answers: a text or a `Reply`, an error to raise, or a number of seconds to wait before the next one; after a
            number at the end comes "ok".

    Attributes:
        calls: the calls that reached it, in order.
    """

    def __init__(self, *answers: str | Reply | BaseException | float) -> None:
        self._answers: list[str | Reply | BaseException | float] = list(answers)
        if not answers or isinstance(answers[-1], (int, float)):
            self._answers.append("ok")
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        answer = self._next()
        while isinstance(answer, (int, float)):
            await asyncio.sleep(answer)
            answer = self._next()
        if isinstance(answer, BaseException):
            raise _fresh(answer)
        reply = answer if isinstance(answer, Reply) else Reply(answer, usage=Usage(1, 1), cost=0.0, route="answers")
        if call.emit is not None and reply.text:
            await call.emit(Delta(text=reply.text))
        return reply

    def _next(self) -> str | Reply | BaseException | float:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def _fresh(error: BaseException) -> BaseException:
    # Raised twice, one object would carry what was written into it the first time.
    return copy.copy(error) if isinstance(error, CallError) else error


class Stack:
    """Layers over a provider, with the boundary between them, as in a run.

    Args:
        layers: outermost first.
        provider: makes the calls. None: `Answers("ok")`.
        prices: USD per million tokens by model.

    Raises:
        ConfigError: for something that is no layer, or two of one name.
    """

    def __init__(
        self, *layers: Middleware, provider: Next | None = None, prices: Mapping[str, Price] | None = None
    ) -> None:
        self.layers: Sequence[Middleware] = checked(layers)
        self.provider: Next = provider if provider is not None else cast(Next, Answers())
        self._bench = _Bench(self.provider, prices)

    async def __call__(self, call: Call) -> Reply:
        """Send a call through the layers.

        Raises:
            BaseException: whatever comes out of them.
        """
        if call.services is None:
            object.__setattr__(call, "services", self._bench)  # the caller keeps the call, to look at its record
        return await chain(self.layers, call.kind)(call)
