"""`Retry` sends at most `attempts` requests, only where that may help, and never sooner than the server says."""

import asyncio
import random
import subprocess
import sys
from typing import Any

import pytest
import tenacity

from stretto import Agent, Runner, Settings
from stretto import errors as all_errors
from stretto.call import Call
from stretto.contract import Next
from stretto.errors import (
    BadResponse,
    CallError,
    CallTimeout,
    CircuitOpen,
    ConfigError,
    DeadlineExceeded,
    Overloaded,
    ProviderFailed,
    ProviderUnavailable,
    RateLimited,
)
from stretto.middleware import Retry, RetryThrottle
from stretto.reply import Delta, Reply
from stretto.testing import Answers, Stack, a_call, virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


class Failing:
    """A provider that raises the same kind of error each time, and notes when it was asked."""

    def __init__(self, make: Any, *, times: int | None = None, pieces: int = 0) -> None:
        self.make = make
        self.times = times
        self.pieces = pieces
        self.asked: list[float] = []

    async def __call__(self, call: Call) -> Reply:
        self.asked.append(now())
        for _ in range(self.pieces):
            assert call.emit is not None
            await call.emit(Delta(text="piece "))
        if self.times is not None and len(self.asked) > self.times:
            return Reply("ok")
        raise self.make()


async def outcome(stack: Stack, call: Call) -> Any:
    try:
        return await stack(call)
    except BaseException as error:
        return error


def tried(stack: Stack, call: Call | None = None) -> Any:
    return virtual_time(outcome(stack, call or a_call()))


def failed() -> ProviderFailed:
    return ProviderFailed("down", status=500)


@pytest.mark.parametrize("attempts", [1, 2, 3, 7])
def test_exactly_so_many_requests_are_sent_and_the_last_error_is_raised(attempts: int) -> None:
    provider, call = Failing(failed), a_call()
    error = tried(Stack(Retry(attempts), provider=provider), call)
    assert (type(error), error.attempt, error.retryable) == (ProviderFailed, attempts, True)
    assert len(provider.asked) == attempts
    assert [attempt.number for attempt in call.record.attempts] == list(range(1, attempts + 1))


def test_a_thousand_attempts_do_not_overflow_the_back_off() -> None:
    provider = Failing(failed)
    tried(Stack(Retry(1200, throttle=None), provider=provider))
    assert len(provider.asked) == 1200


def test_the_first_success_ends_it() -> None:
    provider, call = Failing(failed, times=2), a_call()
    assert tried(Stack(Retry(5), provider=provider), call).text == "ok"
    assert [type(attempt.error).__name__ for attempt in call.record.attempts] == [
        "ProviderFailed",
        "ProviderFailed",
        "NoneType",
    ]


RETRYABLE = {"RateLimited", "Overloaded", "ProviderUnavailable", "ProviderFailed", "BadResponse", "CallTimeout"}
KINDS = [kind for kind in vars(all_errors).values() if isinstance(kind, type) and issubclass(kind, CallError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_errors_on_the_list_are_tried_again(kind: type[CallError]) -> None:
    provider = Failing(kind)
    assert type(tried(Stack(Retry(3), provider=provider))) is kind
    assert len(provider.asked) == (3 if kind.__name__ in RETRYABLE else 1)


def test_the_errors_own_word_wins_over_its_class() -> None:
    for error, count in (
        (lambda: ProviderFailed(retryable=False), 1),
        (lambda: BadResponse(retryable=False), 1),
        (lambda: CallError(retryable=True), 3),
    ):
        provider = Failing(error)
        tried(Stack(Retry(3), provider=provider))
        assert len(provider.asked) == count


@pytest.mark.parametrize("error", [RuntimeError, ConnectionError, TimeoutError, OSError, KeyError])
def test_a_foreign_error_of_a_provider_is_not_tried_again(error: type[Exception]) -> None:
    provider = Failing(error)
    tried(Stack(Retry(3), provider=provider))
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (ConnectionError, 3),
        (ConnectionResetError, 3),
        (TimeoutError, 3),
        (lambda: Overloaded("busy"), 3),
        (ValueError, 1),
        (DeadlineExceeded, 1),
        (KeyError, 1),
    ],
)
def test_functions_are_tried_again_on_connection_errors_and_on_ours(error: Any, count: int) -> None:
    work = Failing(error)
    raised = tried(Stack(Retry(3)), a_call(kind="function", model="", work=work))
    assert len(work.asked) == count
    assert isinstance(raised, type(error()))


