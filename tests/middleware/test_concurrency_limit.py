"""`ConcurrencyLimit` bounds what is in flight, first come first served, and no cancel leaves a hole."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from stretto.call import Call, Endpoint
from stretto.contract import Next
from stretto.errors import ConfigError, ProviderFailed
from stretto.middleware import ConcurrencyLimit, Retry
from stretto.reply import Reply
from stretto.secret import Secret
from stretto.testing import Answers, Stack, a_call, virtual_time


class Service:
    """A provider that takes `seconds` and counts what is in flight, by `by(call)`."""

    def __init__(self, seconds: float = 1, by: Any = lambda call: None) -> None:
        self.seconds = seconds
        self.by = by
        self.now: Counter[Any] = Counter()
        self.most: Counter[Any] = Counter()
        self.order: list[str] = []

    async def __call__(self, call: Call) -> Reply:
        who = self.by(call)
        self.order.append(call.agent)
        self.now[who] += 1
        self.most[who] = max(self.most[who], self.now[who])
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.now[who] -= 1
        return Reply("ok")


async def together(stack: Stack, calls: Any) -> list[Any]:
    return await asyncio.gather(*(stack(call) for call in calls), return_exceptions=True)


def kept(layer: ConcurrencyLimit) -> dict[Any, Any]:
    """What the layer knows on the running loop."""
    return dict(layer._slots.get())


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_never_more_than_the_limit_is_in_flight_and_no_slot_is_left_empty(limit: int) -> None:
    service = Service()

    async def main() -> float:
        await together(Stack(ConcurrencyLimit(limit), provider=service), [a_call() for _ in range(30)])
        return asyncio.get_running_loop().time()

    assert virtual_time(main()) == 30 / limit
    assert service.most[None] == limit


def test_without_a_limit_nothing_waits() -> None:
    service = Service()
    virtual_time(together(Stack(ConcurrencyLimit(), provider=service), [a_call() for _ in range(500)]))
    assert service.most[None] == 500


def test_who_comes_first_is_served_first() -> None:
    service = Service()
    calls = [a_call(agent=str(n)) for n in range(20)]
    virtual_time(together(Stack(ConcurrencyLimit(3), provider=service), calls))
    assert service.order == [str(n) for n in range(20)]


def test_a_newcomer_does_not_overtake_the_one_that_was_just_woken() -> None:
    service = Service()

    async def main() -> None:
        stack = Stack(ConcurrencyLimit(1), provider=service)
        newcomers: list[Any] = []

        async def first(call: Call) -> None:
            await stack(call)
            newcomers.append(asyncio.ensure_future(stack(a_call(agent="newcomer"))))

        await asyncio.gather(first(a_call(agent="first")), stack(a_call(agent="waiting")))
        await asyncio.gather(*newcomers)

    virtual_time(main())
    assert service.order == ["first", "waiting", "newcomer"]


@pytest.mark.parametrize("steps", range(12))
def test_a_cancel_at_any_step_leaves_no_hole(steps: int) -> None:
    """The second of three callers is cancelled `steps` turns of the loop after the first has ended, or before."""
    layer = ConcurrencyLimit(1)

    async def main() -> tuple[float, dict[Any, Any]]:
        gate = asyncio.Event()

        async def provider(call: Call) -> Reply:
            if call.agent == "first":
                await gate.wait()
            elif call.agent == "second":
                for _ in range(5):
                    await asyncio.sleep(0)
            return Reply("ok")

        stack = Stack(layer, provider=provider)
        tasks = [asyncio.ensure_future(stack(a_call(agent=name))) for name in ("first", "second", "third")]
        if steps < 4:
            for _ in range(steps):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(1)
            gate.set()
            for _ in range(steps - 4):
                await asyncio.sleep(0)
        tasks[1].cancel()
        gate.set()
        await asyncio.wait(tasks)
        await stack(a_call(agent="later"))
        assert tasks[2].result().text == "ok"
        return asyncio.get_running_loop().time(), kept(layer)

    _, left = virtual_time(main())
    assert left == {}


def test_the_one_that_was_just_woken_and_then_cancelled_hands_its_slot_on() -> None:
    layer = ConcurrencyLimit(1)
    service = Service()

    async def main() -> float:
        async def cancels_the_next(call: Call, call_next: Next) -> Reply:
            reply = await call_next(call)  # the slot was just given to the next in line, who has not run yet
            if call.agent == "0":
                tasks[1].cancel()
            return reply

        stack = Stack(cancels_the_next, layer, provider=service)
        tasks = [asyncio.ensure_future(stack(a_call(agent=str(n)))) for n in range(3)]
        await asyncio.wait(tasks)
        assert tasks[1].cancelled()
        return asyncio.get_running_loop().time()

    assert virtual_time(main()) == 2
    assert service.order == ["0", "2"]


def test_many_cancelled_waiters_leave_every_slot() -> None:
    layer = ConcurrencyLimit(4)
    service = Service()

    async def main() -> tuple[float, dict[Any, Any]]:
        stack = Stack(layer, provider=service)
        tasks = [asyncio.ensure_future(stack(a_call(agent=str(n)))) for n in range(40)]
        await asyncio.sleep(0.5)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        return asyncio.get_running_loop().time(), kept(layer)

    # The slots of the two that were cancelled at work are taken at once: 2 x 1 s until 1.0, then 18 in fours.
    ended, left = virtual_time(main())
    assert ended == pytest.approx(5.5)
    assert left == {}
    assert service.most[None] == 4


def test_an_error_gives_the_slot_back() -> None:
    layer = ConcurrencyLimit(1)

    async def main() -> list[Any]:
        stack = Stack(layer, provider=Answers(ProviderFailed(status=500), "ok"))
        return [*await together(stack, [a_call(), a_call()]), kept(layer)]

    failed, ok, left = virtual_time(main())
    assert (type(failed), ok.text, left) == (ProviderFailed, "ok", {})


def test_each_limit_key_has_its_own_slots() -> None:
    service = Service(by=lambda call: call.limit_key)
    calls = [
        a_call(model=model, endpoint=Endpoint(url, key))
        for model in ("simulated/a", "simulated/b")
        for url in (None, "http://one.test/v1", "http://two.test/v1")
        for key in (None, Secret("one"), Secret("two"))
        for _ in range(3)
    ]
    virtual_time(together(Stack(ConcurrencyLimit(2), provider=service), calls))
    assert len(service.most) == 18
    assert set(service.most.values()) == {2}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [("run", {"r1": 2, "r2": 2}), ("all", {"all": 2}), (lambda call: call.metadata["tenant"], {"t1": 2, "t2": 2})],
    ids=["run", "all", "function"],
)
def test_a_scope_says_who_shares_the_slots(scope: Any, expected: dict[str, int]) -> None:
    def by(call: Call) -> Any:
        if scope == "run":
            return call.run_id
        return "all" if scope == "all" else scope(call)

    service = Service(by=by)
    calls = [
        a_call(model=f"simulated/{n}", run_id=f"r{1 + n % 2}", metadata={"tenant": f"t{1 + n % 2}"}) for n in range(12)
    ]
    virtual_time(together(Stack(ConcurrencyLimit(2, scope=scope), provider=service), calls))
    assert dict(service.most) == expected


def test_nothing_is_kept_of_scopes_that_are_gone() -> None:
    layer = ConcurrencyLimit(2, scope="run")

    async def main() -> dict[Any, Any]:
        await together(Stack(layer, provider=Service()), [a_call(run_id=str(n % 50)) for n in range(200)])
        return kept(layer)

    assert virtual_time(main()) == {}


def test_two_loops_have_twice_the_slots() -> None:
    layer = ConcurrencyLimit(1)
    for _ in range(2):
        service = Service()
        virtual_time(together(Stack(layer, provider=service), [a_call() for _ in range(3)]))
        assert service.most[None] == 1
    assert len(layer._slots._values) == 0


def test_a_call_that_backs_off_holds_no_slot() -> None:
    async def main() -> float:
        stack = Stack(
            Retry(backoff=10), ConcurrencyLimit(1), provider=Answers(ProviderFailed(retry_after=10), 1.0, "ok")
        )
        backing_off = asyncio.ensure_future(stack(a_call()))
        await asyncio.sleep(0.1)
        await stack(a_call())
        ended = asyncio.get_running_loop().time()
        backing_off.cancel()
        return ended

    assert virtual_time(main()) == pytest.approx(1.1)


def test_a_wait_for_a_slot_stands_in_the_record_and_a_free_slot_makes_none() -> None:
    first, second = a_call(), a_call()
    virtual_time(together(Stack(ConcurrencyLimit(1), provider=Service(3)), [first, second]))
    assert first.record.waits == []
    (wait,) = second.record.waits
    assert (wait.cause, wait.seconds, wait.key) == ("slot", pytest.approx(3), "simulated/echo")


def test_functions_pass_unless_they_are_asked_for() -> None:
    service = Service()

    async def main() -> None:
        calls = [a_call(kind="function", work=service) for _ in range(5)]
        await together(Stack(ConcurrencyLimit(1)), calls)

    virtual_time(main())
    assert service.most[None] == 5


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True, float("nan")])
def test_a_limit_that_is_no_whole_number_of_1_or_more_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigError, match=r"ConcurrencyLimit\.limit must be a whole number of 1 or more, or None, got"):
        ConcurrencyLimit(limit)


def test_a_scope_that_is_none_is_refused() -> None:
    scope: Any = "tenant"
    with pytest.raises(ConfigError, match=r"ConcurrencyLimit\.scope must be 'key', 'run', 'all' or a function"):
        ConcurrencyLimit(scope=scope)
