"""`Fallback` asks the next model where that may help, in the time that is left, and says what became of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loopback import Answer, Loopback
from spans import recording
from stretto import Agent, Outcome, Runner
from stretto import errors as all_errors
from stretto.call import Call, Endpoint, Target
from stretto.contract import Next
from stretto.deadline import AgentClock
from stretto.errors import (
    AuthenticationFailed,
    BadResponse,
    BudgetExceeded,
    CallError,
    CallTimeout,
    CircuitOpen,
    ConfigError,
    ContentBlocked,
    DeadlineExceeded,
    Overloaded,
    ProviderFailed,
    RateLimited,
    RequestRejected,
    ScriptFailed,
)
from stretto.events import AgentDelta, AgentRetrying
from stretto.middleware import ConcurrencyLimit, Fallback, RateLimit, Retry, RetryThrottle, Timeout, Trace
from stretto.reply import Delta, Reply
from stretto.secret import Secret
from stretto.substitute import Substitute
from stretto.testing import Answers, Stack, a_call, virtual_time
from stretto.usage import Price, Usage

A, B, C = "one/a", "two/b", "three/c"


def now() -> float:
    return asyncio.get_running_loop().time()


class Models:
    """A provider for several models, each with answers of its own, as of `Answers`; notes who was asked when."""

    def __init__(self, **answers: Any) -> None:
        self.of = {name: Answers(*(a if isinstance(a, tuple) else (a,))) for name, a in answers.items()}
        self.asked: list[tuple[str, float]] = []

    async def __call__(self, call: Call) -> Reply:
        name = call.model.partition("/")[2]
        self.asked.append((name, now()))
        return await self.of[name](call)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def failed(status: int = 500) -> ProviderFailed:
    return ProviderFailed("down", status=status)


def to(*models: str, **fields: Any) -> Any:
    """A call to `one/a` that falls back to these."""
    return a_call(**{"model": A, "fallback": tuple(map(Target, models)), **fields})


async def outcome(stack: Stack, call: Call) -> Any:
    try:
        return await stack(call)
    except BaseException as error:
        return error


def tried(stack: Stack, call: Call) -> Any:
    return virtual_time(outcome(stack, call))


HANG = (1e6, "late")


# ---- which models


def test_the_next_model_answers_for_one_that_has_failed() -> None:
    models, call = Models(a=failed(), b="from b", c="from c"), to(B, C)
    assert tried(Stack(Fallback(), provider=models), call).text == "from b"
    assert models.names == ["a", "b"]
    assert [(attempt.number, attempt.model) for attempt in call.record.attempts] == [(1, A), (2, B)]


def test_a_model_that_answers_is_the_only_one_that_is_asked() -> None:
    models = Models(a="from a", b="from b")
    assert tried(Stack(Fallback(B), provider=models), to(B)).text == "from a"
    assert models.names == ["a"]


def test_all_are_asked_in_order_and_the_last_error_names_the_others() -> None:
    models, call = Models(a=failed(), b=RateLimited("slow", status=429), c=AuthenticationFailed("no key")), to(B, C)
    error = tried(Stack(Fallback(), provider=models), call)
    assert models.names == ["a", "b", "c"]
    assert (type(error), error.model, error.attempt, error.message) == (AuthenticationFailed, C, 3, "no key")
    assert error.reason == "before it failed one/a (ProviderFailed, status 500), two/b (RateLimited, status 429)"
    assert error.__context__ is None
    assert [type(attempt.error) for attempt in call.record.attempts] == [
        ProviderFailed,
        RateLimited,
        AuthenticationFailed,
    ]


def test_a_reason_that_was_given_below_is_kept() -> None:
    models = Models(a=failed(), b=RateLimited(retry_after=900))
    error = tried(Stack(Fallback(), Retry(), provider=models), to(B))
    assert error.reason == (
        "not tried again: the server asked to wait 900.0 s, above Retry.max_wait of 60 s; "
        "before it failed one/a (ProviderFailed, status 500)"
    )


def test_one_error_that_is_raised_again_and_again_does_not_grow() -> None:
    error = RequestRejected("no", status=400)

    async def provider(call: Call) -> Reply:
        raise error

    stack = Stack(Fallback(), provider=provider)
    for _ in range(3):
        assert tried(stack, to(B)) is error
    assert error.reason == "before it failed one/a (RequestRejected, status 400)"


def test_the_agents_models_come_instead_of_the_layers_own() -> None:
    models = Models(a=failed(), b="from b", c="from c")
    assert tried(Stack(Fallback(C), provider=models), to(B)).text == "from b"
    assert tried(Stack(Fallback(C), provider=models), to()).text == "from c"


def test_without_another_model_the_call_goes_straight_through() -> None:
    sent: list[Call] = []

    def below(call: Call) -> Any:
        sent.append(call)
        return "what call_next gave"

    call = a_call()
    assert Fallback()(call, below) == "what call_next gave"  # type: ignore[comparison-overlap]
    assert sent == [call]
    assert sent[0] is call


def test_a_model_does_not_fall_back_to_itself() -> None:
    models = Models(a=failed())
    error = tried(Stack(Fallback(A), provider=models), to(deadline=100.0))
    assert (models.names, error.reason) == (["a"], "")
    models = Models(a=HANG, b="from b")
    assert tried(Stack(Fallback([A, B]), provider=models), to(deadline=100.0)).text == "from b"
    assert models.asked == [("a", 0), ("b", 50)]


def test_the_same_model_with_other_parameters_or_at_another_address_is_another_one() -> None:
    for other in ({"model": A, "params": {"max_tokens": 5}}, {"model": A, "base_url": "http://127.0.0.1:1/v1"}):
        models = Models(a=(failed(), "from the other"))
        assert tried(Stack(Fallback(other), provider=models), to()).text == "from the other"


def test_a_second_layer_does_not_ask_the_agents_models_again() -> None:
    models = Models(a=failed(), b=failed(), c=failed())
    tried(Stack(Fallback(), Fallback(name="inner"), provider=models), to(B, C))
    assert models.names == ["a", "b", "c"]


def test_functions_and_scripts_have_no_other_model() -> None:
    assert Fallback.kinds == ("llm",)
    models = Models(b="from b")

    async def work(call: Call) -> Reply:
        raise Overloaded("busy")

    error = tried(Stack(Fallback(B), provider=models), a_call(kind="function", model="", work=work))
    assert (type(error), models.asked) == (Overloaded, [])


# ---- which errors

CURED = {
    "CallError",
    "RateLimited",
    "Overloaded",
    "ProviderUnavailable",
    "ProviderFailed",
    "BadResponse",
    "InvalidOutput",
    "AuthenticationFailed",
    "PermissionDenied",
    "RequestRejected",
    "ContextTooLong",
    "ContentBlocked",
    "CallTimeout",
    "CircuitOpen",
}
KINDS = [kind for kind in vars(all_errors).values() if isinstance(kind, type) and issubclass(kind, CallError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_errors_on_the_list_are_answered_by_another_model(kind: type[CallError]) -> None:
    models = Models(a=kind("no"), b="from b")
    told = tried(Stack(Fallback(), provider=models), to(B))
    if kind.__name__ in CURED:
        assert told.text == "from b"
    else:
        assert kind in (DeadlineExceeded, BudgetExceeded, ScriptFailed)
        assert (type(told), told.reason, models.names) == (kind, "", ["a"])


def test_what_no_retry_cures_another_model_may() -> None:
    models = Models(a=BadResponse("above the cap", retryable=False), b="from b")
    assert tried(Stack(Fallback(), Retry(), provider=models), to(B)).text == "from b"


@pytest.mark.parametrize("error", [RuntimeError, KeyError, ConnectionError])
def test_a_foreign_error_of_a_provider_is_answered_by_another_model(error: type[Exception]) -> None:
    models = Models(a=error("odd"), b="from b")
    assert tried(Stack(Fallback(), provider=models), to(B)).text == "from b"


class Refused(CallError):
    """A user's own error: a rule that holds whoever is asked."""


