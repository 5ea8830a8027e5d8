"""Files of llm-orc: profiles, providers, parameters, and what stands in for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_orc_project import TOP, Project
from loopback import Answer, Loopback
from stretto import Agent, ConfigError, Runner, load
from stretto.errors import CallError
from stretto.substitute import substitutes
from stretto.unavailable import Unavailable

PROFILES = """model_profiles:
  fast: {model: small, provider: openai-compatible/here, base_url: "http://127.0.0.1:9/v1", api_key_env: HERE_API_KEY}
  full:
    model: big
    provider: openai-compatible/here
    base_url: http://127.0.0.1:8/v1
    system_prompt: Of the profile.
    timeout_seconds: 20
    temperature: 0.5
    max_tokens: 100
    options: {top_p: 0.5, seed: 3, mine: {a: 1}}
    fallback_model_profile: first
  first: {model: one, provider: openai-compatible/here, options: {seed: 7, min_p: 0.1}, fallback_model_profile: second}
  second: {model: two, provider: anthropic-api}
  ring-a: {model: a, provider: ollama, fallback_model_profile: ring-b}
  ring-b: {model: b, provider: ollama, fallback_model_profile: ring-a}
  half: {model: x, system_prompt: Of the half., fallback_model_profile: fast}
  lost: {model: x, provider: ollama, fallback_model_profile: nowhere}
  native: {model: openai/gpt-5}
  thinking: {model: t, provider: llama-server, options: {think: false, chat_template_kwargs: {a: 1}}}
  wrong: {model: 5, provider: ollama}
