"""The order of layers: the default stack, the one merge rule, names, and the chain that a call passes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from stretto import default_stack
from stretto.agent import Agent
from stretto.call import Call
from stretto.contract import Middleware, Next
from stretto.ensemble import Ensemble
from stretto.errors import ConfigError
from stretto.middleware import ConcurrencyLimit, Fallback, RateLimit, Retry, Timeout, Trace
from stretto.reply import Reply
from stretto.runner import Runner
from stretto.stack import ORDER, chain, checked, merge, names, shipped_layer, unbounded
from stretto.testing import Stack, a_call

DEFAULT = ["trace", "fallback", "retry", "concurrency_limit", "rate_limit", "timeout"]


def layer(name: str) -> Middleware:
    """Make a plain function of this name."""

    async def made(call: Call, call_next: Next) -> Reply:
        call.scratch.setdefault("seen", []).append(name)
        return await call_next(call)

    made.__name__ = name
    return made


class MyLimit:
    """A class as users write it."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        call.scratch.setdefault("seen", []).append(self)
        return await call_next(call)


class MyRetry(Retry):
    """A shipped layer, extended."""


# ---- default_stack


def test_the_default_stack_is_the_table_s() -> None:
    assert names(default_stack()) == DEFAULT


def test_every_default_layer_is_as_called_without_arguments() -> None:
    trace, fallback, retry, concurrency, rate, timeout = default_stack()
    assert isinstance(trace, Trace)
    assert fallback == Fallback()
    assert isinstance(concurrency, ConcurrencyLimit)
    assert isinstance(rate, RateLimit)
    assert timeout == Timeout()
    assert isinstance(retry, Retry)
    assert retry.attempts == 3


def test_two_default_stacks_share_no_layer_with_state() -> None:
    assert default_stack()[3] is not default_stack()[3]


def test_your_layers_stand_just_outside_retry_in_their_order() -> None:
    stack = default_stack(layer("one"), layer("two"))
    assert names(stack) == ["trace", "fallback", "one", "two", "retry", "concurrency_limit", "rate_limit", "timeout"]


def test_a_replacement_stands_in_its_place() -> None:
    retry = Retry(5)
    assert default_stack(retry=retry)[2] is retry


def test_any_layer_may_be_a_replacement() -> None:
    fair = MyLimit()
    stack = default_stack(concurrency_limit=fair)
    assert names(stack) == ["trace", "fallback", "retry", "my_limit", "rate_limit", "timeout"]
    assert stack[3] is fair


def test_none_leaves_a_layer_out() -> None:
    assert names(default_stack(retry=None, trace=None)) == ["fallback", "concurrency_limit", "rate_limit", "timeout"]
    assert names(default_stack(budget=None)) == DEFAULT


def test_a_place_that_is_not_in_the_default_stack_may_be_taken() -> None:
    assert names(default_stack(hedge=layer("mine"))) == [*DEFAULT[:3], "mine", *DEFAULT[3:]]


def test_without_retry_your_layer_stands_where_it_would_stand() -> None:
    assert names(default_stack(layer("mine"), retry=None)) == [
        "trace",
        "fallback",
        "mine",
        "concurrency_limit",
        "rate_limit",
        "timeout",
    ]


def test_an_unknown_place_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="the stack has no place 'ratelimit'") as error:
        default_stack(ratelimit=RateLimit(requests=1))
    assert error.value.nearest == "rate_limit"


@pytest.mark.parametrize("wrong", [Retry, 3, "retry"])
def test_a_replacement_that_is_no_layer_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        default_stack(retry=wrong)


def test_a_shipped_layer_among_yours_takes_its_own_place() -> None:
    stack = default_stack(RateLimit(requests=9, name="tenant"), Retry(5))
    assert names(stack) == ["trace", "fallback", "retry", "concurrency_limit", "rate_limit", "tenant", "timeout"]
    assert isinstance(stack[2], Retry)
    assert stack[2].attempts == 5


