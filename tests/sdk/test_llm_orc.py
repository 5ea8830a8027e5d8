"""Files of llm-orc: what becomes of the keys at the top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_orc_project import TOP, Project
from stretto import ConfigError, llm_orc, llm_orc_agents
from stretto.file_keys import FILE_KEYS, TOP_KEYS

ONE = "agents:\n  - {name: a, model_profile: fast}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_file_of_llm_orc_is_loaded_as_it_stands(project: Project) -> None:
    ensemble = project.agents(
        "{name: reader, model_profile: fast, system_prompt: Read., temperature: 0.2, timeout_seconds: 30}",
        "{name: tool, script: 'echo hello', parameters: {n: 1}}",
        "{name: items, model_profile: fast, depends_on: [reader], fan_out: true, input_key: list}",
        "{name: child, ensemble: child, depends_on: [tool], input_scope: dependencies}",
        "{name: again, loop: {body: child, until: '${done}', max_iterations: 3, carry: '${next}'}}",
        "{name: chosen, dispatch: '${reader.which}', depends_on: [reader], when: '${reader.which} == child'}",
        files={".llm-orc/ensembles/child.yaml": f"name: child\ndescription: d\n{ONE}"},
    )
    reader, tool, items, child, again, chosen = ensemble.agents
    assert (ensemble.strictness, ensemble.source, ensemble.notes) == ("compat", str(project.file), ())
    assert (reader.model, reader.base_url, reader.timeout) == ("compatible/small", "http://127.0.0.1:9/v1", 30)
    assert dict(reader.params or {}) == {"temperature": 0.2}
    assert (tool.kind, tool.script, dict(tool.parameters or {})) == ("script", "echo hello", {"n": 1})
    assert (items.fan_out, items.prompt) == ("${reader.list}", None)
    assert (child.kind, child.prompt, getattr(child.ensemble, "name", None)) == ("ensemble", "${dependencies}", "child")
    loop: Any = again.loop
    assert (loop.body.name, loop.until, loop.carry, loop.max_iterations) == ("child", "${body.done}", "${body.next}", 3)
    assert (chosen.kind, chosen.dispatch, chosen.when) == ("dispatch", "${reader.which}", "${reader.which} == child")
    assert ensemble.plan().phases == [["reader", "tool", "again"], ["items", "child", "chosen"]]


def test_stretto_s_own_keys_work_beside_them(project: Project) -> None:
    text = (
        "name: e\nmodel: simulated/echo\nschedule: ready\ncomposer: plain\nsettings: {run_timeout: 9}\n"
        "defaults: {timeout: 7, params: {seed: 1}}\nmiddleware: [{retry: {attempts: 5}}]\n"
        "agents:\n  - {name: a, prompt: 'Say ${input}', temperature: 1}\n"
        "  - {name: b, model_profile: fast, stream: true}\n"
    )
    ensemble = project.load(text)
    first, second = ensemble.agents
    assert (ensemble.schedule, ensemble.composer) == ("ready", "plain")
    assert (first.model, first.prompt, first.timeout) == ("simulated/echo", "Say ${input}", 7)
    assert dict(first.params or {}) == {"seed": 1, "temperature": 1}
    assert (second.model, second.stream, second.timeout) == ("compatible/small", True, 7)


@pytest.mark.parametrize(
    ("keys", "default", "notes"),
    [
        ("task: do it\n", "do it", []),
        ("default_task: do it\n", "do it", []),
        ("task: one\ndefault_task: two\n", "two", ["e.yaml:3: task has no effect beside default_task"]),
        ("default_task: \ntask: one\n", "one", []),
        ("task: {a: [1]}\n", {"a": [1]}, []),
        ("task: 5\n", 5, []),
        ("task: \n", None, []),
        ("task: one\ndefault_input: two\n", "two", ["e.yaml:3: task has no effect beside default_input"]),
    ],
)
def test_the_task_is_the_input_when_there_is_none(project: Project, keys: str, default: Any, notes: list[str]) -> None:
    ensemble = project.load(TOP + keys + ONE)
    assert (ensemble.default_input, project.notes(ensemble)) == (default, notes)


@pytest.mark.parametrize("key", [k for k in llm_orc.KEYS if k not in ("task", "default_task", "coordinator")])
def test_a_key_without_effect_says_so(project: Project, key: str) -> None:
    (note,) = project.notes(project.load(f"{TOP}{key}: {{a: 1}}\n{ONE}"))
    assert note.startswith(f"e.yaml:3: {key} has no effect: ")
    assert project.notes(project.load(f"{TOP}{key}:\n{ONE}")) == []


@pytest.mark.parametrize("key", [k for k in llm_orc.KEYS if k not in ("task", "default_task")])
def test_a_strict_file_has_no_key_without_effect(project: Project, key: str) -> None:
    (error,) = project.said(text=f"stretto: 1\n{TOP}{key}: {{a: 1}}\n{ONE}")
    assert error.startswith(f"e.yaml:4:1: {key} ")


def test_a_strict_file_may_use_llm_orc_s_words(project: Project) -> None:
    ensemble = project.load(
        f"stretto: 1\n{TOP}task: t\nagents:\n"
        "  - {name: a, model_profile: fast, temperature: 1, timeout_seconds: 5, options: {seed: 1, mine: 2}}\n"
        "  - {name: b, model_profile: fast, depends_on: [a], fan_out: true, input_key: k}\n"
    )
    first, second = ensemble.agents
    assert (ensemble.strictness, ensemble.default_input, first.timeout) == ("strict", "t", 5)
    assert dict(first.params or {}) == {"temperature": 1, "seed": 1, "extra_body": {"mine": 2}}
    assert second.fan_out == "${a.k}"


@pytest.mark.parametrize("value", ["5", "1.5"])
@pytest.mark.parametrize("key", ["name", "description"])
def test_a_number_for_a_text_at_the_top_is_taken_with_a_warning(project: Project, key: str, value: str) -> None:
    ensemble = project.load(TOP.replace(f"{key}: {'e' if key == 'name' else 'd'}", f"{key}: {value}") + ONE)
    assert getattr(ensemble, key) == value
    assert project.notes(ensemble)[0].endswith(f"{key} is a text: quote {value}")


def test_an_ensemble_without_agents_is_loaded_with_a_warning(project: Project) -> None:
    for agents in ("[]", "{}"):
        ensemble = project.load(f"{TOP}agents: {agents}\n")
        assert ensemble.agents == ()
        assert project.notes(ensemble) == ["e.yaml:3: the ensemble has no agents: a run of it does nothing"]


@pytest.mark.parametrize("agents", ["", " x", " 5", " {a: {model_profile: fast}}"])
def test_agents_that_are_no_list_are_refused(project: Project, agents: str) -> None:
    (error,) = project.said(text=f"{TOP}agents:{agents}\n")
    assert error.startswith("e.yaml:3:1: agents must be a list: write `- name: ...` for each, got ")


def test_an_unknown_key_at_the_top_is_a_warning_and_a_near_miss_an_error(project: Project) -> None:
    assert project.notes(project.load(f"{TOP}x-mine: 1\nnonsense: 1\n{ONE}")) == [
        "e.yaml:4: the key 'nonsense' is ignored"
    ]
    (error,) = project.said(text=f"{TOP}defaulttask: 1\n{ONE}")
    assert error == "e.yaml:3:1: 'defaulttask' is not a key of an ensemble (did you mean 'default_task'?)"


def test_no_more_than_a_hundred_warnings_are_said(project: Project) -> None:
    keys = "".join(f"nonsense-{n}: 1\n" for n in range(150))
    assert len(project.load(TOP + keys + ONE).warnings) == 101
    agents = "".join(f"  - {{name: a{n}, model_profile: fast, output_format: x}}\n" for n in range(150))
    notes = project.notes(project.load(f"{TOP}agents:\n{agents}"))
    assert (len(notes), notes[-1]) == (101, "e.yaml: and 50 more warnings")


@pytest.mark.parametrize("key", ["allow_scripts", "trusted_origins"])
@pytest.mark.parametrize("top", ["", "stretto: 1\n"])
def test_no_file_gives_itself_leave(project: Project, top: str, key: str) -> None:
    for text in (
        f"{top}{TOP}{key}: true\n{ONE}",
        f"{top}{TOP}agents:\n  - {{name: a, model_profile: fast, {key}: true}}\n",
        f"{top}{TOP}defaults: {{{key}: true}}\n{ONE}",
    ):
        (error,) = project.said(text=text)
        assert f"{key}: who runs the file decides that: Runner({key}=" in error
    assert any(key in error for error in project.said(text=f"{top}{TOP}settings: {{{key}: true}}\n{ONE}"))


def test_the_words_of_both_are_told_apart() -> None:
    assert not set(llm_orc.KEYS) & set(TOP_KEYS)
    assert not set(llm_orc_agents.KEYS) & set(FILE_KEYS)


# Defaults.


def test_llm_orc_s_words_in_defaults_go_to_the_agents_that_do_not_say_otherwise(project: Project) -> None:
    ensemble = project.agents(
        "{name: a}",
        "{name: b, model: openai/gpt-5, temperature: 0.5}",
        "{name: c, script: 'true'}",
        "{name: d, timeout: 3}",
        top=TOP + "defaults: {model_profile: fast, temperature: 0.1, timeout_seconds: 9, system_prompt: S}\n",
    )
    a, b, c, d = ensemble.agents
    assert (a.model, a.params and a.params["temperature"], a.timeout, a.system_prompt) == (
        "compatible/small",
        0.1,
        9,
        "S",
    )
    assert (b.model, b.base_url, b.params and b.params["temperature"]) == ("openai/gpt-5", None, 0.5)
    assert (c.kind, c.params, c.timeout) == ("script", None, 9)
    assert d.timeout == 3


def test_defaults_may_hold_nothing_else(project: Project) -> None:
    ensemble = project.agents("{name: a}", top=TOP + "defaults: {model: m, provider: ollama}\n")
    assert ensemble.agents[0].model == "ollama_chat/m"


def test_an_unknown_word_in_defaults_is_refused(project: Project) -> None:
    (error,) = project.said("{name: a, model_profile: fast}", top=TOP + "defaults: {role: x}\n")
    assert error == "e.yaml:3:12: 'role' is not a key of defaults"


# Retired keys.


def test_a_coordinator_is_the_last_agent_and_depends_on_all_others(project: Project) -> None:
    ensemble = project.agents(
        "{name: a, model_profile: fast}",
        "{name: b, model_profile: fast}",
        top=TOP
        + "coordinator: {model_profile: fast, system_prompt: S, synthesis_prompt: Sum up., "
        + "synthesis_timeout_seconds: 40, output_format: json, x-mine: 1, other: 2}\n",
    )
    last = ensemble.agents[-1]
    assert (last.name, last.depends_on, last.model) == ("coordinator", ("a", "b"), "compatible/small")
    assert (last.system_prompt, last.timeout) == ("S\n\nSum up.", 40)
    assert project.notes(ensemble) == [
        "e.yaml:3: coordinator is a retired key: it became the agent 'coordinator', which depends on all others; "
        "write it as the last of agents",
        "e.yaml:3: coordinator.'other' has no effect",
        "e.yaml:3: agent 'coordinator': output_format has no effect: llm-orc never used it either: response_format "
        "asks the model for JSON",
    ]


def test_a_coordinator_takes_a_name_that_is_free(project: Project) -> None:
    top = TOP + "coordinator: {model_profile: fast, synthesis_prompt: Sum up.}\n"
    ensemble = project.agents("{name: coordinator, model_profile: fast}", top=top)
    assert [agent.name for agent in ensemble.agents] == ["coordinator", "coordinator-2"]
    assert ensemble.agents[1].system_prompt == "Sum up."


@pytest.mark.parametrize(
    ("value", "why"), [("x", "is 'x'"), ("", "is nothing"), ("{synthesis_prompt: x}", "names no model")]
)
def test_a_coordinator_that_says_too_little_has_no_effect(project: Project, value: str, why: str) -> None:
    ensemble = project.agents("{name: a, model_profile: fast}", top=f"{TOP}coordinator: {value}\n")
    assert len(ensemble.agents) == 1
    assert project.notes(ensemble) == [f"e.yaml:3: coordinator is a retired key, and has no effect: it {why}"]


def test_a_coordinator_has_the_ensemble_s_model(project: Project) -> None:
    ensemble = project.agents("{name: a}", top=f"{TOP}model: simulated/echo\ncoordinator: {{}}\n")
    assert [agent.model for agent in ensemble.agents] == ["simulated/echo", "simulated/echo"]


def test_what_is_wrong_with_a_coordinator_is_said_where_it_stands(project: Project) -> None:
    top = TOP + "coordinator:\n  model_profile: fast\n  timeout_seconds: 0\n"
    (error,) = project.said("{name: a, model_profile: fast}", top=top)
    assert error == "e.yaml:5:3: agent 'coordinator': timeout_seconds must be seconds above 0, got 0"


@pytest.mark.parametrize(
    ("keys", "prompt"),
    [
        ("role: critic", "Your role: critic"),
        ("role: critic, system_prompt: Be brief.", "Your role: critic\n\nBe brief."),
    ],
)
def test_a_role_goes_before_the_system_prompt(project: Project, keys: str, prompt: str) -> None:
    ensemble = project.agents(f"{{name: a, model_profile: fast, {keys}}}")
    assert ensemble.agents[0].system_prompt == prompt
    (note,) = project.notes(ensemble)
    assert note == "e.yaml:4: agent 'a': role is a retired key: it goes before the system_prompt, write it there"


def test_other_retired_keys_become_what_they_meant(project: Project) -> None:
    ensemble = project.agents(
        "{name: a, model_profile: fast, type: llm, ollama_format: json, message_protocol: x, "
        "synthesis_timeout_seconds: 4}",
        "{name: b, type: script, script: 'true'}",
        "{name: c, model_profile: fast, type: odd, role: [x]}",
    )
    first = ensemble.agents[0]
    assert (first.timeout, dict(first.params or {})) == (4, {"response_format": {"type": "json_object"}})
    assert ensemble.agents[1].kind == "script"
    notes = project.notes(ensemble)
    assert [note.partition(": agent")[0] for note in notes] == ["e.yaml:4"] * 4 + ["e.yaml:5", "e.yaml:6", "e.yaml:6"]
    assert all("is a retired key" in note for note in notes)


def test_a_role_beside_a_system_prompt_that_is_none_is_left_to_its_error(project: Project) -> None:
    (error,) = project.said("{name: a, model_profile: fast, role: x, system_prompt: 5}")
    assert error.endswith("system_prompt must be a text, got 5: quote it")


def test_a_coordinator_alone_depends_on_nobody(project: Project) -> None:
    (agent,) = project.load(f"{TOP}coordinator: {{model_profile: fast}}\nagents: []\n").agents
    assert (agent.name, agent.depends_on) == ("coordinator", ())


def test_settings_of_the_tiers_that_have_no_effect_are_said(tmp_path: Path) -> None:
    project = Project(tmp_path, "performance: {memory: {a: 1}}\n")
    (note,) = project.notes(project.agents("{name: a, model: mock, provider: x}"))
    assert note.startswith(".llm-orc/config.yaml:1: ")


def test_what_says_the_same_in_today_s_words_wins_over_a_retired_key(project: Project) -> None:
    agent = project.agent(
        "{name: a, model_profile: fast, response_format: {type: object}, ollama_format: json, timeout_seconds: 5, "
        "synthesis_timeout_seconds: 4}"
    )
    assert agent.timeout == 5
    assert agent.params is not None
    assert agent.params["response_format"]["type"] == "json_schema"


def test_a_type_without_the_key_that_it_needs_is_refused(project: Project) -> None:
    (error,) = project.said("{name: a, type: script, model_profile: fast}")
    assert error.startswith("e.yaml:4:15: agent 'a': type is a retired key, and this agent has no script")


@pytest.mark.parametrize("key", ["type: llm", "role: x", "ollama_format: json", "message_protocol: x"])
def test_a_strict_file_has_no_retired_key(project: Project, key: str) -> None:
    errors = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, model_profile: fast, {key}}}\n")
    assert errors[0].startswith(f"e.yaml:5:36: agent 'a': {key.partition(':')[0]} is a retired key")


def test_strictness_can_be_given(project: Project) -> None:
    text = f"{TOP}nonsense: 1\n{ONE}"
    assert project.load(f"stretto: 1\n{text}", strictness="compat").strictness == "compat"
    with pytest.raises(ConfigError, match="'nonsense' is not a key of an ensemble"):
        project.load(text, strictness="strict")
