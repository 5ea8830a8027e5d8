"""Keys that were written into a file: refused in strict ones, said and not used in others, repeated in none."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_orc_project import TOP, Project
from stretto import ConfigError, load
from stretto.inline_secrets import clean, is_secret

HELD = "held-value-0123456789"  # a credential by the name of its key alone
KEYS = (
    "sk-abcdef1234567890",
    "AIza" + "B" * 35,
    "gsk_" + "c" * 30,
    "ghp_" + "d" * 36,
    "hf_" + "e" * 30,
    "Bearer abcdef123456",
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("key", KEYS)
def test_what_looks_like_a_key_is_one(key: str) -> None:
    assert is_secret("anything", key)
    assert key not in clean(f"got {key!r}")
    assert not is_secret("anything", "an ordinary text, sk- or Bearer $TOKEN")


@pytest.mark.parametrize(
    "name", ["api_key", "apikey", "API-KEY", "token", "access_token", "secret", "password", "Authorization"]
)
def test_a_name_says_that_its_text_is_a_credential(name: str) -> None:
    assert is_secret(name, HELD)
    assert not is_secret(name, 5)
    assert not is_secret(name, "")


@pytest.mark.parametrize("name", ["key", "max_tokens", "stop_token", "prompt_cache_key", "tokens", "monkey"])
def test_other_names_do_not(name: str) -> None:
    assert not is_secret(name, HELD)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        (f"api_key: {HELD}", "api_key"),
        (f"api_key_env: {KEYS[0]}", "api_key_env"),
        (f"options: {{api_key: {HELD}}}", "options.api_key"),
        (f"options: {{own: {{deep: [1, {KEYS[1]}]}}}}", "options.own.deep"),
        (f"options: {{headers: {{Authorization: {HELD}}}}}", "options.headers.Authorization"),
        (f"params: {{extra_headers: {{X-Api-Key: {HELD}}}}}", "params.extra_headers.X-Api-Key"),
        (f"params: {{extra_body: {{token: {HELD}}}}}", "params.extra_body.token"),
        (f"fallback: [{{model: a/b, api_key: {HELD}}}]", "fallback.api_key"),
    ],
)
def test_a_key_in_a_file_is_not_used(project: Project, keys: str, path: str) -> None:
    agent = f"{{name: a, model_profile: fast, {keys}}}"
    ensemble = project.agents(agent)
    (note,) = [one for one in project.notes(ensemble) if "holds a key" in one]
    assert note == (
        f"e.yaml:4: agent 'a': {path} holds a key, which is not used: name the variable that holds it with api_key_env"
    )
    assert HELD not in str(ensemble)
    assert not any(key in str(ensemble) for key in KEYS)
    errors = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {agent}\n")
    assert any(f"agent 'a': {path} holds a key" in error for error in errors)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        (f"script: 'curl -H {KEYS[0]}'", "script"),
        (f"script: 'true', parameters: {{deep: [{KEYS[2]}]}}", "parameters"),
        (f"model_profile: fast, base_url: 'http://h/?k={KEYS[0]}'", "base_url"),
    ],
)
def test_a_key_that_something_else_needs_is_said(project: Project, keys: str, path: str) -> None:
    ensemble = project.agents(f"{{name: a, {keys}}}")
    assert project.notes(ensemble)[0] == (
        f"e.yaml:4: agent 'a': {path} holds what looks like a key: it does not belong into a file"
    )
    errors = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, {keys}}}\n")
    assert any(f"{path} holds what looks like a key" in error for error in errors)


@pytest.mark.parametrize("key", ["system_prompt", "prompt", "x-mine", "description"])
def test_free_texts_are_not_searched(project: Project, key: str) -> None:
    top = TOP if key != "description" else f"name: e\ndescription: {KEYS[0]}\n"
    keys = "" if key == "description" else f", {key}: 'Say {KEYS[0]} and ${{input}}'"
    assert project.notes(project.agents(f"{{name: a, model_profile: fast{keys}}}", top=top)) == []


def test_a_key_at_the_top_and_in_defaults_is_not_used(project: Project) -> None:
    top = f"{TOP}api_key: {HELD}\ndefaults: {{api_key: {HELD}, params: {{extra_body: {{token: {HELD}}}}}}}\n"
    ensemble = project.agents("{name: a, model_profile: fast}", top=top)
    assert HELD not in str(ensemble)
    assert sorted(note.partition(": name")[0] for note in project.notes(ensemble)) == [
        "e.yaml:3: api_key holds a key, which is not used",
        "e.yaml:4: defaults: api_key holds a key, which is not used",
        "e.yaml:4: defaults: params.extra_body.token holds a key, which is not used",
    ]


@pytest.mark.parametrize(
    "keys", [f"api_key: {HELD}", f"options: {{token: {HELD}, seed: 1}}", f"options: {{own: {KEYS[0]}, seed: 1}}"]
)
def test_a_key_in_a_profile_is_not_used(tmp_path: Path, keys: str) -> None:
    project = Project(tmp_path, f"model_profiles:\n  p: {{model: m, provider: ollama, {keys}}}\n")
    ensemble = project.agents("{name: a, model_profile: p}")
    assert HELD not in str(ensemble)
    assert KEYS[0] not in str(ensemble)
    (note,) = project.notes(ensemble)
    assert note.startswith(".llm-orc/config.yaml:2: ")
    (error,) = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, model_profile: p}}\n")
    assert error.startswith(".llm-orc/config.yaml:2:")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "text",
    [
        "{key}: 1\nagents: [{{name: a}}]\n",
        "agents: [{{name: a, {key}: 1}}]\n",
        "agents: [{{name: a, model_profile: {key}}}]\n",
        "agents: [{{name: a, model: m, provider: {key}}}]\n",
        "agents: [{{name: a, model_profile: p, fallback_model_profile: {key}}}]\n",
        "agents: [{{name: a, ensemble: {key}}}]\n",
        "agents: [{{name: a, when: {key}}}]\n",
        "agents: [{{name: a, type: {key}}}]\n",
        "agents: [{{name: a, response_format: {key}}}]\n",
        "agents: [{{name: a, timeout_seconds: {key}}}]\n",
        "agents: [{{name: a, input_scope: {key}}}]\n",
        "agents: [{{name: a, depends_on: [{{agent_name: a, {key}: 1}}]}}]\n",
        "agents: [{{name: a, options: {{{key}: 1, timeout: {key}}}}}]\n",
        "coordinator: {{model_profile: {key}, {key}: 1}}\nagents: [{{name: a}}]\n",
    ],
)
def test_no_message_repeats_what_looks_like_a_key(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("name: e\nmodel: simulated/echo\n" + text.format(key=key))
    try:
        shown = "\n".join(load(path).warnings)
    except ConfigError as error:
        shown = f"{error} {error!r} {error.key} {[one.key for one in error.errors]}"
    assert key not in shown
    assert key.removeprefix("Bearer ") not in shown