def test_a_shipped_layer_is_found_by_its_name() -> None:
    assert [shipped_layer(name) for name in DEFAULT] == [
        Trace,
        Fallback,
        Retry,
        ConcurrencyLimit,
        RateLimit,
        Timeout,
    ]
    assert set(DEFAULT) < set(ORDER)


# ---- merge


def merged(base: list[Middleware], *over: Middleware) -> list[str]:
    return names(merge(tuple(base), over))


def test_a_layer_replaces_the_one_of_its_name() -> None:
    base, mine = (Retry(2), Timeout(5)), Timeout(9)
    assert merge(base, [mine]) == (base[0], mine)


def test_a_function_replaces_the_one_of_its_name() -> None:
    base, mine = (layer("log"), Retry()), layer("log")
    assert merge(base, [mine])[0] is mine
    assert len(merge(base, [mine])) == 2


def test_a_layer_of_yours_replaces_a_shipped_one_by_its_name() -> None:
    mine = MyLimit(name="retry")
    assert merge((Trace(), Retry(), Timeout()), [mine])[1] is mine


def test_a_shipped_layer_with_a_new_name_takes_the_table_s_place() -> None:
    base = [Trace(), layer("mine"), Retry(), Timeout()]
    assert merged(base, ConcurrencyLimit(3)) == ["trace", "mine", "retry", "concurrency_limit", "timeout"]
    assert merged(base, Trace(name="second")) == ["trace", "second", "mine", "retry", "timeout"]
    assert merged(base, Timeout(name="inner")) == ["trace", "mine", "retry", "timeout", "inner"]


def test_a_class_that_extends_a_shipped_one_takes_its_place() -> None:
    assert merged([Trace(), ConcurrencyLimit(3)], MyRetry()) == ["trace", "retry", "concurrency_limit"]


def test_one_of_yours_goes_just_outside_retry() -> None:
    assert merged([Trace(), layer("first"), Retry(), Timeout()], MyLimit()) == [
        "trace",
        "first",
        "my_limit",
        "retry",
        "timeout",
    ]


def test_one_of_yours_goes_innermost_where_nothing_stands_below_retry() -> None:
    assert merged([Trace(), layer("first")], layer("second")) == ["trace", "first", "second"]
    assert merged([], layer("only")) == ["only"]


def test_nothing_laid_over_changes_nothing() -> None:
    base = (Trace(), Retry())
    assert merge(base, ()) == base


def test_merging_leaves_the_base_as_it_was() -> None:
    base = default_stack()
    merge(tuple(base), [layer("mine")])
    assert names(base) == DEFAULT


def test_two_of_one_name_laid_over_are_refused() -> None:
    with pytest.raises(ConfigError, match="two layers are named 'retry'"):
        merge((), [Retry(1), Retry(2)])


def test_two_classes_laid_over_are_refused_as_classes() -> None:
    with pytest.raises(ConfigError, match=r"Retry is a class: put an instance into the stack, Retry\(\.\.\.\)"):
        merge((), [Retry, Timeout])  # type: ignore[list-item]


def test_ensemble_and_agent_are_laid_over_the_runner_in_turn() -> None:
    runner = Runner(middleware=[Trace(), Retry(2), Timeout(5)])
    ensemble = Ensemble(
        "e",
        [Agent("a", middleware=[Timeout(9), layer("of_the_agent")]), Agent("b")],
        model="simulated/echo",
        middleware=[layer("of_the_ensemble")],
    )
    described = {agent["name"]: agent["middleware"] for agent in runner.describe(ensemble)["agents"]}
    assert described == {
        "a": ["trace", "of_the_ensemble", "of_the_agent", "retry", "timeout"],
        "b": ["trace", "of_the_ensemble", "retry", "timeout"],
    }


# ---- names


def test_plain_functions_of_one_name_are_numbered() -> None:
    assert names([layer("mw"), layer("mw"), layer("other"), layer("mw")]) == ["mw", "mw_2", "other", "mw_3"]


def test_a_numbered_name_is_never_taken_twice() -> None:
    found = names([layer("mw_2"), layer("mw"), layer("mw"), layer("mw_2")])
    assert len(set(found)) == 4
    assert found[:3] == ["mw_2", "mw", "mw_3"]


