"""The command line in this process: options, inputs, formats, exit codes.

Signals, pipes and terminals: `test_cli_process.py`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from opentelemetry import trace

from stretto import Call, ConfigError, Reply, __main__, cli, load
from stretto.providers import LiteLLM
from stretto.routing import services
from stretto.runner import Runner
from stretto.secret import Secret

TOP = "stretto: 1\nname: e\n"
ECHO = TOP + "model: simulated/echo\nagents:\n  - name: a\n"
MIXED = TOP + (
    "middleware: [{retry: {attempts: 1}}]\nagents:\n  - {name: bad, model: simulated/fail-500}\n"
    "  - {name: good, model: simulated/echo}\n"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test in an empty folder, without a key in the environment and without a tracer."""
    monkeypatch.chdir(tmp_path)
    for name in {key for service in services().values() for key in (*service.keys, *service.bases)}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())


def stretto(*args: str, files: dict[str, str] | None = None, stdin: str | bytes | None = None) -> Result:
    """Run a command; an exception that is no exit is the test's failure."""
    for name, text in (files or {}).items():
        Path(name).write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli.main, args, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(text: str, *args: str, stdin: str | bytes | None = None) -> Result:
    return stretto("run", "e.yaml", *args, files={"e.yaml": text}, stdin=stdin)


def helped(*command: str) -> str:
    result = stretto(*command, "--help")
    assert result.exit_code == 0
    return " ".join(result.stdout.split())