@pytest.mark.parametrize("error", [Refused("not this"), ConfigError("not so"), ValueError("odd"), KeyError("odd")])
def test_a_layers_own_error_ends_the_call(error: Exception) -> None:
    async def rule(call: Call, call_next: Next) -> Reply:
        raise error

    models = Models(a="from a", b="from b")
    assert tried(Stack(Fallback(), rule, provider=models), to(B)) is error
    assert models.asked == []


@pytest.mark.parametrize("error", [CircuitOpen("open"), RateLimited("refused")])
def test_a_refusal_that_sent_nothing_is_answered_by_another_model(error: CallError) -> None:
    async def gate(call: Call, call_next: Next) -> Reply:
        if call.model == A:
            raise error
        return await call_next(call)

    models, call = Models(b="from b"), to(B)
    assert tried(Stack(Fallback(), gate, provider=models), call).text == "from b"
    assert [attempt.model for attempt in call.record.attempts] == [B]
    assert call.record.waits == []


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_ends_the_call(error: type[BaseException]) -> None:
    asked: list[str] = []

    async def below(call: Call, call_next: Next) -> Reply:
        asked.append(call.model)
        raise error

    assert type(tried(Stack(Fallback(), below), to(B))) is error
    assert asked == [A]


# ---- attempts of each model


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_each_model_has_the_attempts_of_retry(attempts: int) -> None:
    models = Models(a=failed(), b=failed(), c=failed())
    tried(Stack(Fallback(), Retry(attempts, throttle=None), provider=models), to(B, C))
    assert models.names == ["a"] * attempts + ["b"] * attempts + ["c"] * attempts


