"""Loading ensembles from YAML: what each key becomes, and how each mistake is said."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from stretto import ConfigError, Ensemble, Runner, Settings, default_stack, load, named_layer
from stretto.agent import AGENT_KEYS
from stretto.loading import FILE_KEYS, LONG_MESSAGE, TOP_KEYS, located
from stretto.middleware import RateLimit, Retry, Timeout
from stretto.stack import DEFAULT, shipped_layer
from stretto.usage import Price

TOP = "stretto: 1\nname: e\nmodel: simulated/echo\n"
ONE = TOP + "agents:\n  - name: a\n"
SECTIONS = ("depends_on", "params", "middleware", "loop", "parameters", "env")  # of an agent


def loaded(folder: Path, text: str, **options: Any) -> Ensemble:
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, **options)


def all_errors(folder: Path, text: str, **options: Any) -> list[ConfigError]:
    """Give the errors of a file, and hold that each has its place."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **options)
    errors = list(caught.value.errors or (caught.value,))
    for error in errors:
        assert error.file is not None
        assert error.line is not None
        assert error.column is not None
        assert len(error.message) <= LONG_MESSAGE + 3
    return errors


def refused(folder: Path, text: str, **options: Any) -> ConfigError:
    errors = all_errors(folder, text, **options)
    assert len(errors) == 1, errors
    return errors[0]


def said(folder: Path, text: str, **options: Any) -> list[str]:
    """Give the errors as people read them, without the folder."""
    return [str(error).replace(f"{folder}/", "") for error in all_errors(folder, text, **options)]


# What is loaded.


def test_a_file_gives_what_python_gives(tmp_path: Path) -> None:
    ensemble = loaded(
        tmp_path,
        """
        stretto: 1
        name: review
        description: Reviews code.
        model: simulated/echo
        default_input: "def f(): ..."
        schedule: ready
        on_failure: fail_fast
        composer: plain
        defaults: {timeout: 30, params: {seed: 1}}
        settings: {max_concurrent_agents: 5}
        middleware: [{retry: {attempts: 5}}]
        agents:
          - name: style
            system_prompt: You judge style.
            params: {temperature: 0.5}
          - name: sum
            model: simulated/tokens-3
            prompt: Sum up ${style}
            depends_on: [style]
            on_dependency_failure: run
            when: ${style}
            timeout: 5
            base_url: http://localhost:1
            api_key_env: MY_API_KEY
            stream: no
            middleware: [timeout: {total: 9}]
        """,
    )
    assert (ensemble.name, ensemble.description, ensemble.model) == ("review", "Reviews code.", "simulated/echo")
    assert (ensemble.default_input, ensemble.schedule) == ("def f(): ...", "ready")
    assert (ensemble.on_failure, ensemble.composer) == ("fail_fast", "plain")
    assert ensemble.settings == Settings(max_concurrent_agents=5)
    assert ensemble.middleware[0].attempts == 5  # type: ignore[attr-defined]
    style, total = ensemble.agents
    assert (style.model, style.timeout, dict(style.params or {})) == (
        "simulated/echo",
        30,
        {"seed": 1, "temperature": 0.5},
    )
    assert style.system_prompt == "You judge style."
    assert (total.model, total.prompt, total.depends_on) == ("simulated/tokens-3", "Sum up ${style}", ("style",))
    assert (total.on_dependency_failure, total.when, total.timeout) == ("run", "${style}", 5)
    assert (total.base_url, total.api_key_env, total.stream) == ("http://localhost:1", "MY_API_KEY", False)
    assert total.middleware is not None
    assert total.middleware[0].total == 9  # type: ignore[attr-defined]


def test_every_key_of_an_agent_is_one_of_a_file_but_for_code_and_secrets() -> None:
    assert set(AGENT_KEYS) - set(FILE_KEYS) == {"function", "api_key"}


async def test_a_loaded_ensemble_runs(tmp_path: Path) -> None:
    ensemble = loaded(tmp_path, ONE + "  - {name: b, depends_on: [a], prompt: 'got ${a}'}\n")
    async with Runner() as runner:
        assert (await runner.run(ensemble, "hello")).output == "got hello"


@pytest.mark.parametrize("value", ["{a: [1, two]}", "[1]", "5", "true"])
def test_a_default_input_may_be_data(tmp_path: Path, value: str) -> None:
    assert loaded(tmp_path, ONE + f"default_input: {value}\n").default_input is not None


