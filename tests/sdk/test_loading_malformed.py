"""Files that are broken in every way: each is refused with its place, in words, and soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stretto import ConfigError, load
from stretto.findings import MOST_FOUND
from stretto.llm_orc import MOST_AGENTS
from stretto.loading import LONG_MESSAGE

MOST_SECONDS = 8  # of CPU: the longest needs 1.7; with room for a busy machine and for measured coverage
LLM_ORC = "name: e\ndescription: d\nmodel: simulated/echo\n"
STRICT = f"stretto: 1\n{LLM_ORC}"


def errors_of(folder: Path, content: str | bytes) -> list[ConfigError]:
    """Give the errors of a file; hold that each is placed and short, and that they came soon."""
    path = folder / "e.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert time.process_time() - before < MOST_SECONDS
    errors = list(caught.value.errors or (caught.value,))
    for error in errors:
        assert error.file == str(path)
        assert error.line is not None
        assert error.column is not None
        assert len(error.message) <= LONG_MESSAGE + 3
    return errors


def said(folder: Path, content: str | bytes) -> str:
    (error,) = errors_of(folder, content)
    return str(error).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "e.yaml:1:1: the file is empty: begin with keys such as `name:`"),
        (b"# only a comment\n", "e.yaml:1:1: the file is empty"),
        (b"\x7fELF\x02\x01\x00\xff\xfe\x00", "e.yaml:1:1: the file must be UTF-8"),
        ("name: e\n".encode("utf-16"), "e.yaml:1:1: the file must be UTF-8"),
        (b"name: e\x00\n", "e.yaml:1:8: this is not YAML: the character U+0000 is not allowed"),
        (b"name: e\nagents:\n\t- name: a\n", "e.yaml:3:1: this is not YAML: a tab stands here: indent with spaces"),
        (b"name: e\n---\nname: f\n", "e.yaml:2:1: the file holds a second document: write one file for each"),
        (b"- name: e\n", "e.yaml:1:1: the file holds a list at its top"),
        (b"just words\n", "e.yaml:1:1: the file holds 'just words' at its top"),
        (b"name: e\nname: f\n", "e.yaml:2:1: the key 'name' is given twice: first in line 1"),
        (b"name: e\nno: 1\n", "e.yaml:2:1: a key must be a text, got False: quote it"),
        (b"name: .nan\n", "e.yaml:1:7: a number must be finite"),
        (b"name: .inf\n", "e.yaml:1:7: a number must be finite"),
        (b"name: 9223372036854775808\n", "e.yaml:1:7: a whole number must be below 2 to the power of 63"),
        (b"name: e\nagents: [" + b"[" * 60, "e.yaml:2:58: this is nested more than 50 deep"),
        (b"name: e\nagents: *nobody\n", "e.yaml:2:9: the alias *nobody names nothing"),
        (b"name: e\nagents: !!python/object:os.system [x]\n", "e.yaml:2:9: the tag "),
        (b"name: e\n" + b"x" * 20_000_000, "e.yaml:1:1: the file is larger than 1000000 bytes"),
    ],
)
def test_what_is_no_ensemble_at_all_is_refused_at_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    assert said(tmp_path, content).startswith(message)


@pytest.mark.parametrize("head", [LLM_ORC, STRICT])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "agents:",
            "agents must be a list: write `- name: ...` for each, got nothing: leave the key out, or give it content",
        ),
        ("agents: [{name: a, loop: }]", "loop must be a mapping of body, max_iterations, until and carry, got nothing"),
        ("agents: [{name: a, depends_on: }]", "depends_on must be a list of names, got nothing"),
        ("agents: [{name: a, params: }]", "params must be a mapping, got nothing"),
        ("agents: [{name: no}]", "name must be a text, got False: quote it"),
        ("agents: [{name: 5}]", "name must be a text, got 5: quote it"),
        ("agents: [{name: }]", "name must be a text, got nothing"),
        ("agents: [{name: [a]}]", "name must be a text, got a list"),
        ("agents: [{prompt: x}]", "the agent needs a name"),
        ("agents: [{name: a, system_prompt: yes}]", "system_prompt must be a text, got True: quote it"),
        ("agents: [{name: a, stream: maybe}]", "stream must be true or false, got 'maybe'"),
        ("agents: [{name: a, timeout: 0}]", "timeout must be seconds above 0, got 0"),
        ("agents: [{name: a, timeout_seconds: -5}]", "timeout_seconds must be seconds above 0, got -5"),
        ("agents: [{name: a, promt: x}]", "'promt' is not a key of an agent (did you mean 'prompt'?)"),
        ("agents: [{name: a}, {name: a}]", "2 agents are named 'a': names must differ"),
        ("agents: [{name: a, depends_on: [a]}]", "it depends on itself"),
        ("agents: [{name: a, depends_on: [b]}]", "depends_on names 'b', which is no agent of this ensemble"),
        (
            "agents: [{name: a, depends_on: [b]}, {name: b, depends_on: [a]}]",
            "these agents wait for each other: a -> b -> a",
        ),
        ("agents: [{name: a, when: '${b}'}, {name: b, when: '${a}'}]", "these agents wait for each other: a -> b -> a"),
        ("agents: [{name: a, dispatch: '${b.x}'}, {name: b, depends_on: [a]}]", "these agents wait for each other"),
        ("agents: [{name: a, when: 'x == 1'}]", "when must be ${agent.field}, or that == or != a literal"),
        ("agents: [{name: a, env: [A]}]", "env has no effect on an agent with model: it belongs to one with script"),
    ],
)
def test_what_is_wrong_in_an_ensemble_is_refused_in_files_of_both_kinds(
    tmp_path: Path, head: str, key: str, message: str
) -> None:
    error = said(tmp_path, f"{head}{key}\n")
    line = head.count("\n") + 1
    assert error.startswith(f"e.yaml:{line}:")
    assert message in error


def test_all_that_is_wrong_in_a_file_is_said_together_in_file_order(tmp_path: Path) -> None:
    text = """name: no
