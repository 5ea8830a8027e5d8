"""`assert_middleware_contract` passes what keeps the contract, and says in one sentence what does not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import pytest

from stretto import Call, Delta, Next, Reply, inspection
from stretto import middleware_contract as kit
from stretto.errors import CallError, ContentBlocked, Overloaded
from stretto.middleware import Retry
from stretto.per_loop import PerLoop
from stretto.testing import assert_middleware_contract, virtual_time


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "PATIENCE", 0.05)  # real seconds until a layer that waits for ever is given up


def fault(make: Any, **fields: Any) -> str:
    """The sentence that the kit says."""
    with pytest.raises(AssertionError) as raised:
        assert_middleware_contract(make, **fields)
    return str(raised.value)


# What keeps the contract


async def passes_on(call: Call, call_next: Next) -> Reply:
    return await call_next(call)


class Shouting:
    """Edits pieces and reply alike."""

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        emit = call.emit
        if emit is not None:

            async def loud(delta: Delta) -> None:
                await emit(Delta(text=delta.text.upper()) if delta.text is not None else delta)

            call = call.with_(emit=loud)
        reply = await call_next(call)
        return replace(reply, text=reply.text.upper())


async def holds_back(call: Call, call_next: Next) -> Reply:
    """Emits nothing until the reply is there."""
    reply = await call_next(call.with_(emit=None))
    if call.emit is not None:
        if reply.reasoning:
            await call.emit(Delta(reasoning=reply.reasoning))
        for tool in reply.tool_calls:
            await call.emit(Delta(tool_call=tool))
        if reply.text:
            await call.emit(Delta(text=reply.text))
    return reply


class Remembering:
    """A cache: everything after the first call is answered without a request."""

    def __init__(self) -> None:
        self.reply: Reply | None = None

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        if self.reply is None:
            self.reply = await call_next(call)
        return self.reply


async def answers_for_a_failure(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except CallError:
        return Reply("")


async def refuses(call: Call, call_next: Next) -> Reply:
    raise ContentBlocked("no", call=call)


class InTheBackground:
    """Tasks that outlive a call are ended when the layer is closed."""

    def __init__(self) -> None:
        self.tasks: PerLoop[set[asyncio.Task[Reply]]] = PerLoop(set)

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        tasks = self.tasks.get()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        tasks = self.tasks.get()

        async def shadow() -> Reply:
            return await call_next(call.apart())

        task = asyncio.create_task(shadow())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return await call_next(call)


class FunctionsOnly:
    kinds = ("function",)

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        return await call_next(call)


class ScriptsOnly(FunctionsOnly):
    kinds = ("script",)


class InAThread:
    kinds = ("llm", "function", "script")

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        await asyncio.to_thread(time.sleep, 0.001)
        return await call_next(call)


@pytest.mark.parametrize(
    "make",
    [
        passes_on,
        Shouting,
        holds_back,
        Remembering,
        answers_for_a_failure,
        refuses,
        InTheBackground,
        InAThread,
        FunctionsOnly,
        ScriptsOnly,
    ],
    ids=lambda make: make.__name__,
)
def test_a_layer_that_keeps_the_contract_passes(make: Any) -> None:
    assert_middleware_contract(make)


class Named:
    made: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, one: int = 1, two: int = 2) -> None:
        Named.made.append((one, two))

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        return await call_next(call)


def both(one: int = 3, two: int = 4) -> Named:
    return Named(one, two)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (Named, (1, 2)),
        (lambda: Named(5), (5, 2)),
        (partial(Named, 6), (6, 2)),
        (partial(Named), (1, 2)),
        (both, (3, 4)),
        (Named(7), (7, 2)),
        (Named(8).__call__, (8, 2)),
    ],
    ids=[
        "class",
        "lambda",
        "partial",
        "partial that also takes two",
        "function that also takes two",
        "object",
        "method",
    ],
)
def test_a_factory_and_a_layer_are_told_apart(make: Any, arguments: tuple[int, int]) -> None:
    Named.made = [arguments]
    assert_middleware_contract(make)
    assert set(Named.made) == {arguments}


def test_a_plain_function_that_gives_an_awaitable_is_a_layer() -> None:
    def mw(call: Call, call_next: Next) -> Any:
        return call_next(call)

    def with_defaults(call: Any = None, call_next: Any = None) -> Any:
        return passes_on(call, call_next)

    assert_middleware_contract(mw)
    assert_middleware_contract(with_defaults)


async def test_it_may_be_called_inside_of_a_running_loop() -> None:
    before = asyncio.all_tasks()
    assert_middleware_contract(passes_on)
    assert asyncio.all_tasks() == before


def test_what_a_layer_needs_of_a_call_is_given_to_it() -> None:
    async def by_tenant(call: Call, call_next: Next) -> Reply:
        assert call.metadata["tenant"] == "blue"
        return await call_next(call)

    assert_middleware_contract(by_tenant, metadata={"tenant": "blue"})
    assert "raised KeyError: 'tenant': a layer answers" in fault(by_tenant)


def test_back_off_takes_no_real_time() -> None:
    started = time.monotonic()
    assert_middleware_contract(lambda: Retry(3, backoff=1000, max_backoff=1000, max_wait=1000))
    assert time.monotonic() - started < 5


# What breaks it, and the sentence


async def swallows_the_cancel(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except asyncio.CancelledError:
        return Reply("too late")


async def turns_the_cancel_into_an_error(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except asyncio.CancelledError:
        raise CallError("cancelled") from None


async def retries_everything(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except BaseException:
        return await call_next(call.again())


async def goes_on_for_ever(call: Call, call_next: Next) -> Reply:
    while True:
        try:
            return await call_next(call.again())
        except asyncio.CancelledError:
            await asyncio.get_running_loop().create_future()


async def keeps_an_exit(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise CallError(str(error)) from error


async def sends_twice(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except CallError:
        return await call_next(call)


async def leaves_a_task(call: Call, call_next: Next) -> Reply:
    call.scratch["task"] = asyncio.create_task(asyncio.sleep(60))
    return await call_next(call)


async def leaves_a_task_when_cancelled(call: Call, call_next: Next) -> Reply:
    task = asyncio.ensure_future(call_next(call))
    call.scratch["task"] = task
    return await asyncio.shield(task)


class LeaksASlot:
    def __init__(self) -> None:
        self.slots = PerLoop(lambda: asyncio.Semaphore(2))

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        slots = self.slots.get()
        await slots.acquire()
        try:
            reply = await call_next(call)
        except Exception:
            slots.release()
            raise
        slots.release()
        return reply


class CountsOnAndRefuses:
    def __init__(self) -> None:
        self.busy = 0

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        if self.busy >= 2:
            raise Overloaded("no room")
        self.busy += 1
        reply = await call_next(call)
        self.busy -= 1  # not when it was cancelled
        return reply


class LosesASlotInTheQueue:
    """Right but for one moment: it was given the slot, and is cancelled before it goes on."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []
        self.free = True

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        if self.free:
            self.free = False
        else:
            turn = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self.waiting:
                    self.waiting.remove(turn)
                raise
        try:
            return await call_next(call)
        finally:
            if self.waiting:
                self.waiting.pop(0).set_result(None)
            else:
                self.free = True


