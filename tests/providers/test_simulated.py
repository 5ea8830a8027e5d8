"""`Simulated`: what the model's name says happens, every time alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stretto import Agent, ConfigError, Delta, Reply, Runner
from stretto.call import Endpoint
from stretto.errors import (
    AuthenticationFailed,
    BadResponse,
    CallError,
    Overloaded,
    ProviderFailed,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from stretto.middleware import Retry
from stretto.providers import Simulated
from stretto.testing import CallForTests, Stack, a_call, virtual_time
from stretto.usage import Price, Usage


def clock() -> float:
    return asyncio.get_running_loop().time()


def asked(model: str, text: str = "one two three", *, stream: bool = False, provider: Any = None, **fields: Any) -> Any:
    """Ask a model; give the call, the reply or the error, and the seconds that it took."""

    async def main() -> tuple[CallForTests, Any, float]:
        call = a_call(
            stream, model=f"simulated/{model}", **{"messages": ({"role": "user", "content": text},), **fields}
        )
        try:
            async with asyncio.timeout(1000):
                result: Any = await Stack(provider=provider or Simulated())(call)
        except (CallError, TimeoutError) as error:
            result = error
        return call, result, clock()

    return virtual_time(main())


def reply_of(model: str, text: str = "one two three", **fields: Any) -> Reply:
    _, reply, _ = asked(model, text, **fields)
    assert isinstance(reply, Reply), reply
    return reply


def text_of(call: CallForTests) -> str:
    return "".join(piece.text or "" for piece in call.pieces)


# Texts


@pytest.mark.parametrize("model", ["echo", "gpt-5", "latency-0ms", "any/thing"])
def test_without_a_part_that_makes_text_it_echoes(model: str) -> None:
    assert reply_of(model).text == "one two three"


def test_it_echoes_the_last_message_of_the_user() -> None:
    messages = (
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "last"}, {"type": "image_url"}, {"text": "word"}]},
        {"role": "assistant", "content": None},
    )
    reply = reply_of("echo", messages=messages)
    assert reply.text.split() == ["last", "word"]
    assert reply.usage is not None
    assert reply.usage.input_tokens == 6


def test_without_a_message_of_the_user_it_says_nothing() -> None:
    assert reply_of("echo", messages=({"role": "system", "content": "x"},)).text == ""


@pytest.mark.parametrize("text", ["", " ", "one", " one  two\n\tthree \n", "  leading"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_keeps_every_character(text: str, stream: bool) -> None:
    call, reply, _ = asked("echo", text, stream=stream)
    assert reply.text == text
    assert not stream or text_of(call) == text


def test_tokens_gives_that_many_words() -> None:
    reply = reply_of("tokens-200")
    assert len(reply.text.split()) == 200
    assert reply.usage == Usage(3, 200)
    assert reply.finish_reason == "stop"


def test_it_is_deterministic_and_the_seed_chooses() -> None:
    first = reply_of("tokens-20").text
    assert reply_of("tokens-20").text == first
    assert reply_of("tokens-20", provider=Simulated(seed=1)).text != first
    assert reply_of("tokens-20", "another prompt").text != first


def test_no_tokens_is_no_text() -> None:
    assert reply_of("tokens-0").text == ""


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_it_stops_at_the_most_tokens(name: str) -> None:
    reply = reply_of("tokens-20", params={name: 5})
    assert (len(reply.text.split()), reply.finish_reason) == (5, "length")
    assert reply.usage is not None
    assert reply.usage.output_tokens == 5


def test_it_reports_model_route_and_no_cost() -> None:
    reply = reply_of("echo")
    assert (reply.cost, reply.model, reply.route) == (0.0, "simulated/echo", "simulated")
    assert Simulated().price("simulated/any") == Price(0, 0)


# Time


@pytest.mark.parametrize(
    ("part", "seconds"), [("latency-300ms", 0.3), ("latency-2s", 2), ("latency-0.5s", 0.5), ("latency-1.5ms", 0.0015)]
)
def test_latency_is_waited_before_the_answer(part: str, seconds: float) -> None:
    _, reply, took = asked(part)
    assert reply.text == "one two three"
    assert took == pytest.approx(seconds)


def test_the_providers_own_latency_comes_on_top() -> None:
    _, _, took = asked("latency-1s", provider=Simulated(latency=2))
    assert took == pytest.approx(3)


def test_latency_counts_before_a_failure_too() -> None:
    _, error, took = asked("fail-500+latency-2s")
    assert isinstance(error, ProviderFailed)
    assert took == pytest.approx(2)


def test_tokens_are_streamed_fifty_a_second_word_by_word() -> None:
    call, reply, took = asked("tokens-101", stream=True)
    assert took == pytest.approx(2)
    assert len(call.pieces) == 101
    assert text_of(call) == reply.text
    assert all(piece.text and piece.text.endswith(" ") for piece in call.pieces[:-1])


def test_unstreamed_words_take_no_time() -> None:
    assert asked("tokens-500")[2] == 0


def test_an_echo_is_streamed_word_by_word() -> None:
    call, _, _ = asked("echo", stream=True)
    assert call.pieces == [Delta(text="one "), Delta(text="two "), Delta(text="three")]


# Faults


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRejected),
        (401, AuthenticationFailed),
        (429, RateLimited),
        (500, ProviderFailed),
        (503, Overloaded),
        (529, Overloaded),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_fail_always_fails_with_its_status(status: int, kind: type[CallError], stream: bool) -> None:
    call, error, _ = asked(f"fail-{status}", stream=stream)
    assert type(error) is kind
    assert error.status == status
    assert call.pieces == []
    assert call.attempt.usage == Usage()


def test_fail_with_a_number_fails_that_often_for_each_call() -> None:
    async def main() -> None:
        stack = Stack(Retry(backoff=0.01, throttle=None), provider=Simulated())
        for _ in range(2):
            call = a_call(model="simulated/fail-429-2+echo")
            assert (await stack(call)).text == "hello"
            assert [type(attempt.error) for attempt in call.record.attempts] == [RateLimited, RateLimited, type(None)]

    virtual_time(main())


def test_fail_counts_the_requests_to_its_own_model() -> None:
    async def main() -> None:
        stack, call = Stack(provider=Simulated()), a_call(model="simulated/echo")
        await stack(call)
        with pytest.raises(RateLimited):
            await stack(call.again(model="simulated/fail-429-1"))
        assert (await stack(call.again(model="simulated/fail-429-1"))).text == "hello"

    virtual_time(main())


def test_retry_after_is_in_the_error_and_in_the_headers() -> None:
    call, error, _ = asked("fail-429+retry-after-2.5s")
    assert error.retry_after == 2.5
    assert call.attempt.headers == {"retry-after": "2.5"}


def test_retry_after_alone_changes_nothing() -> None:
    assert reply_of("retry-after-2s").text == "one two three"


@pytest.mark.parametrize("stream", [False, True])
def test_hang_never_answers(stream: bool) -> None:
    call, error, _ = asked("hang", stream=stream)
    assert isinstance(error, TimeoutError)
    assert call.pieces == []


@pytest.mark.parametrize("text", ["", "one", "one two three", "a b c d e f g"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_stall_gives_that_many_pieces_and_then_silence(text: str, count: int) -> None:
    call, error, _ = asked(f"stall-{count}", text, stream=True)
    assert type(error) is TimeoutError
    assert len(call.pieces) == count


@pytest.mark.parametrize("text", ["", "one", "one two three", "a b c d e f g"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_cut_gives_that_many_pieces_and_then_breaks(text: str, count: int) -> None:
    call, error, _ = asked(f"cut-{count}", text, stream=True)
    assert type(error) is ProviderUnavailable
    assert len(call.pieces) == count
    assert call.attempt.usage is None


def test_stall_unstreamed_hangs_and_cut_unstreamed_breaks() -> None:
    assert type(asked("stall-3")[1]) is TimeoutError
    assert type(asked("cut-3")[1]) is ProviderUnavailable


def test_of_stall_and_cut_the_first_one_counts() -> None:
    assert type(asked("stall-4+cut-2", stream=True)[1]) is ProviderUnavailable
    assert type(asked("stall-2+cut-4", stream=True)[1]) is TimeoutError


def test_garbage_is_a_bad_response() -> None:
    error = asked("garbage")[1]
    assert type(error) is BadResponse
    assert (error.status, error.retryable) == (200, True)


def test_parts_are_joined() -> None:
    call, reply, took = asked("latency-300ms+tokens-20", stream=True)
    assert len(reply.text.split()) == 20
    assert took == pytest.approx(0.3 + 19 / 50)
    assert len(call.pieces) == 20


# What is refused


@pytest.mark.parametrize(
    "model", ["echo+nonsense", "latency-300ms+gpt-5", "fail-500+fail-99", "echo+", "tokens-20+latency-3"]
)
def test_known_and_unknown_parts_mixed_are_refused_with_the_spellings(model: str) -> None:
    with pytest.raises(ConfigError, match=r"is not known: echo, latency-300ms"):
        Simulated().check(f"simulated/{model}", Endpoint())


@pytest.mark.parametrize("latency", [-1, float("nan"), float("inf"), "1"])
def test_a_latency_that_is_no_time_is_refused(latency: Any) -> None:
    with pytest.raises(ConfigError, match=r"Simulated\.latency must be seconds"):
        Simulated(latency=latency)


def test_it_can_stand_in_for_any_provider() -> None:
    async def main() -> None:
        runner = Runner(providers={"*": Simulated(latency=1)}, middleware=[])
        run = await runner.run(Agent("a", model="openai/gpt-5"), "hello")
        assert (run.output, run.cost) == ("hello", 0.0)

    virtual_time(main())


def test_a_cancelled_answer_leaves_nothing() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await Stack(provider=Simulated())(a_call(model="simulated/hang"))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time(main())