def options_of(command: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", helped(command).partition("Options:")[2]))


# Help: the table of the design, as far as it exists.


def test_the_commands_are_those_that_work() -> None:
    listed = stretto("--help").stdout.partition("Commands:")[2].partition("Exit codes")[0]
    assert re.findall(r"^  (\w+)", listed, re.MULTILINE) == ["invoke", "list", "plan", "run", "validate"]


def test_the_exit_codes_are_in_the_help() -> None:
    assert (
        "Exit codes: 0 completed, 1 invalid or missing file, 2 usage, 3 completed with errors, 4 failed or timed out, "
        "130 interrupted, 143 terminated."
    ) in helped()


@pytest.mark.parametrize("command", ["run", "invoke"])
def test_run_has_the_options_that_work(command: str) -> None:
    assert helped(command).startswith(f"Usage: main {command} [OPTIONS] FILE [INPUT] ")
    assert options_of(command) == {
        *(
            "--input",
            "--format",
            "--timeout",
            "--max-concurrent",
            "--schedule",
            "--trust",
            "--allow-scripts",
            "--tolerate-errors",
        ),
        *("-v", "--verbose", "-h", "--help"),
    }
    assert "[text|json|jsonl|llm-orc]" in helped(command)
    assert "[phases|ready]" in helped(command)


def test_plan_has_the_options_that_work() -> None:
    assert helped("plan").startswith("Usage: main plan [OPTIONS] FILE [INPUT] ")
    assert options_of("plan") == {"--format", "--trust", "-h", "--help"}


def test_validate_has_the_options_that_work() -> None:
    assert helped("validate").startswith("Usage: main validate [OPTIONS] FILE... ")
    assert options_of("validate") == {"--strictness", "--trust", "-h", "--help"}
    assert "[compat|strict]" in helped("validate")


LISTED = {
    "e.yaml": TOP + "agents: [{name: a, script: list.py}]\n",
    "list.py": "import json\nprint(json.dumps([1, 2]))\n",
}


def test_scripts_need_leave_where_nobody_can_be_asked() -> None:
    result = stretto("run", "e.yaml", files=LISTED)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "e.yaml:3:20: agent 'a': scripts are not allowed: Runner(allow_scripts=True)" in result.stderr


def test_with_leave_a_script_runs() -> None:
    result = stretto("run", "e.yaml", "--allow-scripts", files=LISTED)
    assert (result.exit_code, result.stdout) == (0, "[1, 2]\n")


def test_a_plan_shows_scripts_and_starts_none() -> None:
    result = stretto("plan", "e.yaml", files={**LISTED, "list.py": "raise SystemExit('it was started')\n"})
    assert result.exit_code == 0
    assert "list.py" in result.stdout


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_plan_shows_no_key_that_stands_in_shell_text(form: str) -> None:
    text = "name: e\nagents: [{name: a, script: 'curl -H \"x: Bearer sk-abcdef0123456789abcdef\" localhost'}]\n"
    shown = stretto("plan", "e.yaml", "--format", form, files={"e.yaml": text}).stdout
    assert "curl" in shown
    assert "0123456789abcdef" not in shown


def test_a_run_can_be_given_in_the_shape_of_llm_orc() -> None:
    result = run("name: e\ndescription: d\n" + ECHO.removeprefix(TOP), "hi", "--format", "llm-orc")
    data = json.loads(result.stdout)
    assert data["results"]["a"]["response"] == "hi"
    assert (data["ensemble"], data["status"], data["deliverable"]) == ("e", "completed", "hi")


def test_a_warning_of_a_profile_has_the_place_of_the_profile_alone() -> None:
    Path(".llm-orc").mkdir()
    Path(".llm-orc/config.yaml").write_text("model_profiles:\n  p: {model: m, provider: llama-server, hf_repo: x}\n")
    result = stretto("validate", "e.yaml", files={"e.yaml": "name: e\nagents: [{name: a, model_profile: p}]\n"})
    (line,) = [line for line in result.stderr.splitlines() if "hf_repo" in line]
    assert re.match(r"warning: [^ ]*config.yaml:2: ", line)


def test_an_ensemble_of_a_tier_runs_by_its_name() -> None:
    Path(".llm-orc/ensembles").mkdir(parents=True)
    Path(".llm-orc/ensembles/greet.yaml").write_text(
        ECHO.removeprefix("stretto: 1\n").replace("name: e", "name: greet")
    )
    assert stretto("run", "greet", "hi").stdout == "hi\n"
    assert stretto("validate", "greet").exit_code == 0
    refused = stretto("run", "gret", "hi")
    assert refused.exit_code == 1
    assert "did you mean 'greet'" in refused.stderr


def test_the_version_is_told() -> None:
    assert re.search(r"\d+\.\d+\.\d+", stretto("--version").stdout)


@pytest.mark.parametrize(
    "args",
    [
        *(("run",), ("run", "e.yaml", "a", "b"), ("run", "e.yaml", "--save", "x"), ("rum",), ("validate",)),
        *(
            ("run", "e.yaml", "--format", "xml"),
            ("run", "e.yaml", "--timeout", "soon"),
            ("run", "e.yaml", "--input", "x"),
        ),
        *(
            ("run", "e.yaml", "--timeout", "0"),
            ("run", "e.yaml", "--timeout", "nan"),
            ("run", "e.yaml", "--timeout", "inf"),
        ),
        *(("run", "e.yaml", "--max-concurrent", "-1"), ("run", "e.yaml", "--max-concurrent", "1.5")),
        *(("run", "e.yaml", "--schedule", "soon"), ("run", "e.yaml", "--trust", "gateway"), ("plan",)),
        *(("run", "e.yaml", "--trust", "http://me:secret-word@h"), ("run", "e.yaml", "--input", "=x")),
        *(("run", "e.yaml", "--input", "b=x"), ("run", "e.yaml", "--input", "a=1", "--input", "a=2")),
        *(("run", "e.yaml", "-", "--input", "a=-"), ("run", "e.yaml", "--input", "a=-", "--input", "b=-")),
        *(("validate", "e.yaml", "--strictness", "lax"), ("plan", "e.yaml", "--trust", "ftp://h")),
    ],
)
def test_wrong_usage_ends_with_2_and_makes_no_call(args: tuple[str, ...]) -> None:
    result = stretto(*args, files={"e.yaml": ECHO})
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert "secret-word" not in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--timeout", "0"), "Error: --timeout must be seconds above 0, got 0.0"),
        (("--max-concurrent", "-1"), "Error: --max-concurrent must be a whole number, 0 or more (0: no limit), got -1"),
        (("--input", "b=x"), "Error: --input names 'b', which is no agent of 'e'"),
        (("--input", "a=1", "--input", "a=2"), "Error: --input names 'a' twice"),
        (("--input", "x"), "Error: --input must be NAME=TEXT or NAME=@FILE, got 'x'"),
        (("-", "--input", "a=-"), "Error: stdin can be read once: write - for one input only"),
        (("--trust", "gateway"), "Error: Invalid value for '--trust': it must be an http(s) address, got 'gateway'"),
    ],
)
def test_wrong_usage_is_said_in_the_words_of_the_command_line(args: tuple[str, ...], message: str) -> None:
    assert message in run(ECHO, *args).stderr


