"""Test agents, layers and providers without a network and without waiting.

`virtual_time` runs a coroutine on a loop whose clock jumps: an hour of back-off takes milliseconds, in a deterministic
order. `a_call` makes a call, `Answers` is a provider that says what it is told, `Stack` puts layers over a provider
with the boundary between them.
"""

from __future__ import annotations

import asyncio
import copy
import math
import selectors
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast

from .attempt import Record
from .call import Call, Endpoint
from .contract import Middleware, Next
from .errors import CallError
from .reply import Delta, Reply
from .secret import Redactor
from .stack import chain, checked
from .usage import Price, Usage

T = TypeVar("T")


# Turns of the loop without a jump after which the clock creeps on.
STILL = 1000


class _NoWaiting(selectors.BaseSelector):
    """A selector that never sleeps: it tells the loop's clock to jump instead."""

    def __init__(self, real: selectors.BaseSelector, patience: float) -> None:
        self._real = real
        self._patience = patience
        self.skipped = 0.0
        self._still = 0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:  # nothing is scheduled: only a thread or a socket can go on
            ready = self._real.select(self._patience)
            if not ready:
                raise RuntimeError(
                    f"nothing happened for {self._patience:g} s of real time: the program waits for ever"
                )
            return ready
        ready = self._real.select(0)
        self._still = 0 if timeout > 0 or ready else self._still + 1
        if self._still > STILL:
            # A timer that is due within the loop's resolution fires before its time; code that then waits for the
            # rest, nanoseconds, would do so for ever on a clock that stands.
            self.skipped = max(self.skipped + 1e-9, math.nextafter(self.skipped, math.inf))
        elif not ready and timeout > 0:
            self.skipped += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> Any:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer when nothing is left to do.

    Args:
        patience: seconds of real time to wait for a thread or a socket when no timer is set; above 0.
    """

    def __init__(self, patience: float = 10.0) -> None:
        self._clock = _NoWaiting(selectors.DefaultSelector(), patience)
        super().__init__(self._clock)

    def time(self) -> float:
        """Give the virtual seconds since the loop was made."""
        return self._clock.skipped

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads of the default executor, however long that takes: virtual seconds do not bound them."""
        await super().shutdown_default_executor()


def virtual_time(main: Coroutine[Any, Any, T], *, patience: float = 10.0) -> T:
    """Run a coroutine to its end in virtual time, and close the loop.

    Sockets and threads work, but real time that they need is not counted: timers may overtake them.

    Args:
        main: what to run.
        patience: seconds of real time, above 0, to wait for a thread or a socket when no timer is set.

    Raises:
        RuntimeError: when everything waits for something that will never happen.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(patience)) as runner:
        return runner.run(main)


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
