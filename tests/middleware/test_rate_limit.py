"""`RateLimit` never lets a sliding window see more than its limit x 1.1, and keeps the pause that a server asks for."""

import asyncio
import random
import warnings
from bisect import bisect_left
from math import ceil
from typing import Any

import pytest

from stretto import Agent, Ensemble, Runner, default_stack
from stretto.call import Call, Endpoint
from stretto.contract import Next
from stretto.errors import CallError, ConfigError, Overloaded, RateLimited
from stretto.middleware import ConcurrencyLimit, RateLimit, Retry, Timeout
from stretto.middleware.rate_limit import MANY
from stretto.reply import Reply
from stretto.testing import Stack, a_call, virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


class Counted:
    """A provider that notes when each request came, and answers at once or with the next error of `errors`."""

    def __init__(self, *errors: CallError | None, seconds: float = 0.0) -> None:
        self.errors = list(errors)
        self.seconds = seconds
        self.times: list[float] = []
        self.order: list[str] = []

    async def __call__(self, call: Call) -> Reply:
        self.times.append(now())
        self.order.append(call.agent)
        error = self.errors.pop(0) if self.errors else None
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if error is not None:
            raise error
        return Reply("ok")

    def most_in_any(self, period: float) -> int:
        """What a server sees that counts the last `period` seconds, at any moment."""
        return max(n + 1 - bisect_left(self.times, time - period + 1e-9) for n, time in enumerate(self.times))


async def arriving(stack: Stack, arrivals: list[float], **fields: Any) -> list[Any]:
    async def one(number: int, at: float) -> Any:
        await asyncio.sleep(at)
        return await stack(a_call(agent=str(number), **fields))

    return await asyncio.gather(*(one(n, at) for n, at in enumerate(arrivals)), return_exceptions=True)


def together(stack: Stack, count: int) -> list[Any]:
    return virtual_time(arriving(stack, [0.0] * count))