def test_a_class_is_named_in_snake_case_and_an_instance_may_say_otherwise() -> None:
    assert names([MyLimit(), MyLimit(name="tenants"), Timeout(name="inner")]) == ["my_limit", "tenants", "inner"]


@pytest.mark.parametrize("two", [[Timeout(1), Timeout(2)], [MyLimit(), MyLimit()], [layer("mw"), MyLimit(name="mw")]])
def test_two_layers_of_one_name_are_refused_with_the_cure(two: list[Middleware]) -> None:
    with pytest.raises(ConfigError, match=r"two layers are named '\w+': give one another, \w+\(name=\.\.\.\)"):
        checked(two)


# ---- checks


@pytest.mark.parametrize("wrong", [None, 3, "retry", object(), [Retry()]])
def test_what_cannot_be_called_is_no_layer(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="a layer must be callable as layer") as error:
        checked([wrong])
    assert error.value.key == "middleware"


def test_a_class_is_no_layer() -> None:
    with pytest.raises(ConfigError, match="Retry is a class"):
        checked([Retry])  # type: ignore[list-item]


@pytest.mark.parametrize("kinds", ["llm", ("lllm",), ("llm", "tool")])
def test_kinds_that_would_leave_a_layer_out_silently_are_refused(kinds: Any) -> None:
    with pytest.raises(ConfigError, match="kinds of the layer MyLimit must be a tuple of llm, script, function"):
        checked([MyLimit(kinds=kinds)])


def test_the_table_s_order_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked([layer("any"), *default_stack(layer("mine")), layer("where")])


@pytest.mark.parametrize(
    ("stack", "inner", "outer"),
    [
        ([RateLimit(requests=1), ConcurrencyLimit(1)], "ConcurrencyLimit", "RateLimit"),
        ([Timeout(), layer("between"), Retry()], "Retry", "Timeout"),
        ([Retry(), Trace()], "Trace", "Retry"),
        ([Retry(), Fallback()], "Fallback", "Retry"),
        ([Timeout(), MyRetry()], "MyRetry", "Timeout"),
    ],
)
def test_another_order_of_shipped_layers_is_warned_of(stack: list[Middleware], inner: str, outer: str) -> None:
    with pytest.warns(UserWarning, match=f"^{inner} belongs outside of {outer}: trace, budget, cache"):
        checked(stack)
    with pytest.warns(UserWarning, match="belongs outside"):
        Runner(middleware=stack)


# ---- the chain


async def test_the_first_layer_is_the_outermost() -> None:
    call = a_call()
    await Stack(layer("first"), layer("second"), layer("third"))(call)
    assert call.scratch["seen"] == ["first", "second", "third"]


async def test_a_layer_sees_only_calls_of_its_kinds() -> None:
    async def work(call: Call) -> Reply:
        return Reply("done")

    llm, both, functions = MyLimit(), MyLimit(kinds=("llm", "function")), MyLimit(kinds=["function"])
    call = a_call(kind="function", model="", work=work)
    reply = await chain([llm, both, functions], "function")(call)
    assert (reply.text, call.scratch["seen"]) == ("done", [both, functions])
    call = a_call(work=work)
    await chain([llm, both, functions], "llm")(call)
    assert call.scratch["seen"] == [llm, both]


def partial_layer() -> Callable[..., Any]:
    async def made(prefix: str, call: Call, call_next: Next) -> Reply:
        reply = await call_next(call)
        return Reply(prefix + reply.text)

    return functools.partial(made, ">")


async def test_whatever_can_be_called_is_a_layer() -> None:
    assert (await Stack(partial_layer())(a_call())).text == ">ok"


@pytest.mark.parametrize(
    ("stack", "timeout", "expected"),
    [
        ([Retry()], None, True),
        ([Retry(), Timeout()], None, True),
        ([Retry(), Timeout(30)], None, False),
        ([Retry()], 60, False),
    ],
)
def test_nothing_bounds_an_attempt_without_a_total_and_a_timeout(
    stack: list[Middleware], timeout: float | None, expected: bool
) -> None:
    assert unbounded(stack, timeout) is expected