def test_keys_that_begin_with_x_are_for_the_author(tmp_path: Path) -> None:
    ensemble = loaded(
        tmp_path,
        "stretto: 1\nx-note: mine\nx-slow: &slow {timeout: 90}\nname: e\nmodel: simulated/echo\n"
        "defaults: {x-a: 1}\nsettings: {x-b: 1}\nagents: [{name: a, x-c: 1, <<: *slow}]\n",
    )
    assert ensemble.agents[0].timeout == 90
    assert ensemble.warnings == ()


@pytest.mark.parametrize("key", ["description", "model", "default_input", "schedule", "on_failure", "composer"])
def test_an_empty_key_at_the_top_is_as_one_left_out(tmp_path: Path, key: str) -> None:
    text = "stretto: 1\nname: e\nagents: [{name: a, model: simulated/echo}]\n"
    assert loaded(tmp_path, f"{text}{key}:\n") == loaded(tmp_path, text)


@pytest.mark.parametrize("key", [k for k in FILE_KEYS if k not in ("name", *SECTIONS)])
def test_an_empty_key_of_an_agent_is_as_one_left_out(tmp_path: Path, key: str) -> None:
    assert loaded(tmp_path, f"{ONE}    {key}:\n") == loaded(tmp_path, ONE)


@pytest.mark.parametrize("key", ["agents", "defaults", "settings", "middleware"])
def test_an_empty_section_at_the_top_is_refused(tmp_path: Path, key: str) -> None:
    text = ("" if key == "agents" else ONE) or TOP
    error = refused(tmp_path, f"{text}{key}:\n")
    assert error.line == text.count("\n") + 1
    assert error.message.endswith(", got nothing: leave the key out, or give it content") or key == "agents"


@pytest.mark.parametrize("key", SECTIONS)
def test_an_empty_section_of_an_agent_is_refused(tmp_path: Path, key: str) -> None:
    error = refused(tmp_path, f"{ONE}    {key}:\n")
    assert (error.line, error.column, error.agent, error.key) == (6, 5, "a", key)
    assert error.message.endswith("got nothing: leave the key out, or give it content")


def test_a_file_without_agents_says_how_to_write_them(tmp_path: Path) -> None:
    assert said(tmp_path, TOP) == ["e.yaml:1:1: the ensemble needs agents: a list, `- name: ...` for each"]
    assert said(tmp_path, TOP + "agents: []\n")[0].startswith(
        "e.yaml:4:1: agents must hold one agent at least: write `- name: ...`"
    )


def test_the_model_that_nobody_names_is_asked_for_at_the_agent(tmp_path: Path) -> None:
    error = refused(tmp_path, "stretto: 1\nname: e\nagents:\n  - name: a\n")
    assert (error.line, error.column, error.agent, error.key) == (4, 5, "a", "model")


def test_a_thousand_agents_load_in_no_time(tmp_path: Path) -> None:
    agents = "".join(
        f"  - name: agent-{n}\n    prompt: Do ${{input}}\n    params: {{seed: {n}}}\n    timeout: 30\n"
        + (f"    depends_on: [agent-{n - 1}]\n" if n % 10 else "")
        for n in range(1000)
    )
    before = time.process_time()
    ensemble = loaded(tmp_path, f"{TOP}agents:\n{agents}")
    assert len(ensemble.plan().phases) == 10
    assert time.process_time() - before < 2


# Names and unknown keys.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOP + "agnets: []\n", "e.yaml:4:1: 'agnets' is not a key of an ensemble (did you mean 'agents'?)"),
        (ONE + "    promt: x\n", "e.yaml:6:5: agent 'a': 'promt' is not a key of an agent (did you mean 'prompt'?)"),
        (ONE + "defaults: {timeuot: 5}\n", "e.yaml:6:12: 'timeuot' is not a key of defaults (did you mean 'timeout'?)"),
        (ONE + "settings: {tune: 5}\n", "e.yaml:6:12: 'tune' is not a setting (did you mean 'tune_gc'?)"),
        (ONE + "defaults: {name: b}\n", "e.yaml:6:12: 'name' is not a key of defaults"),
        (ONE + "    params: {temprature: 1}\n", "e.yaml:6:14: agent 'a': params.temprature is not a chat parameter"),
        (ONE + "    params: {api_base: x}\n", "params.api_base is not a chat parameter: use the agent's `base_url`"),
        (ONE + "    function: f\n", "e.yaml:6:5: agent 'a': function: a function comes from Python"),
        (
            ONE + "schedule: readdy\n",
            "e.yaml:6:1: schedule must be one of phases, ready, got 'readdy' (did you mean 'rea",
        ),
    ],
)
def test_an_unknown_word_is_refused_where_it_stands(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in one for one in said(tmp_path, text))