def test_a_name_that_is_nearly_an_agent_is_suggested() -> None:
    text = TOP + "model: simulated/echo\nagents: [{name: reviewer}]\n"
    assert "(did you mean 'reviewer'?)" in run(text, "--input", "reviewr=x").stderr


# INPUT.


def test_a_text_is_the_input() -> None:
    result = run(ECHO, "hello there")
    assert (result.exit_code, result.stdout) == (0, "hello there\n")


def test_invoke_is_run() -> None:
    assert stretto("invoke", "e.yaml", "hello", files={"e.yaml": ECHO}).stdout == "hello\n"


def test_a_file_is_read_for_the_input() -> None:
    Path("input.txt").write_bytes("\ufeffwhat the file holds, é".encode())
    assert run(ECHO, "@input.txt").stdout == "what the file holds, é\n"


def test_a_hyphen_reads_stdin() -> None:
    assert run(ECHO, "-", stdin="piped text, é").stdout == "piped text, é\n"


def test_without_an_input_the_default_of_the_file_is_used() -> None:
    assert run(ECHO + "default_input: from the file\n").stdout == "from the file\n"


def test_an_empty_text_is_an_input_too() -> None:
    result = run(ECHO + "default_input: from the file\n", "")
    assert (result.exit_code, result.stdout) == (0, "")


def test_the_name_of_a_file_as_input_is_refused_with_both_spellings() -> None:
    Path("notes.txt").write_text("x")
    result = run(ECHO, "notes.txt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "INPUT 'notes.txt' is the name of a file" in result.stderr
    assert "write @notes.txt for what the file holds" in result.stderr
    assert "printf %s notes.txt | stretto run FILE -" in result.stderr


def test_the_spellings_can_be_pasted_into_a_shell() -> None:
    Path("it's mine.txt").write_text("x")
    assert """write '@it'"'"'s mine.txt' for""" in run(ECHO, "it's mine.txt").stderr


@pytest.mark.parametrize("text", ["é" * 200, "x" * 300, "a\nb", "/", "x/y/z", "a\x01b"])
def test_a_text_that_is_no_file_is_a_text(text: str) -> None:
    assert run(ECHO, text).stdout == f"{text}\n"


def test_an_agent_can_have_its_own_input() -> None:
    text = TOP + "model: simulated/echo\nagents: [{name: a}, {name: b}]\n"
    data = json.loads(run(text, "all", "--input", "a=mine=yours", "--format", "json").stdout)
    assert {name: outcome["output"] for name, outcome in data["outcomes"].items()} == {"a": "mine=yours", "b": "all"}


def test_the_input_of_an_agent_may_be_a_file_or_stdin() -> None:
    Path("input.txt").write_text("held")
    assert run(ECHO, "--input", "a=@input.txt").stdout == "held\n"
    assert run(ECHO, "--input", "a=-", stdin="piped").stdout == "piped\n"


def test_the_name_of_a_file_as_an_agents_input_is_refused_in_its_own_spelling() -> None:
    Path("notes.txt").write_text("x")
    result = run(ECHO, "--input", "a=notes.txt")
    assert result.exit_code == 2
    assert "write '--input a=@notes.txt' for what the file holds" in result.stderr
    assert "| stretto run FILE --input a=-" in result.stderr


@pytest.mark.parametrize("input", ["@missing.txt", "@."])
def test_an_input_file_that_cannot_be_read_ends_with_1(input: str) -> None:
    result = run(ECHO, input)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"INPUT: {input[1:]} cannot be read: ")


