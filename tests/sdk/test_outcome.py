"""What became of an agent: its result or its error, and all of it as plain data."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import fields
from typing import Any

import pytest

from stretto.attempt import Attempt, Wait
from stretto.errors import NoResult, Overloaded
from stretto.outcome import Outcome, Status, error_dict, plain
from stretto.reply import Reply, ToolCall
from stretto.timings import Timings
from stretto.usage import Usage


def outcome(status: Status = "ok", **given: Any) -> Outcome:
    return Outcome(**{"agent": "a", "phase": 0, "status": status, **given})


async def full() -> Outcome:
    attempt = Attempt(hedge=True)
    attempt.sent(1, "one/m")
    attempt.usage, attempt.cost, attempt.error = Usage(1, 2), 0.5, Overloaded("busy", retry_after=2)
    return outcome(
        value={"n": 1},
        text='{"n": 1}',
        messages=({"role": "assistant", "content": "x"},),
        reply=Reply("x", tool_calls=(ToolCall("1", "f"),), usage=Usage(1, 2), headers={"x-a": "1"}, raw=object()),
        error=ValueError("bad"),
        reason="bad",
        attempts=(attempt,),
        waits=(Wait("slot", "key", 1.0, 2.0),),
        usage=Usage(1, 2),
        cost=0.5,
        timings=Timings(queue=1.0),
        children=(outcome("skipped", reason="no"),),
        started=1.0,
        ended=2.0,
        prompt_digest="ab",
    )


def test_the_output_of_an_agent_that_is_ok_is_its_value() -> None:
    assert outcome(value={"n": 1}, text="x").output == {"n": 1}
    assert outcome(value=None).output is None


@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_the_output_of_an_agent_that_failed_is_its_error(status: Status) -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as raised:
        _ = outcome(status, error=error).output
    assert raised.value is error


@pytest.mark.parametrize("status", ["skipped", "cancelled"])
def test_the_output_of_an_agent_without_result_is_no_result(status: Status) -> None:
    with pytest.raises(NoResult, match=f"agent 'a' has no result: {status}, because"):
        _ = outcome(status, reason="because", error=ValueError("mine")).output


def test_a_failure_without_an_error_is_no_result() -> None:
    with pytest.raises(NoResult, match="has no result: failed, it was lost"):
        _ = outcome("failed", reason="it was lost").output


@pytest.mark.parametrize(
    ("status", "ok"),
    [("ok", True), ("failed", False), ("timed_out", False), ("cancelled", False), ("skipped", False)],
)
def test_only_ok_is_ok(status: Status, ok: bool) -> None:
    assert outcome(status).ok is ok


async def test_plain_data_has_every_field_and_survives_json() -> None:
    data = (await full()).to_dict()
    assert {f.name for f in fields(Outcome)} - {"value"} | {"output"} == data.keys()
    assert data == json.loads(json.dumps(data, allow_nan=False))


async def test_plain_data_of_attempts_waits_and_errors_is_complete() -> None:
    data = (await full()).to_dict()
    (attempt,) = data["attempts"]
    assert (attempt["number"], attempt["model"], attempt["hedge"], attempt["cost"]) == (1, "one/m", True, 0.5)
    assert attempt["error"]["type"] == "Overloaded"
    assert attempt["error"]["retry_after"] == 2
    assert attempt["usage"]["output_tokens"] == 2
    assert data["waits"] == [{"cause": "slot", "key": "key", "started": 1.0, "seconds": 2.0}]
    assert data["error"] == {"type": "ValueError", "message": "bad"}
    assert data["reply"]["tool_calls"][0]["name"] == "f"
    assert data["reply"]["headers"] == {"x-a": "1"}
    assert data["children"][0]["status"] == "skipped"
    assert data["timings"]["queue"] == 1.0


def test_plain_data_of_an_empty_outcome_survives_json() -> None:
    data = outcome("skipped", reason="no").to_dict()
    assert (data["output"], data["reply"], data["error"], data["attempts"]) == (None, None, None, [])
    assert data == json.loads(json.dumps(data))


async def test_an_outcome_survives_a_pickle() -> None:
    made = await full()
    again = pickle.loads(pickle.dumps(made.__class__(**{**_fields(made), "reply": None})))
    assert (again.agent, again.value, again.usage, again.waits) == (made.agent, made.value, made.usage, made.waits)
    assert again.attempts[0].started == made.attempts[0].started


def _fields(made: Outcome) -> dict[str, Any]:
    return {f.name: getattr(made, f.name) for f in fields(made)}


def circle() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


class Shown:
    def __str__(self) -> str:
        return "shown"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, 2.5, None, True)}, {"a": [1, 2.5, None, True]}),
        (Shown(), "shown"),
        ([Shown()], ["shown"]),
        ({(1, 2): Shown()}, {"(1, 2)": "shown"}),
        ({1: "x"}, {"1": "x"}),
        ({"a": [math.nan, math.inf, 1]}, {"a": ["nan", "inf", 1]}),
        ({"a": {(1,): (None, False, 1.5)}}, {"a": {"(1,)": [None, False, 1.5]}}),
        (circle(), "<list nested too deeply>"),
    ],
)
def test_what_json_cannot_hold_becomes_its_text(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert expected == json.loads(json.dumps(plain(value), allow_nan=False))


def test_plain_data_of_a_call_error_has_its_attributes() -> None:
    data = error_dict(Overloaded("busy", status=503), "")
    assert data is not None
    assert (data["type"], data["message"], data["status"]) == ("Overloaded", "busy", 503)
    assert error_dict(None, "") is None