def test_an_empty_retry_throttle_does_not_keep_the_next_model_from_being_asked() -> None:
    models = Models(a=failed(), b=failed())
    error = tried(Stack(Fallback(), Retry(3, throttle=RetryThrottle(0, 0)), provider=models), to(B))
    assert models.names == ["a", "b"]
    assert error.reason.startswith("not tried again: the retry throttle is empty; before it failed one/a")


def test_each_model_has_a_limit_key_an_estimate_and_a_price_of_its_own() -> None:
    seen: list[Any] = []

    async def look(call: Call, call_next: Next) -> Reply:
        seen.append((str(call.limit_key), call.estimate().output_tokens, call.price))
        return await call_next(call)

    price = Price(1, 2)
    stack = Stack(Fallback(), look, provider=Models(a=failed(), b="from b"), prices={B: price})
    call = to(params={"max_tokens": 9}, fallback=(Target(B, params={"max_tokens": 7}),))
    tried(stack, call)
    assert seen == [("one/a", 9, None), ("two/b", 7, price)]


def test_usage_and_cost_are_summed_over_all_models() -> None:
    async def provider(call: Call) -> Reply:
        call.attempt.usage = Usage(10, 1)
        if call.model == A:
            raise BadResponse("garbage")
        return Reply("ok", usage=Usage(20, 2))

    call = to(B)
    tried(Stack(Fallback(), provider=provider, prices={A: Price(1, 1), B: Price(10, 10)}), call)
    assert call.record.usage == Usage(30, 3)
    assert call.record.cost == pytest.approx((11 + 220) / 1e6)


def test_the_pause_of_one_service_does_not_hold_up_another() -> None:
    models = Models(a=RateLimited("slow", retry_after=30), b="from b")

    async def main() -> list[float]:
        stack, times = Stack(Fallback(), RateLimit(), provider=models), list[float]()
        for _ in range(2):
            assert (await stack(to(B, deadline=now() + 20))).text == "from b"
            times.append(now())
        return times

    assert virtual_time(main()) == [0, 0]
    assert models.names == ["a", "b", "b"]


# ---- address, key, parameters


def sent_to(*others: Target, **fields: Any) -> Call:
    """The request that reaches the second model."""
    calls: list[Call] = []

    async def provider(call: Call) -> Reply:
        calls.append(call)
        if len(calls) <= len(others):
            raise failed()
        return Reply("ok")

    assert tried(Stack(Fallback(), provider=provider), a_call(fallback=others, **fields)).text == "ok"
    return calls[-1]


KEY = Secret("the-agents-own-key")
OWN = Endpoint("https://gateway.example/v1", KEY)


@pytest.mark.parametrize("model", ["compatible/b", "openai/b"])
@pytest.mark.parametrize("endpoint", [Endpoint(), Endpoint("http://127.0.0.1:1/v1"), Endpoint(None, Secret("another"))])
def test_the_agents_address_and_key_go_to_no_other_model(model: str, endpoint: Endpoint) -> None:
    call = sent_to(Target(model, endpoint), model="compatible/a", endpoint=OWN)
    assert (call.model, call.endpoint) == (model, endpoint)
    assert call.endpoint.base_url != OWN.base_url
    assert call.endpoint.api_key != KEY


def test_the_third_model_has_neither_the_first_ones_key_nor_the_seconds() -> None:
    second = Endpoint("http://127.0.0.1:1/v1", Secret("the-seconds-own-key"))
    others = (Target("compatible/b", second), Target("compatible/c"))
    call = sent_to(*others, model="compatible/a", endpoint=OWN)
    assert (call.model, call.endpoint) == ("compatible/c", Endpoint())


