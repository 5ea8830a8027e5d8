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
from stretto.outcome import Inner, Outcome, Status, error_dict, plain, summed, within
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


# What ran within


def leaf(name: str, started: float, ended: float, **fields: Any) -> Outcome:
    one = Attempt()
    one.started, one.ended = started, ended
    given = {"usage": Usage(1, 2), "cost": 0.5, "attempts": (one,), "started": started, "ended": ended}
    return Outcome(**{"agent": name, "phase": 0, "status": "ok", **given, **fields})


def test_within_gives_everything_however_deep() -> None:
    deep = outcome(children=(outcome(children=(outcome(), outcome())), outcome()))
    assert len(within([deep, outcome()])) == 6
    chain = outcome()
    for _ in range(5000):
        chain = outcome(children=(chain,))
    assert len(within([chain])) == 5001


def test_tokens_and_costs_of_children_are_added_and_their_time_counts_once() -> None:
    wait = Wait("queue", None, 9.0, 1.0)
    usage, cost, divided = summed([leaf("a", 1, 5), leaf("b", 3, 7), leaf("c", 8, 9, waits=(wait,))], 0, 10)
    assert (usage, cost) == (Usage(3, 6), 1.5)
    assert divided == Timings(provider=7.0, queue=1.0, own=2.0)


def test_attempts_deep_within_count_in_the_time() -> None:
    middle = outcome(children=(leaf("a", 1, 4),), usage=Usage(1, 2), cost=0.5)
    usage, cost, divided = summed([middle], 0, 5)
    assert (usage, cost, divided) == (Usage(1, 2), 0.5, Timings(provider=3.0, own=2.0))


def test_a_cost_that_is_unknown_makes_the_sum_unknown() -> None:
    assert summed([leaf("a", 0, 1), leaf("b", 0, 1, cost=None)], 0, 1)[1] is None


def test_without_children_nothing_was_spent() -> None:
    assert summed([], 0, 2) == (Usage(), 0.0, Timings(own=2.0))


def test_what_was_run_within_is_plain_data() -> None:
    inner = Inner(
        kind="ensemble", ensemble="e", phases=(("a",), ("b",)), terminals=("b",), excused=("a",), input={"q": {1}}
    )
    data = outcome(inner=inner, children=(outcome(),)).to_dict()
    assert json.loads(json.dumps(data["inner"]))["phases"] == [["a"], ["b"]]
    assert data["inner"]["kind"] == "ensemble"
    assert outcome().to_dict()["inner"] is None


def test_children_are_plain_data_however_deep() -> None:
    chain = outcome(value="deepest")
    for _ in range(50):
        chain = outcome(children=(chain,), inner=Inner(kind="ensemble"))
    data = json.loads(json.dumps(chain.to_dict()))
    for _ in range(50):
        (data,) = data["children"]
    assert data["output"] == "deepest"


def test_an_outcome_with_children_can_be_pickled() -> None:
    whole = outcome(children=(outcome("failed", error=Overloaded("no room")),), inner=Inner(kind="loop"))
    again = pickle.loads(pickle.dumps(whole))
    assert (again.inner, again.children[0].status) == (whole.inner, "failed")