def test_an_input_must_be_utf_8() -> None:
    Path("binary").write_bytes(b"\xff\xfe")
    assert run(ECHO, "@binary").stderr == "INPUT: binary must be UTF-8\n"
    assert run(ECHO, "-", stdin=b"\xff").stderr == "INPUT must be UTF-8\n"
    assert run(ECHO, "\udcff").stderr == "INPUT must be UTF-8\n"


# What is printed where.


def test_stdout_holds_the_result_alone() -> None:
    result = run(ECHO, "hello")
    assert result.stdout == "hello\n"
    assert "phase 0: a" in result.stderr
    assert "completed: 1 of 1 agents ok" in result.stderr
    assert "trace" not in result.stderr


def test_verbose_shows_texts_and_the_trace_on_stderr() -> None:
    result = run(ECHO, "hello", "-v")
    assert result.stdout == "hello\n"
    assert "  a | hello" in result.stderr
    assert "invoke_workflow e" in result.stderr
    assert "└─ attempt 1" in result.stderr


def test_json_is_the_run() -> None:
    result = run(ECHO, "hello", "--format", "json")
    data = json.loads(result.stdout)
    assert (data["status"], data["output"], data["outcomes"]["a"]["status"]) == ("completed", "hello", "ok")
    assert "completed: 1 of 1" in result.stderr


def test_jsonl_is_an_event_a_line_from_the_first_to_the_last() -> None:
    result = run(ECHO, "one two", "--format", "jsonl")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    types = [event["type"] for event in events]
    assert (types[0], types[-1]) == ("run_started", "run_finished")
    assert {"phase_started", "agent_started", "agent_delta", "agent_finished", "phase_finished"} < set(types)
    assert events[-1]["run"]["output"] == "one two"
    assert result.stderr == ""


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_every_form_of_a_failure_is_valid_json(form: str) -> None:
    result = run(MIXED, "x \x1b \u2028 é", "--format", form)
    for text in result.stdout.split("\n")[:-1] if form == "jsonl" else [result.stdout]:
        json.loads(text)
    assert result.exit_code == 3
    assert "\x1b" not in result.stdout
    assert "\u2028" not in result.stdout


def test_what_is_piped_is_untouched() -> None:
    text = "\x1b[31mred\x1b[0m \u202e \x07 \t é [bold]x[/bold] :smile:\r\n  \n"
    assert run(ECHO, "-", stdin=text.encode()).stdout_bytes == text.encode() + b"\n"


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_stderr_has_no_escape_sequence_when_it_is_piped(form: str) -> None:
    result = run(MIXED, "\x1b[31m \u202e x", "--format", form, "-v")
    assert "\x1b" not in result.stderr
    assert "\u202e" not in result.stderr


def test_a_name_that_looks_like_markup_does_no_harm() -> None:
    text = TOP + "model: simulated/echo\nagents: [{name: '[/b] :smile:'}]\n"
    result = run(text, "hi", "-v")
    assert (result.exit_code, result.stdout) == (0, "hi\n")
    assert "✓ [/b] :smile: ok" in result.stderr


def test_warnings_are_on_stderr() -> None:
    text = ECHO + "    prompt: nothing of the input\n"
    result = run(text, "x")
    assert result.stdout == "nothing of the input\n"
    assert "warning: e.yaml:6: agent 'a': its prompt shows neither" in result.stderr


# Exit codes.


def test_an_invalid_file_ends_with_1_and_each_error_with_its_place() -> None:
    result = run(ECHO + "    timeout: 0\n    foo: 1\n", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.partition(" ")[0] for line in result.stderr.splitlines()] == ["e.yaml:6:5:", "e.yaml:7:5:"]


