"""What a run would do, as plain data, with what runs within its agents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nesting import child, echo
from stretto import Agent, Ensemble, Runner, Settings, default_stack
from stretto.errors import ConfigError
from stretto.loop import Loop
from stretto.stack import names
from watched import an_ensemble


def described(*agents: Agent, runner: Runner | None = None, **options: Any) -> dict[str, Any]:
    told = (runner or Runner(middleware=[])).describe(an_ensemble(*agents, **options))
    json.dumps(told)
    return told


def test_an_agent_that_makes_a_call_has_no_ensemble() -> None:
    (agent,) = described(Agent("a", model="simulated/echo"))["agents"]
    assert agent == {
        "name": "a",
        "phase": 0,
        "kind": "llm",
        "model": "simulated/echo",
        "depends_on": [],
        "timeout": 60,
        "host": "this process",
        "key": None,
        "middleware": [],
        "fan_out": None,
        "fallback": [],
        "script": None,
        "env": [],
        "dispatch": None,
        "ensemble": None,
    }


def test_what_runs_within_an_agent_stands_under_it() -> None:
    line = child(Agent("x", function=echo), Agent("y", function=echo, depends_on=["x"]), name="line", schedule="ready")
    told = described(Agent("c", ensemble=line), Agent("l", loop=Loop(line, 3)))
    for agent in told["agents"]:
        assert agent["ensemble"]["ensemble"] == "line"
        assert agent["ensemble"]["schedule"] == "ready"
        assert agent["ensemble"]["phases"] == [["x"], ["y"]]
        assert [inner["name"] for inner in agent["ensemble"]["agents"]] == ["x", "y"]
    assert [agent["kind"] for agent in told["agents"]] == ["ensemble", "loop"]


def test_what_is_chosen_later_is_named_as_it_will_be_chosen() -> None:
    router, chosen = described(Agent("r", function=echo), Agent("d", dispatch="${r.to}"))["agents"]
    assert (router["kind"], chosen["kind"]) == ("function", "dispatch")
    assert (chosen["dispatch"], chosen["ensemble"]) == ("${r.to}", None)
    assert (chosen["depends_on"], chosen["phase"]) == (["r"], 1)


def test_a_fan_out_shows_over_what() -> None:
    (agent,) = described(Agent("f", fan_out="${input.items}", function=echo))["agents"]
    assert (agent["kind"], agent["fan_out"]) == ("function", "${input.items}")


@pytest.mark.parametrize(
    ("fields", "timeout"),
    [
        ({"function": echo}, 7),
        ({"function": echo, "timeout": 3}, 3),
        ({"ensemble": child(Agent("x", function=echo))}, None),
        ({"ensemble": child(Agent("x", function=echo)), "timeout": 3}, 3),
        ({"loop": Loop(child(Agent("x", function=echo)), 2)}, None),
        ({"dispatch": "x"}, None),
        ({"function": echo, "fan_out": "${input}"}, 7),
        ({"ensemble": child(Agent("x", function=echo)), "fan_out": "${input}"}, None),
    ],
)
def test_the_timeout_is_the_one_that_will_count(fields: dict[str, Any], timeout: float | None) -> None:
    (agent,) = described(Agent("a", **fields), settings=Settings(default_timeout=7))["agents"]
    assert agent["timeout"] == timeout


def test_a_child_s_agents_have_its_settings_models_and_layers() -> None:
    inner = child(Agent("x"), model="simulated/echo", settings=Settings(default_timeout=3))
    told = described(Agent("c", ensemble=inner), runner=Runner(middleware=default_stack()))
    (within,) = told["agents"][0]["ensemble"]["agents"]
    assert (within["model"], within["timeout"]) == ("simulated/echo", 3)
    assert within["middleware"] == names(default_stack())
    assert "retry" in within["middleware"]


def test_models_that_stand_in_are_named() -> None:
    agent = Agent("a", model="simulated/echo", fallback=["simulated/other", {"model": "simulated/third"}])
    assert described(agent)["agents"][0]["fallback"] == ["simulated/other", "simulated/third"]


def test_neither_keys_nor_leave_for_scripts_are_needed_to_plan(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.sh").write_text("echo hi\n")
    monkeypatch.chdir(tmp_path)
    inner = child(Agent("s", script="s.sh"), Agent("m", model="openai/gpt-4o", api_key_env="OPENAI_API_KEY"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    told = described(Agent("c", ensemble=inner))
    script, model = told["agents"][0]["ensemble"]["agents"]
    assert script["script"][-1].endswith("s.sh")
    assert model["key"] == "OPENAI_API_KEY: not set"


def test_warnings_of_what_is_within_are_told() -> None:
    blind = child(Agent("x", model="simulated/echo", prompt="always the same"))
    assert any("its prompt shows neither" in warning for warning in described(Agent("c", ensemble=blind))["warnings"])


def test_an_ensemble_that_is_nested_too_deeply_is_refused() -> None:
    level = child(Agent("a", function=echo))
    for number in range(6):
        level = child(Agent("a", ensemble=level), name=f"level {number}")
    with pytest.raises(ConfigError, match="nested more than 5 deep"):
        Runner(middleware=[]).describe(level)


def test_what_doubles_with_each_level_is_described_once() -> None:
    level = child(Agent("a", function=echo))
    for number in range(50):
        level = child(*(Agent(f"a{n}", ensemble=level) for n in range(10)), name=f"level {number}")
    told = Runner(middleware=[], settings=Settings(max_ensemble_depth=50)).describe(level)
    first, *others = (agent["ensemble"] for agent in told["agents"])
    assert len(first["agents"]) == 10
    assert [(other["ensemble"], other["agents"]) for other in others] == [("level 48", [])] * 9
    assert len(json.dumps(told)) < 1_000_000


def test_an_ensemble_that_is_named_twice_is_described_twice() -> None:
    inner = child(Agent("a", function=echo))
    told = Runner(middleware=[]).describe(child(Agent("x", ensemble=inner), Agent("y", ensemble=inner)))
    assert [len(agent["ensemble"]["agents"]) for agent in told["agents"]] == [1, 1]


def test_a_single_agent_that_runs_others_is_described() -> None:
    told = Runner(middleware=[]).describe(Agent("c", ensemble=Ensemble("inner", [Agent("x", function=echo)])))
    assert told["agents"][0]["ensemble"]["ensemble"] == "inner"


def test_what_looks_like_a_key_is_not_shown() -> None:
    key = "sk-0123456789abcdefghij"
    told = described(Agent("a", model=f"simulated/{key}"), Agent("d", dispatch=key))
    assert key not in str(told["agents"])