async def emits_after_the_reply(call: Call, call_next: Next) -> Reply:
    reply = await call_next(call)
    if call.emit is not None:

        async def later(emit: Any) -> None:
            await asyncio.sleep(0.01)
            await emit(Delta(text="!"))

        call.scratch["task"] = asyncio.create_task(later(call.emit))
    return reply


async def emits_at_once(call: Call, call_next: Next) -> Reply:
    emit = call.emit
    if emit is None:
        return await call_next(call)
    tasks: list[Any] = []

    async def apart(delta: Delta) -> None:
        if delta.text is None:
            return await emit(delta)
        tasks.append(asyncio.gather(*(emit(Delta(text=letter)) for letter in delta.text)))

    reply = await call_next(call.with_(emit=apart))
    await asyncio.gather(*tasks)
    return reply


async def edits_the_reply_alone(call: Call, call_next: Next) -> Reply:
    reply = await call_next(call)
    return replace(reply, text=reply.text.upper())


async def edits_the_pieces_alone(call: Call, call_next: Next) -> Reply:
    emit = call.emit
    if emit is None:
        return await call_next(call)

    async def loud(delta: Delta) -> None:
        await emit(Delta(text=delta.text.upper()) if delta.text is not None else delta)

    return await call_next(call.with_(emit=loud))


