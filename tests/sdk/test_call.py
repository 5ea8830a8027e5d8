"""One request: its three verbs, whom a limit of it concerns, how long it has, what it will need."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any

import pytest

from stretto.address import origin
from stretto.attempt import Attempt, Record
from stretto.boundary import send
from stretto.call import Call, Endpoint
from stretto.deadline import AgentClock
from stretto.errors import ConfigError
from stretto.reply import Delta
from stretto.routing import Routing
from stretto.secret import Secret
from stretto.testing import Answers, Stack, a_call, virtual_time
from stretto.usage import Price, Usage

KEY = Secret("key-of-the-first")
FIRST = Endpoint("https://first.example/v1", KEY)


def routed(environ: dict[str, str] | None = None, **fields: Any) -> Call:
    providers = {"one": Answers(), "two": Answers()}
    services = Routing(providers, (), {"one/priced": Price(1.0, 2.0)}, environ or {})
    return a_call(**{"model": "one/m", "endpoint": FIRST, "services": services, **fields})


def fields_of(call: Call, *without: str) -> dict[str, Any]:
    return {f.name: getattr(call, f.name) for f in dataclasses.fields(Call) if f.name not in without}


# ---- with_


def test_with_keeps_everything_that_is_not_changed() -> None:
    call = a_call(stream=True, deadline=9.0, scratch={"seen": 1}, metadata={"tenant": "a"})
    changed = call.with_(messages=({"role": "user", "content": "other"},))
    assert fields_of(changed, "messages") == fields_of(call, "messages")
    assert changed.messages == ({"role": "user", "content": "other"},)
    assert changed.attempt is call.attempt
    assert changed.record is call.record
    assert changed.scratch is call.scratch


def test_with_leaves_the_call_as_it_was() -> None:
    call = a_call()
    call.with_(model="simulated/other", agent="other")
    assert (call.model, call.agent) == ("simulated/echo", "tester")


def test_a_list_of_messages_becomes_a_tuple() -> None:
    call = a_call()
    longer = call.with_(messages=[*call.messages, {"role": "user", "content": "more"}])
    assert (longer.messages + longer.messages)[1] == {"role": "user", "content": "more"}


def test_a_deadline_may_be_set_and_lowered() -> None:
    call = a_call().with_(deadline=10.0)
    assert call.with_(deadline=4.0).deadline == 4.0


@pytest.mark.parametrize("verb", ["with_", "again"])
@pytest.mark.parametrize("deadline", [11.0, math.inf, None])
def test_a_deadline_may_not_be_raised(verb: str, deadline: float | None) -> None:
    call = a_call(deadline=10.0)
    with pytest.raises(ConfigError, match=f"only be lowered: it is 10.0, got {deadline}"):
        getattr(call, verb)(deadline=deadline)


@pytest.mark.parametrize("verb", ["with_", "again", "apart"])
def test_a_field_that_does_not_exist_is_named(verb: str) -> None:
    with pytest.raises(TypeError, match="a Call has no field 'modle'"):
        getattr(a_call(), verb)(modle="simulated/x")


@pytest.mark.parametrize("verb", ["with_", "again", "apart"])
@pytest.mark.parametrize("name", ["api_base", "num_retries", "api_key", "mock_response", "callbacks"])
def test_no_verb_lets_a_parameter_in_that_steers_the_client(verb: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"params.{name} is not a chat parameter: use"):
        getattr(a_call(), verb)(params={name: "x"})


def test_extra_body_and_headers_among_the_parameters_become_fields() -> None:
    call = a_call().with_(params={"seed": 1, "extra_body": {"top_k": 3}, "extra_headers": {"x-a": "1"}})
    assert (dict(call.params), dict(call.extra_body), dict(call.extra_headers)) == (
        {"seed": 1},
        {"top_k": 3},
        {"x-a": "1"},
    )


def test_extra_body_that_is_given_as_a_field_wins() -> None:
    call = a_call().with_(params={"extra_body": {"top_k": 3}}, extra_body={"top_k": 4})
    assert dict(call.extra_body) == {"top_k": 4}


def test_parameters_of_a_call_cannot_be_written() -> None:
    call = a_call().with_(params={"seed": 1})
    with pytest.raises(TypeError):
        call.params["seed"] = 2  # type: ignore[index]


def test_a_call_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_call().model = "simulated/other"  # type: ignore[misc]


# ---- addresses


def test_another_model_of_the_same_provider_keeps_the_endpoint() -> None:
    changed = routed().with_(model="one/other")
    assert changed.endpoint == FIRST


@pytest.mark.parametrize("verb", ["with_", "again", "apart"])
def test_another_provider_resets_address_and_key(verb: str) -> None:
    changed = getattr(routed(), verb)(model="two/m")
    assert changed.endpoint == Endpoint()


def test_another_provider_resets_the_endpoint_of_a_call_without_services_too() -> None:
    assert a_call(endpoint=FIRST).with_(model="two/m").endpoint == Endpoint()


def test_the_new_provider_gets_its_own_key_at_once() -> None:
    services = Routing({"openai": Answers(), "one": Answers()}, (), None, {"OPENAI_API_KEY": "key-of-openai"})
    changed = routed(services=services).again(model="openai/gpt")
    assert changed.endpoint == Endpoint(None, Secret("key-of-openai"))


def test_an_endpoint_that_is_given_with_the_model_counts() -> None:
    given = Endpoint("https://second.example", Secret("key-of-the-second"))
    assert routed().with_(model="two/m", endpoint=given).endpoint == given


def test_an_endpoint_that_is_given_alone_is_completed() -> None:
    services = Routing({"openai": Answers()}, (), None, {"OPENAI_API_KEY": "key-of-openai"})
    call = a_call(model="openai/gpt", services=services, endpoint=FIRST)
    own = call.with_(endpoint=Endpoint("https://api.openai.com/v1"))
    assert own.endpoint.api_key == Secret("key-of-openai")
    assert call.with_(endpoint=Endpoint("https://evil.example/v1")).endpoint.api_key is None


def test_a_model_that_nobody_knows_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="no provider is known for 'three/m'"):
        routed().with_(model="three/m")


# ---- again and apart


def test_again_is_another_request_of_the_same_logical_call() -> None:
    call = a_call(stream=True, deadline=9.0)
    again = call.again()
    assert again.attempt is not call.attempt
    assert fields_of(again, "attempt") == fields_of(call, "attempt")
    assert again.record is call.record
    assert not again.attempt.hedge


def test_a_hedge_says_so() -> None:
    assert a_call().again(hedge=True).attempt.hedge


def test_again_has_an_attempt_of_its_own_whatever_is_given() -> None:
    call = a_call()
    assert call.again(attempt=call.attempt).attempt is not call.attempt


async def test_requests_sent_with_again_are_counted_in_one_record() -> None:
    call = a_call()

    async def twice(call: Call, call_next: Any) -> Any:
        await call_next(call)
        return await call_next(call.again(model="simulated/other"))

    await Stack(twice)(call)
    assert [(a.number, a.model) for a in call.record.attempts] == [(1, "simulated/echo"), (2, "simulated/other")]


async def test_the_same_request_cannot_be_sent_twice() -> None:
    async def twice(call: Call, call_next: Any) -> Any:
        await call_next(call)
        return await call_next(call.with_(model="simulated/other"))

    with pytest.raises(RuntimeError, match="sent already"):
        await Stack(twice)(a_call())


def test_apart_is_another_logical_call() -> None:
    call = a_call(stream=True, deadline=9.0, scratch={"seen": 1}, clock=AgentClock(3))
    apart = call.apart(model="simulated/shadow")
    assert apart.attempt is not call.attempt
    assert apart.record is not call.record
    assert (apart.emit, apart.deadline, apart.clock, apart.scratch) == (None, None, None, {})
    assert (apart.agent, apart.messages, apart.model) == (call.agent, call.messages, "simulated/shadow")


async def test_shadow_traffic_is_counted_for_nobody() -> None:
    call = a_call(stream=True)

    async def shadow(call: Call, call_next: Any) -> Any:
        await call_next(call.apart())
        return await call_next(call)

    provider = Answers("hello")
    await Stack(shadow, provider=provider)(call)
    assert len(provider.calls) == 2
    assert (len(call.record.attempts), call.pieces) == (1, [Delta(text="hello")])


def test_apart_may_be_given_a_deadline_and_an_emit() -> None:
    call = a_call(stream=True, deadline=9.0)
    apart = call.apart(deadline=20.0, emit=call.emit)
    assert (apart.deadline, apart.emit) == (20.0, call.emit)


async def test_a_call_that_nobody_made_cannot_be_sent() -> None:
    call = a_call()
    with pytest.raises(RuntimeError, match="made without a runner"):
        await send(call)
    assert call.attempt.started is None


def test_two_calls_share_nothing_that_can_be_written() -> None:
    one, other = Call(agent="a"), Call(agent="a")
    assert one.attempt is not other.attempt
    assert one.record is not other.record
    assert one.scratch is not other.scratch
    assert isinstance(one.attempt, Attempt)
    assert isinstance(one.record, Record)


# ---- limit key


def test_the_limit_key_names_provider_origin_account_and_model() -> None:
    key = a_call(model="one/org/m", endpoint=FIRST).limit_key
    assert (key.provider, key.origin, key.model) == ("one", "https://first.example:443", "org/m")
    assert len(key.account) == 8
    assert KEY.reveal() not in str(key)
    assert str(key) == f"one/org/m ({key.account}@https://first.example:443)"


def test_the_limit_key_of_a_provider_s_own_address_is_short() -> None:
    assert str(a_call(model="one/m").limit_key) == "one/m"
    assert a_call(model="one/m").limit_key.origin == ""


@pytest.mark.parametrize(
    "url",
    ["https://FIRST.example/v1", "https://first.example:443/v2", "https://first.example", "HTTPS://first.example/"],
)
def test_one_origin_has_one_limit_key_however_it_is_written(url: str) -> None:
    assert a_call(endpoint=Endpoint(url, KEY)).limit_key == a_call(endpoint=FIRST).limit_key


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint("http://first.example/v1", KEY),
        Endpoint("https://first.example:8443/v1", KEY),
        Endpoint("https://other.example/v1", KEY),
        Endpoint("https://first.example/v1", Secret("key-of-the-second")),
        Endpoint("https://first.example/v1"),
    ],
)
def test_another_origin_or_account_has_another_limit_key(endpoint: Endpoint) -> None:
    assert a_call(endpoint=endpoint).limit_key != a_call(endpoint=FIRST).limit_key


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/v1", "https://h:443"),
        ("http://H", "http://h:80"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ("http://[FE80::1]", "http://[fe80::1]:80"),
    ],
)
def test_an_origin_can_be_written_as_an_address_again(url: str, expected: str) -> None:
    assert origin(url) == expected
    assert origin(expected) == expected


# ---- time


def test_without_deadline_and_clock_the_time_is_endless() -> None:
    assert a_call().remaining() == math.inf


def test_remaining_counts_down_to_the_deadline() -> None:
    async def main() -> None:
        call = a_call(deadline=asyncio.get_running_loop().time() + 10)
        await asyncio.sleep(4)
        assert call.remaining() == pytest.approx(6)
        await asyncio.sleep(8)
        assert call.remaining() == pytest.approx(-2)

    virtual_time(main())


def test_before_admission_the_agents_whole_timeout_counts() -> None:
    async def main() -> None:
        call = a_call(clock=AgentClock(10))
        await asyncio.sleep(7)
        assert call.remaining() == 10

    virtual_time(main())


def test_after_admission_the_agents_clock_runs() -> None:
    async def main() -> None:
        call = a_call(clock=AgentClock(10))
        assert call.clock is not None
        call.clock.start()
        await asyncio.sleep(7)
        assert call.remaining() == pytest.approx(3)

    virtual_time(main())


@pytest.mark.parametrize(("deadline", "timeout", "expected"), [(5, 10, 5), (10, 5, 5), (5, None, 5)])
def test_the_nearest_of_deadline_and_clock_counts(deadline: float, timeout: float | None, expected: float) -> None:
    async def main() -> None:
        call = a_call(deadline=asyncio.get_running_loop().time() + deadline, clock=AgentClock(timeout))
        assert call.remaining() == pytest.approx(expected)

    virtual_time(main())


# ---- estimate and price


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        ((), 0),
        (({"role": "user", "content": "x" * 40},), 14),
        (({"role": "user", "content": "x" * 41},), 15),
        (({"role": "system", "content": "x" * 20}, {"role": "user", "content": "x" * 20}), 18),
        (({"role": "user", "content": [{"type": "text", "text": "x" * 8}, {"type": "image_url"}]},), 6),
        (({"role": "assistant", "content": None},), 4),
    ],
)
def test_four_characters_are_a_token_and_a_message_is_four(messages: Any, tokens: int) -> None:
    assert a_call(messages=messages).estimate() == Usage(tokens, 500, estimated=True)


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        ({"max_tokens": 20}, 20),
        ({"max_completion_tokens": 30}, 30),
        ({"max_tokens": 20, "max_completion_tokens": 30}, 30),
        ({"max_tokens": None}, 500),
        ({"max_tokens": "many"}, 500),
    ],
)
def test_the_answer_is_expected_to_be_as_long_as_it_may(params: dict[str, Any], tokens: int) -> None:
    assert a_call(params=params).estimate().output_tokens == tokens


def test_the_price_is_that_of_the_model() -> None:
    assert routed().with_(model="one/priced").price == Price(1.0, 2.0)
    assert routed().price is None
    assert a_call().price is None


def test_until_it_is_admitted_only_absolute_deadlines_bound_a_wait_before_sending() -> None:
    async def main() -> None:
        clock = AgentClock(5)
        assert math.inf == a_call(clock=clock).patience()
        assert a_call(clock=clock, deadline=asyncio.get_running_loop().time() + 3).patience() == pytest.approx(3)
        clock.start()
        assert a_call(clock=clock).patience() == pytest.approx(5)

    virtual_time(main())
