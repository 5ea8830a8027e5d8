"""Files of llm-orc: what becomes of the keys that agents of every kind have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_orc_project import TOP, Project
from stretto import Runner, llm_orc_agents
from stretto.errors import InvalidOutput
from stretto.picked import Picked

FAST = "model_profile: fast"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def agent(project: Project, keys: str, **options: Any) -> Any:
    """Load two agents, `s` and one with these keys, and give the second."""
    return project.agents(f"{{name: s, {FAST}}}", f"{{name: a, {keys}}}", **options).agents[-1]


def noted(project: Project, keys: str) -> list[str]:
    """Give what is said of such an agent in line 5, without its place."""
    notes = project.notes(project.agents(f"{{name: s, {FAST}}}", f"{{name: a, {keys}}}"))
    return [note.removeprefix("e.yaml:5: agent 'a': ") for note in notes]


def refused(project: Project, keys: str) -> str:
    """Give the only error of such an agent, without its place."""
    (error,) = project.said(f"{{name: s, {FAST}}}", f"{{name: a, {keys}}}")
    place, _, message = error.partition(": agent 'a': ")
    assert place.startswith("e.yaml:5:")
    return message


# Time.


@pytest.mark.parametrize(
    ("value", "seconds"), [("30", 30), ('"30"', 30), ('" 30 "', 30), ("30.0", 30), ("1.5", 1.5), ("", None)]
)
def test_timeout_seconds_is_the_timeout(project: Project, value: str, seconds: float | None) -> None:
    assert agent(project, f"{FAST}, timeout_seconds: {value}").timeout == seconds


@pytest.mark.parametrize("value", ["0", "-1", "yes", "no", "abc", "'0'", "[1]", "{a: 1}", "'1e999'", f"'{'9' * 5000}'"])
def test_another_timeout_is_refused(project: Project, value: str) -> None:
    message = refused(project, f"{FAST}, timeout_seconds: {value}")
    assert message.startswith("timeout_seconds must be seconds above 0, got ")


def test_two_timeouts_are_refused(project: Project) -> None:
    message = refused(project, f"{FAST}, timeout_seconds: 5, timeout: 5")
    assert message == "timeout and timeout_seconds say the same: leave one of them out"


# Dependencies.


def test_a_plain_name_in_depends_on_is_a_list_of_one(project: Project) -> None:
    assert agent(project, f"{FAST}, depends_on: s").depends_on == ("s",)
    assert noted(project, f"{FAST}, depends_on: s") == ["depends_on is a list of names: [s] is meant"]


def test_depends_on_may_hold_mappings(project: Project) -> None:
    assert agent(project, f"{FAST}, depends_on: [{{agent_name: s}}]").depends_on == ("s",)
    assert noted(project, f"{FAST}, depends_on: [{{agent_name: s, x-mine: 1}}]") == []
    assert noted(project, f"{FAST}, depends_on: [{{agent_name: s, condition: x}}]") == [
        "'condition' in depends_on has no effect: a condition is written as when"
    ]


@pytest.mark.parametrize("item", ["{x: 1}", "{agent_name: 5}", "{agent_name: }", "{agent_name: [s]}"])
def test_a_mapping_in_depends_on_needs_a_name(project: Project, item: str) -> None:
    message = refused(project, f"{FAST}, depends_on: [{item}]")
    assert message == "an item of depends_on must be a name, or a mapping with agent_name"


@pytest.mark.parametrize("value", ["", "5", "{agent_name: s}", "[5]", "[[s]]", "[null]"])
def test_anything_else_in_depends_on_is_refused(project: Project, value: str) -> None:
    assert "depends_on must be a list of names" in refused(project, f"{FAST}, depends_on: {value}")


def test_to_run_in_spite_of_failures_needs_dependencies(project: Project) -> None:
    assert agent(project, f"{FAST}, depends_on: [s], on_dependency_failure: run").on_dependency_failure == "run"
    message = refused(project, f"{FAST}, on_dependency_failure: run")
    assert message == "on_dependency_failure: run needs depends_on: without it there is nothing that could fail"


# Guards.


@pytest.mark.parametrize(
    ("when", "here"),
    [
        ("${s.x}", "${s.x}"),
        (" ${s.x} ", " ${s.x} "),
        ("${s.x} == 3", "${s.x} == 3"),
        ("${s.x}==true", "${s.x}==true"),
        ("${s.x} == two words", '${s.x} == "two words"'),
        ("${s.x} == 'two words'", "${s.x} == 'two words'"),
        ('${s.x} == "two"', '${s.x} == "two"'),
        ("${s.x} == ", '${s.x} == ""'),
        ("${s.x} === 3", '${s.x} == "= 3"'),
        ("${s.x} == ${s.x}", '${s.x} == "${s.x}"'),
        ('${s.x} == {"a": 1}', '${s.x} == "{\\"a\\": 1}"'),
        ("${s.x} == null", '${s.x} == "null"'),
        ("${s.x} == 03", "${s.x} == 3"),
        ("${s.x} == 1.50", "${s.x} == 1.50"),
    ],
)
def test_a_guard_of_llm_orc_means_the_same_here(project: Project, when: str, here: str) -> None:
    quoted = "'" + when.replace("'", "''") + "'"
    assert agent(project, f"{FAST}, depends_on: [s], when: {quoted}").when == here
    assert noted(project, f"{FAST}, depends_on: [s], when: {quoted}") == []


@pytest.mark.parametrize(
    "when", ["${s.x} > 3", "not ${s.x}", "${s.x} && ${s.y}", "x${s.x}", '${s["x"]}', "${}", "${s.x} in y"]
)
def test_a_guard_that_llm_orc_does_not_read_always_holds(project: Project, when: str) -> None:
    keys = f"{FAST}, depends_on: [s], when: '{when}'"
    assert agent(project, keys).when is None
    (note,) = noted(project, keys)
    assert (
        note
        == f"when: {when!r} is no condition that llm-orc reads, so it always holds: write ${{agent.field}} == value"
    )
    (error,) = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: s, {FAST}}}\n  - {{name: a, {keys}}}\n")
    assert error.startswith("e.yaml:6:")


def test_stretto_s_other_operator_works_with_a_warning(project: Project) -> None:
    keys = f"{FAST}, depends_on: [s], when: '${{s.x}} != done'"
    assert agent(project, keys).when == "${s.x} != done"
    assert noted(project, keys) == [
        "when: llm-orc does not read '${s.x} != done' and lets it always hold: here it is a condition"
    ]


@pytest.mark.parametrize("when", ["hello", " ", "$s.x", "true and false"])
def test_a_guard_without_a_mark_is_refused(project: Project, when: str) -> None:
    assert refused(project, f"{FAST}, when: '{when}'").startswith("when must be ${agent.field}")


@pytest.mark.parametrize("when", ["true", "5", "[a]", "{a: 1}"])
def test_a_guard_that_is_no_text_is_refused(project: Project, when: str) -> None:
    assert refused(project, f"{FAST}, when: {when}").startswith("when must be a text, got ")


def test_a_guard_that_names_no_agent_is_kept_with_a_warning(project: Project) -> None:
    keys = f"{FAST}, when: '${{nobody.x}}'"
    assert agent(project, keys).when == "${nobody.x}"
    assert noted(project, keys) == ["when names 'nobody.x', which is no agent here: this one is always skipped"]
    (error,) = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, {keys}}}\n")
    assert "names no agent" in error


def test_agents_that_wait_for_each_other_through_guards_are_refused(project: Project) -> None:
    (error,) = project.said(
        f"{{name: a, {FAST}, when: '${{b.x}}'}}", f"{{name: b, {FAST}, when: '${{a.x}}'}}", f"{{name: c, {FAST}}}"
    )
    assert "these agents wait for each other: a -> b -> a" in error
    (error,) = project.said("{name: a, dispatch: '${b.x}'}", f"{{name: b, {FAST}, depends_on: [a]}}")
    assert "these agents wait for each other" in error


# Loops.

CHILD = {".llm-orc/ensembles/child.yaml": f"{TOP}agents: [{{name: c, {FAST}}}]\n"}


@pytest.mark.parametrize(
    ("keys", "until", "carry", "rounds"),
    [
        ("until: '${done}', max_iterations: 3", "${body.done}", None, 3),
        ("until: '${a.b} == two words', max_iterations: '3'", '${body.a.b} == "two words"', None, 3),
        ("until: '${body.done}', max_iterations: 3.0, carry: '${body}'", "${body.done}", "${body}", 3),
        ("until: '${done}', max_iterations: 2, carry: '${input}'", "${body.done}", "${body.input}", 2),
        ("until: '${done}', max_iterations: 2, carry: 'x ${a} $${b}'", "${body.done}", "x ${body.a} $${b}", 2),
        ("max_iterations: 2, carry: again", None, "again", 2),
        ("until: , max_iterations: 2, carry: ", None, None, 2),
    ],
)
def test_fields_in_a_loop_are_those_of_its_body(
    project: Project, keys: str, until: str | None, carry: str | None, rounds: int
) -> None:
    loop = agent(project, f"loop: {{body: child, {keys}}}", files=CHILD).loop
    assert (loop.body.name, loop.until, loop.carry, loop.max_iterations) == ("e", until, carry, rounds)


def test_a_condition_of_a_loop_that_llm_orc_does_not_read_ends_it_after_one_round(project: Project) -> None:
    keys = "loop: {body: child, until: '${n} > 3', max_iterations: 9}"
    ensemble = project.agents(f"{{name: a, {keys}}}", files=CHILD)
    loop: Any = ensemble.agents[0].loop
    assert (loop.until, loop.max_iterations) == (None, 1)
    assert project.notes(ensemble)[0].startswith("e.yaml:4: agent 'a': loop.until: '${body.n} > 3' is no condition")


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        ("", "loop must be a mapping of body, max_iterations, until and carry, got nothing: leave the key out"),
        ("x", "loop must be a mapping of body, max_iterations, until and carry, got 'x'"),
        ("{}", "loop needs body"),
        ("{body: child}", "loop needs max_iterations"),
        ("{body: child, max_iterations: 0}", "loop.max_iterations must be a whole number of 1 or more, got 0"),
        ("{body: child, max_iterations: 1.5}", "loop.max_iterations must be a whole number"),
        ("{body: child, max_iterations: yes}", "loop.max_iterations must be a whole number"),
        ("{body: child, max_iterations: 2, untill: x}", "'untill' is not a key of loop (did you mean 'until'?)"),
        ("{body: child, max_iterations: 2, until: hello}", "loop.until must be ${body.field}"),
        ("{body: child, max_iterations: 2, until: true}", "loop.until must be a text, got True"),
        ("{body: 5, max_iterations: 2}", "loop.body must be an "),
        ("{body: '', max_iterations: 2}", "loop.body must be an "),
        ("{body: [child], max_iterations: 2}", "loop.body must be an "),
    ],
)
def test_a_loop_that_is_wrong_is_refused(project: Project, loop: str, message: str) -> None:
    project.write(CHILD)
    assert refused(project, f"loop: {loop}").lower().startswith(message.lower())


# What an agent gets.


def test_an_input_key_shows_a_model_one_field_of_the_first_dependency(project: Project) -> None:
    keys = f"{FAST}, depends_on: [s], input_key: a.b"
    assert agent(project, keys).prompt == Picked("s", "a.b")
    assert agent(project, f"{keys}, input_scope: dependencies").prompt == Picked("s", "a.b", "plain")
    assert agent(project, keys, top=f"{TOP}composer: plain\n").prompt == Picked("s", "a.b", "plain")


@pytest.mark.parametrize(
    "kind", ["ensemble: child", "dispatch: child", "script: 'true'", "loop: {body: child, max_iterations: 1}"]
)
def test_an_input_key_is_the_input_of_other_agents(project: Project, kind: str) -> None:
    made = agent(project, f"{kind}, depends_on: [s], input_key: k, input_scope: dependencies", files=CHILD)
    assert made.prompt == "${s.k}"


def test_the_input_scope_leaves_the_input_out(project: Project) -> None:
    assert agent(project, f"{FAST}, depends_on: [s], input_scope: dependencies").prompt == "${dependencies}"
    assert (
        agent(project, "dispatch: child, depends_on: [s], input_scope: dependencies", files=CHILD).prompt
        == "${dependencies}"
    )


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ("input_key: k", "input_key has no effect without depends_on"),
        ("input_scope: dependencies", "input_scope has no effect without depends_on"),
        ("depends_on: [s], input_key: k, prompt: '${s}'", "input_key has no effect beside prompt"),
        ("depends_on: [s], input_scope: dependencies, prompt: '${s}'", "input_scope has no effect beside prompt"),
    ],
)
def test_what_changes_nothing_is_said(project: Project, keys: str, note: str) -> None:
    assert noted(project, f"{FAST}, {keys}") == [note]


def test_the_input_scope_changes_nothing_for_a_script(project: Project) -> None:
    keys = "script: 'true', depends_on: [s], input_scope: dependencies"
    assert agent(project, keys).prompt is None
    assert noted(project, keys)[0].startswith("input_scope has no effect on a script")


@pytest.mark.parametrize(
    "keys", ["input_key: ''", "input_key: ", "input_scope: ", "fan_out: false", "fan_out: no", "fan_out: 0"]
)
def test_what_is_switched_off_is_as_left_out(project: Project, keys: str) -> None:
    made = agent(project, f"{FAST}, depends_on: [s], {keys}")
    assert (made.prompt, made.fan_out) == (None, None)
    assert noted(project, f"{FAST}, depends_on: [s], {keys}") == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("input_key: 5", "input_key must be a text, got 5: quote it"),
        ("input_key: [a]", "input_key must be a text, got a list"),
        ("input_scope: all", "input_scope must be 'dependencies', got 'all'"),
        ("input_scope: ''", "input_scope must be 'dependencies', got ''"),
        ("fan_out: true", "fan_out: true needs depends_on: the first of them gives the list"),
        ("fan_out: 5", "fan_out must be a text, got 5: quote it"),
        ("fan_out: [a]", "fan_out must be a text, got a list"),
        ("fan_out: maybe", "fan_out must be ${agent.field} or ${input.field}, got 'maybe'"),
    ],
)
def test_a_wrong_input_is_refused(project: Project, keys: str, message: str) -> None:
    depends_on = "" if keys == "fan_out: true" else ", depends_on: [s]"
    assert refused(project, f"{FAST}{depends_on}, {keys}") == message


@pytest.mark.parametrize("value", ["true", "'true'", "yes", "'Yes'", "1", "'1'", "on"])
def test_a_fan_out_takes_the_first_dependency_s_list(project: Project, value: str) -> None:
    keys = f"{FAST}, depends_on: [s], fan_out: {value}"
    assert (agent(project, keys).fan_out, agent(project, keys).prompt) == ("${s}", None)
    assert agent(project, f"{keys}, input_key: k, input_scope: dependencies").fan_out == "${s.k}"
    assert noted(project, f"{keys}, input_key: k, input_scope: dependencies") == []


def test_stretto_s_own_fan_out_is_kept(project: Project) -> None:
    assert agent(project, f"{FAST}, depends_on: [s], fan_out: '${{s.items}}'").fan_out == "${s.items}"


@pytest.mark.parametrize("name", ["input", "dependencies", "a{b"])
def test_an_agent_that_no_mark_can_name_is_to_be_renamed(project: Project, name: str) -> None:
    (error,) = project.said(
        f"{{name: '{name}', {FAST}}}", f"{{name: a, {FAST}, depends_on: ['{name}'], fan_out: true}}"
    )
    assert error.endswith(f"agent 'a': no mark can name the agent {name!r}, or that field of it: rename it")
    (error,) = project.said(
        f"{{name: '{name}', {FAST}}}", f"{{name: a, dispatch: x, depends_on: ['{name}'], input_key: k}}", files=CHILD
    )[-1:]
    assert "rename it" in error


async def test_what_an_input_key_shows(project: Project) -> None:
    json = '{"k": "v", "a.b": [1], "none": null}'
    ensemble = project.agents(
        "{name: s, model: simulated/echo}",
        "{name: other, model: simulated/echo, prompt: other}",
        "{name: text, model: simulated/echo, depends_on: [s, other], input_key: k, input_scope: dependencies}",
        "{name: data, model: simulated/echo, depends_on: [s], input_key: a.b, input_scope: dependencies}",
        "{name: empty, model: simulated/echo, depends_on: [s], input_key: none, input_scope: dependencies}",
        "{name: all, model: simulated/echo, depends_on: [s], input_key: k}",
        "{name: missing, model: simulated/echo, depends_on: [s], input_key: x}",
    )
    async with Runner() as runner:
        run = await runner.run(ensemble, json)
    assert run["text"].output == "Agent s:\nv\n\nAgent other:\nother"
    assert run["data"].output == "Agent s:\n[1]"
    assert run["empty"].output == "Agent s:\nnull"
    assert f"Original Input:\n{json}\n" in run["all"].output
    assert "Agent s:\nv\n" in run["all"].output
    assert (run["missing"].status, run["missing"].attempts) == ("failed", ())
    assert isinstance(run["missing"].error, InvalidOutput)


async def test_an_input_key_of_a_dependency_without_result_shows_why(project: Project) -> None:
    ensemble = project.agents(
        "{name: bad, model: simulated/fail-400}",
        "{name: good, model: simulated/echo}",
        "{name: a, model: simulated/echo, depends_on: [bad, good], input_key: k, input_scope: dependencies}",
    )
    async with Runner() as runner:
        run = await runner.run(ensemble, "hello")
    assert run["a"].output.startswith("Agent bad (failed): ")


# System prompts.


def test_a_system_prompt_keeps_what_is_no_mark_of_an_agent(project: Project) -> None:
    prompt = "Use ${HOME}, ${{ matrix.os }} and ${} for ${s.x} of ${input}"
    keys = f"{FAST}, depends_on: [s], system_prompt: '{prompt}'"
    assert agent(project, keys).system_prompt == "Use $${HOME}, $${{ matrix.os }} and $${} for ${s.x} of ${input}"
    assert noted(project, keys) == ["a ${...} in system_prompt names nothing that it could show: it stays as it is"]
    errors = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: s, {FAST}}}\n  - {{name: a, {keys}}}\n")
    assert errors


def test_a_mark_of_an_indirect_dependency_is_one(project: Project) -> None:
    ensemble = project.agents(
        f"{{name: one, {FAST}}}",
        f"{{name: two, {FAST}, depends_on: [one]}}",
        f"{{name: three, {FAST}, depends_on: [two], system_prompt: 'As ${{one}} says, not ${{four}}'}}",
        f"{{name: four, {FAST}, system_prompt: 'Plain text.'}}",
    )
    assert ensemble.agents[2].system_prompt == "As ${one} says, not $${four}"


def test_in_a_file_with_too_many_dependencies_to_walk_along_a_mark_may_be_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm_orc_agents, "MOST_WALKED", -1)
    assert agent(project, f"{FAST}, depends_on: [s], system_prompt: 'Of ${{s}}, not ${{x}}'").system_prompt == (
        "Of ${s}, not $${x}"
    )
    assert "needs 's' in depends_on" in refused(project, f"{FAST}, system_prompt: 'Of ${{s}}'")


def test_a_dependency_on_two_ways_is_walked_along_once(project: Project) -> None:
    ensemble = project.agents(
        f"{{name: one, {FAST}}}",
        f"{{name: two, {FAST}, depends_on: [one]}}",
        f"{{name: three, {FAST}, depends_on: [one, two], system_prompt: 'Of ${{one}}'}}",
    )
    assert ensemble.agents[2].system_prompt == "Of ${one}"


def test_a_system_prompt_may_be_empty(project: Project) -> None:
    assert agent(project, f"{FAST}, system_prompt: ''").system_prompt == ""


# Keys and kinds.


@pytest.mark.parametrize(
    "key",
    [
        *("model_profile: fast", "temperature: 1", "max_tokens: 5", "options: {a: 1}", "response_format: json"),
        *("fallback_model_profile: fast", "output_format: json", "provider: ollama"),
    ],
)
@pytest.mark.parametrize(
    "kind", ["script: 'true'", "ensemble: child", "dispatch: child", "loop: {body: child, max_iterations: 1}"]
)
def test_a_key_of_models_is_refused_elsewhere(project: Project, kind: str, key: str) -> None:
    project.write(CHILD)
    message = refused(project, f"{kind}, {key}")
    assert message == f"{key.partition(':')[0]} belongs to an agent with a model: this one has {kind.partition(':')[0]}"


@pytest.mark.parametrize("kind", [FAST, "ensemble: child"])
@pytest.mark.parametrize("key", ["parameters: {a: 1}", "env: [A]"])
def test_a_key_of_scripts_is_refused_elsewhere(project: Project, kind: str, key: str) -> None:
    project.write(CHILD)
    message = refused(project, f"{kind}, {key}")
    assert message.startswith(f"{key.partition(':')[0]} has no effect on an agent with ")
    assert message.endswith(": it belongs to one with script")


@pytest.mark.parametrize("kind", ["script: 'true'", "ensemble: child", "dispatch: child"])
def test_a_system_prompt_elsewhere_has_no_effect(project: Project, kind: str) -> None:
    project.write(CHILD)
    (note,) = noted(project, f"{kind}, system_prompt: 'for ${{nobody}}'")[-1:]
    assert note == f"system_prompt has no effect on an agent with {kind.partition(':')[0]}"


@pytest.mark.parametrize(
    "kinds", ["script: x, ensemble: y", "dispatch: x, ensemble: y", "loop: {body: x, max_iterations: 1}, script: y"]
)
def test_two_kinds_of_work_are_refused(project: Project, kinds: str) -> None:
    assert refused(project, kinds).startswith("an agent has exactly one kind of work: ")


def test_an_output_format_has_no_effect(project: Project) -> None:
    assert noted(project, f"{FAST}, output_format: json")[0].startswith("output_format has no effect: ")
    assert refused(project, f"{FAST}, output_format: 5") == "output_format must be a text, got 5"


def test_an_unknown_key_is_an_error_with_the_nearest(project: Project) -> None:
    assert refused(project, f"{FAST}, model_profil: x") == (
        "'model_profil' is not a key of an agent (did you mean 'model_profile'?)"
    )
    assert refused(project, f"{FAST}, timeout_secs: 5") == (
        "'timeout_secs' is not a key of an agent (did you mean 'timeout_seconds'?)"
    )


def test_two_agents_of_one_name_are_refused(project: Project) -> None:
    (error,) = project.said(f"{{name: a, {FAST}}}", f"{{name: a, {FAST}}}")
    assert error == "e.yaml:5:6: agent 'a': 2 agents are named 'a': names must differ"


# What llm-orc takes, though it can mean no good.


async def test_an_empty_guard_never_holds(project: Project) -> None:
    ensemble = project.agents("{name: nobody, model: simulated/echo}", "{name: a, model: simulated/echo, when: ''}")
    assert project.notes(ensemble) == ["e.yaml:5: agent 'a': when is empty: this agent is always skipped"]
    run = await Runner().run(ensemble, "hi")
    assert (run["a"].status, run["nobody"].status, run.status) == ("skipped", "ok", "completed")


def test_an_empty_until_is_none(project: Project) -> None:
    project.write(CHILD)
    ensemble = project.agents("{name: a, loop: {body: child, max_iterations: 2, until: ''}}")
    assert project.notes(ensemble) == ["e.yaml:4: agent 'a': loop.until is empty: the loop runs all its rounds"]
    loop: Any = ensemble.agents[0].loop
    assert (loop.until, loop.max_iterations) == (None, 2)


@pytest.mark.parametrize("text", ["${nobody.x}", "to-${nobody}"])
async def test_a_dispatch_that_names_no_agent_fails_alone(project: Project, text: str) -> None:
    agents = ("{name: s, model: simulated/echo}", f"{{name: a, dispatch: '{text}'}}")
    ensemble = project.agents(*agents)
    name = text.partition("{")[2].partition("}")[0]
    why = f"dispatch names '{name}', which is no agent here"
    assert project.notes(ensemble) == [f"e.yaml:5: agent 'a': {why}: the agent fails without a call"]
    run = await Runner().run(ensemble, "hi")
    assert (run["a"].status, run["s"].status) == ("failed", "ok")
    assert why in run["a"].reason
    assert project.said(*agents, strictness="strict")


def test_a_dispatch_by_an_item_is_one(project: Project) -> None:
    ensemble = project.agents("{name: a, dispatch: '${item}', fan_out: '${input}'}")
    assert ensemble.agents[0].kind == "dispatch"


def test_keys_of_people_s_own_stand_in_every_mapping(project: Project) -> None:
    project.write(CHILD)
    agents = (
        "{name: a, loop: {body: child, max_iterations: 2, x-why: slow}}",
        "{name: b, model: simulated/echo, fallback: {model: simulated/echo, x-why: cheap}}",
        "{name: c, model: simulated/echo, fallback: [{model: simulated/echo, x-why: cheap}]}",
    )
    for top in (TOP, f"stretto: 1\n{TOP}"):
        assert project.notes(project.agents(*agents, top=top)) == []


@pytest.mark.parametrize("key", ["description: d", "enabled: true"])
def test_a_key_that_is_like_none_has_no_nearest(project: Project, key: str) -> None:
    assert "did you mean" not in refused(project, f"{FAST}, {key}")


def test_a_script_that_is_not_there_is_said_once_with_its_line(project: Project) -> None:
    ensemble = project.agents("{name: a, script: nope.py}")
    (note,) = project.notes(ensemble)
    assert note.startswith("e.yaml:4: agent 'a': script 'nope.py' was not found in ")
    assert note.endswith(": the agent fails without a process")
    assert len(Runner(middleware=[]).describe(ensemble)["warnings"]) == 1
