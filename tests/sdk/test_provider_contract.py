"""`assert_provider_contract` passes what keeps the contract, and says in one sentence what does not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Any

import pytest

from stretto import Call, Delta, Reply, Secret, ToolCall, Usage
from stretto import provider_contract as kit
from stretto.errors import AuthenticationFailed, CallError, ConfigError, RequestRejected
from stretto.per_loop import PerLoop
from stretto.providers import Simulated
from stretto.testing import assert_provider_contract
from stretto.usage import Price

KEY = "planted-key-0123456789"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "PATIENCE", 0.01)  # real seconds that a task has to end


def fault(make: Any, **given: Any) -> str:
    """The sentence that the kit says."""
    with pytest.raises(AssertionError) as raised:
        assert_provider_contract(make, **given)
    return str(raised.value)


def said(call: Call) -> str:
    return str(call.messages[-1]["content"])


def usage(text: str) -> Usage:
    return Usage(1, len(text.split()))


class Good:
    """A provider in a dozen lines, for others to spoil."""

    async def __call__(self, call: Call) -> Reply:
        text = self.text(said(call))
        for piece in text.split(" "):
            await asyncio.sleep(0)
            if call.emit is not None:
                await self.emit(call, piece if text.endswith(piece) else f"{piece} ")
        return self.reply(call, text)

    def text(self, asked: str) -> str:
        return asked

    async def emit(self, call: Call, piece: str) -> None:
        assert call.emit is not None
        await call.emit(Delta(text=piece))

    def reply(self, call: Call, text: str) -> Reply:
        return Reply(text, usage=usage(text), cost=0.0)


async def function(call: Call) -> Reply:
    call.attempt.usage = Usage(1, 1)
    call.attempt.headers = {"x-request-id": "1"}
    if call.emit is not None:
        await call.emit(Delta(reasoning="Hm."))
        await call.emit(Delta(text="yes"))
        await call.emit(Delta(tool_call=ToolCall("1", "look", "{}")))
    return Reply("yes", "Hm.", (ToolCall("1", "look", "{}"),))


class Complete(Good):
    base_url = "http://127.0.0.1:1"
    key_names = ("SHOUT_API_KEY",)
    api_key = Secret(KEY)

    def __init__(self) -> None:
        self.open: PerLoop[list[bool]] = PerLoop(list)

    async def __aenter__(self) -> None:
        self.open.get().append(True)

    async def __aexit__(self, *_: object) -> None:
        self.open.get().pop()

    async def prepare(self) -> None:
        await asyncio.sleep(0)

    def price(self, model: str) -> Price | None:
        return Price(1, 2)

    def check(self, model: str, endpoint: object) -> None:
        if model != "simulated/echo":
            raise ConfigError("no such model")

    async def __call__(self, call: Call) -> Reply:
        assert self.open.get()
        assert call.endpoint.api_key == self.api_key
        return await super().__call__(call)


class Prepared(Good):
    ready = False

    async def prepare(self) -> None:
        self.ready = True

    async def __call__(self, call: Call) -> Reply:
        assert self.ready
        return await super().__call__(call)


@pytest.mark.parametrize("make", [Good, Good(), function, lambda: Good(), Complete, Prepared])
def test_a_provider_that_keeps_the_contract_passes(make: Any) -> None:
    assert_provider_contract(make)


@pytest.mark.parametrize("model", ["simulated/echo", "simulated/tokens-3", "simulated/latency-1ms"])
def test_simulated_passes(model: str) -> None:
    failing = ["simulated/fail-500", "simulated/fail-429+retry-after-2s", "simulated/cut-2", "simulated/garbage"]
    assert_provider_contract(Simulated, model=model, failing=failing)


async def test_it_may_be_called_inside_of_a_running_loop() -> None:
    assert_provider_contract(Good)


# What breaks it, and the sentence


class Silent(Good):
    async def emit(self, call: Call, piece: str) -> None:
        pass


class Loses(Good):
    async def emit(self, call: Call, piece: str) -> None:
        if "two" not in piece:
            await super().emit(call, piece)


class Late(Good):
    async def emit(self, call: Call, piece: str) -> None:
        async def later() -> None:
            await asyncio.sleep(0.01)
            await Good.emit(self, call, piece)

        call.scratch[piece] = asyncio.create_task(later())


class Restarts(Good):
    async def emit(self, call: Call, piece: str) -> None:
        assert call.emit is not None
        if piece.startswith("Say"):
            await call.emit(Delta(restart=True))
        await super().emit(call, piece)


class GivesADict(Good):
    def reply(self, call: Call, text: str) -> Any:
        return {"text": text}


class GivesNothing(Good):
    def reply(self, call: Call, text: str) -> Any:
        return None


class NoUsage(Good):
    def reply(self, call: Call, text: str) -> Reply:
        return Reply(text)


class Foreign(Good):
    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def reply(self, call: Call, text: str) -> Reply:
        return replace(super().reply(call, text), **self.fields)


class AttemptHeaders(Good):
    def reply(self, call: Call, text: str) -> Reply:
        call.attempt.headers = {"Retry-After": "2"}
        return super().reply(call, text)


class SwallowsTheCancel(Good):
    async def __call__(self, call: Call) -> Reply:
        try:
            return await super().__call__(call)
        except asyncio.CancelledError:
            return Reply("")


class TurnsTheCancelIntoAnError(Good):
    async def __call__(self, call: Call) -> Reply:
        try:
            return await super().__call__(call)
        except BaseException as error:
            raise CallError(type(error).__name__) from None


class GoesOn(Good):
    """Its request outlives a cancel."""

    async def __call__(self, call: Call) -> Reply:
        try:
            return await asyncio.shield(asyncio.ensure_future(self.answer(call)))
        except asyncio.CancelledError:
            call.scratch["cancelled"] = True
            raise

    async def answer(self, call: Call) -> Reply:
        await asyncio.sleep(0.001)
        if call.scratch.get("cancelled"):
            await asyncio.sleep(30)
        return await super().__call__(call)


class LeavesAWatcher(Good):
    async def __call__(self, call: Call) -> Reply:
        call.scratch["watcher"] = asyncio.create_task(asyncio.sleep(60))
        return await super().__call__(call)


class BoundToALoop(Good):
    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    async def __call__(self, call: Call) -> Reply:
        async with self.lock:
            return await super().__call__(call)


class HangsAfterACancel(Good):
    def __init__(self) -> None:
        self.busy = False

    async def __call__(self, call: Call) -> Reply:
        while self.busy:
            await asyncio.sleep(0.001)
        self.busy = True
        reply = await super().__call__(call)
        self.busy = False
        return reply


class ChangesTheMessages(Good):
    def text(self, asked: str) -> str:
        return asked

    async def __call__(self, call: Call) -> Reply:
        call.messages[-1]["content"] += "!"  # type: ignore[index]
        return await super().__call__(call)


class Blocks(Good):
    def text(self, asked: str) -> str:
        time.sleep(0.03)
        return asked


class Cuts(Good):
    """Gives up on a reader that is slow."""

    async def emit(self, call: Call, piece: str) -> None:
        async with asyncio.timeout(0.001):
            await super().emit(call, piece)


class OpensOnce(Good):
    closed = False

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    async def __call__(self, call: Call) -> Reply:
        if self.closed:
            raise RuntimeError("Session is closed")
        return await super().__call__(call)


class PreparesAtOnce(Good):
    def prepare(self) -> None:
        pass


class WrongPrice(Good):
    def price(self, model: str) -> float:
        return 0.5


class WrongKeyNames(Good):
    key_names = "SHOUT_API_KEY"


class WrongBaseUrl(Good):
    base_url = "localhost:8000"


class HalfALifetime(Good):
    async def __aexit__(self, *_: object) -> None:
        pass


class Refusing(Good):
    def __init__(self, how: str) -> None:
        self.how = how

    async def __call__(self, call: Call) -> Reply:
        if call.model == "simulated/echo":
            return await super().__call__(call)
        if self.how == "foreign":
            raise KeyError("model")
        if self.how == "cause":
            try:
                raise OSError("connect")
            except OSError:
                raise CallError("no connection") from None
        if self.how == "key":
            assert call.endpoint.api_key is not None
            raise AuthenticationFailed(f"no such key {call.endpoint.api_key.reveal()}", status=401)
        if self.how == "request id":
            assert call.endpoint.api_key is not None
            raise AuthenticationFailed("refused", status=401, request_id=call.endpoint.api_key.reveal())
        if self.how == "right":
            raise RequestRejected("no such model", status=404)
        return Reply("")


WRONG: list[tuple[Any, str, str]] = [
    (Silent, "streamed, emitted no piece though call.emit was given", "as the text comes"),
    (Loses, "streamed, emitted Spoken(text='Say one three", "must be what the reply says"),
    (Late, "streamed, emitted a piece after it had given the reply", "await every emit"),
    (Restarts, "streamed, emitted a restart", "the boundary says"),
    (GivesADict, "called, gave a dict instead of a Reply", "return a Reply"),
    (GivesNothing, "called, gave nothing instead of a Reply", "return a Reply"),
    (NoUsage, "called, told no tokens", "usage=False"),
    (lambda: Foreign(usage={"input_tokens": 1}), "gave a reply with a usage of type dict", "it is a Usage or None"),
    (lambda: Foreign(tool_calls=[]), "gave a reply with a tool_calls of type list", "it is a tuple"),
    (lambda: Foreign(tool_calls=({"id": 1},)), "gave a dict among the tool calls", "make them ToolCall"),
    (lambda: Foreign(cost=-1), "gave a reply with the cost -1", "USD of 0 or more"),
    (lambda: Foreign(headers={"X-Id": "1"}), "gave the reply the header 'X-Id'", "lower case"),
    (lambda: Foreign(headers={"set-cookie": "1"}), "gave the reply the header set-cookie", "leave it out"),
    (lambda: Foreign(headers=[("a", "b")]), "gave the reply headers of type list", "plain dict"),
    (AttemptHeaders, "gave the attempt the header 'Retry-After'", "lower case"),
    (SwallowsTheCancel, "cancelled at its 1st await, swallowed the cancel and gave a reply", "CancelledError"),
    (TurnsTheCancelIntoAnError, "at its 1st await, swallowed the cancel and raised CallError", "CancelledError"),
    (LeavesAWatcher, "called, left a task behind (sleep)", "await what a call began"),
    (GoesOn, "cancelled at its 1st await, left a task behind (GoesOn.answer)", "await what a call began"),
    (BoundToALoop, "on one event loop and then on another, raised RuntimeError", "PerLoop"),
    (ChangesTheMessages, "called, changed the messages of the call", "copy what is in it"),
    (Cuts, "read slowly, raised TimeoutError", "as long as it takes"),
    (OpensOnce, "opened again after it was closed, raised RuntimeError: Session is closed", "makes anew"),
    (PreparesAtOnce, "called, has a prepare that is not async", "async def prepare"),
    (WrongPrice, "gave 0.5 as a price", "it is a Price"),
    (WrongKeyNames, "has the key_names 'SHOUT_API_KEY'", "a tuple"),
    (WrongBaseUrl, "has the base_url 'localhost:8000'", "http(s)"),
    (HalfALifetime, "has only one of __aenter__ and __aexit__", "write both"),
    (lambda: 5, "cannot be called as provider(call)", "take a Call"),
    (lambda: lambda: 5, "cannot be called as provider(call)", "take a Call"),
]


@pytest.mark.parametrize(("make", "what", "cure"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_provider_that_breaks_the_contract_is_told_what_it_did_when_and_what_to_do(
    make: Any, what: str, cure: str
) -> None:
    sentence = fault(make)
    assert sentence.startswith("the provider")
    assert what in sentence
    assert cure in sentence
    assert "\n" not in sentence


def test_a_provider_that_hangs_is_found() -> None:
    sentence = fault(HangsAfterACancel, timeout=0.1)
    assert "asked again after it was cancelled at its 1st await, had not ended after 0.1 s" in sentence
    assert "in the way of the next one" in sentence


def test_a_provider_that_blocks_the_loop_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "BLOCKED", 0.02)
    assert "blocked the event loop for" in fault(Blocks)


def test_what_must_fail_fails_with_an_error_of_its_own_and_without_the_key() -> None:
    def wrong(how: str) -> str:
        return fault(lambda: Refusing(how), failing=["other/model"], api_key=KEY)

    assert_provider_contract(lambda: Refusing("right"), failing=["other/model"], api_key=KEY)
    assert "asked for other/model, gave a reply, though it must fail: raise a CallError" in wrong("not at all")
    assert "asked for other/model, raised KeyError: 'model': raise one of stretto.errors" in wrong("foreign")
    assert "raised CallError with a OSError behind it: raise it outside" in wrong("cause")
    assert "raised AuthenticationFailed with the key in it" in wrong("key")
    assert "raised AuthenticationFailed with the key in it" in wrong("request id")
    assert KEY not in wrong("key")


def test_a_call_that_must_fail_may_be_given_by_its_fields() -> None:
    class Params(Good):
        async def __call__(self, call: Call) -> Reply:
            if call.params:
                raise RequestRejected("unknown parameter", status=400)
            return await super().__call__(call)

    assert_provider_contract(Params, failing=[{"params": {"top_k": 1}}])
    assert "must fail" in fault(Good, failing=[{"params": {"top_k": 1}}])


def test_a_service_that_tells_no_tokens_may_say_so() -> None:
    assert_provider_contract(NoUsage, usage=False)


def test_a_model_that_its_own_check_refuses_is_named_as_such() -> None:
    sentence = fault(Complete, model="other/model")
    assert "refused its model: no such model: it must answer the model that it is tried with" in sentence


def test_an_error_on_a_plain_call_is_shown_with_its_cause() -> None:
    with pytest.raises(AssertionError, match="name one with model=") as raised:
        assert_provider_contract(Simulated, model="simulated/fail-500")
    assert isinstance(raised.value.__cause__, CallError)


async def test_a_fault_leaves_nothing_behind() -> None:
    with contextlib.suppress(AssertionError):
        assert_provider_contract(LeavesAWatcher)
    assert len(asyncio.all_tasks()) == 1