async def drops_emit(call: Call, call_next: Next) -> Reply:
    return await call_next(call.with_(emit=None))


async def swallows_the_pieces(call: Call, call_next: Next) -> Reply:
    async def nothing(delta: Delta) -> None:
        pass

    return await call_next(call.with_(emit=nothing) if call.emit else call)


def only_text(call: Call, call_next: Next, restarts: bool) -> Any:
    emit = call.emit
    if emit is None:
        return call_next(call)

    async def text(delta: Delta) -> None:
        if restarts or delta.restart is None:
            await emit(delta)

    return call_next(call.with_(emit=text))


async def swallows_restarts(call: Call, call_next: Next) -> Reply:
    reply: Reply = await only_text(call, call_next, restarts=False)
    return reply


async def forgets_other_deltas(call: Call, call_next: Next) -> Reply:
    emit = call.emit
    if emit is None:
        return await call_next(call)

    async def loud(delta: Delta) -> None:
        await emit(Delta(text=delta.text.strip()))  # type: ignore[union-attr]

    return await call_next(call.with_(emit=loud))


async def needs_a_piece(call: Call, call_next: Next) -> Reply:
    if call.emit is None:
        return await call_next(call)
    emit, pieces = call.emit, list[Delta]()

    async def keep(delta: Delta) -> None:
        pieces.append(delta)
        await emit(delta)

    reply = await call_next(call.with_(emit=keep))
    assert pieces[0] is not None
    return reply


async def gives_nothing(call: Call, call_next: Next) -> Any:
    await call_next(call)


async def forgets_to_await(call: Call, call_next: Next) -> Any:
    return call_next(call)


async def does_not_wait(call: Call, call_next: Next) -> Reply:
    call_next(call.apart())
    return await call_next(call)


def is_not_async(call: Call, call_next: Next) -> Any:
    return Reply("at once")


class BoundToALoop:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        async with self.lock:
            return await call_next(call)


async def raises_the_deadline(call: Call, call_next: Next) -> Reply:
    return await call_next(replace(call, deadline=None))


async def asks_for_a_later_deadline(call: Call, call_next: Next) -> Reply:
    assert call.deadline is not None
    return await call_next(call.with_(deadline=call.deadline + 60))


async def blocks(call: Call, call_next: Next) -> Reply:
    time.sleep(0.04)  # noqa: ASYNC251
    return await call_next(call)


