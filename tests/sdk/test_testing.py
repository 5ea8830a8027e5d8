"""`stretto.testing`: the virtual clock, calls, providers and stacks for tests."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import stretto.testing
from stretto import Call, ConfigError, Delta, Next, Reply
from stretto.errors import CallError, ProviderUnavailable, RateLimited
from stretto.middleware import Retry
from stretto.testing import Answers, Stack, VirtualLoop, WaitsForEver, a_call, virtual_time
from stretto.usage import Price, Usage


def test_all_is_what_there_is() -> None:
    assert all(hasattr(stretto.testing, name) for name in stretto.testing.__all__)
    assert sorted(stretto.testing.__all__) == stretto.testing.__all__


def clock() -> float:
    return asyncio.get_running_loop().time()


# Virtual time


def test_an_hour_takes_milliseconds() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return clock()

    started = time.monotonic()
    assert virtual_time(main()) == pytest.approx(3600)
    assert time.monotonic() - started < 1


def test_it_begins_at_nought_and_stands_while_the_program_computes() -> None:
    async def main() -> None:
        assert clock() == 0
        for _ in range(500):
            await asyncio.sleep(0)
        sum(range(100_000))
        assert clock() == 0

    virtual_time(main())


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[tuple[str, float]]:
        fired: list[tuple[str, float]] = []

        async def after(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append((name, clock()))

        await asyncio.gather(after("c", 3), after("a", 1), after("b", 2), after("A", 1))
        return fired

    expected = [("a", 1), ("A", 1), ("b", 2), ("c", 3)]
    assert virtual_time(main()) == expected
    assert virtual_time(main()) == expected


@pytest.mark.parametrize("years", [1, 3, 100])
def test_years_pass_too(years: int) -> None:
    async def main() -> None:
        await asyncio.sleep(years * 365 * 86400.0 + 0.1)
        for _ in range(20):
            await asyncio.sleep(0.1)
        await asyncio.sleep(86400 * 1.37)

    virtual_time(main())


def test_timeouts_work() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(50):
                await asyncio.sleep(100)
        return clock()

    assert virtual_time(main()) == pytest.approx(50)


def test_code_that_waits_for_the_rest_of_a_time_comes_to_an_end() -> None:
    async def main() -> int:
        until, turns = clock() + 0.3, 0
        while clock() < until:
            turns += 1
            await asyncio.sleep((until - clock()) / 2)
        return turns

    assert virtual_time(main()) < 5000


def test_a_program_that_waits_for_ever_is_told_so() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(WaitsForEver, match=r"nothing happened for 0.02 s of real time"):
        virtual_time(main(), patience=0.02)


def test_threads_work() -> None:
    async def main() -> str:
        return await asyncio.to_thread(lambda: threading.current_thread().name)

    assert virtual_time(main()) != threading.current_thread().name


def test_sockets_work() -> None:
    async def main() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1") as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            line = await reader.read()
            writer.close()
            await writer.wait_closed()
            return line

    assert virtual_time(main()) == b"hello\n"


def test_its_value_and_its_errors_come_out() -> None:
    async def gives() -> str:
        return "value"

    async def breaks() -> None:
        raise ValueError("mine")

    assert virtual_time(gives()) == "value"
    with pytest.raises(ValueError, match="mine"):
        virtual_time(breaks())


def test_its_loop_is_closed_and_what_was_left_is_cancelled() -> None:
    cancelled: list[bool] = []

    async def goes_on() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            cancelled.append(True)

    async def main() -> asyncio.AbstractEventLoop:
        task = asyncio.create_task(goes_on())
        await asyncio.sleep(1)
        assert not task.done()
        return asyncio.get_running_loop()

    loop = virtual_time(main())
    assert loop.is_closed()
    assert isinstance(loop, VirtualLoop)
    assert cancelled == [True]


# a_call


def test_a_call_can_be_sent_as_it_is_and_any_field_be_given() -> None:
    async def main() -> None:
        call = a_call(agent="x", model="p/m", metadata={"k": 1})
        assert (call.agent, call.model, call.metadata, call.emit) == ("x", "p/m", {"k": 1}, None)
        assert (await Stack(provider=Answers("hi"))(call)).text == "hi"

    virtual_time(main())


def test_a_streamed_call_keeps_its_pieces() -> None:
    async def main() -> None:
        call = a_call(stream=True)
        await Stack(provider=Answers("hi"))(call)
        assert call.pieces == [Delta(text="hi")]

    virtual_time(main())


def test_two_calls_share_nothing() -> None:
    one, other = a_call(stream=True), a_call(stream=True)
    assert one.record is not other.record
    assert one.attempt is not other.attempt
    assert one.scratch is not other.scratch
    assert one.pieces is not other.pieces


# Answers


def test_answers_come_in_order_and_the_last_one_again_and_again() -> None:
    async def main() -> None:
        answers = Answers("one", "two")
        stack = Stack(provider=answers)
        assert [(await stack(a_call())).text for _ in range(4)] == ["one", "two", "two", "two"]
        assert len(answers.calls) == 4

    virtual_time(main())


def test_without_answers_it_is_ok() -> None:
    async def main() -> None:
        assert (await Stack()(a_call())).text == "ok"

    virtual_time(main())


def test_an_answer_may_be_an_error_a_reply_or_seconds() -> None:
    async def main() -> None:
        reply = Reply("made", usage=Usage(1, 2), cost=0.5)
        stack = Stack(provider=Answers(ProviderUnavailable("cut"), 2, 0.5, reply))
        with pytest.raises(ProviderUnavailable, match="cut"):
            await stack(a_call())
        assert await stack(a_call()) == reply
        assert clock() == pytest.approx(2.5)

    virtual_time(main())


def test_an_error_that_is_given_twice_is_two_errors_of_its_own_class() -> None:
    class Mine(RateLimited):
        pass

    async def main() -> None:
        stack = Stack(provider=Answers(Mine("busy", retry_after=2)))
        errors: list[CallError] = []
        for agent in ("a", "b"):
            with pytest.raises(Mine, match="busy") as raised:
                await stack(a_call(agent=agent))
            errors.append(raised.value)
        assert [error.agent for error in errors] == ["a", "b"]
        assert errors[0].retry_after == 2

    virtual_time(main())


def test_after_seconds_as_the_last_answer_comes_ok() -> None:
    async def main() -> None:
        reply = await Stack(provider=Answers(3))(a_call())
        assert (reply.text, asyncio.get_running_loop().time()) == ("ok", 3)

    virtual_time(main())


# Stack


def test_a_stack_passes_its_layers_outermost_first() -> None:
    seen: list[str] = []

    def layer(name: str) -> object:
        async def mw(call: Call, call_next: Next) -> Reply:
            seen.append(name)
            return await call_next(call)

        return mw

    async def main() -> None:
        await Stack(layer("outer"), layer("inner"))(a_call())  # type: ignore[arg-type]
        assert seen == ["outer", "inner"]

    virtual_time(main())


def test_a_stack_has_the_boundary_below_its_layers() -> None:
    async def main() -> None:
        call = a_call()
        await Stack(Retry(3, backoff=0.01), provider=Answers(ProviderUnavailable("cut"), "late"))(call)
        assert [attempt.number for attempt in call.record.attempts] == [1, 2]
        assert type(call.record.attempts[0].error) is ProviderUnavailable

    virtual_time(main())


def test_a_stack_knows_prices() -> None:
    async def main() -> None:
        call = a_call()
        reply = await Stack(provider=Answers("x"), prices={"simulated/echo": Price(1e6, 2e6)})(call)
        assert reply.cost == call.record.cost == 3
        assert call.price == Price(1e6, 2e6)

    virtual_time(main())


def test_a_stack_refuses_what_is_no_layer() -> None:
    with pytest.raises(ConfigError, match="Retry is a class"):
        Stack(Retry)  # type: ignore[arg-type]


def test_a_call_to_another_model_keeps_no_endpoint() -> None:
    async def elsewhere(call: Call, call_next: Next) -> Reply:
        return await call_next(call.with_(model="other/m"))

    async def main() -> None:
        answers = Answers("x")
        await Stack(elsewhere, provider=answers)(a_call())
        assert (answers.calls[0].model, answers.calls[0].endpoint.base_url) == ("other/m", None)

    virtual_time(main())
