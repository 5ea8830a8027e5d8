"""No key comes through a stream, in however many pieces; nothing else is lost or changed."""

from __future__ import annotations

import pytest

from stretto import Agent, Call, Delta, Reply, Runner, Secret, ToolCall
from stretto.errors import CallError
from stretto.events import AgentDelta
from stretto.secret import HIDDEN
from stretto.testing import virtual_time

KEY = "key-4711-abcdef"


def agent() -> Agent:
    return Agent("a", model="mine/x", api_key=Secret(KEY), timeout=5)


def says(*pieces: str) -> type:
    class Says:
        async def __call__(self, call: Call) -> Reply:
            assert call.emit is not None
            for piece in pieces:
                await call.emit(Delta(text=piece))
            return Reply("".join(pieces))

    return Says


async def streamed(provider: object) -> tuple[str, object]:
    run = Runner(providers={"mine": provider}).start(agent(), "hi")  # type: ignore[dict-item]
    pieces = [event.delta for event in [e async for e in run.events()] if isinstance(event, AgentDelta)]
    assert not any(delta.restart for delta in pieces)
    return "".join(delta.text or "" for delta in pieces), await run.wait()


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_key_in_two_pieces_does_not_come_through(cut: int) -> None:
    text, run = virtual_time(streamed(says("it is " + KEY[:cut], KEY[cut:] + ", you know")()))
    assert text == f"it is {HIDDEN}, you know"
    assert KEY not in str(run.to_dict())  # type: ignore[attr-defined]


def test_a_key_one_character_at_a_time_does_not_come_through() -> None:
    text, _ = virtual_time(streamed(says(*f"a {KEY} b {KEY}")()))
    assert text == f"a {HIDDEN} b {HIDDEN}"


@pytest.mark.parametrize("text", ["key", "a key-", "key-4711-abcde", "key-key-4711", "monkey-47 key"])
def test_what_only_begins_like_a_key_comes_through_whole(text: str) -> None:
    for size in (1, 3, 100):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert virtual_time(streamed(says(*pieces)()))[0] == text


def test_the_partial_text_of_an_agent_that_is_cut_off_has_no_half_key() -> None:
    class Cut:
        async def __call__(self, call: Call) -> Reply:
            assert call.emit is not None
            await call.emit(Delta(text=f"so {KEY[:-1]}"))
            raise CallError("cut")

    _, run = virtual_time(streamed(Cut()))
    assert run["a"].text == "so "  # type: ignore[index]


def test_a_key_in_headers_reasoning_and_tool_calls_is_taken_out() -> None:
    class Echo:
        async def __call__(self, call: Call) -> Reply:
            assert call.emit is not None
            await call.emit(Delta(reasoning=KEY[:5]))
            await call.emit(Delta(reasoning=KEY[5:]))
            await call.emit(Delta(tool_call=ToolCall("1", "f", KEY)))
            return Reply("", reasoning=KEY, tool_calls=(ToolCall("1", "f", KEY),), headers={"x-echo": KEY})

    async def main() -> None:
        run = Runner(providers={"mine": Echo()}).start(agent(), "hi")
        told = [event.to_dict() async for event in run.events()]
        assert KEY not in str(told)
        reply = run["a"].reply
        assert reply is not None
        assert (reply.reasoning, reply.tool_calls[0].arguments, reply.headers) == (HIDDEN, HIDDEN, {"x-echo": HIDDEN})

    virtual_time(main())


def test_arguments_that_end_like_a_key_begins_come_whole() -> None:
    class Calls:
        async def __call__(self, call: Call) -> Reply:
            assert call.emit is not None
            for piece in ("a ", "mon", "key"):
                await call.emit(Delta(tool_call=ToolCall("1", "f", piece, 2)))
            return Reply("", tool_calls=(ToolCall("1", "f", "a monkey"),))

    async def main() -> None:
        run = Runner(providers={"mine": Calls()}).start(agent(), "hi")
        deltas = [event.delta.tool_call async for event in run.events() if isinstance(event, AgentDelta)]
        assert "".join(each.arguments for each in deltas if each is not None) == "a monkey"

    virtual_time(main())