defalts: {}
validation: x
agents:
  - name: a
    timeout_seconds: 0
    model_profile: p
    model: m
    when: always
    depends_on: [{x: 1}]
    colour: red
  - 5
  - name: b
    loop:
  - name: c
    script: x
    temperature: 1
    options: text
"""
    errors = errors_of(tmp_path, text)
    assert [error.line for error in errors] == [1, 2, 6, 8, 9, 10, 11, 12, 14, 17, 18]
    assert [error.agent for error in errors] == [None, None, "a", "a", "a", "a", "a", None, "b", "c", "c"]


# Bombs. What is bounded by counting is counted; the time is a bound with room.


def many(line: Callable[[int], str], count: int, head: str = LLM_ORC) -> str:
    return f"{head}agents:\n" + "".join(f"- {line(number)}\n" for number in range(count))


@pytest.mark.parametrize(
    "content",
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 9)),
        f"a: &a {{{', '.join(f'k{n}: 1' for n in range(1000))}}}\nb: &b {{<<: [{'*a, ' * 20}]}}\n"
        f"c: {{<<: [{'*b, ' * 99}]}}\n",
        f"a: &a {'x' * 400_000}\nb: [{'*a, ' * 1000}]\n",
    ],
)
def test_a_bomb_of_aliases_is_refused(tmp_path: Path, content: str) -> None:
    assert "the file has more than 100000 values, aliases counted" in said(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        many(lambda n: f"{{name: a{n}, params: {{temprature: 1}}}}", 12_000),
        many(lambda n: f"{{name: a{n}, timeuot: 1}}", 15_000),
        many(lambda n: f"{{name: a{n}, model_profile: p{n}}}", 12_000, STRICT),
        many(lambda n: f"{{name: a{n}, ensemble: e{n}}}", 15_000),
        many(lambda n: f"{{name: a{n}, role: x, type: y, output_format: z}}", 8_000, STRICT),
        many(lambda n: "{name: a, " + ", ".join(f"key{m}: 1" for m in range(40_000)) + "}", 1),
        many(lambda n: "{name: a, depends_on: [" + ", ".join(f"b{m}" for m in range(60_000)) + "]}", 1),
        many(lambda n: "5", 90_000),
        many(lambda n: "{name: a}", 30_000),
        STRICT + "".join(f"agents{n}: 1\n" for n in range(45_000)),
        LLM_ORC + "".join(f"agents{n}: 1\n" for n in range(45_000)) + "agents: [{name: a}]\n",
        f"{LLM_ORC}agents: [{{name: a}}]\nmiddleware: [{'retri, ' * 60_000}]\n",
    ],
    ids=range(12),
)
def test_a_file_that_is_wrong_in_thousands_of_places_is_refused_soon(tmp_path: Path, content: str) -> None:
    assert len(errors_of(tmp_path, content)) <= 101


def test_who_has_a_thousand_errors_is_told_of_no_more(tmp_path: Path) -> None:
    errors = errors_of(tmp_path, many(lambda n: f"{{name: a{n}, foo: 1}}", 5000))
    assert errors[-1].message == f"and {MOST_FOUND - 100} more errors from here on"


@pytest.mark.parametrize(
    "line",
    [
        lambda n: f"{{name: a{n}, model: m, provider: ollama, temperature: 1}}",
        lambda n: f"{{name: a{n}, model_profile: p{n}}}",
        lambda n: f"{{name: a{n}, depends_on: [a{n - 1}], when: '${{a{n - 1}.x}}'}}" if n else "{name: a0}",
        lambda n: (
            f"{{name: a{n}, system_prompt: '${{x}} ${{a0}}', depends_on: [a{max(n - 1, 1)}]}}"
            if n > 1
            else f"{{name: a{n}}}"
        ),
        lambda n: f"{{name: a{n}, options: {{timeout: 1, own: 2}}}}",
    ],
    ids=range(5),
)
def test_a_thousand_agents_of_any_kind_are_loaded_soon(tmp_path: Path, line: Callable[[int], str]) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(many(line, MOST_AGENTS))
    before = time.process_time()
    assert len(load(path).agents) == MOST_AGENTS
    assert time.process_time() - before < MOST_SECONDS


@pytest.mark.parametrize("top", [STRICT, LLM_ORC])
def test_one_agent_more_is_refused_where_it_stands_with_a_cure(tmp_path: Path, top: str) -> None:
    errors = errors_of(tmp_path, many(lambda n: f"{{name: a{n}, model: simulated/echo}}", MOST_AGENTS + 1, top))
    assert [(error.line, error.key) for error in errors] == [(top.count("\n") + 2 + MOST_AGENTS, "agents")]
    assert errors[0].message.startswith("an ensemble of a file has 1000 agents at most, this one has 1001: put parts ")


@pytest.mark.parametrize(
    "agent",
    [
        "system_prompt: '" + "${x} " * 190_000 + "'",
        "system_prompt: '" + "$" * 900_000 + "{'",
        "system_prompt: '" + "${" * 450_000 + "'",
        "system_prompt: '${" + "a." * 450_000 + "}'",
        "when: '${a} == " + "x " * 450_000 + "'",
        "options: {" + ", ".join(f"o{n}: sk-abcdefgh{n}" for n in range(30_000)) + "}",
        "options: " + "{a: " * 44 + "1" + "}" * 44,
    ],
    ids=range(7),
)
def test_a_text_of_a_megabyte_is_read_soon(tmp_path: Path, agent: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(f"{LLM_ORC}agents:\n- {{name: a}}\n- {{name: b, {agent}}}\n")
    before = time.process_time()
    load(path)
    assert time.process_time() - before < MOST_SECONDS