"""


GENERATED = "You are a. Do your part of the task."


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("LLAMA_SERVER_URL", raising=False)
    return Project(tmp_path, PROFILES)


def fallback(agent: Agent) -> list[tuple[str, str | None, dict[str, Any] | None]]:
    given = substitutes(agent.fallback)
    return [(one.model, one.base_url, None if one.params is None else dict(one.params)) for one in given]


def noted(project: Project, keys: str) -> list[str]:
    return project.notes(project.agents(f"{{name: a, {keys}}}"))


# Providers.


@pytest.mark.parametrize(
    ("keys", "model", "base_url"),
    [
        ("model: m, provider: openai-compatible, base_url: 'http://h/v1'", "compatible/m", "http://h/v1"),
        ("model: a/m, provider: openai-compatible/x, base_url: 'http://h/v1'", "compatible/a/m", "http://h/v1"),
        ("model: m, provider: openai-compatible", "openai/m", None),
        ("model: m, provider: openai-compatible/x", "openai/m", None),
        ("model: m, provider: llama-server", "compatible/m", "http://127.0.0.1:8080/v1"),
        ("model: m, provider: llama-server, base_url: 'http://h/v1'", "compatible/m", "http://h/v1"),
        ("model: m, provider: anthropic-api", "anthropic/m", None),
        ("model: m, provider: google", "gemini/m", None),
        ("model: m, provider: google-gemini", "gemini/m", None),
        ("model: m, provider: ollama", "ollama_chat/m", None),
        ("model: m, provider: ollama, base_url: 'http://h'", "ollama_chat/m", "http://h"),
        ("model: mock-anything, provider: whatever", "simulated/echo", None),
        ("model: openai/gpt-5", "openai/gpt-5", None),
        ("model: m, base_url: 'http://h/v1'", "m", "http://h/v1"),
        ("model_profile: native", "openai/gpt-5", None),
        ("model_profile: second", "anthropic/two", None),
    ],
)
def test_a_provider_becomes_the_model_s_prefix(project: Project, keys: str, model: str, base_url: str | None) -> None:
    agent = project.agent(f"{{name: a, {keys}}}")
    assert (agent.model, agent.base_url) == (model, base_url)


def test_the_environment_says_where_llama_server_is(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_SERVER_URL", "http://127.0.0.1:7/v1")
    assert project.agent("{name: a, model: m, provider: llama-server}").base_url == "http://127.0.0.1:7/v1"


@pytest.mark.parametrize(
    ("provider", "cure"),
    [
        ("openai", "leave provider out and write model: openai/m"),
        ("claude-cli", "needs a person's login, which stretto does not use: anthropic-api takes a key"),
        ("anthropic-claude-pro-max", "needs a person's login"),
        ("nonsense", "write one of openai-compatible, llama-server, anthropic-api, google, google-gemini, ollama"),
        ("''", "its provider '' is none of llm-orc's"),
    ],
)
def test_another_provider_is_as_a_profile_that_nothing_defines(project: Project, provider: str, cure: str) -> None:
    keys = f"model: m, provider: {provider}"
    (note,) = noted(project, keys)
    assert note.startswith("e.yaml:4: agent 'a': its provider ")
    assert cure in note
    assert note.endswith(": the agent fails without a call")
    (error,) = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, {keys}}}\n")
    assert error.startswith("e.yaml:5:")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("model_profile: fast, model: m", "model_profile and model exclude each other: leave one of them out"),
        ("model_profile: fast, provider: ollama", "model_profile and provider exclude each other"),
        ("model_profile: fast, model: m, provider: ollama", "model_profile and model exclude each other"),
        ("provider: ollama", "provider needs model beside it"),
        ("model_profile: 5", "model_profile must be a text, got 5: quote it"),
        ("model: m, provider: [x]", "provider must be a text, got a list"),
        (
            "model_profile: fast, fallback_model_profile: no",
            "fallback_model_profile must be a text, got False: quote it",
        ),
        ("model: m", "'m' names no provider: write provider/model, or give the base_url of its server"),
    ],
)
def test_half_a_model_is_refused(project: Project, keys: str, message: str) -> None:
    (error,) = project.said(f"{{name: a, {keys}}}")
    assert error.partition(": agent 'a': ")[2].startswith(message)
    assert error.startswith("e.yaml:4:")


def test_an_agent_without_any_model_is_refused(project: Project) -> None:
    (error,) = project.said("{name: a, temperature: 1}")
    assert error.startswith("e.yaml:4:5: agent 'a': it has no work")


# Profiles.


def test_a_profile_gives_all_that_the_agent_does_not(project: Project) -> None:
    agent = project.agent("{name: a, model_profile: full, fallback: []}")
    assert (agent.model, agent.base_url) == ("compatible/big", "http://127.0.0.1:8/v1")
    assert (agent.system_prompt, agent.timeout) == ("Of the profile.", 20)
    assert dict(agent.params or {}) == {
        "temperature": 0.5,
        "max_tokens": 100,
        "top_p": 0.5,
        "seed": 3,
        "extra_body": {"mine": {"a": 1}},
    }
    assert project.agent("{name: a, model_profile: fast}").api_key_env == "HERE_API_KEY"


def test_what_the_agent_says_wins_over_its_profile(project: Project) -> None:
    agent = project.agent(
        "{name: a, model_profile: full, system_prompt: '', timeout_seconds: 3, temperature: 0.1, "
        "base_url: 'http://own/v1', options: {temperature: 0.7, max_tokens: 5, seed: 9, mine: {b: 2}, other: 1}, "
        "params: {top_p: 1, extra_body: {other: 2}}}"
    )
    assert (agent.model, agent.base_url, agent.api_key_env) == ("compatible/big", "http://own/v1", None)
    assert (agent.system_prompt, agent.timeout) == ("", 3)
    assert dict(agent.params or {}) == {
        "temperature": 0.1,
        "max_tokens": 5,
        "top_p": 1,
        "seed": 9,
        "extra_body": {"mine": {"b": 2}, "other": 2},
    }


def test_no_key_of_a_profile_goes_to_another_address(project: Project) -> None:
    agent = project.agent("{name: a, model_profile: fast, base_url: 'http://own/v1'}")
    assert (agent.base_url, agent.api_key_env) == ("http://own/v1", None)


def test_what_is_wrong_with_a_profile_is_said_in_its_own_file_when_it_is_used(project: Project) -> None:
    (error,) = project.said("{name: a, model_profile: wrong}", "{name: b, model_profile: wrong}")
    assert error.startswith(".llm-orc/config.yaml:21:11: model of the profile 'wrong' must be a text, got 5")
    assert project.agent("{name: a, model_profile: fast}")


def test_an_address_of_a_profile_is_refused_in_its_own_file(tmp_path: Path) -> None:
    project = Project(tmp_path, "model_profiles:\n  p: {model: m, provider: llama-server, base_url: ftp://x}\n")
    (error,) = project.said("{name: a, model_profile: p}")
    assert error == (".llm-orc/config.yaml:2:41: agent 'a': base_url must be an http(s) address, got 'ftp://x'")


def test_an_address_of_a_substitute_is_refused_where_it_is_named(tmp_path: Path) -> None:
    project = Project(tmp_path, "model_profiles:\n  p: {model: m, provider: llama-server, base_url: ftp://x}\n")
    (error,) = project.said("{name: a, model: openai/x, fallback_model_profile: p}")
    assert error.startswith("e.yaml:4:32: agent 'a': fallback_model_profile: base_url must be an http(s) address")


def test_files_of_profiles_that_are_broken_count_when_nothing_defines_the_profile(project: Project) -> None:
    files = {".llm-orc/profiles/broken.yaml": "name: [\n", ".llm-orc/profiles/other.yml": "name: x\n"}
    ensemble = project.agents("{name: a, model_profile: fast}", files=files)
    first, second = project.notes(ensemble)
    assert first.startswith(".llm-orc/profiles/broken.yaml:2:1: this is not YAML")
    assert second.startswith(".llm-orc/profiles/other.yml: is not read")
    assert project.notes(project.agents("{name: a, model: openai/x}", files=files)) == []
    (error,) = project.said("{name: a, model_profile: x}", files=files)
    assert error.startswith(".llm-orc/profiles/broken.yaml:2:1: ")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("fasd", "no profile is named 'fasd' (did you mean 'fast'?)"),
        ("''", "no profile is named ''"),
    ],
)
def test_a_profile_that_nothing_defines_lets_its_agent_fail_alone(project: Project, name: str, why: str) -> None:
    cure = "" if why.endswith("?)") else ": define it in .llm-orc/config.yaml and .llm-orc/profiles"
    ensemble = project.agents(f"{{name: a, model_profile: {name}}}", "{name: b, model: mock, provider: x}")
    assert project.notes(ensemble) == [f"e.yaml:4: agent 'a': {why}{cure}: the agent fails without a call"]
    assert ensemble.agents[0].function == Unavailable(why)
    run = Runner().run_sync(ensemble, "hello")
    assert (run["a"].status, run["b"].output, run.status) == ("failed", "hello", "completed_with_errors")
    assert run["a"].attempts[0].model == ""
    with pytest.raises(CallError, match="no profile is named"):
        _ = run["a"].output
    (error,) = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, model_profile: {name}}}\n")
    assert error.startswith(f"e.yaml:5:15: agent 'a': {why}")


def test_an_agent_of_llm_orc_without_a_system_prompt_is_told_its_name(project: Project) -> None:
    assert project.agent("{name: a, model_profile: fast}").system_prompt == GENERATED
    assert project.agent("{name: 'a${x}', model: m, provider: ollama}").system_prompt == GENERATED.replace(
        "a.", "a$${x}."
    )
    assert project.agent("{name: a, model: openai/x}").system_prompt is None
    assert (
        project.agent("{name: a, model_profile: fast}", top=f"{TOP}defaults: {{system_prompt: S}}\n").system_prompt
        == "S"
    )
    assert project.agent("{name: a, model_profile: fast}", top=f"stretto: 1\n{TOP}").system_prompt is None


# What stands in.


def test_profiles_stand_in_for_each_other_in_a_chain(project: Project) -> None:
    agent = project.agent("{name: a, model_profile: full, temperature: 0.2, options: {k: 1}}")
    assert fallback(agent) == [
        (
            "openai/one",
            None,
            {"top_p": None, "max_tokens": None, "seed": 7, "min_p": 0.1, "extra_body": {"k": 1}},
        ),
        ("anthropic/two", None, {"top_p": None, "max_tokens": None, "seed": None, "extra_body": {"k": 1}}),
    ]


def test_the_agent_s_own_substitute_comes_before_those_of_its_profile(project: Project) -> None:
    agent = project.agent("{name: a, model_profile: full, fallback_model_profile: fast}")
    assert [one[0] for one in fallback(agent)] == ["compatible/small", "openai/one", "anthropic/two"]
    assert substitutes(agent.fallback)[0].api_key_env == "HERE_API_KEY"
    agent = project.agent("{name: a, model_profile: full, fallback_model_profile: second}")
    assert [one[0] for one in fallback(agent)] == ["anthropic/two", "openai/one"]


def test_the_agent_s_own_words_hold_for_every_substitute(project: Project) -> None:
    agent = project.agent("{name: a, model_profile: full, params: {seed: 1}, fallback_model_profile: first}")
    changed = substitutes(agent.fallback)[0].params
    assert (agent.params or {})["seed"] == 1
    assert dict(changed or {}) == {
        "temperature": None,
        "max_tokens": None,
        "top_p": None,
        "min_p": 0.1,
        "extra_body": None,
    }


def test_a_model_without_a_profile_may_have_a_substitute(project: Project) -> None:
    agent = project.agent("{name: a, fallback_model_profile: fast}", top=f"{TOP}model: openai/gpt-5\n")
    assert (agent.model, fallback(agent)) == ("openai/gpt-5", [("compatible/small", "http://127.0.0.1:9/v1", None)])


def test_stretto_s_own_fallback_wins(project: Project) -> None:
    ensemble = project.agents("{name: a, model_profile: fast, fallback: openai/x, fallback_model_profile: second}")
    assert [one[0] for one in fallback(ensemble.agents[0])] == ["openai/x"]
    assert project.notes(ensemble) == ["e.yaml:4: agent 'a': fallback_model_profile has no effect beside fallback"]


@pytest.mark.parametrize(
    ("keys", "chain", "note"),
    [
        (
            "model_profile: ring-a",
            ["ollama_chat/b"],
            ".llm-orc/config.yaml:16: fallback_model_profile of the profile 'ring-b' closes a circle: "
            "ring-a -> ring-b -> ring-a",
        ),
        (
            "model_profile: fast, fallback_model_profile: fast",
            [],
            "e.yaml:4: agent 'a': fallback_model_profile names 'fast', for which it is to stand in",
        ),
        (
            "model_profile: fast, fallback_model_profile: fasd",
            [],
            "e.yaml:4: agent 'a': no profile is named 'fasd' (did you mean 'fast'?): it is passed over",
        ),
        (
            "model_profile: lost",
            [],
            ".llm-orc/config.yaml:18: fallback_model_profile of the profile 'lost': no profile is named 'nowhere'",
        ),
        (
            "model_profile: fast, fallback_model_profile: half",
            [],
            "e.yaml:4: agent 'a': the profile 'half' cannot be used: it names no provider: it is passed over",
        ),
    ],
)
def test_a_chain_that_breaks_is_a_warning_and_in_strict_files_an_error(
    project: Project, keys: str, chain: list[str], note: str
) -> None:
    ensemble = project.agents(f"{{name: a, {keys}}}")
    assert [one[0] for one in fallback(ensemble.agents[0])] == chain
    assert project.notes(ensemble) == [note]
    (error,) = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, {keys}}}\n")
    assert note.partition(": ")[2].partition(" (did")[0].removesuffix(": it is passed over") in error


@pytest.mark.parametrize(
    ("keys", "note", "system"),
    [
        (
            "model_profile: nobody, fallback_model_profile: fast",
            "no profile is named 'nobody': define it in .llm-orc/config.yaml and .llm-orc/profiles: "
            "fast takes its place",
            GENERATED,
        ),
        (
            "model_profile: half",
            "the profile 'half' cannot be used: it names no provider: fast takes its place",
            "Of the half.",
        ),
        ("model: m, provider: odd, fallback_model_profile: fast", "its provider 'odd' is none of llm-orc's", GENERATED),
    ],
)
def test_a_substitute_takes_the_place_of_a_model_that_cannot_be_used(
    project: Project, keys: str, note: str, system: str | None
) -> None:
    ensemble = project.agents(f"{{name: a, {keys}}}")
    agent = ensemble.agents[0]
    assert (agent.model, agent.base_url, agent.api_key_env) == (
        "compatible/small",
        "http://127.0.0.1:9/v1",
        "HERE_API_KEY",
    )
    assert (agent.function, agent.fallback, agent.system_prompt) == (None, None, system)
    assert note in project.notes(ensemble)[0]
    assert project.notes(ensemble)[0].endswith(": fast takes its place")


# Parameters.


@pytest.mark.parametrize(
    ("keys", "params"),
    [
        ("temperature: '0.5'", {"temperature": 0.5}),
        ("temperature: -1", {"temperature": -1}),
        ("max_tokens: '100'", {"max_tokens": 100}),
        ("max_tokens: 100.0", {"max_tokens": 100}),
        ("response_format: json", {"response_format": {"type": "json_object"}}),
        (
            "response_format: {type: object}",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "response", "schema": {"type": "object"}},
                }
            },
        ),
        ("response_format: {type: json_object}", {"response_format": {"type": "json_object"}}),
        (
            "response_format: {type: json_schema, json_schema: {name: n}}",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
        ),
        (
            "options: {seed: 1, own: {a: [1]}, extra_body: {b: 2}}",
            {"seed": 1, "extra_body": {"own": {"a": [1]}, "b": 2}},
        ),
        (
            "response_format: json, options: {response_format: {type: text}}",
            {"response_format": {"type": "json_object"}},
        ),
        ("temperature: , max_tokens: , options: , response_format: ", {}),
        ("options: {}", {}),
    ],
)
def test_request_keys_become_parameters(project: Project, keys: str, params: dict[str, Any]) -> None:
    assert dict(project.agent(f"{{name: a, model_profile: fast, {keys}}}").params or {}) == params
    assert noted(project, f"model_profile: fast, {keys}") == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("temperature: hot", "temperature must be a number, got 'hot'"),
        ("temperature: yes", "temperature must be a number, got True"),
        ("max_tokens: 1.5", "max_tokens must be a whole number, got 1.5"),
        ("max_tokens: [1]", "max_tokens must be a whole number, got a list"),
        ("options: [a]", "options must be a mapping, got a list"),
        ("options: text", "options must be a mapping, got 'text'"),
        ("response_format: 5", "response_format must be 'json' or a JSON schema, got 5"),
        ("response_format: [a]", "response_format must be 'json' or a JSON schema, got a list"),
        ("params: {temprature: 1}, temperature: 1", "params.temprature is not a chat parameter"),
        ("params: text, temperature: 1", "params must be a mapping, got 'text'"),
    ],
)
def test_a_wrong_request_key_is_refused(project: Project, keys: str, message: str) -> None:
    (error,) = project.said(f"{{name: a, model_profile: fast, {keys}}}")
    assert error.partition(": agent 'a': ")[2].startswith(message)


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ("response_format: yaml", "response_format has no effect: it must be 'json' or a JSON schema, got 'yaml'"),
        ("options: {timeout: 5}", "options.timeout is not sent: use the agent's `timeout`"),
        ("options: {model: x}", "options.model is not sent: use the agent's `model`"),
        ("options: {messages: []}", "options.messages is not sent: use the agent's `system_prompt` and `prompt`"),
        ("options: {stream: true}", "options.stream is not sent: use the agent's `stream`"),
        ("options: {num_retries: 2}", "options.num_retries is not sent: use the layer `Retry(attempts)`"),
        ("options: {extra_headers: {a: b}}", "options.extra_headers is not sent: write it under `params`"),
        ("options: {extra_body: {api_base: x}}", "options.extra_body.api_base is not sent: use the agent's `base_url`"),
        ("options: {think: true}", "options.think is not sent: llama-server alone understands it"),
    ],
)
def test_what_is_not_sent_is_said(project: Project, keys: str, note: str) -> None:
    assert dict(project.agent(f"{{name: a, model_profile: fast, {keys}}}").params or {}) == {}
    assert noted(project, f"model_profile: fast, {keys}") == [f"e.yaml:4: agent 'a': {note}"]
    (error,) = project.said(text=f"stretto: 1\n{TOP}agents:\n  - {{name: a, model_profile: fast, {keys}}}\n")
    assert note in error


def test_llama_server_is_told_whether_to_think(project: Project) -> None:
    agent = project.agent("{name: a, model_profile: thinking}")
    assert agent.params is not None
    assert agent.params["extra_body"] == {"chat_template_kwargs": {"a": 1, "enable_thinking": False}}
    agent = project.agent("{name: a, model_profile: thinking, options: {think: high}}")
    assert agent.params is not None
    assert agent.params["extra_body"]["chat_template_kwargs"]["enable_thinking"] == "high"


# On the wire.


async def test_a_file_of_llm_orc_asks_what_llm_orc_would_ask(tmp_path: Path) -> None:
    async with Loopback() as server:
        project = Project(
            tmp_path,
            f"""model_profiles:
  bad: {{model: bad, provider: openai-compatible/x, base_url: "{server.url}", options: {{seed: 3, mine: 1}},
    system_prompt: S, fallback_model_profile: good}}
  good: {{model: good, provider: llama-server, base_url: "{server.url}", options: {{seed: 7, think: false}}}}
