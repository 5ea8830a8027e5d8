"""`Loop`: what it holds, refused at construction."""

from __future__ import annotations

from typing import Any

import pytest

from nesting import child, echo
from stretto import Agent
from stretto.errors import ConfigError
from stretto.loop import LOOP_KEYS, Loop, as_loop

BODY = child(Agent("a", function=echo), name="body")


def test_the_keys_are_the_fields() -> None:
    assert LOOP_KEYS == ("body", "max_iterations", "until", "carry")


@pytest.mark.parametrize("most", [1, 2, 10**9])
def test_one_round_or_more(most: int) -> None:
    assert Loop(BODY, most).max_iterations == most


@pytest.mark.parametrize("most", [0, -1, 1.0, 2.5, "2", True, False, None, [], float("nan")])
def test_any_other_number_of_rounds_is_refused(most: Any) -> None:
    with pytest.raises(ConfigError, match="max_iterations must be a whole number of 1 or more") as error:
        Loop(BODY, most)
    assert error.value.key == "loop.max_iterations"


@pytest.mark.parametrize(
    "until", ["${body}", "${body.done}", "${ body.a.0 } == 'x y'", "${body.n} != 3", "${input.x}", "${input}", None]
)
def test_until_is_a_guard_over_the_body_or_the_input(until: str | None) -> None:
    assert Loop(BODY, 2, until).until == until


@pytest.mark.parametrize(
    "until", ["", "done", "${done}", "${bodyx.done}", "${body.done} > 3", "${dependencies}", "$${body}", "${", "${}"]
)
def test_any_other_until_is_refused(until: str) -> None:
    with pytest.raises(ConfigError) as error:
        Loop(BODY, 2, until)
    assert error.value.key == "loop.until"
    assert "body" in str(error.value)


@pytest.mark.parametrize("carry", ["", "again", "${body}", "${body.a.0}", "${input}: ${body.x} $${y}", "${input.q}"])
def test_carry_is_a_text_with_marks_of_the_body_or_the_input(carry: str) -> None:
    assert Loop(BODY, 2, carry=carry).carry == carry


@pytest.mark.parametrize("carry", ["${next}", "x ${agent.y}", "${dependencies}", "${item}", "${", "${ }"])
def test_any_other_mark_in_carry_is_refused(carry: str) -> None:
    with pytest.raises(ConfigError) as error:
        Loop(BODY, 2, carry=carry)
    assert error.value.key == "loop.carry"


@pytest.mark.parametrize("key", ["until", "carry"])
@pytest.mark.parametrize("value", [True, 5, ["${body}"], {"x": 1}])
def test_what_is_no_text_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"loop.{key} must be a text") as error:
        Loop(BODY, 2, **{key: value})
    assert error.value.key == f"loop.{key}"


def test_a_loop_is_given_as_it_is() -> None:
    loop = Loop(BODY, 2)
    assert as_loop(loop, agent="me") is loop


def test_a_mapping_becomes_a_loop() -> None:
    made = as_loop({"body": BODY, "max_iterations": 2, "until": "${body.x}", "carry": None}, agent="me")
    assert made == Loop(BODY, 2, "${body.x}")


@pytest.mark.parametrize("given", [5, "body", [BODY, 2], None, True])
def test_what_is_no_mapping_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="loop must be a mapping of body, max_iterations, until, carry") as error:
        as_loop(given, agent="me")
    assert (error.value.agent, error.value.key) == ("me", "loop")


@pytest.mark.parametrize(("key", "nearest"), [("max_iteration", "max_iterations"), ("untill", "until"), ("zzz", None)])
def test_a_key_that_a_loop_does_not_have_is_refused_with_the_nearest(key: str, nearest: str | None) -> None:
    with pytest.raises(ConfigError, match=f"{key!r} is not a key of loop") as error:
        as_loop({"body": BODY, "max_iterations": 2, key: 1}, agent="me")
    assert (error.value.agent, error.value.key, error.value.nearest) == ("me", f"loop.{key}", nearest)


@pytest.mark.parametrize("key", ["body", "max_iterations"])
def test_body_and_number_of_rounds_are_needed(key: str) -> None:
    for given in ({}, {key: None}):
        values = {"body": BODY, "max_iterations": 2}
        del values[key]
        with pytest.raises(ConfigError, match=f"loop needs {key}"):
            as_loop({**values, **given}, agent="me")


def test_what_is_wrong_in_it_names_the_agent() -> None:
    with pytest.raises(ConfigError) as error:
        Agent("me", loop={"body": BODY, "max_iterations": 0})
    assert (error.value.agent, error.value.key) == ("me", "loop.max_iterations")


@pytest.mark.parametrize("body", [5, "", " ", None, [], Agent("a", function=echo)])
def test_a_body_is_an_ensemble_or_a_name(body: Any) -> None:
    with pytest.raises(ConfigError, match=r"body"):
        Agent("me", loop={"body": body, "max_iterations": 2})