def test_a_missing_file_ends_with_1() -> None:
    result = stretto("run", "missing.yaml", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "missing.yaml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_what_only_the_runner_finds_has_its_place_too(command: str) -> None:
    text = ECHO + "  - name: b\n    model: nobody/x\n"
    result = stretto(command, "e.yaml", files={"e.yaml": text})
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("e.yaml:7:5: agent 'b': no provider is known for 'nobody/x'")


def test_completed_with_errors_ends_with_3_and_prints_what_there_is() -> None:
    result = run(MIXED, "x")
    assert (result.exit_code, result.stdout) == (3, "x\n")
    assert "completed_with_errors: 1 of 2 agents ok" in result.stderr


def test_tolerated_errors_end_with_0() -> None:
    assert run(MIXED, "x", "--tolerate-errors").exit_code == 0


FAILING = TOP + "model: simulated/fail-401\nagents: [{name: a}]\n"


@pytest.mark.parametrize("args", [(), ("--tolerate-errors",)])
def test_a_failed_run_ends_with_4_tolerant_or_not(args: tuple[str, ...]) -> None:
    result = run(FAILING, "x", *args)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "failed: 0 of 1 agents ok" in result.stderr


def test_a_run_that_times_out_ends_with_4() -> None:
    result = run(ECHO.replace("echo", "hang"), "x", "--timeout", "0.03")
    assert result.exit_code == 4
    assert "timed_out: 0 of 1 agents ok" in result.stderr


def test_partial_text_of_a_failure_is_printed() -> None:
    result = run(ECHO.replace("echo", "stall-3+tokens-9") + "middleware: [{timeout: {idle: 0.03}}]\n", "x", "-v")
    assert result.exit_code == 4
    assert len(result.stdout.split()) == 3


def test_a_run_that_cannot_be_made_ends_with_1_and_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from stretto.providers import simulated

    async def prepare(self: Any) -> None:
        raise ConfigError("the model is not installed: pip install it")

    monkeypatch.setattr(simulated.Simulated, "prepare", prepare, raising=False)
    result = run(ECHO, "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("the model is not installed: pip install it\n")
    assert "agents ok" not in result.stderr


def test_ctrl_c_outside_of_a_run_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "describe", interrupted)
    assert stretto("plan", "e.yaml", files={"e.yaml": ECHO}).exit_code == 130


# Settings: command line, Runner, ensemble file, performance.yaml.


def settings_of(*args: str, file: str = "", performance: str = "") -> dict[str, Any]:
    Path("performance.yaml").write_text(performance or "x-none: 1\n")
    return json.loads(run(ECHO + file, "x", "--format", "json", *args).stdout)["settings"]  # type: ignore[no-any-return]


def test_the_command_line_wins_over_the_files_even_if_it_says_the_default() -> None:
    given = settings_of("--max-concurrent", "100", file="settings: {max_concurrent_agents: 3}\n")
    assert given["max_concurrent_agents"] == 100


def test_the_ensemble_wins_over_the_performance_file() -> None:
    given = settings_of(file="settings: {run_timeout: 7}\n", performance="run_timeout: 8\ncancel_grace: 2\n")
    assert (given["run_timeout"], given["cancel_grace"]) == (7, 2)


def test_the_timeout_of_the_command_line_is_the_runs() -> None:
    assert settings_of("--timeout", "5", file="settings: {run_timeout: 7}\n")["run_timeout"] == 5


def test_the_command_line_tunes_the_garbage_collector() -> None:
    assert settings_of()["tune_gc"] is True


def test_the_schedule_can_be_given() -> None:
    text = TOP + (
        "agents:\n  - {name: slow, model: simulated/latency-50ms}\n  - {name: quick, model: simulated/echo}\n"
        "  - {name: after, model: simulated/echo, depends_on: [quick]}\n"
    )
    ended = [
        [
            event["agent"]
            for line in result.stdout.splitlines()
            if (event := json.loads(line))["type"] == "agent_finished"
        ]
        for result in (run(text, "x", "--format", "jsonl"), run(text, "x", "--format", "jsonl", "--schedule", "ready"))
    ]
    assert ended == [["quick", "slow", "after"], ["quick", "after", "slow"]]


# plan and validate.


def test_a_plan_shows_everything_and_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "start", None)
    text = ECHO + "  - {name: b, depends_on: [a], prompt: blind}\n"
    result = stretto("plan", "e.yaml", files={"e.yaml": text})
    assert result.exit_code == 0
    assert result.stdout.startswith("e: 2 phases, schedule phases\n")
    assert "layers: trace, fallback, retry, concurrency_limit, rate_limit, timeout" in result.stdout
    assert "settings: default_timeout 60" in result.stdout
    assert result.stderr.startswith("warning: e.yaml:6: agent 'b': its prompt shows neither")


