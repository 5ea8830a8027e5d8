"""`Timeout` bounds one request, from sending to the last byte, and nothing else."""

import asyncio
from typing import Any

import pytest

from stretto.call import Call
from stretto.contract import Next
from stretto.errors import CallTimeout, ConfigError, ProviderFailed, RateLimited
from stretto.middleware import ConcurrencyLimit, RateLimit, Retry, Timeout
from stretto.reply import Delta, Reply
from stretto.testing import Answers, Stack, a_call, virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


async def hang(call: Call) -> Reply:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


class Pieces:
    """A provider that emits pieces with pauses before each: `Pieces(1, 5)` emits after 1 s, and again after 6."""

    def __init__(self, *pauses: float) -> None:
        self.pauses = pauses

    async def __call__(self, call: Call) -> Reply:
        for pause in self.pauses:
            await asyncio.sleep(pause)
            if call.emit is not None:
                await call.emit(Delta(text="x"))
        return Reply("x" * len(self.pauses))


async def outcome(stack: Stack, call: Call) -> tuple[Any, float]:
    """What came out, and when."""
    started = now()
    try:
        result: Any = await stack(call)
    except BaseException as error:
        result = error
    return result, now() - started


def timed(stack: Stack, call: Call | None = None) -> tuple[Any, float]:
    return virtual_time(outcome(stack, call or a_call()))


def test_a_slow_request_ends_with_a_call_timeout_that_names_the_bound_and_its_seconds() -> None:
    error, took = timed(Stack(Timeout(5), provider=hang))
    assert isinstance(error, CallTimeout)
    assert (error.seconds, took) == (5, 5)
    assert str(error) == "agent 'tester', simulated/echo, attempt 1: Timeout.total of 5 s ran out"
    assert error.retryable


def test_the_error_has_no_cancellation_as_its_context() -> None:
    error, _ = timed(Stack(Timeout(5), provider=hang))
    assert (error.__context__, error.__cause__) == (None, None)


def test_a_fast_request_passes_and_leaves_no_timer() -> None:
    async def main() -> list[Any]:
        await Stack(Timeout(5), provider=Answers(1.0, "ok"))(a_call())
        return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

    assert virtual_time(main()) == []


@pytest.mark.parametrize("layer", [ConcurrencyLimit(1), RateLimit(requests=1, per=4)], ids=["slot", "quota"])
def test_the_total_counts_no_wait_in_a_limit_below_it(layer: Any) -> None:
    async def main() -> list[Any]:
        slow = Answers(4.0, "ok", 4.0, "ok", 4.0, "ok")
        stack = Stack(Timeout(5), layer, provider=slow)
        return await asyncio.gather(*(outcome(stack, a_call()) for _ in range(3)))

    with pytest.warns(UserWarning, match="belongs outside"):
        results = virtual_time(main())
    assert [round(took, 2) for _, took in results] == [4, 8, 12]
    assert all(isinstance(result, Reply) for result, _ in results)


def test_the_first_token_is_bounded_and_a_first_piece_ends_that_bound() -> None:
    stack = Stack(Timeout(first_token=2), provider=Pieces(3))
    error, took = timed(stack, a_call(stream=True))
    assert (took, error.seconds, error.message) == (2, 2, "Timeout.first_token of 2 s ran out")
    reply, took = timed(Stack(Timeout(first_token=2), provider=Pieces(1, 9)), a_call(stream=True))
    assert (reply.text, took) == ("xx", 10)


def test_the_bounds_of_streams_do_not_concern_a_call_that_is_not_streamed() -> None:
    reply, took = timed(Stack(Timeout(first_token=1, idle=1), provider=Pieces(50)), a_call())
    assert (reply.text, took) == ("x", 50)


def test_silence_before_the_first_piece_is_not_idle() -> None:
    reply, _ = timed(Stack(Timeout(idle=2), provider=Pieces(20, 1)), a_call(stream=True))
    assert reply.text == "xx"


def test_silence_after_a_piece_is_bounded_from_the_last_one_on() -> None:
    error, took = timed(Stack(Timeout(idle=2), provider=Pieces(1, 1.5, 1.5, 3)), a_call(stream=True))
    assert (took, error.message) == (6, "Timeout.idle of 2 s ran out")


def test_a_steady_stream_is_never_idle() -> None:
    reply, took = timed(Stack(Timeout(idle=2), provider=Pieces(*[1.9] * 20)), a_call(stream=True))
    assert (len(reply.text), took) == (20, pytest.approx(38))