def test_a_file_without_version_only_warns_of_unknown_keys_at_the_top(tmp_path: Path) -> None:
    ensemble = loaded(tmp_path, "name: e\nmodel: simulated/echo\nnonsense: x\nagents: [{name: a}]\n")
    assert ensemble.warnings == (f"{tmp_path}/e.yaml:3: the key 'nonsense' is ignored",)


def test_a_near_miss_is_an_error_in_every_file(tmp_path: Path) -> None:
    error = refused(tmp_path, "name: e\nmodel: simulated/echo\ndefalts: {}\nagents: [{name: a}]\n")
    assert (error.key, error.nearest, error.line) == ("defalts", "defaults", 3)


def test_an_unknown_key_of_an_agent_is_an_error_in_every_file(tmp_path: Path) -> None:
    assert refused(tmp_path, "name: e\nmodel: simulated/echo\nagents: [{name: a, foo: 1}]\n").key == "foo"


def test_strictness_overrules_the_file(tmp_path: Path) -> None:
    text = "name: e\nmodel: simulated/echo\nnonsense: x\nagents: [{name: a}]\n"
    assert refused(tmp_path, text, strictness="strict").key == "nonsense"
    assert loaded(tmp_path, "stretto: 1\n" + text, strictness="compat").warnings


def test_an_unknown_strictness_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="strictness must be 'compat' or 'strict', got 'lax'"):
        load(tmp_path / "e.yaml", strictness="lax")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["2", "true", "'1'", "", "[1]", "1.5"])
def test_another_version_of_the_format_is_refused(tmp_path: Path, version: str) -> None:
    error = refused(tmp_path, ONE.replace("stretto: 1", f"stretto: {version}"))
    assert (error.line, error.column, error.key) == (1, 1, "stretto")
    assert error.message.startswith("stretto must be 1, the only version of the format, got ")


def test_a_name_that_yaml_takes_for_something_else_is_to_be_quoted(tmp_path: Path) -> None:
    assert said(tmp_path, TOP + "agents: [{name: no}]\n") == ["e.yaml:4:11: name must be a text, got False: quote it"]


# Wrong values: each key with each of these must be loaded or refused with its place, never fail in another way.

WRONG = (
    *("", "true", "5", "-1", "1.5", "0", "text", '""', '"  "', "[]", "[1]", "[null]", "[[a]]", "[{a: b}]", "{}"),
    *("{a: 1}", "{a: {b: [1]}}", '"${"', '"${x"', "${nobody}", r'"\0"', r'"\e[31m"', "9223372036854775807", "[a, a]"),
    *("{extra_body: 1}", "[{}]", "[retry, retry]", "[{null: }]", "{http: 1}", "http://[", "http://u:p@h", "1e-320"),
    *("http://h:99999999", "'ftp://x'", "x" * 300, "2020-01-01", "[no]", "[retry: [1]]", "[retry: {attempts: [1]}]"),
)


def each_key() -> Iterator[tuple[str, str]]:
    """Give a text with a hole for each key that the loader knows."""
    for key in TOP_KEYS:
        agents = "[{name: a, model: simulated/echo}]"
        lines = {"stretto": "1", "name": "e", "model": "simulated/echo", "agents": agents, key: "%s"}
        yield f"top.{key}", "".join(f"{name}: {value}\n" for name, value in lines.items())
    for key in FILE_KEYS:
        agent = {"name": "a", key: "%s"}
        lines_of_agent = "".join(f"    {name}: {value}\n" for name, value in agent.items())
        yield f"agent.{key}", f"{TOP}agents:\n  -\n{lines_of_agent}"
        yield f"defaults.{key}", f"{ONE}defaults:\n  {key}: %s\n"
    for key in Settings().to_dict():
        yield f"settings.{key}", f"{ONE}settings:\n  {key}: %s\n"
    for name in DEFAULT:
        for keyword in inspect.signature(shipped_layer(name)).parameters:
            yield f"{name}.{keyword}", f"{ONE}middleware:\n  - {name}:\n      {keyword}: %s\n"


