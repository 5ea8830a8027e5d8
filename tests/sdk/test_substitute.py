"""Another model for an agent: how it is written, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from stretto import Agent
from stretto.errors import ConfigError
from stretto.substitute import SUBSTITUTE_KEYS, Substitute, substitutes

HERE = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, ()),
        ([], ()),
        ("openai/b", (Substitute("openai/b"),)),
        ({"model": "openai/b"}, (Substitute("openai/b"),)),
        (Substitute("openai/b"), (Substitute("openai/b"),)),
        (["openai/b", {"model": "b", "base_url": HERE}], (Substitute("openai/b"), Substitute("b", HERE))),
        (("openai/b", Substitute("x/c")), (Substitute("openai/b"), Substitute("x/c"))),
    ],
)
def test_a_model_a_mapping_or_a_list_of_those_is_read(given: Any, read: tuple[Substitute, ...]) -> None:
    assert substitutes(given) == read


def test_a_mapping_may_say_all_that_a_substitute_holds() -> None:
    given = {"model": "b", "base_url": HERE, "api_key_env": "B_API_KEY", "params": {"seed": 1, "stop": None}}
    assert tuple(given) == SUBSTITUTE_KEYS
    [read] = substitutes(given)
    assert {name: getattr(read, name) for name in SUBSTITUTE_KEYS} == given


def test_its_parameters_cannot_be_changed_afterwards() -> None:
    params = {"seed": 1}
    one = Substitute("openai/b", params=params)
    params["seed"] = 2
    assert dict(one.params or {}) == {"seed": 1}
    with pytest.raises(TypeError):
        one.params["seed"] = 2  # type: ignore[index]  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]


@pytest.mark.parametrize(
    ("given", "message", "key"),
    [
        (5, "fallback must be a model, a mapping with a model, or a list of those, got 5", "fallback"),
        (
            ["openai/b", None],
            "fallback must be a model, a mapping with a model, or a list of those, got None",
            "fallback",
        ),
        ({}, "fallback needs a model", "fallback"),
        ("", "fallback: model must be 'provider/model', got ''", "fallback"),
        ({"model": " "}, "fallback: model must be 'provider/model', got ' '", "fallback"),
        ({"model": 5}, "fallback: model must be 'provider/model', got 5", "fallback"),
        ({"model": "a/b", "api_key_env": 5}, "fallback: api_key_env must be a text, got 5", "fallback.api_key_env"),
        ({"model": "a/b", "params": [1]}, "fallback: params must be a mapping, got a list", "fallback.params"),
        ({"model": "a/b", "timeout": 5}, "'timeout' is not a key of fallback", "fallback.timeout"),
        ({"model": "a/b", 5: 5}, "5 is not a key of fallback", "fallback.5"),
    ],
)
def test_what_cannot_be_read_is_refused(given: Any, message: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        substitutes(given, agent="a")
    assert (caught.value.message, caught.value.key, caught.value.agent) == (message, key, "a")


def test_a_near_miss_is_named() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'base_url'\?"):
        substitutes({"model": "a/b", "base_ulr": HERE})


@pytest.mark.parametrize(
    "given",
    [
        {"model": "a/b", "base_url": "ftp://127.0.0.1/"},
        {"model": "a/b", "base_url": "http://me:secret@127.0.0.1/"},
        {"model": "a/b", "params": {"api_key": "sk-12345678"}},
        {"model": "a/b", "params": {"extra_headers": {"authorization": "Bearer 12345678"}}},
        {"model": "a/b", "params": {"tempreature": 1}},
    ],
)
def test_an_address_or_a_parameter_is_refused_as_of_an_agent_and_no_secret_is_repeated(given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent("a", model="x/y", fallback=given)
    assert caught.value.agent == "a"
    assert "12345678" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_parameter_that_is_left_out_is_checked_no_further() -> None:
    assert Substitute("a/b", params={"seed": None, "reasoning_effort": None}).params