def test_parameters_are_laid_over_the_agents_and_none_leaves_one_out() -> None:
    params = {"temperature": 0.5, "seed": 3, "max_tokens": 9}
    target = Target("compatible/b", params={"temperature": 0.1, "seed": None, "top_p": 0.2})
    call = sent_to(target, model="compatible/a", params=params)
    assert dict(call.params) == {"temperature": 0.1, "max_tokens": 9, "top_p": 0.2}


def test_headers_go_to_no_other_service() -> None:
    own: dict[str, Any] = {"extra_headers": {"x-gateway-token": "secret"}}
    for target in (Target("openai/b", OWN), Target("compatible/b"), Target("compatible/b", Endpoint("http://h:1/v1"))):
        assert dict(sent_to(target, model="compatible/a", endpoint=OWN, **own).extra_headers) == {}
    again = sent_to(Target("compatible/b", OWN), model="compatible/a", endpoint=OWN, **own)
    assert dict(again.extra_headers) == {"x-gateway-token": "secret"}


def test_a_substitute_may_bring_headers_and_fields_of_its_own() -> None:
    own: dict[str, Any] = {"extra_headers": {"x-a": "1"}, "extra_body": {"a": 1}}
    given = {"extra_headers": {"x-b": "1"}, "extra_body": {"b": 1}, "seed": 1}
    call = sent_to(Target("openai/b", params=given), model="compatible/a", **own)
    assert (dict(call.extra_headers), dict(call.extra_body)) == ({"x-b": "1"}, {"b": 1})
    assert dict(call.params) == {"seed": 1}
    call = sent_to(Target("openai/b"), model="compatible/a", **own)
    assert (dict(call.extra_headers), dict(call.extra_body)) == ({}, {"a": 1})
    bare = {"extra_headers": None, "extra_body": None}
    call = sent_to(Target("compatible/b", params=bare), model="compatible/a", **own)
    assert (dict(call.extra_headers), dict(call.extra_body), dict(call.params)) == ({}, {}, {})


def test_messages_metadata_and_the_ledger_stay() -> None:
    call = sent_to(Target(B), model=A, metadata={"tenant": "t"})
    assert call.messages == ({"role": "user", "content": "hello"},)
    assert (call.metadata, call.attempt.number, len(call.record.attempts)) == ({"tenant": "t"}, 2, 2)


# ---- the share of the time


def clocked(timeout: float | None, *models: str, **fields: Any) -> Any:
    return to(*models, clock=AgentClock(timeout), **fields)


def test_a_model_that_hangs_falls_back_after_its_share() -> None:
    models, call = Models(a=HANG, b=HANG, c="from c"), clocked(90, B, C)
    assert tried(Stack(Fallback(), provider=models), call).text == "from c"
    assert models.asked == [("a", 0), ("b", 30), ("c", 60)]


def test_the_error_of_a_share_stands_in_the_attempt_and_is_no_cancel() -> None:
    models, call = Models(a=HANG, b=AuthenticationFailed("no")), clocked(10, B)
    error = tried(Stack(Fallback(), provider=models), call)
    assert error.reason == "before it failed one/a (CallTimeout)"
    cut = call.record.attempts[0]
    assert isinstance(cut.error, CallTimeout)
    assert (cut.cancelled, cut.ended is None, cut.error.seconds, cut.error.attempt) == (False, False, 5, 1)
    assert str(cut.error) == (
        "agent 'tester', one/a, attempt 1: the share of 5 s that Fallback gives to this model ran out"
    )
    assert cut.error.provider == "one"


def test_what_a_model_leaves_of_its_share_the_others_have() -> None:
    models = Models(a=(10, failed()), b=HANG, c="from c")
    assert tried(Stack(Fallback(), provider=models), clocked(90, B, C)).text == "from c"
    assert models.asked == [("a", 0), ("b", 10), ("c", 50)]


def test_the_last_model_has_all_that_is_left() -> None:
    models = Models(a=failed(), b=(89, "from b"))
    assert tried(Stack(Fallback(), provider=models), clocked(90, B)).text == "from b"


def test_a_share_covers_all_attempts_of_a_model() -> None:
    models = Models(a=(20, failed(), 20, failed(), 20, "late"), b="from b")
    stack = Stack(Fallback(), Retry(3, backoff=1e-9), provider=models)
    assert tried(stack, clocked(90, B)).text == "from b"
    assert models.names == ["a", "a", "a", "b"]
    assert models.asked[-1][1] == pytest.approx(45)


def test_the_nearest_deadline_counts() -> None:
    for call in (clocked(90, B, deadline=20.0), clocked(20, B, deadline=90.0), to(B, deadline=20.0)):
        models = Models(a=HANG, b="from b")
        assert tried(Stack(Fallback(), provider=models), call).text == "from b"
        assert models.asked == [("a", 0), ("b", 10)]