def refusal(folder: Path, text: str) -> ConfigError | None:
    try:
        loaded(folder, text)
    except ConfigError as error:
        return error
    return None


@pytest.mark.parametrize(("key", "text"), list(each_key()), ids=lambda value: value if "\n" not in value else "")
def test_a_wrong_value_is_refused_with_its_place(tmp_path: Path, key: str, text: str) -> None:
    where = 1 + text[: text.index("%s")].count("\n")
    refusals = [error for value in WRONG if (error := refusal(tmp_path, text.replace("%s", value))) is not None]
    for error in refusals:
        assert error.file
        assert error.column
        assert {error.line, *(one.line for one in error.errors)} == {where}, str(error)
    assert len(refusals) > 3 or key == "top.default_input", "the key takes whatever comes"


@pytest.mark.parametrize("item", ["5", "text", "[a]", "", "true"])
def test_an_agent_that_is_no_mapping_is_refused(tmp_path: Path, item: str) -> None:
    error = refused(tmp_path, ONE + f"  - {item}\n")
    assert (error.line, error.key) == (6, "agents")
    assert error.message.startswith("an agent must be a mapping with a name, got ")


def test_an_agent_without_a_name_is_refused_where_it_begins(tmp_path: Path) -> None:
    assert said(tmp_path, ONE + "  - prompt: x\n") == ["e.yaml:6:5: the agent needs a name"]


def test_a_single_name_in_depends_on_is_cured(tmp_path: Path) -> None:
    message = "e.yaml:6:18: agent 'b': depends_on must be a list of names, such as [a], got 'a'"
    assert said(tmp_path, ONE + "  - {name: b,    depends_on: a}\n")[0].endswith(message.partition(": ")[2])


def test_a_wrong_value_of_defaults_stands_where_it_is_written(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE + "defaults:\n  model: simulated/echo\n  timeout: -1\n")
    assert (error.line, error.column, error.agent) == (8, 3, None)


def test_the_defaults_of_params_are_checked_by_name(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE + "defaults:\n  params:\n    seed: 1\n    sed: 1\n")
    assert (error.line, error.nearest) == (9, "seed")


def test_a_long_value_does_not_fill_the_screen(tmp_path: Path) -> None:
    error = refused(tmp_path, f"{ONE}schedule: {'x' * 500_000}\n")
    assert len(str(error)) < 2 * LONG_MESSAGE


def test_a_long_name_does_not_fill_the_screen(tmp_path: Path) -> None:
    assert all(len(one) < 1000 for one in said(tmp_path, f"{TOP}agents: [{{name: {'x' * 500_000}, foo: 1}}]\n"))


# Several errors.


def test_the_errors_of_a_file_are_said_together_in_file_order(tmp_path: Path) -> None:
    text = """stretto: 2
agnets: []
name: 5
schedule: soon
settings: {run_timeout: -1, tune: 1}
agents:
  - name: a
    timeout: 0
    stream: maybe
    params: {temprature: 1}
  - name: b
    model: [x]
    depends_on: a
    middleware: [retri]
defaults: {timeout: never}
on_failure: weep
"""
    errors = all_errors(tmp_path, text)
    assert [error.line for error in errors] == [1, 2, 3, 4, 5, 5, 8, 9, 10, 12, 13, 14, 15, 16]
    assert [error.agent for error in errors if error.line in (8, 9, 10)] == ["a"] * 3


