"""What a script's answer is, and when it has failed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from stretto import Agent, Inputs, Outcome
from stretto.errors import CallError, ScriptFailed
from stretto.script_input import Given
from stretto.script_process import Ended
from stretto.script_reply import SAID, TAIL, reply_of

OK = Outcome(agent="draft", phase=0, status="ok", value="v", text="v")


def a_given(form: str) -> Given:
    results: Mapping[str, Outcome] = {} if form in ("strict", "first") else {"draft": OK}
    inputs = Inputs("", "hello", results, index=0 if form == "instance" else None)
    agent = Agent("worker", script="x.py", depends_on=tuple(results))
    return Given(agent, inputs, "hello", "strict" if form == "strict" else "compat")


def answered(output: bytes, form: str = "strict") -> tuple[str, Any]:
    reply = reply_of(Ended(0, output), a_given(form))
    assert reply.route == "script"
    return reply.text, reply.raw


def failure(ended: Ended, form: str = "strict") -> Any:
    with pytest.raises(ScriptFailed) as caught:
        reply_of(ended, a_given(form))
    assert not caught.value.retryable
    return caught.value


@pytest.mark.parametrize(
    ("output", "text", "data"),
    [
        (b'{"a": [1]}\n', '{"a": [1]}', {"a": [1]}),
        (b"[1,\n2]\r\n\n", "[1,\n2]", [1, 2]),
        (b'"quoted"\n', '"quoted"', "quoted"),
        (b"42\n", "42", 42),
        (b"null\n", "null", None),
        (b"two\nlines\n", "two\nlines", "two\nlines"),
        (b"  kept \n", "  kept ", "  kept "),
        (b"", "", ""),
        (b"NaN\n", "NaN", "NaN"),
        (b"\xff\n", "\ufffd", "\ufffd"),
        (b'{"a": 1} {"b": 2}', '{"a": 1} {"b": 2}', '{"a": 1} {"b": 2}'),
        (b"[" * 100_000, "[" * 100_000, "[" * 100_000),
        (b"9" * 5000, "9" * 5000, "9" * 5000),
    ],
    ids=range(13),
)
def test_json_becomes_data_and_all_else_stays_text(output: bytes, text: str, data: Any) -> None:
    assert answered(output) == (text, data)


def test_native_only_the_exit_status_says_that_it_failed() -> None:
    assert answered(b'{"success": false, "error": "x"}')[1] == {"success": False, "error": "x"}


@pytest.mark.parametrize("form", ["first", "instance"])
@pytest.mark.parametrize(
    ("output", "text", "data"),
    [
        (b'{"a":   "\xc3\xa9"}\n', '{"a": "\\u00e9"}', {"a": "é"}),
        (b"[1,2]\n", "[1, 2]", [1, 2]),
        (b"5\n", "5", 5),
        (b"null", "null", None),
        (b'"quoted"', "quoted", "quoted"),
        (b"  two\nlines \n", '{"success": true, "output": "two\\nlines"}', {"success": True, "output": "two\nlines"}),
        (b"", '{"success": true, "output": ""}', {"success": True, "output": ""}),
        (b'{"error": "", "success": true}', '{"error": "", "success": true}', {"error": "", "success": True}),
        (b'{"status": "failed"}', '{"status": "failed"}', {"status": "failed"}),
    ],
)
def test_llm_orcs_first_form_wraps_what_is_not_json(form: str, output: bytes, text: str, data: Any) -> None:
    assert answered(output, form) == (text, data)


@pytest.mark.parametrize(
    ("output", "text", "data"),
    [
        (b'  {"a":   1}\n', '{"a":   1}', {"a": 1}),
        (b"[1,2]\n", "[1,2]", "[1,2]"),
        (b"5", "5", "5"),
        (b"two\nlines \n\n", "two\nlines", "two\nlines"),
        (b"", "", ""),
    ],
)
def test_llm_orcs_later_form_is_the_text_as_it_is(output: bytes, text: str, data: Any) -> None:
    assert answered(output, "later") == (text, data)


@pytest.mark.parametrize("form", ["first", "later", "instance"])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (b'{"success": false, "x": 1}', '{"success": false, "x": 1}'),
        (b'{"success": null}', '{"success": null}'),
        (b'{"success": false, "error": "why"}', "why"),
        (b'{"success": true, "error": {"code": 1}}', '{"code": 1}'),
        (b'{"error": "why"}', "why"),
    ],
)
def test_an_object_may_say_that_an_llm_orc_script_failed(form: str, output: bytes, message: str) -> None:
    assert failure(Ended(0, output), form).message == message


@pytest.mark.parametrize("form", ["strict", "first", "later"])
def test_a_status_other_than_0_is_a_failure_whatever_it_wrote(form: str) -> None:
    error = failure(Ended(3, b'{"success": true}', b"Traceback\nValueError: no\n"), form)
    assert error.message == "exit status 3: Traceback\nValueError: no"
    assert (error.exit_status, error.stderr) == (3, "Traceback\nValueError: no")


def test_without_errors_the_end_of_its_output_says_why() -> None:
    assert failure(Ended(1, b"all went wrong\n")).message == "exit status 1: all went wrong"
    assert failure(Ended(1)).message == "exit status 1"


def test_of_a_long_output_the_last_words_say_why_on_one_line() -> None:
    error = failure(Ended(1, b"y\n" * 100_000 + b"the end\n"))
    assert error.message.startswith("exit status 1: ...")
    assert error.message.endswith("y y the end")
    assert len(error.message) < SAID + 30
    assert error.stderr == ""


def test_a_signal_has_its_name() -> None:
    assert failure(Ended(-11)).message == "it was killed by SIGSEGV"
    assert failure(Ended(-250)).message == "it was killed by signal 250"


def test_a_status_that_was_taken_away_is_no_success() -> None:
    assert "its exit status is not known" in failure(Ended(None, b"fine")).message


def test_too_much_output_is_a_failure() -> None:
    assert failure(Ended(-9, b"x", too_much=True)).message == "it was killed because it wrote more than 32 MiB"


def test_an_error_repeats_only_the_end() -> None:
    error = failure(Ended(1, b"", b"first\n" + b"x" * 10_000 + b"\xff last"))
    assert error.message.startswith("exit status 1: ...xxx")
    assert error.message.endswith("\ufffd last")
    assert len(error.message) < TAIL + 100
    assert "first" not in error.message


def test_the_error_travels_with_all_it_knows() -> None:
    error = failure(Ended(3, b"", b"oh"))
    for again in (pickle.loads(pickle.dumps(error)), CallError.from_dict(error.to_dict())):
        assert type(again) is ScriptFailed
        assert (again.exit_status, again.stderr, str(again)) == (3, "oh", str(error))