def test_a_share_counts_from_when_the_first_request_is_sent() -> None:
    async def waiting(call: Call, call_next: Next) -> Reply:
        await asyncio.sleep(1000)
        return await call_next(call)

    models = Models(a=HANG, b="from b")
    tried(Stack(Fallback(), waiting, provider=models), clocked(10, B))
    assert models.asked == [("a", 1000), ("b", 2005)]


def test_without_a_clock_there_is_no_share() -> None:
    for call in (clocked(None, B), to(B)):
        models = Models(a=(1e7, "from a"), b="from b")
        assert tried(Stack(Fallback(), provider=models), call).text == "from a"


def test_layers_below_see_what_is_left_of_the_share() -> None:
    seen: list[float] = []

    async def look(call: Call, call_next: Next) -> Reply:
        seen.append(call.remaining())
        reply = await call_next(call)
        seen.append(call.remaining())
        return reply

    models = Models(a=(10, failed()), b=(10, "from b"))
    tried(Stack(Fallback(), look, provider=models), clocked(90, B))
    assert seen == [45, 80, 70]


def test_a_back_off_that_passes_the_share_falls_back_at_once() -> None:
    models = Models(a=RateLimited("slow", retry_after=50), b="from b")
    assert tried(Stack(Fallback(), Retry(), provider=models), clocked(90, B)).text == "from b"
    assert models.asked == [("a", 0), ("b", 0)]


def test_a_pause_that_passes_the_share_falls_back_at_once() -> None:
    models = Models(a=RateLimited("slow", retry_after=50), b="from b")

    async def main() -> float:
        stack = Stack(Fallback(), RateLimit(), provider=models)
        for _ in range(2):
            assert (await stack(clocked(90, B))).text == "from b"
        return now()

    assert virtual_time(main()) == 0


def test_waiting_for_a_slot_costs_the_first_model_nothing() -> None:
    models = Models(a=(8, "from a"), b="from b")

    async def main() -> list[str]:
        stack = Stack(Fallback(), ConcurrencyLimit(1), provider=models)
        replies = await asyncio.gather(*(stack(clocked(20, B)) for _ in range(4)))
        return [reply.text for reply in replies]

    assert virtual_time(main()) == ["from a"] * 4


def test_a_shorter_timeout_of_one_attempt_strikes_first() -> None:
    models = Models(a=HANG, b="from b")
    assert tried(Stack(Fallback(), Timeout(3), provider=models), clocked(90, B)).text == "from b"
    assert models.asked == [("a", 0), ("b", 3)]


def test_past_the_deadline_no_other_model_is_asked() -> None:
    async def late(call: Call) -> Reply:
        await asyncio.sleep(20)
        raise failed()

    async def main() -> Any:
        call = to(B, deadline=now() + 10)
        return await outcome(Stack(Fallback(), no_share, provider=late), call), len(call.record.attempts)

    async def no_share(call: Call, call_next: Next) -> Reply:
        """Swallow the cancel of the share, as code that catches too much does."""
        task = asyncio.ensure_future(call_next(call))
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                continue
        return task.result()

    error, requests = virtual_time(main())
    assert (type(error), requests) == (ProviderFailed, 1)


def test_the_agents_clock_starts_with_the_first_request_and_not_before() -> None:
    started: list[float] = []

    async def main() -> Any:
        clock = AgentClock(10, lambda _: started.append(now()))
        await outcome(Stack(Fallback(), provider=Models(a=failed(), b="from b")), to(B, clock=clock))
        return clock.started, clock.ends

    assert (virtual_time(main()), started) == ((True, 10), [0])


# ---- cancels


@pytest.mark.parametrize("moment", [1.0, 44.999, 46.0, 50.0])
def test_a_cancel_from_outside_ends_the_call_and_no_other_model_is_asked(moment: float) -> None:
    models, call = Models(a=HANG, b=HANG), clocked(90, B)

    async def main() -> int:
        task = asyncio.ensure_future(Stack(Fallback(), provider=models)(call))
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1000)
        return task.cancelling()

    virtual_time(main())
    assert models.names == (["a"] if moment < 45 else ["a", "b"])
    assert call.record.attempts[-1].cancelled is True


