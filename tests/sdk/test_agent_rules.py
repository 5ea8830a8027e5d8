"""What the keys of an agent may hold: one kind of work, well-formed marks, names of variables, JSON data."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations
from types import MappingProxyType
from typing import Any

import pytest

from nesting import child, echo
from stretto import Agent, Ensemble
from stretto.agent_rules import KINDS, json_mapping, listed, names_in, variables
from stretto.errors import ConfigError
from stretto.fan_out import _instance
from stretto.loop import Loop

BODY = child(Agent("x", function=echo), name="body")
WORK: dict[str, Any] = {
    "model": "t/m",
    "function": echo,
    "script": "s.py",
    "ensemble": BODY,
    "loop": Loop(BODY, 2),
    "dispatch": "${r}",
}


def refused(**given: Any) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        Agent("me", **given)
    assert error.value.agent == "me"
    return error.value


def test_there_are_six_kinds_of_work() -> None:
    assert tuple(WORK) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_is_of_the_kind_of_its_work(kind: str) -> None:
    assert Agent("me", **{kind: WORK[kind]}).kind == ("llm" if kind == "model" else kind)
    assert Agent("me").kind == "llm"


@pytest.mark.parametrize(("one", "other"), list(combinations(KINDS, 2)))
def test_two_kinds_of_work_are_refused_with_both_named(one: str, other: str) -> None:
    error = refused(**{one: WORK[one], other: WORK[other]})
    assert f"an agent has exactly one kind of work: {one} or {other}, not both" in str(error)
    assert error.key == other


@pytest.mark.parametrize("kind", KINDS[1:])
def test_work_of_its_own_wins_over_the_model_of_all(kind: str) -> None:
    (agent,) = Ensemble("e", [Agent("me", **{kind: WORK[kind]})], model="t/all").agents
    assert (agent.kind, agent.model) == (kind, None)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_work_that_all_share_is_that_of_those_without(kind: str) -> None:
    ensemble = Ensemble("e", [Agent("me"), Agent("own", model="t/own")], defaults={kind: WORK[kind]})
    assert [agent.kind for agent in ensemble.agents] == [kind, "llm"]


@pytest.mark.parametrize("kind", ["ensemble", "loop", "dispatch"])
@pytest.mark.parametrize("fan_out", [None, "${input}"])
def test_agents_that_run_others_are_composite(kind: str, fan_out: str | None) -> None:
    assert Agent("me", fan_out=fan_out, **{kind: WORK[kind]}).composite


@pytest.mark.parametrize("kind", ["model", "function", "script"])
def test_agents_that_make_a_call_are_composite_when_they_are_fanned_out(kind: str) -> None:
    assert not Agent("me", **{kind: WORK[kind]}).composite
    assert Agent("me", fan_out="${input}", **{kind: WORK[kind]}).composite


@pytest.mark.parametrize("value", ["", " ", 5, True, [], {"a": 1}, Agent("x", function=echo)])
@pytest.mark.parametrize("kind", ["ensemble", "script", "dispatch"])
def test_work_that_is_none_is_refused(kind: str, value: Any) -> None:
    error = refused(**{kind: value})
    assert error.key == kind
    assert f"{kind} must be" in str(error)


def test_an_ensemble_may_be_named() -> None:
    assert Agent("me", ensemble="sub/other").ensemble == "sub/other"


@pytest.mark.parametrize("source", ["${a}", "${a.b.0}", "${input}", "${input.items}", "${ a }"])
def test_a_fan_out_is_one_mark(source: str) -> None:
    assert Agent("me", function=echo, fan_out=source).fan_out == source


@pytest.mark.parametrize("source", ["", "a", "x ${a}", "${a} ", "${a}${b}", "$${a}", "[1, 2]"])
def test_any_other_fan_out_is_refused(source: str) -> None:
    error = refused(function=echo, fan_out=source)
    assert error.key == "fan_out"
    assert "fan_out must be ${agent.field} or ${input.field}" in str(error)


@pytest.mark.parametrize("source", [True, 5, ["a"], {"a": 1}])
@pytest.mark.parametrize("key", ["fan_out", "when", "prompt", "system_prompt", "dispatch", "api_key_env"])
def test_what_is_no_text_is_refused(key: str, source: Any) -> None:
    assert f"{key} must be a text" in str(refused(**{key: source}))


@pytest.mark.parametrize("key", ["prompt", "system_prompt", "dispatch", "fan_out"])
@pytest.mark.parametrize("text", ["${", "x ${a", "${}", "${ }"])
def test_a_mark_that_is_not_well_formed_is_refused(key: str, text: str) -> None:
    assert refused(**{key: text}).key == key


def test_a_prompt_that_would_have_to_be_awaited_is_refused() -> None:
    assert "it is not awaited" in str(refused(function=echo, prompt=echo))


@pytest.mark.parametrize("names", [["A", "_B1"], ("A", "A"), []])
def test_env_is_a_list_of_names_of_variables(names: Any) -> None:
    assert Agent("me", script="s.py", env=names).env == tuple(dict.fromkeys(names))


@pytest.mark.parametrize("names", [["A=secretvalue"], ["1A"], ["A B"], [""], ["Ä"], ["A-B"]])
def test_what_cannot_be_a_variable_is_refused_without_being_repeated(names: list[str]) -> None:
    error = refused(script="s.py", env=names)
    assert error.key == "env"
    assert "secretvalue" not in str(error)


@pytest.mark.parametrize("names", ["A", {"A": "B"}, 5, [5]])
def test_what_is_no_list_of_names_is_refused(names: Any) -> None:
    assert refused(script="s.py", env=names).key == "env"


@pytest.mark.parametrize("given", [{}, {"a": [1, None, {"b": "ü"}]}])
def test_parameters_are_json_data_that_stay_as_they_were(given: dict[str, Any]) -> None:
    agent = Agent("me", script="s.py", parameters=given)
    assert agent.parameters == given
    assert isinstance(agent.parameters, MappingProxyType)


@pytest.mark.parametrize("given", [{"a": {1, 2}}, {"a": float("nan")}, {"a": echo}, [1], "x", 5])
def test_parameters_that_json_does_not_hold_are_refused(given: Any) -> None:
    assert refused(script="s.py", parameters=given).key == "parameters"


def test_parameters_that_hold_themselves_are_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    assert refused(script="s.py", parameters=endless).key == "parameters"


def test_lists_are_anything_that_can_be_iterated_but_texts_and_mappings() -> None:
    assert listed("key", iter([1, 2]), "numbers") == (1, 2)
    for value in ("ab", {"a": 1}, 5, None):
        with pytest.raises(ConfigError, match="key must be a list of numbers"):
            listed("key", value, "numbers", agent="me")


def test_names_are_kept_once_in_order() -> None:
    agent = Agent("me", depends_on=["b", "a", "b"])
    assert names_in(agent, "depends_on") == ("b", "a")


def test_rules_may_be_asked_of_an_agent_that_is_made() -> None:
    agent = Agent("me", script="s.py", env=["A"], parameters={"a": 1})
    assert variables(agent) == ("A",)
    assert json_mapping(agent, "parameters") == {"a": 1}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", True])
@pytest.mark.parametrize("kind", ["ensemble", "loop", "dispatch"])
def test_a_timeout_of_an_agent_that_runs_others_is_seconds_above_0(kind: str, timeout: Any) -> None:
    assert refused(timeout=timeout, **{kind: WORK[kind]}).key == "timeout"


def test_an_instance_is_a_copy_that_differs_in_its_name_alone() -> None:
    agent = Agent("f", model="t/m", fan_out="${input}", when="${input}", api_key="k" * 8, params={"n": 1}, timeout=3)
    made = _instance(agent, 7)
    differing = {f.name for f in fields(Agent) if getattr(made, f.name) != getattr(agent, f.name)}
    assert differing == {"name", "fan_out", "when"}
    assert (made.name, agent.name, made.composite) == ("f[7]", "f", False)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "model"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("params", {"seed": 1}),
        ("fallback", "t/m"),
        ("base_url", "http://localhost:1"),
        ("api_key", "k" * 8),
        ("api_key_env", "A_API_KEY"),
    ],
)
def test_what_belongs_to_a_model_has_no_place_beside_another_kind_of_work(kind: str, key: str, value: Any) -> None:
    error = refused(**{kind: WORK[kind], key: value})
    assert (error.key, error.message.endswith("it belongs to one with model")) == (key, True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "script"])
@pytest.mark.parametrize(("key", "value"), [("parameters", {"n": 1}), ("env", ["REGION"])])
def test_what_belongs_to_a_script_has_no_place_beside_another_kind_of_work(kind: str, key: str, value: Any) -> None:
    assert refused(**{kind: WORK[kind], key: value}).key == key


def test_defaults_go_to_those_that_have_a_use_for_them() -> None:
    agents = [Agent("m", params={"seed": 2}), Agent("f", function=echo), Agent("s", script="s.py")]
    defaults = {"model": "t/m", "params": {"n": 1}, "fallback": "t/o", "parameters": {"p": 1}, "timeout": 5}
    made = Ensemble("e", agents, defaults={k: v for k, v in defaults.items() if k != "parameters"}).agents
    assert (made[0].params, made[1].params, made[2].fallback) == ({"n": 1, "seed": 2}, None, None)
    assert [agent.timeout for agent in made] == [5, 5, 5]