def patterns(limit: float, per: float, count: int) -> dict[str, list[float]]:
    chosen = random.Random(f"{limit}{per}")
    return {
        "all at once": [0.0] * count,
        "steady, twice the rate": [n * per / limit / 2 for n in range(count)],
        "exactly the rate": [n * per / limit for n in range(count)],
        "random": sorted(chosen.uniform(0, count * per / limit / 1.5) for _ in range(count)),
        "bursts after rests": [per * 1.5 * (n // max(1, int(limit * 1.2))) for n in range(count)],
        "bursts at the turn of a period": [per * (n // max(1, int(limit))) + per * 0.999 for n in range(count)],
    }


@pytest.mark.parametrize(
    ("limit", "per"),
    [
        (1, 1),
        (3, 60),
        (5, 1),
        (10, 1),
        (19, 1),
        (20, 1),
        (40, 1),
        (60, 60),
        (333, 60),
        (700, 1),
        (0.5, 1),
        (2.5, 1),
        (7, 0.1),
    ],
)
def test_no_sliding_window_sees_more_than_the_limit_and_a_tenth(limit: float, per: float) -> None:
    count = max(8, min(1500, int(limit * 4)))
    for name, arrivals in patterns(limit, per, count).items():
        provider = Counted()
        virtual_time(arriving(Stack(RateLimit(requests=limit, per=per), provider=provider), arrivals))
        assert len(provider.times) == count
        assert provider.most_in_any(per) <= max(ceil(limit), limit * 1.1), name


@pytest.mark.parametrize(("limit", "per"), [(1, 1), (5, 1), (20, 1), (60, 60), (1000, 1)])
def test_under_load_at_least_nine_tenths_of_the_limit_are_used(limit: float, per: float) -> None:
    provider = Counted()
    count = int(limit * 10)
    together(Stack(RateLimit(requests=limit, per=per), provider=provider), count)
    assert count / (limit * (provider.times[-1] + per / limit) / per) >= 0.9


def test_the_limit_holds_on_the_real_clock_too() -> None:
    provider = Counted()

    async def main() -> None:
        await arriving(Stack(RateLimit(requests=100, per=0.1), provider=provider), [0.0] * 130)

    asyncio.run(main())
    assert provider.most_in_any(0.1) <= 110


def test_who_comes_first_is_served_first() -> None:
    provider = Counted()
    virtual_time(arriving(Stack(RateLimit(requests=10, per=1), provider=provider), [n * 0.03 for n in range(40)]))
    assert provider.order == [str(n) for n in range(40)]


def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    provider = Counted()
    arrivals = [0.0, 0.0, 0.0, *(0.1 * n for n in range(1, 10))]
    virtual_time(arriving(Stack(RateLimit(requests=10, per=1), provider=provider), arrivals))
    assert provider.order == [str(n) for n in range(12)]


@pytest.mark.parametrize("moment", [0.05, 0.1, 0.15, 0.95])
def test_cancelled_waiters_lose_nothing(moment: float) -> None:
    layer = RateLimit(requests=10, per=1)
    provider = Counted()

    async def main() -> None:
        stack = Stack(layer, provider=provider)
        tasks = [asyncio.ensure_future(stack(a_call(agent=str(n)))) for n in range(30)]
        await asyncio.sleep(moment)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)

    virtual_time(main())
    gaps = [b - a for a, b in zip(provider.times, provider.times[1:], strict=False)]
    assert gaps == pytest.approx([0.1] * len(gaps), rel=1e-3)
    assert provider.order == sorted(provider.order, key=int)
    assert {str(n) for n in range(1, 30, 2)} <= set(provider.order)


def test_all_waiters_cancelled_leave_the_lane_free() -> None:
    provider = Counted()

    async def main() -> float:
        stack = Stack(RateLimit(requests=1, per=10), provider=provider)
        tasks = [asyncio.ensure_future(stack(a_call())) for _ in range(10)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(9.1)
        call = a_call()
        await stack(call)
        assert call.record.waits == []
        return now()

    assert virtual_time(main()) == pytest.approx(10.1)


def test_whoever_waited_has_a_quota_wait_and_whoever_did_not_has_none() -> None:
    first, second = a_call(), a_call()

    async def main() -> None:
        stack = Stack(RateLimit(requests=6, per=60))
        await asyncio.gather(stack(first), stack(second))

    virtual_time(main())
    assert first.record.waits == []
    (wait,) = second.record.waits
    assert (wait.cause, wait.key, wait.seconds) == ("quota", "simulated/echo", pytest.approx(10, rel=1e-3))


def test_each_key_has_its_own_quota_and_all_share_one_where_asked() -> None:
    async def main(layer: RateLimit) -> float:
        stack = Stack(layer)
        calls = [a_call(model=f"simulated/{n}", endpoint=Endpoint(f"http://{m}.test")) for n in "ab" for m in "cd"]
        await asyncio.gather(*map(stack, calls))
        return now()

    assert virtual_time(main(RateLimit(requests=1, per=10))) == 0
    assert virtual_time(main(RateLimit(requests=1, per=10, scope="all"))) == pytest.approx(30, rel=1e-3)
    assert virtual_time(main(RateLimit(requests=1, per=10, scope=lambda c: c.endpoint.origin))) == pytest.approx(
        10, rel=1e-3
    )


def test_lanes_of_scopes_that_are_gone_are_dropped_and_a_used_one_never() -> None:
    layer = RateLimit(requests=1, per=10, scope="run")

    async def main() -> tuple[int, float]:
        stack = Stack(layer)
        await stack(a_call(run_id="used"))
        lanes = layer._state.get().lanes
        for n in range(MANY):
            await stack(a_call(run_id=str(n)))
            await asyncio.sleep(20)
            if n == MANY - 3:
                await stack(a_call(run_id="used"))
        await stack(a_call(run_id="used"))
        await stack(a_call(run_id="one more"))
        before = now()
        await stack(a_call(run_id="used"))
        return len(lanes), now() - before

    count, waited = virtual_time(main())
    assert count < MANY
    assert waited == pytest.approx(10, rel=1e-3)


def test_a_lane_whose_interval_is_longer_than_its_period_is_kept_until_it_is_as_new() -> None:
    layer = RateLimit(requests=0.1, per=1, scope="run")  # one in ten seconds

    async def main() -> float:
        stack = Stack(layer)
        await asyncio.gather(*(stack(a_call(run_id=str(n))) for n in range(MANY)))
        await asyncio.sleep(5)
        await stack(a_call(run_id="one more"))
        await stack(a_call(run_id="0"))
        return now()

    assert virtual_time(main()) == pytest.approx(10, rel=1e-3)


def test_two_loops_have_twice_the_quota() -> None:
    layer = RateLimit(requests=1, per=10)

    async def main() -> float:
        await Stack(layer)(a_call())
        return now()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [virtual_time(main()), virtual_time(main())] == [0, 0]


def limited(seconds: float) -> RateLimited:
    return RateLimited("slow down", status=429, retry_after=seconds, request_id="r1")


def test_a_retry_after_holds_everyone_on_the_same_key_and_nobody_else() -> None:
    provider = Counted(limited(20))

    async def main() -> tuple[float, float]:
        stack = Stack(RateLimit(), provider=provider)
        with pytest.raises(RateLimited):
            await stack(a_call())
        await stack(a_call(model="simulated/other"))
        other = now()
        await stack(a_call(agent="another one"))
        return other, now()

    assert virtual_time(main()) == (0, 20)


def test_a_pause_is_a_floor_for_those_who_already_wait_for_their_turn() -> None:
    provider = Counted(limited(20), seconds=2)

    async def main() -> None:
        stack = Stack(RateLimit(requests=6, per=60), provider=provider)
        await asyncio.gather(*(stack(a_call(agent=str(n))) for n in range(4)), return_exceptions=True)

    virtual_time(main())
    assert provider.times[0] == 0
    assert provider.times[1] >= 22  # not 10, when its turn would have come
    assert provider.times[2] - provider.times[1] >= 10
    assert provider.order == ["0", "1", "2", "3"]


def test_after_a_pause_those_who_waited_go_in_order() -> None:
    provider = Counted(limited(20))

    async def main() -> None:
        stack = Stack(RateLimit(), provider=provider)
        await asyncio.gather(*(stack(a_call(agent=str(n))) for n in range(1)), return_exceptions=True)
        await arriving(stack, [n * 0.1 for n in range(50)])

    virtual_time(main())
    assert provider.order[1:] == [str(n) for n in range(50)]
    assert set(provider.times[1:]) == {20}


def test_a_pause_grows_and_never_shrinks() -> None:
    provider = Counted(limited(10), limited(30), limited(5), seconds=1)

    async def main() -> float:
        stack = Stack(RateLimit(), provider=provider)

        async def one(at: float) -> None:
            await asyncio.sleep(at)
            with pytest.raises(RateLimited):
                await stack(a_call())

        async def waiting() -> float:
            await asyncio.sleep(1.5)
            await stack(a_call())
            return provider.times[-1]

        *_, sent = await asyncio.gather(one(0), one(0.5), one(0.6), waiting())
        return sent

    assert virtual_time(main()) == 31.5


def test_a_pause_that_grew_too_long_fails_those_who_wait_at_once() -> None:
    provider = Counted(limited(10), limited(300), seconds=1)

    async def main() -> tuple[str, float]:
        stack = Stack(RateLimit(), provider=provider)
        first, second = (asyncio.ensure_future(stack(a_call())) for _ in range(2))
        await asyncio.wait([first])
        with pytest.raises(RateLimited) as caught:
            await stack(a_call())
        assert second.done()
        return caught.value.reason, now()

    reason, at = virtual_time(main())
    assert reason == "the server asked to wait 300.0 s more, above RateLimit.max_pause of 60 s"
    assert at == 1


def test_a_pause_above_max_pause_fails_at_once_with_the_servers_own_error() -> None:
    provider = Counted(limited(90))
    call = a_call(agent="second")

    async def main() -> tuple[Any, float]:
        stack = Stack(RateLimit(), provider=provider)
        with pytest.raises(RateLimited):
            await stack(a_call(agent="first"))
        await asyncio.sleep(10)
        with pytest.raises(RateLimited) as caught:
            await stack(call)
        return caught.value, now()

    error, at = virtual_time(main())
    assert (error.status, error.request_id, error.message, error.agent) == (429, "r1", "slow down", "second")
    assert (error.retry_after, error.attempt, at) == (80, None, 10)
    assert error.reason == "the server asked to wait 80.0 s more, above RateLimit.max_pause of 60 s"
    assert (call.attempt.started, call.record.attempts, len(provider.times)) == (None, [], 1)


def test_the_error_of_a_subclass_keeps_its_class() -> None:
    class Theirs(Overloaded):
        """With a signature of its own."""

        def __init__(self, room: int) -> None:
            super().__init__(f"no room: {room}", retry_after=90)
            self.room = room

    provider_error = Theirs(7)

    async def raising(call: Call) -> Reply:
        raise provider_error

    async def again() -> Any:
        stack = Stack(RateLimit(), provider=raising)
        for _ in range(2):
            with pytest.raises(Theirs) as caught:
                await stack(a_call())
        return caught.value

    error = virtual_time(again())
    assert (error.room, error.reason != "", error is provider_error) == (7, True, False)


def test_a_pause_that_passes_the_deadline_fails_at_once() -> None:
    provider = Counted(limited(20))

    async def main() -> tuple[str, float]:
        stack = Stack(RateLimit(), provider=provider)
        with pytest.raises(RateLimited):
            await stack(a_call())
        with pytest.raises(RateLimited) as caught:
            await stack(a_call(deadline=now() + 15))
        return caught.value.reason, now()

    reason = "the server asked to wait 20.0 s more, which passes the deadline in 15.0 s"
    assert virtual_time(main()) == (reason, 0)


@pytest.mark.parametrize("waiting", [0, 1, 5])
def test_a_quota_beyond_max_wait_is_refused_at_once(waiting: int) -> None:
    provider = Counted()
    call = a_call()

    async def main() -> tuple[Any, float]:
        layer = RateLimit(requests=6, per=60, max_wait=waiting * 10 + 9)
        stack = Stack(layer, provider=provider)
        tasks = [asyncio.ensure_future(stack(a_call())) for _ in range(waiting + 1)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimited) as caught:
            await stack(call)
        at = now()
        await asyncio.gather(*tasks)
        return caught.value, at

    error, at = virtual_time(main())
    seconds = (waiting + 1) * 10.0
    limit = waiting * 10 + 9
    assert error.reason == f"the wait of {seconds} s for the quota is above RateLimit.max_wait of {limit} s"
    assert (error.retry_after, at) == (pytest.approx(seconds, rel=1e-4), 0)
    assert (call.attempt.started, len(provider.times)) == (None, waiting + 1)


def test_a_quota_beyond_the_deadline_is_refused_at_once() -> None:
    async def main() -> tuple[str, float]:
        stack = Stack(RateLimit(requests=1, per=60))
        await stack(a_call())
        with pytest.raises(RateLimited) as caught:
            await stack(a_call(deadline=now() + 30))
        return caught.value.reason, now()

    assert virtual_time(main()) == ("the wait of 60.0 s for the quota passes the deadline in 30.0 s", 0)


def test_what_was_refused_unsent_is_not_tried_again() -> None:
    provider = Counted(limited(90))
    call = a_call()

    async def main() -> float:
        stack = Stack(Retry(5), RateLimit(), provider=provider)
        for each in (a_call(), call):
            with pytest.raises(RateLimited):
                await stack(each)
        return now()

    assert virtual_time(main()) == 0
    assert (len(provider.times), call.record.waits) == (1, [])


def test_a_pause_that_another_caller_began_is_not_remembered_after_its_end() -> None:
    layer = RateLimit()

    async def main() -> int:
        stack = Stack(layer, provider=Counted(limited(20)))
        with pytest.raises(RateLimited):
            await stack(a_call())
        await asyncio.sleep(21)
        return len(layer._state.get().pauses)

    assert virtual_time(main()) == 0


def test_a_pause_of_one_key_does_not_hold_another_key_of_the_same_quota() -> None:
    provider = Counted(limited(50))

    async def main() -> list[float]:
        stack = Stack(RateLimit(requests=10, per=10, scope="all"), provider=provider)
        with pytest.raises(RateLimited):
            await stack(a_call(model="simulated/a"))
        waiting = asyncio.ensure_future(stack(a_call(model="simulated/a")))
        await asyncio.sleep(0)
        await stack(a_call(model="simulated/b"))
        between = now()
        await waiting
        return [between, now()]

    assert virtual_time(main()) == pytest.approx([1, 50], rel=1e-3)


def test_a_cancel_during_a_pause_stays_a_cancel_and_the_others_go_on() -> None:
    provider = Counted(limited(20))

    async def main() -> float:
        stack = Stack(RateLimit(requests=10, per=10), provider=provider)
        with pytest.raises(RateLimited):
            await stack(a_call())
        tasks = [asyncio.ensure_future(stack(a_call(agent=str(n)))) for n in range(3)]
        await asyncio.sleep(5)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [True, False, False]
        return now()

    assert virtual_time(main()) == pytest.approx(21, rel=1e-3)


def test_an_error_without_a_retry_after_begins_no_pause() -> None:
    async def main() -> float:
        stack = Stack(RateLimit(), provider=Counted(RateLimited(status=429), None))
        with pytest.raises(RateLimited):
            await stack(a_call())
        await stack(a_call())
        return now()

    assert virtual_time(main()) == 0


def test_a_refusal_of_a_layer_below_begins_no_pause() -> None:
    async def refusing(call: Call, call_next: Next) -> Reply:
        raise RateLimited("not sent", retry_after=30)

    layer = RateLimit()

    async def main() -> int:
        with pytest.raises(RateLimited):
            await Stack(layer, refusing)(a_call())
        return len(layer._state.get().pauses)

    assert virtual_time(main()) == 0


def test_a_rate_limit_outside_of_a_concurrency_limit_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="ConcurrencyLimit belongs outside of RateLimit"):
        Stack(RateLimit(), ConcurrencyLimit())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Stack(Retry(), ConcurrencyLimit(), RateLimit(), RateLimit(requests=1, name="mine"), Timeout())


@pytest.mark.parametrize(
    ("field", "value"),
    [("requests", 0), ("requests", "many"), ("requests", True), ("requests", float("nan")), ("requests", float("inf"))]
    + [(name, bad) for name in ("per", "max_pause", "max_wait") for bad in (0, -1, "1", float("nan"), float("inf"))]
    + [("per", None), ("max_pause", None)],
)
def test_a_number_that_is_not_above_0_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"RateLimit.{field} must be .*above 0.*, got {value!r}") as caught:
        RateLimit(**{field: value})
    assert caught.value.key == field


@pytest.mark.parametrize("pauses", [True, False], ids=["pauses", "no pauses"])
@pytest.mark.parametrize("seed", range(8))
def test_under_random_arrivals_cancels_and_pauses_the_promises_hold(seed: int, pauses: bool) -> None:
    """The window's bound, nothing sent during a pause, nobody left waiting; without pauses, first come first served."""
    chosen = random.Random(seed)
    limit = chosen.choice([4, 10, 30, 100])
    layer = RateLimit(requests=limit, per=1, scope="all")
    sent = Counted()
    paused: dict[str, float] = {}

    async def provider(call: Call) -> Reply:
        assert now() >= paused.get(call.model, 0.0) - 1e-6
        if pauses and chosen.random() < 0.03:
            seconds = chosen.uniform(0.1, 5)
            paused[call.model] = max(paused.get(call.model, 0.0), now() + seconds)
            sent.errors = [limited(seconds)]
        return await sent(call)

    async def main() -> set[str]:
        stack = Stack(layer, provider=provider)
        tasks: list[asyncio.Task[Reply]] = []
        for number in range(300):
            model = f"simulated/{chosen.choice('ab')}"
            tasks.append(asyncio.ensure_future(stack(a_call(agent=str(number), model=model))))
            if chosen.random() < 0.2:
                asyncio.get_running_loop().call_later(chosen.uniform(0, 3), tasks[-1].cancel)
            if chosen.random() < 0.5:
                await asyncio.sleep(chosen.expovariate(limit))
        await asyncio.wait(tasks)
        await asyncio.sleep(10)
        state = layer._state.get()
        assert (state.pauses, [lane.waiting for lane in state.lanes.values()]) == ({}, [0])
        return {"cancelled" if task.cancelled() else type(task.exception()).__name__ for task in tasks}

    assert virtual_time(main()) <= {"cancelled", "RateLimited", "NoneType"}
    assert sent.most_in_any(1) <= limit * 1.1
    assert pauses or sent.order == sorted(sent.order, key=int)


def test_waiting_for_the_quota_longer_than_the_agents_timeout_is_no_reason_to_refuse() -> None:
    agents = [Agent(f"a{number}", timeout=5) for number in range(12)]
    ensemble = Ensemble("many", agents, model="simulated/echo")
    runner = Runner(middleware=default_stack(rate_limit=RateLimit(requests=1, per=1)))
    run = virtual_time(runner.run(ensemble, "hello"))
    assert run.ok
    assert max(outcome.timings.limit for outcome in run.outcomes.values()) > 10