def test_a_plan_as_json_is_what_the_runner_describes() -> None:
    result = stretto("plan", "e.yaml", "--format", "json", files={"e.yaml": ECHO})
    data = json.loads(result.stdout)
    assert data["phases"] == [["a"]]
    assert data["agents"][0]["host"] == "this process"


def test_a_plan_checks_its_input() -> None:
    assert stretto("plan", "e.yaml", "e.yaml", files={"e.yaml": ECHO}).exit_code == 2


def test_a_plan_needs_no_key() -> None:
    result = stretto("plan", "e.yaml", files={"e.yaml": ECHO.replace("simulated/echo", "openai/gpt-5")})
    assert result.exit_code == 0
    assert "https://api.openai.com:443" in result.stdout
    assert "OPENAI_API_KEY: not set" in result.stdout


def test_a_plan_shows_the_name_of_a_key_and_never_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "value-of-the-key")
    for form in ("text", "json"):
        text = ECHO.replace("simulated/echo", "openai/gpt-5")
        result = stretto("plan", "e.yaml", "--format", form, files={"e.yaml": text})
        assert "OPENAI_API_KEY" in result.stdout
        assert "value-of-the-key" not in result.output


def test_validate_says_ok_for_each_good_file() -> None:
    result = stretto("validate", "a.yaml", "b.yaml", files={"a.yaml": ECHO, "b.yaml": ECHO})
    assert (result.exit_code, result.stdout, result.stderr) == (0, "a.yaml: ok\nb.yaml: ok\n", "")


def test_validate_goes_on_after_a_bad_file() -> None:
    result = stretto("validate", "a.yaml", "no.yaml", "b.yaml", files={"a.yaml": ECHO + "foo: 1\n", "b.yaml": ECHO})
    assert (result.exit_code, result.stdout) == (1, "b.yaml: ok\n")
    assert result.stderr.splitlines() == [
        "a.yaml:6:1: 'foo' is not a key of an ensemble",
        "no.yaml: cannot be read: No such file or directory",
    ]


def test_validate_names_the_file_of_a_warning_once() -> None:
    text = ECHO.replace("stretto: 1\n", "") + "    prompt: blind\nanything: x\n"
    result = stretto("validate", "e.yaml", files={"e.yaml": text})
    assert (result.exit_code, result.stdout) == (0, "e.yaml: ok\n")
    lines = result.stderr.splitlines()
    assert lines[0] == "warning: e.yaml:6: the key 'anything' is ignored"
    assert lines[1].startswith("warning: e.yaml:5: agent 'a': its prompt shows neither")


def test_validate_can_be_stricter_than_the_file() -> None:
    text = ECHO.replace("stretto: 1\n", "") + "coordinator: x\n"
    assert stretto("validate", "e.yaml", files={"e.yaml": text}).exit_code == 0
    assert stretto("validate", "e.yaml", "--strictness", "strict").exit_code == 1


def test_a_downloaded_file_cannot_steer_the_terminal() -> None:
    text = TOP + 'model: simulated/echo\nagents: [{name: a, prompt: "${\\e[2Jx}"}]\n'
    result = stretto("validate", "e.yaml", files={"e.yaml": text})
    assert result.exit_code == 1
    assert "${\\x1b[2Jx} in prompt names neither" in result.stderr


# Keys and trust.

ELSEWHERE = "http://collector.example:9999/v1"