def test_on_names_further_foreign_errors() -> None:
    work = Failing(KeyError)
    tried(Stack(Retry(3, on=(LookupError,))), a_call(kind="function", work=work))
    assert len(work.asked) == 3
    work = Failing(ConnectionError)
    tried(Stack(Retry(3, on=())), a_call(kind="function", work=work))
    assert len(work.asked) == 1


def test_a_foreign_error_with_a_retry_after_of_its_own_does_no_harm() -> None:
    class Theirs(ConnectionError):
        retry_after = "in a while"

    work = Failing(Theirs)
    assert isinstance(tried(Stack(Retry(3)), a_call(kind="function", work=work)), Theirs)


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_is_never_tried_again(error: type[BaseException]) -> None:
    asked = 0

    async def work(call: Call) -> Reply:
        nonlocal asked
        asked += 1
        raise error

    assert type(tried(Stack(Retry(3, on=(Exception,))), a_call(kind="function", work=work))) is error
    assert asked == 1


@pytest.mark.parametrize("moment", [0.5, 5.0, 10.5])
def test_a_cancel_from_outside_ends_a_request_and_a_back_off_alike(moment: float) -> None:
    async def provider(call: Call) -> Reply:
        await asyncio.sleep(1)
        raise RateLimited(status=429, retry_after=9)

    call = a_call()

    async def main() -> float:
        task = asyncio.ensure_future(Stack(Retry(5), provider=provider)(call))
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(100)
        return now()

    virtual_time(main())
    assert len(call.record.attempts) == (1 if moment < 10 else 2)


def test_waits_are_spread_over_the_whole_range_which_doubles_up_to_max_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    provider = Failing(failed)
    tried(Stack(Retry(7, backoff=0.5, max_backoff=5), provider=provider))
    assert bounds[:6] == [(0, 0.5), (0, 1.0), (0, 2.0), (0, 4.0), (0, 5), (0, 5)]
    assert provider.asked == [0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5]


def test_the_jitter_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", random.Random(7).uniform)
    waits: list[float] = []
    for _ in range(200):
        provider = Failing(failed)
        tried(Stack(Retry(2, backoff=10), provider=provider))
        waits.append(provider.asked[1])
    assert 0 <= min(waits) < 0.5
    assert 9.5 < max(waits) <= 10
    assert sum(waits) / 200 == pytest.approx(5, abs=0.7)


@pytest.mark.parametrize("seconds", [0.4, 1, 33.3, 60])
def test_every_retry_after_is_a_floor(seconds: float) -> None:
    for kind in (RateLimited, Overloaded, ProviderFailed, ProviderUnavailable):
        provider = Failing(lambda kind=kind: kind(retry_after=seconds))
        tried(Stack(Retry(4, backoff=0.001), provider=provider))
        gaps = [b - a for a, b in zip(provider.asked, provider.asked[1:], strict=False)]
        assert len(gaps) == 3
        assert min(gaps) >= seconds - 1e-9


def test_a_wait_above_max_wait_fails_at_once_with_the_servers_own_error() -> None:
    provider, call = Failing(lambda: RateLimited("slow down", status=429, retry_after=90, request_id="r7")), a_call()
    error = tried(Stack(Retry(3, max_wait=60), provider=provider), call)
    assert (error.status, error.request_id, error.message, error.retry_after) == (429, "r7", "slow down", 90)
    assert error.reason == "not tried again: the server asked to wait 90.0 s, above Retry.max_wait of 60 s"
    assert (len(provider.asked), call.record.waits) == (1, [])


def test_max_wait_concerns_the_server_and_not_the_own_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    provider = Failing(failed)
    tried(Stack(Retry(3, backoff=10, max_wait=5), provider=provider))
    assert provider.asked == [0, 10, 30]


def test_a_wait_that_passes_the_deadline_fails_at_once() -> None:
    async def main() -> tuple[Any, float]:
        provider = Failing(lambda: Overloaded(status=503, retry_after=20))
        return await outcome(Stack(Retry(3), provider=provider), a_call(deadline=now() + 15)), now()

    error, at = virtual_time(main())
    assert error.reason == "not tried again: the wait of 20.0 s passes the deadline in 15.0 s"
    assert at == 0


def test_the_agents_own_clock_is_a_deadline_too() -> None:
    agent = Agent("slow", model="simulated/fail-429+retry-after-20s", timeout=15)
    run = virtual_time(Runner(middleware=[Retry()]).run(agent, "go"))
    outcome = run["slow"]
    assert (outcome.status, len(outcome.attempts)) == ("failed", 1)
    assert "the wait of 20.0 s passes the deadline in 15.0 s" in outcome.reason


