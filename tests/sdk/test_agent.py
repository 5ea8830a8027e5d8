"""An agent is checked when it is made: every refusal names agent, key, bound and value."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from stretto.address import check_base_url
from stretto.agent import AGENT_KEYS, Agent
from stretto.agent_rules import check_agent_name
from stretto.errors import ConfigError
from stretto.secret import Secret
from stretto.testing import Answers


def refused(name: Any = "a", /, **given: Any) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        Agent(name, **given)
    return error.value


@pytest.mark.parametrize("name", ["a", "Prüfer 2", "a.b/c-d_e", "x" * 200, "名前", "🎵"])
def test_a_name_is_any_text(name: str) -> None:
    assert Agent(name).name == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "1 to 200 characters"),
        ("  ", "1 to 200 characters"),
        (None, "1 to 200 characters"),
        (7, "1 to 200 characters"),
        ("x" * 201, "at most 200 characters, got 201"),
        ("a\nb", "no control characters"),
        ("a\x1b[31m", "no control characters"),
        ("a\u202eb", "no control characters"),
        ("a\u2028b", "no control characters"),
        ("a\ud800", "no control characters"),
    ],
)
def test_other_names_are_refused(name: Any, why: str) -> None:
    error = refused(name)
    assert why in str(error)
    assert error.key == "name"


def test_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(ConfigError) as error:
        check_agent_name("x" * 100_000)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"on_dependency_failure": "stop"}, "on_dependency_failure must be 'skip' or 'run', got 'stop'"),
        ({"stream": "yes"}, "stream must be true or false, got 'yes'"),
        ({"timeout": 0}, "timeout must be seconds above 0, got 0"),
        ({"timeout": "5"}, "timeout must be seconds above 0, got '5'"),
        ({"model": ""}, "model must be 'provider/model', got ''"),
        ({"model": 5}, "model must be 'provider/model', got 5"),
        ({"function": "f"}, "function must be callable, got 'f'"),
        ({"system_prompt": 3}, "system_prompt must be a text, got 3"),
        ({"prompt": 3}, "prompt must be a text, got 3"),
        ({"when": True}, "when must be a text, got True"),
        ({"api_key_env": 1}, "api_key_env must be a text, got 1"),
        ({"api_key": ""}, "api_key must be a text that is not empty"),
        ({"api_key": 5}, "api_key must be a text that is not empty"),
        ({"depends_on": "b"}, "depends_on must be a list of names: write ['b']"),
        ({"depends_on": None}, "depends_on must be a list of names, got None"),
        ({"depends_on": 3}, "depends_on must be a list of names, got 3"),
        ({"depends_on": {"b": 1}}, "depends_on must be a list of names, got a mapping"),
        ({"depends_on": ["b", 3]}, "depends_on must be a list of names, got 3 in it"),
        ({"middleware": 3}, "middleware must be a list of layers, got 3"),
        ({"params": ["temperature"]}, "params must be a mapping, got list"),
        ({"base_url": "ftp://h"}, "base_url must be an http(s) address, got 'ftp://h'"),
    ],
)
def test_a_wrong_value_names_agent_key_bound_and_value(given: dict[str, Any], message: str) -> None:
    error = refused(**given)
    assert str(error) == f"agent 'a': {message}"
    assert (error.agent, error.key) == ("a", next(iter(given)))


def test_a_refused_key_does_not_show_it() -> None:
    assert "hunter2" not in str(refused(api_key=["hunter2"]))


def test_an_agent_has_one_kind_of_work() -> None:
    error = refused(model="simulated/echo", function=print)
    assert "exactly one kind of work" in str(error)


@pytest.mark.parametrize("key", ["system_prompt", "prompt"])
def test_a_broken_mark_is_refused_when_the_agent_is_made(key: str) -> None:
    error = refused(**{key: "Say ${input"})
    assert (error.agent, error.key) == ("a", key)


def test_a_broken_guard_is_refused_when_the_agent_is_made() -> None:
    assert "when must be" in str(refused(when="${b} > 3"))


def test_a_parameter_that_steers_the_client_is_refused() -> None:
    assert refused(params={"api_base": "http://evil"}).key == "params.api_base"


def test_a_key_becomes_a_secret() -> None:
    agent = Agent("a", api_key="very-secret-key")
    assert agent.api_key == Secret("very-secret-key")
    assert "very-secret-key" not in repr(agent)


def test_a_secret_stays_the_one_it_is() -> None:
    secret = Secret("very-secret-key")
    assert Agent("a", api_key=secret).api_key is secret


def test_lists_become_tuples_and_dependencies_are_named_once() -> None:
    layer = Answers()
    agent = Agent("a", depends_on=["b", "c", "b"], middleware=[layer])  # type: ignore[list-item]
    assert agent.depends_on == ("b", "c")
    assert agent.middleware == (layer,)


def test_later_changes_of_what_was_given_change_nothing() -> None:
    params = {"seed": 1}
    agent = Agent("a", params=params)
    params["seed"] = 2
    assert agent.params == {"seed": 1}
    with pytest.raises(TypeError):
        agent.params["seed"] = 3  # type: ignore[index]


def test_an_agent_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Agent("a").timeout = 3  # type: ignore[misc]


def test_a_prompt_may_be_a_function() -> None:
    assert Agent("a", prompt=str).prompt is str


def test_everything_may_be_left_out() -> None:
    agent = Agent("a")
    assert {getattr(agent, key) for key in AGENT_KEYS if key not in ("name", "depends_on")} == {None}
    assert agent.depends_on == ()


@pytest.mark.parametrize(
    "url", ["http://localhost", "https://h.example/v1", "http://[::1]:8080/", "http://10.0.0.1:1", "HTTPS://H.example"]
)
def test_an_address_is_http_with_a_host(url: str) -> None:
    check_base_url(url, agent="a")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "//h",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://h:99999",
        "http://[::1",
        5,
        None,
    ],
)
def test_any_other_address_is_refused(url: Any) -> None:
    with pytest.raises(ConfigError, match=r"base_url must be an http\(s\) address") as error:
        check_base_url(url, agent="a")
    assert (error.value.agent, error.value.key) == ("a", "base_url")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@h",
        "http://hunter2@h",
        "https://:hunter2@h",
        "http://@h",
        "http://u:hunter2@h:99999",
        "http://u:hunter2@[::1",
    ],
)
def test_an_address_with_user_info_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="must not hold a user or password") as error:
        check_base_url(url, agent="a")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["https://h\n.example", "https://h\t.example", " https://h", "https://h/a b", "https://e\\.h"]
)
def test_an_address_that_others_may_read_differently_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"base_url must be an http\(s\) address"):
        check_base_url(url, agent="a")
