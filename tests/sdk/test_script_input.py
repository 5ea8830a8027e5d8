"""What a script is given, word by word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from stretto import Agent, Inputs, Outcome
from stretto.script_input import LONGEST_VARIABLE, Given, encoded, environment, stdin_of, variables_of

OK = Outcome(agent="draft", phase=0, status="ok", value={"title": "Été", "n": [1]}, text='{"title": "Été", "n": [1]}')
FAILED = Outcome(agent="check", phase=0, status="failed", reason="status 500")


def given(
    data: Any = "hello",
    *,
    compat: bool = False,
    results: Mapping[str, Outcome] | None = None,
    input: Any = "hello",
    index: int | None = None,
    count: int = 0,
    item: Any = None,
    **agent: Any,
) -> Given:
    results = results or {}
    return Given(
        Agent("worker", script="x.py", depends_on=tuple(results), **agent),
        Inputs("composed", input, results, agent="worker", item=item, index=index, count=count),
        data,
        "compat" if compat else "strict",
    )


def told(given: Given) -> Any:
    return json.loads(stdin_of(given))


def test_native_a_script_gets_input_parameters_and_dependencies() -> None:
    both = {"draft": OK, "check": FAILED}
    assert told(given({"a": 1}, results=both, parameters={"n": 2})) == {
        "input": {"a": 1},
        "parameters": {"n": 2},
        "dependencies": {
            "draft": {"status": "ok", "output": {"title": "Été", "n": [1]}, "text": OK.text, "reason": ""},
            "check": {"status": "failed", "output": None, "text": "", "reason": "status 500"},
        },
    }


def test_native_an_instance_also_gets_its_number() -> None:
    assert told(given("b", index=1, count=3, item="b")) == {
        "input": "b",
        "parameters": {},
        "dependencies": {},
        "index": 1,
        "count": 3,
    }


def test_what_json_cannot_hold_becomes_its_text() -> None:
    odd = Outcome(
        agent="draft",
        phase=0,
        status="ok",
        value={
            1: {
                2,
            },
            "x": float("nan"),
        },
        text="",
    )
    assert told(given(results={"draft": odd}))["dependencies"]["draft"]["output"] == {"1": "{2}", "x": "nan"}


def test_standard_input_reads_alike_in_every_locale() -> None:
    assert stdin_of(given("é\udcff\0")) == (b'{"input": "\\u00e9\\udcff\\u0000", "parameters": {}, "dependencies": {}}')


def test_llm_orcs_first_form_is_kept_to_the_letter() -> None:
    assert stdin_of(given("Été", compat=True, parameters={"n": 2})) == (
        b'{"input": "\\u00c9t\\u00e9", "parameters": {"n": 2}, "context": {}}'
    )


def test_llm_orcs_scripts_get_data_as_text() -> None:
    assert told(given({"a": 1}, compat=True))["input"] == '{"a": 1}'
    chat = [{"role": "user", "content": "last"}]
    assert told(given(chat, compat=True))["input"] == "last"


def test_llm_orcs_later_form_has_records_and_now_the_parameters_too() -> None:
    both = {"draft": OK, "check": FAILED}
    assert told(given(compat=True, results=both, parameters={"n": 2})) == {
        "agent_name": "worker",
        "input_data": "hello",
        "context": {},
        "dependencies": {
            "draft": {
                "response": OK.text,
                "status": "success",
                "model_substituted": False,
                "outcome": "succeeded",
                "has_errors": False,
            },
            "check": {
                "response": None,
                "status": "failed",
                "model_substituted": False,
                "error": "status 500",
                "outcome": "failed",
                "has_errors": True,
            },
        },
        "parameters": {"n": 2},
    }


def test_llm_orcs_keys_stand_in_its_order() -> None:
    assert list(told(given(compat=True, results={"draft": OK}))) == [
        "agent_name", "input_data", "context", "dependencies", "parameters",
    ]  # fmt: skip


@pytest.mark.parametrize(("field", "response"), [("title", "Été"), ("n", "[1]")])
def test_a_picked_field_stands_in_the_record_it_comes_from(field: str, response: str) -> None:
    message = told(
        given(OK.value[field], compat=True, results={"draft": OK, "check": FAILED}, prompt=f"${{draft.{field}}}")
    )
    assert message["dependencies"]["draft"]["response"] == response
    assert message["input_data"] == "hello"


def test_nothing_is_picked_from_an_agent_that_failed() -> None:
    message = told(given("x", compat=True, results={"check": FAILED, "draft": OK}, prompt="${check.title}"))
    assert message["dependencies"]["check"]["response"] is None
    assert message["dependencies"]["draft"]["response"] == OK.text


def test_dependencies_alone_say_nothing_new_to_a_script() -> None:
    message = told(given("Agent draft: ...", compat=True, results={"draft": OK}, prompt="${dependencies}"))
    assert message["input_data"] == "hello"


def test_a_prompt_of_ones_own_is_the_input_of_both_forms() -> None:
    assert told(given("say ok", compat=True, results={"draft": OK}, prompt="say ${draft}"))["input_data"] == "say ok"
    assert told(given("say hello", compat=True, prompt="say ${input}"))["input"] == "say hello"


def test_an_instance_of_llm_orc_gets_json_in_a_text() -> None:
    message = told(
        given({"q": 1}, compat=True, results={"draft": OK}, index=1, count=3, item={"q": 1}, parameters={"n": 2})
    )
    assert list(message) == ["input", "parameters", "context"]
    assert message["parameters"] == {"n": 2}
    assert message["input"] == (
        '{"agent_name": "worker[1]", "input": {"q": 1}, "chunk_index": 1, "total_chunks": 3, '
        '"base_input": "hello", "context": {}}'
    )


def test_an_instance_with_a_name_of_its_own_keeps_it() -> None:
    one = Given(Agent("w[0]", script="x.py"), Inputs("", "hello", index=0, count=1, item="a"), "a", "compat")
    assert json.loads(told(one)["input"])["agent_name"] == "w[0]"


def test_an_instance_gets_its_item_also_where_only_dependencies_are_asked_for() -> None:
    message = told(
        given("blocks", compat=True, results={"draft": OK}, index=0, count=1, item="a", prompt="${dependencies}")
    )
    assert json.loads(message["input"])["input"] == "a"


def test_a_script_sees_five_variables_and_those_that_it_names() -> None:
    there = {
        "PATH": "/bin", "HOME": "/home/me", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "TZ": "UTC",
        "OPENAI_API_KEY": "sk-secret", "LD_PRELOAD": "x.so", "PYTHONPATH": "/x", "TOKEN": "t",
    }  # fmt: skip
    assert environment((), there) == {name: there[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "TZ")}
    assert environment(["TOKEN", "MISSING"], there)["TOKEN"] == "t"
    assert "MISSING" not in environment(["MISSING"], there)
    assert environment((), {}) == {}


def variables(given: Given) -> dict[str, str]:
    return variables_of(given, stdin_of(given))


def test_native_nothing_else_is_set() -> None:
    assert variables(given()) == {}


def test_llm_orc_sets_three_variables() -> None:
    assert variables(given("Été", compat=True, parameters={"n": "é"})) == {
        "INPUT_DATA": "Été",
        "INPUT_TEXT": "Été",
        "AGENT_PARAMETERS": '{"n": "\\u00e9"}',
    }
    later = given(compat=True, results={"draft": OK})
    assert variables(later) == {
        "INPUT_DATA": stdin_of(later).decode(),
        "INPUT_TEXT": "hello",
        "AGENT_PARAMETERS": "{}",
    }
    instance = given("a", compat=True, results={"draft": OK}, index=0, count=1, item="a")
    assert json.loads(variables(instance)["INPUT_DATA"])["input"] == "a"
    assert variables(instance)["INPUT_TEXT"] == variables(instance)["INPUT_DATA"]


def test_a_variable_that_no_process_can_have_is_left_out() -> None:
    fits = "x" * (LONGEST_VARIABLE - len("A=") - 1)
    assert encoded({"A": fits, "B": fits + "x", "C": "a\0b", "D": "d"}) == {b"A": fits.encode(), b"D": b"d"}


def test_texts_of_every_kind_can_be_passed() -> None:
    assert encoded({"A": "é", "B": "\udcff", "C": "\ud800"}) == {b"A": "é".encode(), b"B": b"\xff", b"C": b"?"}