async def blocks_between_retries(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except CallError:
        time.sleep(0.04)  # noqa: ASYNC251
        return await call_next(call.again())


async def computes(call: Call, call_next: Next) -> Reply:
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    return await call_next(call)


class HoldsAThreadsLock:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        with self.lock:
            return await call_next(call)


VARIABLE: ContextVar[str] = ContextVar("tenant")


async def leaks_a_variable(call: Call, call_next: Next) -> Reply:
    VARIABLE.set(call.agent)
    return await call_next(call)


async def changes_the_messages(call: Call, call_next: Next) -> Reply:
    call.messages[0]["content"] = "Shout."  # type: ignore[index]
    return await call_next(call)


async def changes_the_model(call: Call, call_next: Next) -> Reply:
    object.__setattr__(call, "model", "other/model")
    return await call_next(call)


class KeepsTheCall:
    async def __call__(self, call: Call, call_next: Next) -> Reply:
        self.call = call
        await asyncio.sleep(0.001)
        return await call_next(self.call)


class MixesReplies:
    async def __call__(self, call: Call, call_next: Next) -> Reply:
        self.reply = await call_next(call)
        await asyncio.sleep(0.01)
        return self.reply


async def names_the_argument(call: Call, call_next: Any) -> Reply:
    reply: Reply = await call_next(call=call)
    return reply


async def passes_messages(call: Call, call_next: Any) -> Reply:
    reply: Reply = await call_next(call.messages)
    return reply


async def hides_the_error(call: Call, call_next: Next) -> Reply:
    try:
        return await call_next(call)
    except CallError as error:
        raise ValueError("it failed") from error


class HidesTheUsersError:
    kinds = ("llm", "function")

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        try:
            return await call_next(call)
        except Exception as error:
            if isinstance(error, CallError):
                raise
            raise CallError("it failed") from None


async def raises_a_cancel(call: Call, call_next: Next) -> Reply:
    raise asyncio.CancelledError


async def never_ends(call: Call, call_next: Next) -> Reply:
    await asyncio.get_running_loop().create_future()
    return await call_next(call)


async def ticks(call: Call, call_next: Next) -> Reply:
    loop = asyncio.get_running_loop()

    def tick() -> None:
        loop.call_later(1, tick)

    tick()
    return await call_next(call)


async def leaves_a_generator(call: Call, call_next: Next) -> Reply:
    async def numbers() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async for _ in numbers():
        break
    return await call_next(call)


class OpensOnce:
    opened = False

    async def __aenter__(self) -> None:
        if self.opened:
            raise RuntimeError("open already")
        self.opened = True

    async def __aexit__(self, *_: object) -> None:
        pass

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        return await call_next(call)


class LeavesATaskOpen:
    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(asyncio.sleep(3600))

    async def __aexit__(self, *_: object) -> None:
        pass

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        return await call_next(call)


class HalfALifetime(Named):
    async def __aenter__(self) -> None:
        pass


class NumberedName(Named):
    name = 7


class NoKinds(Named):
    kinds = ()


class WrongKinds(Named):
    kinds = "llm"


class WrongModels(Named):
    models = ("gpt-5",)


def takes_three(call: Call, call_next: Next, more: int) -> Any:
    return call_next(call)


LET_THROUGH = "let CancelledError through"
WRONG: list[tuple[Any, str, str, str]] = [
    (CountsOnAndRefuses, "asked again after it was cancelled", "refused a call (Overloaded", "give back in `finally`"),
    (swallows_the_cancel, "cancelled at its 1st await", "swallowed the cancel and gave a reply", LET_THROUGH),
    (
        turns_the_cancel_into_an_error,
        "cancelled at its 1st await",
        "swallowed the cancel and raised CallError: cancelled",
        LET_THROUGH,
    ),
    (
        retries_everything,
        "when a BaseException came from below",
        "kept it, and sent another request",
        "catch Exception",
    ),
    (goes_on_for_ever, "cancelled at its 1st await", "never came to an end", LET_THROUGH),
    (keeps_an_exit, "when a BaseException came from below", "kept it, and raised CallError", "catch Exception"),
    (sends_twice, "", "sent the same attempt twice", "call.again()"),
    (leaves_a_task, "called", "left a task behind (sleep)", "await what a call began"),
    (leaves_a_task_when_cancelled, "cancelled at its 1st await", "left a task behind", "await what a call began"),
    (LeaksASlot, "asked again after it was cancelled at its 1st await", "never came to an end", "in `finally`"),
    (
        LosesASlotInTheQueue,
        "asked again after it was cancelled as its 1st await ended, streamed with others in flight",
        "never came to an end",
        "in `finally`",
    ),
    (emits_after_the_reply, "streamed", "emitted a piece after it had given the reply", "await every emit"),
    (emits_at_once, "streamed", "called emit while another piece was being emitted", "await every emit"),
    (edits_the_reply_alone, "streamed", "edited the reply", "edit the pieces alike"),
    (edits_the_pieces_alone, "streamed", "edited the pieces", "edit the reply alike"),
    (drops_emit, "streamed", "took `emit` away from the request", "leave emit to the request"),
    (swallows_the_pieces, "streamed", "swallowed every piece", "pass them on"),
    (swallows_restarts, "around a layer that retries after two pieces", "Delta(restart=True)", "pass on every Delta"),
    (forgets_other_deltas, "streamed", "raised AttributeError", "pass on what it does not edit"),
    (needs_a_piece, "streamed with no piece and an empty reply", "raised IndexError", "a layer answers"),
    (gives_nothing, "called", "gave nothing instead of a Reply", "return what"),
    (forgets_to_await, "called", "gave a coroutine instead of a Reply", "return what"),
    (does_not_wait, "called", "called call_next and did not await", "await call_next(call)"),
    (is_not_async, "called", "gave its Reply without being awaited", "async def"),
    (BoundToALoop, "on one event loop and then on another", "raised RuntimeError", "stretto.per_loop.PerLoop"),
    (raises_the_deadline, "called", "raised the deadline", "may only be lowered"),
    (asks_for_a_later_deadline, "called", "raised ConfigError: a call's deadline may only be lowered", ""),
    (blocks, "called", "blocked the event loop for", "asyncio.to_thread"),
    (blocks_between_retries, "given an error", "blocked the event loop for", "asyncio.to_thread"),
    (leaks_a_variable, "called", "left the context variable 'tenant' changed", "reset(token)"),
    (changes_the_messages, "called", "changed the messages of the call", "or copy what is in it"),
    (changes_the_model, "called", "changed the model of the call", "call.with_(model=...)"),
    (KeepsTheCall, "with 20 calls at once", "sent the request of another call", "local variables"),
    (MixesReplies, "with 20 calls at once", "gave one call the reply of another", "local variables"),
    (names_the_argument, "called", "called call_next(call=...)", "takes one Call"),
    (passes_messages, "called", "called call_next(tuple)", "takes one Call"),
    (hides_the_error, "given an error that no retry cures", "raised ValueError: it failed", "let a CallError"),
    (HidesTheUsersError, "when a function raised its own exception", "raised CallError: it failed", "as it is"),
    (raises_a_cancel, "called", "raised CancelledError though nobody", "only when the call was cancelled"),
    (never_ends, "called", "never came to an end", "await only what will come"),
    (ticks, "called", "left a timer that sets itself again and again", "cancel it"),
    (leaves_a_generator, "called", "left the async generator", "aclosing"),
    (OpensOnce, "opened again after it was closed", "raised RuntimeError: open already in __aenter__", "makes anew"),
    (LeavesATaskOpen, "called", "left a task behind (sleep)", "__aexit__"),
    (HalfALifetime, "as it is made", "has only one of __aenter__ and __aexit__", "write both"),
    (NumberedName, "as it is made", "has the name 7", "a name is a text"),
    (NoKinds, "as it is made", "has no kinds", "a tuple such as"),
    (WrongKinds, "as it is made", "kinds of the layer WrongKinds must be a tuple", ""),
    (WrongModels, "as it is made", "has the models ('gpt-5',)", "openai/gpt-5"),
    (takes_three, "as it is made", "cannot be called as layer(call, call_next)", "these two"),
]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("make", "when", "what", "cure"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_layer_that_breaks_the_contract_is_told_what_it_did_when_and_what_to_do(
    make: Any, when: str, what: str, cure: str
) -> None:
    sentence = fault(make)
    assert sentence.startswith("the layer")
    assert f", {when}" in sentence
    assert what in sentence
    assert cure in sentence
    assert "\n" not in sentence


def test_a_layer_that_computes_for_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "BUSY", 0.04)
    assert "computed for" in fault(computes)


def test_a_layer_that_holds_the_loop_for_ever_is_found_and_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "STEP", 0.2)
    sentence = fault(HoldsAThreadsLock)
    assert "with 20 calls at once, held the event loop for more than 0.2 s" in sentence
    assert f"{__file__}:" in sentence


def test_what_the_layer_raised_is_the_cause() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_middleware_contract(needs_a_piece)
    assert isinstance(raised.value.__cause__, IndexError)


@pytest.mark.usefixtures("impatient")
def test_an_object_is_tried_as_well_as_a_factory() -> None:
    assert "on one event loop and then on another" in fault(BoundToALoop())
    assert "never came to an end" in fault(LeaksASlot())


async def test_a_fault_is_found_inside_of_a_running_loop_too() -> None:
    assert "swallowed the cancel" in fault(swallows_the_cancel)


def test_a_test_of_the_kit_may_run_in_virtual_time() -> None:
    async def main() -> None:
        with contextlib.suppress(AssertionError):
            assert_middleware_contract(leaves_a_task)

    virtual_time(main())


def test_something_that_is_no_layer_is_refused() -> None:
    things: list[Callable[[], Any] | Any] = [lambda: 5, 5, lambda: Retry]
    for thing in things:
        assert "is no layer" in fault(thing)