def test_an_error_that_holds_several_prints_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(ONE + "    a: 1\n    b: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "e.yaml")
    assert [line.partition(" ")[0] for line in str(caught.value).splitlines()] == [
        f"{tmp_path}/e.yaml:6:5:",
        f"{tmp_path}/e.yaml:7:5:",
    ]
    assert caught.value.message == "2 errors"


def test_a_name_that_is_wrong_is_said_once(tmp_path: Path) -> None:
    text = TOP + "agents: [{name: '', timeout: 5, prompt: x, stream: true}]\n"
    assert len(all_errors(tmp_path, text)) == 1


def test_no_more_than_a_hundred_errors_are_said(tmp_path: Path) -> None:
    errors = all_errors(tmp_path, TOP + "agents:\n" + "  - 5\n" * 1000)
    assert len(errors) == 101
    assert errors[-1].message == "and 900 more errors from here on"
    assert errors[-1].line == 105


# What only the whole tells.


def test_a_cycle_is_placed_at_a_dependency_of_it(tmp_path: Path) -> None:
    text = TOP + "agents:\n  - name: a\n    depends_on: [b]\n  - name: b\n    depends_on: [a]\n"
    error = refused(tmp_path, text)
    assert (error.line, error.column, error.agent, error.key) == (6, 5, "a", "depends_on")
    assert error.message == "these agents wait for each other: a -> b -> a"


def test_an_unknown_dependency_is_placed_and_named(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE + "  - name: b\n    depends_on: [aa]\n")
    assert (error.line, error.agent, error.nearest) == (7, "b", "a")


def test_a_mark_that_names_nobody_is_placed(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE + "  - name: writer\n    depends_on: [a]\n    prompt: ${inptu}\n")
    assert (error.line, error.column, error.agent, error.key, error.nearest) == (8, 5, "writer", "prompt", "input")


def test_a_mark_of_an_agent_that_is_no_dependency_says_the_cure(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE + "  - name: b\n    prompt: ${a}\n")
    assert (error.line, error.message) == (7, "${a} in prompt needs 'a' in depends_on")


def test_a_name_that_is_given_twice_is_placed_at_the_last(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE + "  - name: a\n")
    assert (error.line, error.column) == (6, 5)


def test_a_clock_for_phases_needs_phases(tmp_path: Path) -> None:
    error = refused(tmp_path, ONE + "schedule: ready\nsettings: {phase_timeout: 5}\n")
    assert "phase_timeout needs schedule='phases'" in error.message


def test_an_error_of_the_runner_finds_its_place(tmp_path: Path) -> None:
    ensemble = loaded(tmp_path, ONE + "  - name: b\n    model: nobody/x\n")
    with pytest.raises(ConfigError) as caught:
        Runner().describe(ensemble)
    error = located(caught.value, tmp_path / "e.yaml")
    assert (error.line, error.column, error.agent) == (7, 5, "b")


def test_an_error_that_names_nobody_stands_at_the_top_of_the_file(tmp_path: Path) -> None:
    loaded(tmp_path, "# first\n" + ONE)
    error = located(ConfigError("odd", agent="nobody", key="nothing"), tmp_path / "e.yaml")
    assert (error.line, error.column) == (2, 1)


# Secrets.

KEY = "sk-abcdef1234567890"
HELD = "held-value-0123456789"


@pytest.mark.parametrize(
    "section", [ONE + "    api_key: %s\n", ONE + "api_key: %s\n", ONE + "defaults: {api_key: %s}\n"]
)
def test_a_key_in_a_file_is_refused_and_never_repeated(tmp_path: Path, section: str) -> None:
    error = refused(tmp_path, section % HELD)
    assert "name the variable that holds it with api_key_env" in str(error)
    assert HELD not in str(error)


@pytest.mark.parametrize(
    "text",
    [
        ONE + f"    params: {{api_key: {HELD}}}\n",
        ONE + f"    params: [{HELD}]\n",
        ONE + f"    model: {{api_key: {HELD}}}\n",
        ONE + f"    prompt: [{HELD}]\n",
        ONE + f"    apikey: {HELD}\n",
        ONE + f"    base_url: http://me:{HELD}@host\n",
        ONE + f"    base_url: http://me:{HELD}@host:99999999\n",
        ONE + f"settings: {{run_timeout: {{a: {HELD}}}}}\n",
        ONE + f"model_key: {HELD}\n",
        ONE + f"  - [{HELD}]\n",
        ONE + f"schedule: {KEY}\n",
        ONE + f"on_failure: Bearer {KEY[3:]}\n",
        ONE + f"    {KEY}: x\n",
        ONE + f"    stream: {KEY}\n",
        ONE + f"    base_url: {KEY}\n",
        ONE + f"middleware: [{KEY}]\n",
        ONE + f"middleware: [retry: {{attempts: {KEY}}}]\n",
        ONE + f"settings: {{run_timeout: {KEY}}}\n",
        f"x: !!int {KEY}\n",
        f"{KEY}: 1\n{KEY}: 2\n",
    ],
)
def test_what_could_be_a_key_is_in_no_message(tmp_path: Path, text: str) -> None:
    for error in all_errors(tmp_path, text):
        shown = str(error) + repr(error) + str(error.key)
        assert HELD not in shown
        assert KEY not in shown
        assert KEY[3:] not in shown


def test_a_key_in_place_of_its_variable_is_in_no_message(tmp_path: Path) -> None:
    ensemble = loaded(tmp_path, ONE + f"    api_key_env: {HELD}\n")
    with pytest.raises(ConfigError) as caught:
        Runner().describe(ensemble)
    assert HELD not in str(located(caught.value, tmp_path / "e.yaml"))


# Layers by name.


def test_a_layer_is_found_by_its_name(tmp_path: Path) -> None:
    text = ONE + "middleware:\n  - timeout\n  - retry:\n  - rate_limit: {requests: 60, per: 30}\n"
    timeout, retry, limit = loaded(tmp_path, text).middleware
    assert isinstance(timeout, Timeout)
    assert isinstance(retry, Retry)
    assert isinstance(limit, RateLimit)
    assert (limit.requests, limit.per) == (60, 30)


async def test_a_layer_of_a_file_is_laid_over_the_default_stack(tmp_path: Path) -> None:
    ensemble = loaded(tmp_path, ONE + "    model: simulated/fail-500\nmiddleware: [{retry: {attempts: 1}}]\n")
    async with Runner(middleware=default_stack(retry=Retry(3, backoff=0.001))) as runner:
        run = await runner.run(ensemble, "x")
    assert len(run["a"].attempts) == 1


@pytest.mark.parametrize(
    ("layers", "column", "message"),
    [
        ("[retri]", 14, "no layer is named 'retri' (did you mean 'retry'?)"),
        ("[{retry: {attempt: 5}}]", 23, "the layer retry has no keyword 'attempt': "),
        ("[{retry: {attempts: 0}}]", 23, "Retry.attempts must be a whole number of 1 or more, got 0"),
        ("[retry, {timeout: {total: -1}}]", 32, "Timeout.total must be seconds above 0, got -1"),
        ("[retry, retry]", 1, "two layers are named 'retry'"),
        ("[[retry]]", 14, "a layer must be a name, or a name with its keywords: `- retry: {attempts: 5}`"),
        ("[{retry: 5}]", 14, "a layer must be a name, or a name with its keywords"),
        ("[{retry: {restart_streams: maybe}}]", 23, "retry.restart_streams must be true or false, got 'maybe'"),
        ("[{retry: {throttle: 5}}]", 23, "Retry.throttle must be a RetryThrottle or None, got 5"),
        ("[{retry: {on: [OSError]}}]", 23, "a key must be a text, got True: quote it"),
        ("[{retry: {'on': [OSError]}}]", 23, "Retry.on must be a tuple of exception classes"),
        ("[{retry: , timeout: }]", 14, "a layer must be a name, or a name with its keywords"),
        ("[5]", 14, "a layer must be a name, or a name with its keywords"),
        ("[fallback_]", 14, "no layer is named 'fallback_'"),
        ("retry", 1, "middleware must be a list of layers, got 'retry'"),
        ("{retry: }", 1, "middleware must be a list of layers, got a mapping"),
    ],
)
def test_a_layer_that_is_wrong_is_refused_where_it_stands(
    tmp_path: Path, layers: str, column: int, message: str
) -> None:
    error = refused(tmp_path, ONE + f"middleware: {layers}\n")
    assert (error.line, error.column) == (6, column)
    assert message in str(error)


def test_a_layer_of_an_agent_names_the_agent(tmp_path: Path) -> None:
    assert refused(tmp_path, ONE + "    middleware: [retri]\n").agent == "a"


def test_a_layer_of_defaults_is_made(tmp_path: Path) -> None:
    ensemble = loaded(tmp_path, ONE + "defaults: {middleware: [{timeout: {total: 7}}]}\n")
    assert ensemble.agents[0].middleware is not None
    assert ensemble.agents[0].middleware[0].total == 7  # type: ignore[attr-defined]


class Point:
    """An entry point of another distribution."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def load(self) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    monkeypatch.setattr(named_layer, "entry_points", lambda group, shipped: found)
    return found


class Chatty:
    """A layer of another distribution, that refuses in its own way."""

    def __init__(self, words: int = 1) -> None:
        if words < 1:
            raise ValueError("words must be 1 or more")
        self.words = words

    def __call__(self, call: Any, call_next: Any) -> Any:
        return call_next(call)


def test_a_layer_of_another_distribution_is_found_by_its_entry_point(tmp_path: Path, points: dict[str, Any]) -> None:
    points["chatty"] = Point(Chatty)
    assert loaded(tmp_path, ONE + "middleware: [{chatty: {words: 3}}]\n").middleware[0].words == 3  # type: ignore[attr-defined]


def test_what_a_foreign_layer_says_is_placed(tmp_path: Path, points: dict[str, Any]) -> None:
    points["chatty"] = Point(Chatty)
    assert refused(tmp_path, ONE + "middleware: [{chatty: {words: 0}}]\n").message == "chatty: words must be 1 or more"
    assert refused(tmp_path, ONE + "middleware: [{chatty: {words: x}}]\n").message.startswith(
        "chatty: '<' not supported"
    )


@pytest.mark.parametrize("problem", [ImportError("no module named x"), AttributeError("no Chatty"), 5])
def test_a_foreign_layer_that_cannot_be_loaded_is_named(tmp_path: Path, points: dict[str, Any], problem: Any) -> None:
    points["chatty"] = Point(problem)
    error = refused(tmp_path, ONE + "middleware: [chatty]\n")
    assert error.message.startswith("the layer chatty cannot be loaded: ")
    assert error.line == 6


def test_two_distributions_with_one_name_are_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def claimed(group: str, shipped: tuple[str, ...]) -> dict[str, metadata.EntryPoint]:
        raise ConfigError(
            "'chatty' in stretto.middleware is claimed by both one and other: uninstall one", key="chatty"
        )

    monkeypatch.setattr(named_layer, "entry_points", claimed)
    assert "claimed by both" in refused(tmp_path, ONE + "middleware: [chatty]\n").message


# performance.yaml beside the file.


def test_a_performance_file_beside_it_gives_settings_and_prices(tmp_path: Path) -> None:
    (tmp_path / "performance.yaml").write_text("run_timeout: 9\nprices: {'simulated/*': {input: 1, output: 2}}\n")
    ensemble = loaded(tmp_path, ONE)
    assert ensemble.settings == Settings(run_timeout=9)
    assert ensemble.prices == {"simulated/*": Price(1, 2)}


def test_what_the_ensemble_says_wins_over_the_performance_file_even_if_it_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "performance.yaml").write_text("default_timeout: 9\nrun_timeout: 8\n")
    ensemble = loaded(tmp_path, ONE + "settings: {default_timeout: 60}\n")
    assert ensemble.settings == Settings(default_timeout=60, run_timeout=8)


def test_what_the_runner_says_wins_over_the_ensemble_even_if_it_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "performance.yaml").write_text("max_concurrent_agents: 1\nrun_timeout: 8\n")
    ensemble = loaded(tmp_path, ONE + "settings: {max_concurrent_agents: 2}\n")
    described = Runner(settings=Settings(max_concurrent_agents=100)).describe(ensemble)
    assert described["settings"]["max_concurrent_agents"] == 100
    assert described["settings"]["run_timeout"] == 8


def test_errors_of_both_files_are_said_together(tmp_path: Path) -> None:
    (tmp_path / "performance.yaml").write_text("run_timeout: -9\nfoo: 1\n")
    assert [one.partition(" ")[0] for one in said(tmp_path, ONE + "    foo: 1\n")] == [
        "e.yaml:6:5:",
        "performance.yaml:1:1:",
        "performance.yaml:2:1:",
    ]


def test_a_performance_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "performance.yaml").write_text("a: [\n")
    assert said(tmp_path, ONE)[0].startswith("performance.yaml:")


def test_an_ensemble_may_be_called_performance(tmp_path: Path) -> None:
    path = tmp_path / "performance.yaml"
    path.write_text(ONE)
    assert load(path).name == "e"


def test_what_nobody_will_see_is_said_once_with_its_line(tmp_path: Path) -> None:
    agents = "  - name: input\n    prompt: ${input}\n  - name: b\n    prompt: hello\n"
    made = loaded(tmp_path, f"stretto: 1\nname: e\nmodel: simulated/echo\nagents:\n{agents}")
    assert [warning.removeprefix(f"{tmp_path}/") for warning in made.warnings] == [
        "e.yaml:6: agent 'input': no mark can show its result, ${input} stands for something else",
        "e.yaml:8: agent 'b': its prompt shows neither ${input} nor a result, so it never sees them",
    ]