def test_a_reason_that_was_given_below_is_kept() -> None:
    provider = Failing(lambda: RateLimited(retry_after=90, reason="the month's quota is used up"))
    assert tried(Stack(Retry(3), provider=provider)).reason == "the month's quota is used up"


def test_a_refusal_that_sent_nothing_is_not_tried_again() -> None:
    refused = 0

    async def refusing(call: Call, call_next: Next) -> Reply:
        nonlocal refused
        refused += 1
        raise RateLimited("refused")

    async def refusing_later(call: Call, call_next: Next) -> Reply:
        return await (refusing(call, call_next) if call.record.attempts else call_next(call))

    assert isinstance(tried(Stack(Retry(3), refusing)), RateLimited)
    assert refused == 1
    call = a_call()
    assert isinstance(tried(Stack(Retry(3), refusing_later, provider=Failing(failed)), call), RateLimited)
    assert (refused, len(call.record.attempts)) == (2, 1)
    assert isinstance(tried(Stack(Retry(3), provider=Failing(CircuitOpen))), CircuitOpen)


def test_emitted_text_ends_the_retries_and_the_error_says_so() -> None:
    provider, call = Failing(failed, pieces=2), a_call(stream=True)
    error = tried(Stack(Retry(3), provider=provider), call)
    assert (len(provider.asked), error.reason) == (1, "not tried again: a part of the reply was emitted")
    assert [piece.text for piece in call.pieces] == ["piece ", "piece "]


def test_a_stream_that_failed_before_its_first_piece_is_tried_again() -> None:
    provider = Failing(failed)
    tried(Stack(Retry(3), provider=provider), a_call(stream=True))
    assert len(provider.asked) == 3


def test_with_restart_streams_it_is_tried_again_after_a_restart() -> None:
    provider, call = Failing(failed, times=1, pieces=1), a_call(stream=True)
    tried(Stack(Retry(3, restart_streams=True), provider=provider), call)
    assert [piece.restart or piece.text for piece in call.pieces] == ["piece ", True, "piece "]


def test_the_throttle_refuses_at_once_and_says_so() -> None:
    provider, call = Failing(failed), a_call()
    error = tried(Stack(Retry(3, throttle=RetryThrottle(0, 0)), provider=provider), call)
    assert (len(provider.asked), error.reason) == (1, "not tried again: the retry throttle is empty")
    assert call.record.waits == []


async def outage(layer: Retry, calls: int, every: float) -> tuple[int, int]:
    """Requests and calls, when `calls` calls come `every` so many seconds to a service that is down."""
    provider = Failing(failed)
    stack = Stack(layer, provider=provider)
    tasks: list[Any] = []
    for _ in range(calls):
        tasks.append(asyncio.ensure_future(outcome(stack, a_call())))
        await asyncio.sleep(every)
    await asyncio.gather(*tasks)
    return len(provider.asked), calls


def test_the_throttle_starts_with_ten_and_a_fifth_of_a_token_for_each_call() -> None:
    requests, calls = virtual_time(outage(Retry(2, backoff=1e-9), 1000, 0))
    assert requests - calls == pytest.approx(10 + 1000 * 0.2, abs=1)


def test_time_fills_the_throttle_to_ten_a_second() -> None:
    requests, calls = virtual_time(outage(Retry(3, throttle=RetryThrottle(ratio=0)), 2000, 0.01))
    assert requests - calls == pytest.approx(10 + 20 * 10, rel=0.06)


def test_a_few_calls_are_never_throttled() -> None:
    requests, _ = virtual_time(outage(Retry(3), 100, 1))
    assert requests == 300


def test_calls_fill_the_throttle_to_its_most_and_no_further() -> None:
    throttle = RetryThrottle(ratio=1, per_second=2, most=5)

    async def main() -> list[bool]:
        for _ in range(100):
            throttle.count()
        return [throttle.spend() for _ in range(6)]

    assert virtual_time(main()) == [True] * 5 + [False]


def test_time_does_not_take_from_a_throttle_that_calls_have_filled() -> None:
    throttle = RetryThrottle(ratio=1, per_second=2, most=50)

    async def main() -> int:
        for _ in range(100):
            throttle.count()
        await asyncio.sleep(1000)
        return sum(throttle.spend() for _ in range(60))

    assert virtual_time(main()) == 50


def test_two_layers_have_a_throttle_each_and_a_shared_one_is_shared() -> None:
    assert Retry().throttle is not Retry().throttle
    throttle = RetryThrottle(0, 1)

    async def main() -> int:
        provider = Failing(failed)
        for name in ("one", "two"):
            await outcome(Stack(Retry(2, throttle=throttle, backoff=1e-9, name=name), provider=provider), a_call())
        return len(provider.asked)

    assert virtual_time(main()) == 3