def test_one_timer_watches_a_whole_stream() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        armed = 0
        call_at = loop.call_at

        def counted(when: float, callback: Any, *args: Any, **more: Any) -> Any:
            nonlocal armed
            armed += getattr(callback, "__name__", "") == "_look"
            return call_at(when, callback, *args, **more)

        loop.call_at = counted  # type: ignore[method-assign]
        await Stack(Timeout(idle=10), provider=Pieces(*[0.01] * 500))(a_call(stream=True))
        return armed

    assert virtual_time(main()) <= 3


def test_the_idle_clock_stands_still_while_emit_waits() -> None:
    async def slow(delta: Delta) -> None:
        await asyncio.sleep(20)

    reply, took = timed(Stack(Timeout(idle=2), provider=Pieces(1, 1)), a_call(emit=slow))
    assert (reply.text, took) == ("xx", 42)


def test_the_first_token_bound_stands_still_while_the_first_piece_is_being_emitted() -> None:
    async def slow(delta: Delta) -> None:
        await asyncio.sleep(20)

    reply, _ = timed(Stack(Timeout(first_token=2, idle=None), provider=Pieces(1)), a_call(emit=slow))
    assert reply.text == "x"


def test_the_total_does_not_stand_still_while_emit_waits() -> None:
    async def slow(delta: Delta) -> None:
        await asyncio.sleep(20)

    error, took = timed(Stack(Timeout(5), provider=Pieces(1)), a_call(emit=slow))
    assert (type(error), took) == (CallTimeout, 5)


def test_of_two_bounds_the_nearer_one_ends_it() -> None:
    error, took = timed(Stack(Timeout(10, first_token=3), provider=hang), a_call(stream=True))
    assert (took, error.seconds) == (3, 3)
    error, took = timed(Stack(Timeout(4, idle=3), provider=Pieces(2, 9)), a_call(stream=True))
    assert (took, error.message) == (4, "Timeout.total of 4 s ran out")


def test_a_timeout_error_of_the_provider_stays_its_own() -> None:
    async def provider(call: Call) -> Reply:
        raise TimeoutError("theirs")

    error, _ = timed(Stack(Timeout(5), provider=provider))
    assert not isinstance(error, CallTimeout)
    assert "TimeoutError: theirs" in str(error)


def test_a_timeout_error_of_a_function_stays_the_same_object() -> None:
    theirs = TimeoutError("theirs")

    async def work(call: Call) -> Reply:
        raise theirs

    error, _ = timed(Stack(Timeout(5)), a_call(kind="function", work=work))
    assert error is theirs