@pytest.fixture
def all_keys(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Put a key of its own into every variable that any provider reads."""
    names = {name for service in services().values() for name in service.keys} | {"MY_API_KEY"}
    for name in names:
        monkeypatch.setenv(name, f"value-of-{name}-0123456789")
    return {f"value-of-{name}-0123456789" for name in names}


def downloaded(prefix: str, extra: str = "") -> str:
    return TOP + f"agents:\n  - {{name: a, model: {prefix}/m, base_url: '{ELSEWHERE}'{extra}}}\n"


def test_a_downloaded_file_gets_no_key_of_any_provider_for_another_address(all_keys: set[str]) -> None:
    runner, keyless = Runner(), 0
    for prefix in services():
        Path("e.yaml").write_text(downloaded(prefix))
        ensemble = load("e.yaml")
        try:
            described = runner.describe(ensemble)
        except ConfigError as error:
            assert "and http://collector.example:9999 is another one" in error.message  # noqa: PT017
            continue
        [agent] = described["agents"]
        assert (agent["key"], agent["host"]) == (None, "http://collector.example:9999"), prefix
        assert runner._routing.agent_endpoint(ensemble.agents[0]).api_key is None, prefix
        keyless += 1
    assert 10 < keyless < len(services())


@pytest.mark.parametrize("prefix", ["openai", "bedrock"])
def test_the_plan_of_a_downloaded_file_shows_no_key_and_the_address(all_keys: set[str], prefix: str) -> None:
    result = stretto("plan", "e.yaml", files={"e.yaml": downloaded(prefix)})
    assert "http://collector.example:9999" in result.output
    assert "KEY" not in result.output
    assert result.exit_code == (0 if prefix == "openai" else 1)
    assert not any(value in result.output for value in all_keys)


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "MY_API_KEY"])
def test_a_downloaded_file_cannot_name_a_key_for_another_address(all_keys: set[str], variable: str) -> None:
    result = run(downloaded("openai", f", api_key_env: {variable}"), "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "goes only to its provider's own address" in result.stderr
    assert not any(value in result.output for value in all_keys)


@pytest.mark.parametrize("variable", ["PATH", "HOME", "AWS_SECRET_ACCESS_KEY", "ANTHROPIC_API_KEY"])
def test_a_downloaded_file_cannot_send_other_variables_anywhere(all_keys: set[str], variable: str) -> None:
    text = TOP + f"agents: [{{name: a, model: openai/m, api_key_env: {variable}}}]\n"
    result = stretto("plan", "e.yaml", files={"e.yaml": text})
    assert (result.exit_code, result.stdout) == (1, "")
    assert os.environ.get(variable, "value-of-") not in result.stderr


def test_trust_lets_a_key_go_to_the_address_that_is_named(all_keys: set[str]) -> None:
    args = ("plan", "e.yaml", "--format", "json", "--trust", "http://collector.example:9999")
    [agent] = json.loads(stretto(*args, files={"e.yaml": downloaded("openai")}).stdout)["agents"]
    assert agent["key"] == "OPENAI_API_KEY"


def test_trust_of_one_address_is_none_of_another(all_keys: set[str]) -> None:
    args = ("plan", "e.yaml", "--format", "json", "--trust", "http://collector.example:9998", "--trust", "https://a.b")
    [agent] = json.loads(stretto(*args, files={"e.yaml": downloaded("openai")}).stdout)["agents"]
    assert agent["key"] is None


def test_run_passes_its_trust_on(monkeypatch: pytest.MonkeyPatch, all_keys: set[str]) -> None:
    seen: list[Secret | None] = []

    def start(self: Runner, ensemble: Any, *args: Any, **options: Any) -> Any:
        seen.append(self._routing.agent_endpoint(ensemble.agents[0]).api_key)
        raise ConfigError("seen")

    monkeypatch.setattr(Runner, "start", start)
    for trust in ((), ("--trust", ELSEWHERE)):
        assert run(downloaded("openai"), "x", *trust).exit_code == 1
    assert seen == [None, Secret("value-of-OPENAI_API_KEY-0123456789")]


def test_run_with_trust_needs_no_leave_for_scripts(monkeypatch: pytest.MonkeyPatch, all_keys: set[str]) -> None:
    seen: list[Secret | None] = []

    async def answer(self: object, call: Call) -> Reply:
        seen.append(call.endpoint.api_key)
        return Reply("answered")

    monkeypatch.setattr(LiteLLM, "__call__", answer)
    result = run(downloaded("openai"), "x", "--trust", ELSEWHERE)
    assert (result.exit_code, result.stdout) == (0, "answered\n")
    assert seen == [Secret("value-of-OPENAI_API_KEY-0123456789")]


def test_python_m_stretto_is_the_command() -> None:
    assert __main__.main is cli.main