""",
        )
        ensemble = project.agents(
            "{name: a, model_profile: bad, temperature: 0.2, max_tokens: 9, response_format: json}"
        )
        server.answer(Answer(status=400), Answer("fine"))
        async with Runner() as runner:
            run = await runner.run(ensemble, "the input")
        assert run.output == "fine"
        assert [request.json for request in server.requests] == [
            {
                "model": "bad",
                "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "the input"}],
                "temperature": 0.2,
                "max_tokens": 9,
                "response_format": {"type": "json_object"},
                "seed": 3,
                "mine": 1,
            },
            {
                "model": "good",
                "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "the input"}],
                "temperature": 0.2,
                "max_tokens": 9,
                "response_format": {"type": "json_object"},
                "seed": 7,
                "chat_template_kwargs": {"enable_thinking": False},
            },
        ]


# What is wrong with profiles is said once, and where it stands.


@pytest.mark.parametrize(("key", "value"), [("temperature", "'0.2'"), ("max_tokens", "'50'"), ("max_tokens", "50.0")])
def test_a_number_of_a_profile_may_be_a_text(project: Project, key: str, value: str) -> None:
    profile = f"model_profiles: {{q: {{model: m, provider: ollama, {key}: {value}}}}}\n"
    ensemble = project.agents("{name: a, model_profile: q}", files={".llm-orc/config.yaml": profile})
    assert ensemble.agents[0].params == {key: 0.2 if key == "temperature" else 50}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({".llm-orc/config.yaml": "model_profiles: {p: text}\n"}, "the profile 'p' must be a mapping, got 'text'"),
        ({".llm-orc/profiles/p.yaml": "name: [\n"}, "this is not YAML"),
        ({".llm-orc/profiles/p.yaml": "model_profiles: {p: {}}\n"}, "a file of a profile holds one profile"),
    ],
)
def test_a_broken_profile_is_one_error_of_a_strict_file(project: Project, files: dict[str, str], message: str) -> None:
    (error,) = project.said("{name: a, model_profile: p}", top="stretto: 1\nname: e\n", files=files)
    assert message in error


def test_an_error_of_a_runner_stands_in_the_profile_that_it_comes_from(project: Project) -> None:
    profile = "model_profiles:\n  q:\n    model: m\n    provider: openai-compatible\n    base_url: http://127.0.0.1:9\n"
    profile += "    api_key_env: HOME\n"
    ensemble = project.agents("{name: a, model_profile: q}", files={".llm-orc/config.yaml": profile})
    with pytest.raises(ConfigError) as caught:
        Runner(middleware=[]).describe(ensemble)
    assert str(caught.value).startswith(f"{project.folder}/.llm-orc/config.yaml:6:5: agent 'a': ")


def test_an_unknown_section_of_a_config_file_that_is_nearly_one_is_said(project: Project) -> None:
    files = {".llm-orc/config.yaml": "model_profile: {}\nproject: p\nperformance: {default_timeou: 1}\n"}
    ensemble = project.agents("{name: a, model: simulated/echo}", files=files)
    assert [note.removesuffix(": it is ignored") for note in project.notes(ensemble)] == [
        ".llm-orc/config.yaml:1: 'model_profile' is not a section that is read (did you mean 'model_profiles'?)",
        ".llm-orc/config.yaml:3: 'default_timeou' is not a setting (did you mean 'default_timeout'?)",
    ]
    errors = project.said("{name: a, model: simulated/echo}", top="stretto: 1\nname: e\n", files=files)
    assert [error.partition(": ")[0] for error in errors] == [".llm-orc/config.yaml:1:1", ".llm-orc/config.yaml:3:15"]


def test_an_address_of_the_environment_that_is_none_is_named_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_SERVER_URL", "hunter2")
    (tmp_path / "e.yaml").write_text("name: e\nagents: [{name: a, model: m, provider: llama-server}]\n")
    (warning,) = [line for line in load(tmp_path / "e.yaml").warnings if "LLAMA_SERVER_URL" in line]
    assert "the environment variable LLAMA_SERVER_URL is no http(s) address" in warning
    assert "hunter2" not in warning