def test_a_cancel_at_the_moment_of_the_share_stays_a_cancel() -> None:
    models = Models(a=HANG, b="from b")

    async def main() -> None:
        task = asyncio.ensure_future(Stack(Fallback(), provider=models)(clocked(90, B)))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(45, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    virtual_time(main())
    assert models.names == ["a"]


def test_the_cancel_of_a_share_leaves_nothing_behind() -> None:
    async def main() -> int:
        models = Models(a=HANG, b="from b")
        await Stack(Fallback(), provider=models)(clocked(90, B))
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(1)
        return task.cancelling()

    assert virtual_time(main()) == 0


def test_an_agent_that_was_stopped_asks_no_other_model() -> None:
    """Code that turns a cancel into an error of the kind that falls back."""
    models, clock = Models(b="from b"), AgentClock(90)

    async def turning(call: Call, call_next: Next) -> Reply:
        clock.stopped = True  # as the runner does before it cancels
        raise Overloaded("it was cancelled")

    error = tried(Stack(Fallback(), turning, provider=models), to(B, clock=clock))
    assert (type(error), models.asked) == (Overloaded, [])


def test_no_request_is_sent_in_the_share_of_an_agent_that_was_stopped() -> None:
    models, clock = Models(a=failed()), AgentClock(90)

    async def stopping(call: Call, call_next: Next) -> Reply:
        clock.stopped = True
        return await call_next(call)

    error = tried(Stack(Fallback(), stopping, provider=models), to(B, clock=clock))
    assert (type(error), models.asked) == (asyncio.CancelledError, [])


def test_a_share_does_not_strike_in_a_call_that_was_stopped() -> None:
    clock = AgentClock(10)
    call = to(B, clock=clock)

    async def slow_to_end(call: Call) -> Reply:
        try:
            await asyncio.sleep(3)
        finally:
            await asyncio.sleep(3)
        return Reply("late")

    async def main() -> Any:
        task = asyncio.ensure_future(Stack(Fallback(), provider=slow_to_end)(call))
        await asyncio.sleep(2.5)
        clock.stopped = True
        task.cancel()
        return await asyncio.wait([task])

    virtual_time(main())
    assert (call.record.attempts[0].error, call.record.attempts[0].cancelled) == (None, True)


# ---- streams


def test_before_the_first_piece_a_stream_falls_back() -> None:
    call = to(B, stream=True)
    assert tried(Stack(Fallback(), provider=Models(a=failed(), b="from b")), call).text == "from b"
    assert [piece.text for piece in call.pieces] == ["from b"]


class Breaking:
    """A provider whose first model emits a piece, waits, and fails; it ends well with `error` None."""

    def __init__(self, error: CallError | None, seconds: float = 0.0) -> None:
        self.error = error
        self.seconds = seconds

    async def __call__(self, call: Call) -> Reply:
        assert call.emit is not None
        await call.emit(Delta(text=f"{call.model} "))
        if call.model == A:
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
        return Reply(f"{call.model} ")


def test_after_a_piece_was_emitted_no_other_model_is_asked_and_the_error_says_so() -> None:
    call = to(B, stream=True)
    error = tried(Stack(Fallback(), provider=Breaking(failed())), call)
    assert (type(error), error.reason) == (
        ProviderFailed,
        "no other model was asked: a part of the reply was emitted",
    )
    assert [piece.text for piece in call.pieces] == ["one/a "]


def test_with_restart_streams_another_model_begins_anew() -> None:
    call = to(B, stream=True)
    reply = tried(Stack(Fallback(restart_streams=True), provider=Breaking(failed())), call)
    assert reply.text == "two/b "
    assert [piece.restart or piece.text for piece in call.pieces] == ["one/a ", True, "two/b "]


def test_a_stream_that_has_begun_may_take_all_the_time_that_is_left() -> None:
    seen: list[float] = []

    async def look(call: Call, call_next: Next) -> Reply:
        reply = await call_next(call)
        seen.append(call.remaining())
        return reply

    call = clocked(90, B, stream=True)
    assert tried(Stack(Fallback(), look, provider=Breaking(None, 80)), call).text == "one/a "
    assert seen == [10]
    assert [piece.text for piece in call.pieces] == ["one/a "]


def test_with_restart_streams_the_share_ends_a_stream_too() -> None:
    call = clocked(90, B, stream=True)
    assert tried(Stack(Fallback(restart_streams=True), provider=Breaking(None, 80)), call).text == "two/b "
    assert isinstance(call.record.attempts[0].error, CallTimeout)


def test_a_stream_that_hangs_before_its_first_piece_falls_back() -> None:
    call = clocked(90, B, stream=True)
    assert tried(Stack(Fallback(), provider=Models(a=HANG, b="from b")), call).text == "from b"


# ---- what is told


def test_events_say_why_another_model_is_asked() -> None:
    told: list[Any] = []
    call = to(B)
    call.record.told = lambda *given: told.append(given)
    tried(Stack(Fallback(), provider=Models(a=failed(), b="from b")), call)
    [(cause, key, seconds, error)] = told
    assert (cause, key, seconds, type(error)) == ("backoff", B, 0.0, ProviderFailed)
    assert [wait.cause for wait in call.record.waits] == ["backoff"]


# ---- construction


@pytest.mark.parametrize(
    ("given", "models"),
    [
        (None, ()),
        ([], ()),
        (B, (B,)),
        ({"model": B}, (B,)),
        (Substitute(B), (B,)),
        ([B, {"model": C}], (B, C)),
        ({"model": "qwen", "base_url": "http://127.0.0.1:1/v1"}, ("compatible/qwen",)),
        ({"model": "openai/x", "base_url": "http://127.0.0.1:1/v1"}, ("openai/x",)),
    ],
)
def test_models_are_the_names_of_its_own_list(given: Any, models: tuple[str, ...]) -> None:
    assert Fallback(given).models == models


def test_two_layers_with_other_addresses_are_different() -> None:
    here, there = ({"model": B, "base_url": f"http://127.0.0.1:{port}/v1"} for port in (1, 2))
    assert Fallback(here) == Fallback(here)
    assert Fallback(here) != Fallback(there)


@pytest.mark.parametrize(
    "wrong", [5, [5], {"modle": B}, {}, {"model": B, "params": {"api_key": "x"}}, {"model": B, "base_url": "ftp://x"}]
)
def test_a_list_that_cannot_be_read_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        Fallback(wrong)


def test_a_model_of_the_list_that_may_not_be_called_is_a_config_error() -> None:
    class Routed:
        """Services that refuse every substitute."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            raise ConfigError("the environment variable B_API_KEY is not set", key="api_key_env")

    async def failing(call: Call, call_next: Next) -> Reply:
        raise failed()

    error = tried(Stack(Fallback(B), failing), to(services=Routed()))
    assert (type(error), error.key) == (ConfigError, "api_key_env")


def test_a_content_filter_is_one_services_own() -> None:
    models = Models(a=ContentBlocked("filtered"), b="from b")
    assert tried(Stack(Fallback(), Retry(), provider=models), to(B)).text == "from b"
    assert models.names == ["a", "b"]


def test_the_chat_span_names_the_model_that_failed() -> None:
    with recording() as spans:
        tried(Stack(Trace(), Fallback(), provider=Models(a=failed(), b="from b")), to(B))
        tried(Stack(Trace(), Fallback(), provider=Models(a="from a")), to(B))
    fallen, straight = ((span.attributes or {}) for span in spans.named("chat"))
    assert (fallen["gen_ai.request.model"], fallen["stretto.fallback_from"]) == ("a", A)
    assert "stretto.fallback_from" not in straight
    models = [(span.attributes or {})["gen_ai.request.model"] for span in spans.named("attempt")]
    assert models == ["a", "b", "a"]


# ---- in a run


def run(agent: Agent, **given: Any) -> Outcome:
    return virtual_time(Runner(**given).run(agent, "hello"))[agent.name]


def test_an_agents_fallback_answers_in_the_default_stack() -> None:
    told = run(Agent("a", model="simulated/fail-500", fallback=["simulated/fail-400", "simulated/echo"]))
    assert (told.status, told.output, told.reason) == ("ok", "hello", "")
    models = [attempt.model for attempt in told.attempts]
    assert models == ["simulated/fail-500"] * 3 + ["simulated/fail-400", "simulated/echo"]
    assert told.cost == 0.0
    assert told.usage.total_tokens == 2


def test_without_another_model_an_agent_fails_as_before() -> None:
    told = run(Agent("a", model="simulated/fail-400"))
    assert (told.status, told.reason) == (
        "failed",
        "agent 'a', simulated/fail-400, attempt 1, status 400: simulated 400",
    )


def test_an_agent_whose_models_all_fail_says_so() -> None:
    told = run(Agent("a", model="simulated/fail-400", fallback="simulated/fail-401"))
    assert told.status == "failed"
    assert told.reason == (
        "agent 'a', simulated/fail-401, attempt 2, status 401: simulated 401 "
        "(before it failed simulated/fail-400 (RequestRejected, status 400))"
    )


def test_an_agent_that_hangs_has_its_answer_within_its_timeout() -> None:
    told = run(Agent("a", model="simulated/hang", fallback="simulated/echo", timeout=20))
    assert (told.status, told.output) == ("ok", "hello")
    assert told.ended - told.started == pytest.approx(10)


def test_an_agent_whose_last_model_hangs_is_timed_out_by_its_own_clock() -> None:
    told = run(Agent("a", model="simulated/hang", fallback="simulated/hang+tokens-1", timeout=20))
    assert (told.status, told.reason) == ("timed_out", "the agent's clock of 20 s ran out")
    assert told.ended - told.started == pytest.approx(20)
    assert len(told.attempts) == 2


def test_the_share_is_part_of_the_runs_time_when_that_is_shorter() -> None:
    agent = Agent("a", model="simulated/hang", fallback="simulated/echo", timeout=60)
    whole = virtual_time(Runner().run(agent, "hello", timeout=8))
    assert (whole.status, whole["a"].output) == ("completed", "hello")
    assert whole["a"].ended - whole["a"].started == pytest.approx(4)


def test_a_run_that_is_cancelled_asks_no_other_model() -> None:
    agent = Agent("a", model="simulated/hang", fallback="simulated/echo")

    async def main() -> Outcome:
        running = Runner().start(agent, "hello")
        await asyncio.sleep(5)
        running.cancel()
        await running.wait()
        await asyncio.sleep(1000)
        return running["a"]

    told = virtual_time(main())
    assert (told.status, len(told.attempts), told.attempts[0].cancelled) == ("cancelled", 1, True)


def test_the_layers_own_list_serves_agents_without_one() -> None:
    runner = {"middleware": [Fallback("simulated/echo")]}
    assert run(Agent("a", model="simulated/fail-500"), **runner).output == "hello"
    told = run(Agent("a", model="simulated/fail-500", fallback="simulated/tokens-1"), **runner)
    assert told.attempts[-1].model == "simulated/tokens-1"


def test_a_stream_that_broke_off_keeps_its_partial_text() -> None:
    told = run(Agent("a", model="simulated/tokens-9+cut-3", fallback="simulated/echo", stream=True))
    assert told.status == "failed"
    assert len(told.text.split()) == 3
    assert "a part of the reply was emitted" in told.reason


def test_with_restart_streams_a_run_shows_the_restart() -> None:
    agent = Agent("a", model="simulated/tokens-9+cut-3", fallback="simulated/echo")

    async def main() -> list[str]:
        running = Runner(middleware=[Fallback(restart_streams=True)]).start(agent, "hello")
        seen = [event async for event in running.events()]
        assert running["a"].output == running["a"].text == "hello"
        return [event.type for event in seen if isinstance(event, AgentRetrying)] + [
            "restart" for event in seen if isinstance(event, AgentDelta) and event.delta.restart
        ]

    assert virtual_time(main()) == ["agent_retrying", "restart"]


async def test_a_key_goes_to_its_own_server_and_the_next_model_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND_API_KEY", "the-second-key")
    async with Loopback(Answer(status=500)) as first, Loopback(Answer("from the second")) as second:
        agent = Agent(
            "a",
            model="compatible/one",
            base_url=first.url,
            api_key="the-first-key",
            params={"extra_headers": {"x-gateway": "the-first-token"}, "seed": 1},
            fallback=[{"model": "two", "base_url": second.url, "params": {"seed": None}}],
        )
        async with Runner(middleware=[Fallback()]) as runner:
            assert (await runner.run(agent, "hello", stream=False)).output == "from the second"
            keyed = {"model": "two", "base_url": second.url, "api_key_env": "SECOND_API_KEY"}
            trusting = Runner(middleware=[Fallback()], trusted_origins=[second.origin])
            told = await trusting.run(replace(agent, fallback=keyed), "hello", stream=False)
            assert told.output == "from the second"
        assert first.requests[0].headers["authorization"] == "Bearer the-first-key"
        bare, with_key = second.requests
        assert (bare.json["model"], "authorization" in bare.headers, "seed" in bare.json) == ("two", False, False)
        assert with_key.headers["authorization"] == "Bearer the-second-key"
        for request in second.requests:
            assert b"the-first" not in request.raw


def test_a_model_that_may_not_be_called_is_refused_before_any_call() -> None:
    keyed = {"model": "openai/b", "api_key_env": "NOT_SET_ANYWHERE_API_KEY"}
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE_API_KEY is not set"):
        run(Agent("a", model="simulated/echo", fallback=keyed))