def test_tenacity_is_entered_only_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    class Counted(tenacity.AsyncRetrying):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            nonlocal made
            made += 1
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(tenacity, "AsyncRetrying", Counted)
    tried(Stack(Retry(3), provider=Answers("ok")))
    tried(Stack(Retry(3), provider=Failing(lambda: CallError("no"))))
    tried(Stack(Retry(1), provider=Failing(failed)))
    assert made == 0
    tried(Stack(Retry(3), provider=Failing(failed)))
    assert made == 1


def test_a_layer_may_be_used_by_many_calls_at_once_each_with_its_own_count() -> None:
    layer = Retry(3, throttle=None)

    async def main() -> list[int]:
        calls = [a_call() for _ in range(50)]
        stack = Stack(layer, provider=Failing(failed))
        await asyncio.gather(*(outcome(stack, call) for call in calls))
        return [len(call.record.attempts) for call in calls]

    assert virtual_time(main()) == [3] * 50


def test_each_back_off_is_a_wait_in_the_record() -> None:
    call = a_call()
    tried(Stack(Retry(3), provider=Failing(lambda: RateLimited(retry_after=7))), call)
    assert [(wait.cause, wait.key) for wait in call.record.waits] == [("backoff", "simulated/echo")] * 2
    assert [wait.seconds for wait in call.record.waits] == pytest.approx([7, 7])


def test_a_back_off_of_a_function_names_no_key() -> None:
    call = a_call(kind="function", model="", work=Failing(ConnectionError))
    tried(Stack(Retry(2)), call)
    assert [wait.key for wait in call.record.waits] == [None]


def test_a_run_tells_of_each_retry_with_its_error_and_its_wait() -> None:
    async def main() -> list[Any]:
        agent = Agent("a", model="simulated/fail-503-2+retry-after-2s")
        run = Runner(middleware=[Retry()]).start(agent, "go")
        await run
        return [event async for event in run.events() if event.type in ("agent_retrying", "agent_waiting")]

    events = virtual_time(main())
    assert [(e.type, e.attempt, e.wait, e.error.status) for e in events] == [
        ("agent_retrying", 1, 2.0, 503),
        ("agent_retrying", 2, 2.0, 503),
    ]


def test_the_time_of_back_offs_is_named_in_the_timings() -> None:
    agent = Agent("a", model="simulated/fail-503-2+retry-after-2s+latency-1s")
    run = virtual_time(Runner(middleware=[Retry()], settings=Settings(default_timeout=None)).run(agent, "go"))
    timings = run["a"].timings
    assert (timings.backoff, timings.provider) == (pytest.approx(4), pytest.approx(3))


def test_a_timeout_of_an_attempt_is_tried_again() -> None:
    provider = Failing(lambda: CallTimeout("Timeout.total of 5 s ran out", seconds=5))
    tried(Stack(Retry(3), provider=provider))
    assert len(provider.asked) == 3


def test_tenacity_is_not_imported_before_a_failure() -> None:
    code = (
        "import sys, asyncio; from stretto import Runner, Agent; "
        "run = asyncio.run(Runner().run(Agent('a', model='simulated/echo'), 'hi')); "
        "print(run.ok and 'tenacity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


@pytest.mark.parametrize("attempts", [0, -1, 1.5, "3", True, None])
def test_attempts_must_be_a_whole_number_of_1_or_more(attempts: Any) -> None:
    with pytest.raises(ConfigError, match=f"Retry.attempts must be a whole number of 1 or more, got {attempts!r}"):
        Retry(attempts)


@pytest.mark.parametrize("field", ["backoff", "max_backoff", "max_wait"])
@pytest.mark.parametrize("value", [0, -1, "1", None, float("nan"), float("inf")])
def test_seconds_that_are_not_above_0_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Retry.{field} must be seconds above 0, got {value!r}"):
        Retry(**{field: value})


@pytest.mark.parametrize(("field", "bound"), [("ratio", 0), ("per_second", 0), ("most", 1)])
@pytest.mark.parametrize("value", [-1, "1", None, float("nan")])
def test_a_throttle_refuses_what_is_out_of_bounds(field: str, bound: int, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"RetryThrottle.{field} must be {bound} or more, got {value!r}"):
        RetryThrottle(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("throttle", 0.2), ("throttle", RetryThrottle), ("on", OSError()), ("on", [KeyError])]
)
def test_a_throttle_or_a_list_of_errors_of_the_wrong_kind_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Retry.{field} must be a") as caught:
        Retry(**{field: value})
    assert caught.value.key == field
