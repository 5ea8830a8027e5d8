"""An ensemble: what its agents share, what it refuses, warns of, and is known by."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stretto.agent import Agent
from stretto.ensemble import Ensemble
from stretto.errors import ConfigError
from stretto.inputs import Inputs
from stretto.picked import Picked
from stretto.settings import Settings
from stretto.testing import Answers

MODEL = "simulated/echo"


def ensemble(*agents: Agent, **given: Any) -> Ensemble:
    return Ensemble("e", agents or [Agent("a")], **{"model": MODEL, **given})


def refused(*agents: Any, name: Any = "e", **given: Any) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        Ensemble(name, agents or [Agent("a", model=MODEL)], **given)
    return error.value


# ---- what agents share


def test_agents_without_a_model_take_the_ensemble_s() -> None:
    made = ensemble(Agent("a"), Agent("b", model="simulated/own"))
    assert [agent.model for agent in made.agents] == [MODEL, "simulated/own"]


def test_a_default_model_wins_over_the_ensemble_s() -> None:
    assert ensemble(defaults={"model": "simulated/shared"}).agents[0].model == "simulated/shared"


def test_an_agent_without_work_is_refused() -> None:
    error = refused(Agent("a"))
    kinds = "model, function, script, ensemble, loop, dispatch"
    assert str(error) == f"agent 'a': it has no work: give it one of {kinds}, or the ensemble a model"


def test_a_function_agent_takes_no_model() -> None:
    made = ensemble(Agent("f", function=str), defaults={"model": "simulated/shared"})
    assert made.agents[0].model is None


def test_a_function_may_be_shared() -> None:
    made = Ensemble("e", [Agent("a"), Agent("b", model=MODEL)], defaults={"timeout": 3, "function": str})
    assert (made.agents[0].function, made.agents[0].model) == (str, None)


def test_a_shared_function_does_not_touch_an_agent_with_a_model() -> None:
    made = Ensemble("e", [Agent("b", model=MODEL)], defaults={"function": str})
    assert (made.agents[0].function, made.agents[0].model) == (None, MODEL)


def test_unset_keys_are_taken_from_the_defaults() -> None:
    made = ensemble(Agent("a"), Agent("b", timeout=5, stream=False), defaults={"timeout": 9, "stream": True})
    assert [(agent.timeout, agent.stream) for agent in made.agents] == [(9, True), (5, False)]


def test_parameters_are_merged_key_by_key() -> None:
    made = ensemble(Agent("a", params={"seed": 1}), defaults={"params": {"seed": 7, "temperature": 0}})
    assert made.agents[0].params == {"seed": 1, "temperature": 0}


def test_an_agent_without_parameters_takes_the_shared_ones() -> None:
    assert ensemble(defaults={"params": {"seed": 7}}).agents[0].params == {"seed": 7}


@pytest.mark.parametrize("key", ["name", "depends_on", "agents"])
def test_some_keys_cannot_be_shared(key: str) -> None:
    error = refused(defaults={key: "x"})
    assert str(error).startswith(f"defaults.{key} is not a key that agents can share")


def test_an_unknown_shared_key_is_named_with_the_nearest() -> None:
    assert refused(defaults={"timeot": 3}).nearest == "timeout"


def test_a_wrong_shared_value_is_refused_as_of_the_defaults() -> None:
    error = refused(defaults={"timeout": 0})
    assert str(error) == "defaults: timeout must be seconds above 0, got 0"
    assert (error.key, error.agent) == ("timeout", None)


def test_defaults_are_a_mapping() -> None:
    assert str(refused(defaults=["timeout"])) == "defaults must be a mapping, got list"


# ---- what is refused


@pytest.mark.parametrize("name", ["", " ", None, 3])
def test_a_name_must_not_be_empty(name: Any) -> None:
    assert refused(name=name).key == "name"


def test_no_agents_are_refused() -> None:
    with pytest.raises(ConfigError, match="the ensemble 'e' has no agents: give it at least one"):
        Ensemble("e", [])


@pytest.mark.parametrize("agents", [Agent("a", model=MODEL), None, "ab", {"a": 1}])
def test_agents_must_be_a_list(agents: Any) -> None:
    with pytest.raises(ConfigError, match="agents must be a list of Agent, got"):
        Ensemble("e", agents)


def test_something_else_among_the_agents_is_refused() -> None:
    assert "agents must be a list of Agent, got str in it" in str(refused("a"))


@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [
        ("schedule", "phase", "phases"),
        ("on_failure", "failfast", "fail_fast"),
        ("composer", "llm-orc", "llm_orc"),
        ("schedule", None, None),
    ],
)
def test_another_choice_is_refused_with_the_nearest(key: str, value: Any, nearest: str | None) -> None:
    error = refused(**{key: value})
    assert f"{key} must be one of" in str(error)
    assert f"got {value!r}" in str(error)
    assert (error.key, error.nearest) == (key, nearest)


def test_a_phase_timeout_needs_phases() -> None:
    settings = Settings(phase_timeout=3)
    assert "phase_timeout needs schedule='phases'" in str(refused(schedule="ready", settings=settings))
    assert ensemble(settings=settings).settings == settings


def test_a_default_input_that_is_no_data_is_refused() -> None:
    assert refused(default_input=object()).key == "input"


def test_middleware_must_be_a_list() -> None:
    assert "middleware must be a list of layers" in str(refused(middleware=3))
    layer: Any = Answers()
    assert ensemble(middleware=[layer]).middleware == (layer,)


# ---- plan


def test_the_plan_has_phases_in_file_order() -> None:
    made = ensemble(Agent("c", depends_on=["a"]), Agent("a"), Agent("b"))
    assert made.plan().phases == [["a", "b"], ["c"]]


@pytest.mark.parametrize("key", ["prompt", "system_prompt"])
def test_a_mark_that_names_no_dependency_is_refused(key: str) -> None:
    made = ensemble(Agent("a"), Agent("b", **{key: "${input} ${a}"}))
    with pytest.raises(ConfigError, match=rf"agent 'b': \$\{{a\}} in {key} needs 'a' in depends_on"):
        made.plan()


def test_a_mark_may_name_an_indirect_dependency() -> None:
    made = ensemble(Agent("a"), Agent("b", depends_on=["a"]), Agent("c", depends_on=["b"], prompt="${a} ${b}"))
    assert made.plan().phases == [["a"], ["b"], ["c"]]


def test_a_mark_may_name_what_its_guard_refers_to() -> None:
    made = ensemble(Agent("a"), Agent("b", when="${a} == yes", prompt="${a}"))
    assert made.plan().phases == [["a"], ["b"]]


def test_an_unknown_mark_is_named_with_the_nearest_dependency() -> None:
    made = ensemble(Agent("security"), Agent("b", depends_on=["security"], prompt="${secruity}"))
    with pytest.raises(ConfigError) as error:
        made.plan()
    assert (error.value.agent, error.value.key, error.value.nearest) == ("b", "prompt", "security")


def test_planning_calls_nothing() -> None:
    def never(inputs: Inputs) -> str:
        raise AssertionError

    made = ensemble(Agent("f", function=never), Agent("p", prompt=never, depends_on=["f"]), composer=never)
    assert made.plan().phases == [["f"], ["p"]]


# ---- warnings


def test_a_prompt_that_shows_nothing_is_warned_of() -> None:
    made = ensemble(Agent("a", prompt="Say hello."), Agent("b", prompt="${input}"), Agent("c"), notes=("from a file",))
    assert made.warnings == (
        "from a file",
        "agent 'a': its prompt shows neither ${input} nor a result, so it never sees them",
    )
    assert made.plan().warnings == made.warnings


# ---- digest


def test_equal_ensembles_have_equal_digests() -> None:
    def made() -> Ensemble:
        return ensemble(Agent("a", params={"seed": 1, "top_p": 1}), Agent("b", depends_on=["a"]))

    assert made().digest == made().digest
    assert re.fullmatch("[0-9a-f]{64}", made().digest)


def test_the_order_of_parameters_does_not_matter() -> None:
    one = ensemble(Agent("a", params={"seed": 1, "top_p": 1}))
    assert one.digest == ensemble(Agent("a", params={"top_p": 1, "seed": 1})).digest


@pytest.mark.parametrize(
    "other",
    [
        ensemble(Agent("a", prompt="${input}!")),
        ensemble(Agent("a", timeout=3)),
        ensemble(Agent("a"), Agent("b")),
        ensemble(model="simulated/other"),
        ensemble(schedule="ready"),
        ensemble(on_failure="fail_fast"),
        ensemble(composer="plain"),
        ensemble(composer=str),
        ensemble(Agent("a", function=str)),
        Ensemble("other", [Agent("a", model=MODEL)]),
    ],
)
def test_what_changes_the_work_changes_the_digest(other: Ensemble) -> None:
    assert other.digest != ensemble().digest


def test_a_key_is_not_in_the_digest() -> None:
    assert ensemble(Agent("a", api_key="key-number-1")).digest == ensemble(Agent("a", api_key="key-number-2")).digest


def test_functions_count_by_name_and_not_by_address() -> None:
    class Callable:
        def __call__(self, inputs: Inputs) -> str:
            return ""

    assert ensemble(Agent("a", function=Callable())).digest == ensemble(Agent("a", function=Callable())).digest


# ---- running


def test_an_ensemble_runs_in_a_script() -> None:
    assert ensemble().run_sync("hello").output == "hello"


def test_an_agent_whose_result_no_mark_can_show_is_warned_of() -> None:
    ensemble = Ensemble("e", [Agent("input", model="simulated/echo")])
    assert list(ensemble.warnings) == ["agent 'input': no mark can show its result, ${input} stands for something else"]


def test_prompts_that_are_made_of_something_else_give_another_digest() -> None:
    def digest(field: str) -> str:
        return Ensemble("e", [Agent("a", model="t/m", prompt=Picked("s", field))]).digest

    assert digest("k") == digest("k") != digest("j")


def test_an_ensemble_of_llm_orc_s_has_another_digest_than_one_that_works_as_ours() -> None:
    agents = [Agent("a", model="t/m")]
    assert Ensemble("e", agents).digest != Ensemble("e", agents, strictness="compat").digest


@pytest.mark.parametrize(("key", "value"), [("prices", 3), ("prices", None), ("notes", 3), ("agents", list)])
def test_what_an_ensemble_cannot_be_given_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        Ensemble(**{"name": "e", "agents": [Agent("a", model="t/m")], key: value})
    assert error.value.key == key


def test_a_text_that_is_no_unicode_has_a_digest_too() -> None:
    assert len(Ensemble("e", [Agent("a", model="t/m", prompt="${input} \ud800")]).digest) == 64