async def cancelled_at(stack: Stack, seconds: float, call: Call) -> tuple[Any, int]:
    task = asyncio.ensure_future(stack(call))
    asyncio.get_running_loop().call_later(seconds, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    return call.attempt, task.cancelling()


def test_a_cancel_from_outside_stays_a_cancel() -> None:
    attempt, _ = virtual_time(cancelled_at(Stack(Timeout(5), provider=hang), 3, a_call()))
    assert (attempt.cancelled, attempt.error) == (True, None)


@pytest.mark.parametrize("order", ["cancel first", "timer first"])
def test_a_cancel_from_outside_at_the_same_instant_stays_a_cancel(order: str) -> None:
    async def main() -> int:
        call = a_call()
        task = asyncio.ensure_future(Stack(Timeout(5), provider=hang)(call))
        loop = asyncio.get_running_loop()
        if order == "cancel first":
            loop.call_at(5 - 1e-10, task.cancel)
        else:
            loop.call_at(5, lambda: loop.call_soon(task.cancel))
            loop.call_at(5, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelling()

    assert virtual_time(main()) >= 1


def test_a_timeout_around_the_call_still_works() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(3):
                await Stack(Timeout(5), provider=hang)(a_call())
        assert not isinstance(caught.value, CallTimeout)
        return now()

    assert virtual_time(main()) == 3


def test_after_a_timeout_the_task_is_not_marked_as_cancelled() -> None:
    async def main() -> int:
        with pytest.raises(CallTimeout):
            await Stack(Timeout(5), provider=hang)(a_call())
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(1)
        return task.cancelling()

    assert virtual_time(main()) == 0


def test_the_error_stands_in_the_open_attempt_before_the_cancel() -> None:
    seen: list[Any] = []

    async def provider(call: Call) -> Reply:
        try:
            return await hang(call)
        finally:
            seen.append(call.attempt.error)

    call = a_call()
    error, _ = timed(Stack(Timeout(5), provider=provider), call)
    assert seen == [error]
    assert (call.attempt.error, call.attempt.cancelled, call.attempt.ended is None) == (error, False, False)


def test_a_request_that_timed_out_keeps_its_estimate() -> None:
    call = a_call()
    timed(Stack(Timeout(5), provider=hang), call)
    assert (call.attempt.usage, call.record.usage.estimated) == (None, True)


def test_outside_of_retry_it_bounds_all_attempts_together() -> None:
    async def always(call: Call) -> Reply:
        await asyncio.sleep(2)
        raise ProviderFailed(status=500)

    call = a_call()
    with pytest.warns(UserWarning, match="belongs outside"):
        stack = Stack(Timeout(5), Retry(10, backoff=0.001), provider=always)
    error, took = timed(stack, call)
    assert (type(error), took, len(call.record.attempts)) == (CallTimeout, 5, 3)
    assert call.record.attempts[-1].error is error
    assert [type(attempt.error) for attempt in call.record.attempts[:2]] == [ProviderFailed, ProviderFailed]
    assert error.attempt == 3


def test_outside_of_retry_it_also_ends_a_back_off() -> None:
    async def refuse(call: Call) -> Reply:
        raise RateLimited(status=429, retry_after=30)

    with pytest.warns(UserWarning, match="belongs outside"):
        stack = Stack(Timeout(5), Retry(), provider=refuse)
    error, took = timed(stack)
    assert (type(error), took, error.attempt) == (CallTimeout, 5, None)


def test_inside_of_retry_each_attempt_has_the_whole_time() -> None:
    call = a_call()
    error, took = timed(Stack(Retry(3, backoff=1e-9), Timeout(5), provider=hang), call)
    assert (type(error), round(took, 3)) == (CallTimeout, 15)
    assert [type(attempt.error) for attempt in call.record.attempts] == [CallTimeout] * 3


def test_functions_are_bounded_too() -> None:
    error, took = timed(Stack(Timeout(5)), a_call(kind="function", work=hang))
    assert (type(error), took) == (CallTimeout, 5)


def test_a_provider_that_gives_its_reply_after_the_cancel_is_heard() -> None:
    async def stubborn(call: Call) -> Reply:
        try:
            return await hang(call)
        except asyncio.CancelledError:
            return Reply("late")

    async def main() -> tuple[str, int]:
        reply = await Stack(Timeout(5), provider=stubborn)(a_call())
        task = asyncio.current_task()
        assert task is not None
        return reply.text, task.cancelling()

    assert virtual_time(main()) == ("late", 0)


def test_an_error_that_the_provider_makes_of_the_cancel_is_kept() -> None:
    async def changing(call: Call) -> Reply:
        try:
            return await hang(call)
        except asyncio.CancelledError:
            raise ProviderFailed("closing failed", status=500) from None

    error, took = timed(Stack(Timeout(5), provider=changing))
    assert (type(error), took) == (ProviderFailed, 5)


def test_a_call_that_was_refused_unsent_may_be_sent_later_and_is_watched_once() -> None:
    refusals = [RateLimited("not now"), None]

    async def gate(call: Call, call_next: Next) -> Reply:
        refusal = refusals.pop(0)
        if refusal is not None:
            raise refusal
        return await call_next(call)

    async def again_unsent(call: Call, call_next: Next) -> Reply:
        try:
            return await call_next(call)
        except RateLimited:
            return await call_next(call)

    async def main() -> str:
        reply = await Stack(again_unsent, Timeout(5), gate, provider=Answers(1.0, "ok"))(a_call())
        await asyncio.sleep(100)  # a timer that was left would cancel this
        return reply.text

    assert virtual_time(main()) == "ok"


def test_without_any_bound_the_call_passes_as_it_is() -> None:
    call = a_call(stream=True)
    timed(Stack(Timeout(idle=None), provider=Answers("ok")), call)
    assert [piece.text for piece in call.pieces] == ["ok"]


@pytest.mark.parametrize("field", ["total", "first_token", "idle"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_bound_that_is_not_above_0_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Timeout.{field} must be seconds above 0, got {value!r}"):
        Timeout(**{field: value})
