"""Results in llm-orc's shape, field by field: of a run, of a child, of a loop, of a fan-out, of one agent."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from stretto.attempt import Attempt
from stretto.errors import Overloaded, ScriptFailed
from stretto.llm_orc_result import record, response, result
from stretto.outcome import Inner, Outcome, Status
from stretto.reply import Reply
from stretto.usage import Usage


def attempt(model: str = "compatible/a", *, error: BaseException | None = None, **given: Any) -> Attempt:
    fields = {"number": 1, "started": 100.0, "ended": 100.25, "usage": Usage(5, 2), "cost": 0.5}
    return Attempt(**{**fields, "model": model, "error": error, **given})


def answered(agent: str = "one", text: str = "answer", phase: int = 0, **given: Any) -> Outcome:
    """An agent whose model has answered."""
    fields: dict[str, Any] = {"attempts": (attempt(),), "usage": Usage(5, 2), "cost": 0.5, "reply": Reply(text)}
    times = {"started": 100.0 + phase, "ended": 100.5 + phase}
    return Outcome(agent=agent, phase=phase, status="ok", value=text, text=text, **{**fields, **times, **given})


def ended(status: Status, reason: str, agent: str = "one", phase: int = 0, **given: Any) -> Outcome:
    times = {"started": 100.0 + phase, "ended": 100.5 + phase}
    return Outcome(agent=agent, phase=phase, status=status, reason=reason, **{**times, **given})


def fan_out(*children: Outcome, status: Status = "ok", reason: str = "") -> Outcome:
    values = [child.value if child.ok else None for child in children]
    fields: dict[str, Any] = {"value": values, "children": children, "inner": Inner(kind="fan_out")}
    return Outcome(agent="f", phase=1, status=status, reason=reason, started=101.0, ended=101.5, **fields)


def instances(*texts: str | None) -> list[Outcome]:
    named = [(f"f[{index}]", text) for index, text in enumerate(texts)]
    return [
        ended("failed", "the server said no", name, 1) if text is None else answered(name, text, 1)
        for name, text in named
    ]


def child(*outcomes: Outcome, kind: Any = "ensemble", status: Status = "ok", **given: Any) -> Outcome:
    """An agent that ran an ensemble, whose agents stand in one phase and are all terminal."""
    names = tuple(outcome.agent for outcome in outcomes)
    inner = Inner(kind=kind, **{"ensemble": "inside", "phases": (names,), "terminals": names, **given})
    last = [outcome.text for outcome in outcomes if outcome.ok] or [""]
    fields: dict[str, Any] = {"value": last[-1], "text": last[-1], "children": outcomes, "inner": inner}
    return Outcome(agent="ch", phase=0, status=status, started=100.0, ended=101.0, **fields)


def loop(*rounds: Outcome, value: Any, terminated: str = "until") -> Outcome:
    inner = Inner(kind="loop", ensemble="body", terminated=terminated)
    return Outcome(agent="l", phase=0, status="ok", value=value, children=rounds, inner=inner)


# ---- one agent


def test_an_agent_that_answered() -> None:
    assert record(answered()) == {
        "response": "answer",
        "status": "success",
        "model_substituted": False,
        "outcome": "succeeded",
        "has_errors": False,
    }


@pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled"])
def test_an_agent_without_result_is_failed_and_its_error_is_the_reason(status: Status) -> None:
    error = Overloaded("with sk-abcdefgh")  # a user's own error may hold anything: the reason is what is reported
    assert record(ended(status, "the server is busy", error=error, text="partial")) == {
        "response": None,
        "status": "failed",
        "model_substituted": False,
        "error": "the server is busy",
        "outcome": "failed",
        "has_errors": True,
    }


def test_an_agent_that_was_skipped_since_others_failed_says_why() -> None:
    assert record(ended("skipped", "no dependency succeeded: one (failed)")) == {
        "response": None,
        "status": "skipped",
        "model_substituted": False,
        "reason": "no dependency succeeded: one (failed)",
        "outcome": "skipped_by_failure",
        "has_errors": True,
    }


def test_an_agent_that_a_guard_skipped_is_no_error_and_has_no_reason() -> None:
    assert record(ended("skipped", "when ${one.x} does not hold"), excused=True) == {
        "response": None,
        "status": "skipped",
        "model_substituted": False,
        "outcome": "skipped_by_guard",
        "has_errors": False,
    }


def test_an_agent_that_ran_after_failures_alone_has_handled_them() -> None:
    assert record(answered(), handled=True) == {
        "response": "answer",
        "status": "success",
        "model_substituted": False,
        "outcome": "handled_failure",
        "has_errors": True,
        "handled_failure": True,
        "handled_failure_reason": "it ran although no dependency had succeeded",
    }


def test_an_agent_that_failed_after_failures_has_failed() -> None:
    assert record(ended("failed", "no"), handled=True)["outcome"] == "failed"


def test_a_script_asks_no_other_agents_and_shows_what_it_wrote_as_its_error() -> None:
    assert record(answered(text='{"n": 1}', reply=Reply("", route="script"), attempts=(attempt(""),))) == {
        "response": '{"n": 1}',
        "status": "success",
        "model_substituted": False,
        "outcome": "succeeded",
        "has_errors": False,
        "agent_requests": [],
    }
    error = ScriptFailed("exit 3", exit_status=3, payload={"stderr": "no such table"})
    assert record(ended("failed", "exit 3", error=error)) == {
        "response": None,
        "status": "failed",
        "model_substituted": False,
        "error": "exit 3",
        "payload": {"stderr": "no such table"},
        "outcome": "failed",
        "has_errors": True,
    }


@pytest.mark.parametrize(
    ("attempts", "substituted"),
    [
        ((attempt(),), False),
        ((attempt(error=Overloaded()), attempt()), False),
        ((attempt(error=Overloaded()), attempt("openai/b")), True),
        ((attempt(error=Overloaded()), attempt("openai/b", error=Overloaded()), attempt()), False),
        ((attempt(), attempt("openai/b", cancelled=True)), False),
        ((), False),
    ],
)
def test_a_model_is_substituted_when_another_one_answered_than_was_asked_first(
    attempts: tuple[Attempt, ...], substituted: bool
) -> None:
    assert record(answered(attempts=attempts))["model_substituted"] is substituted


# ---- a fan-out


def test_a_fan_out_lists_the_responses_in_the_order_of_the_items() -> None:
    assert record(fan_out(*instances("r0", "r1"))) == {
        "response": ["r0", "r1"],
        "status": "success",
        "fan_out": True,
        "instances": [{"index": 0, "status": "success"}, {"index": 1, "status": "success"}],
        "outcome": "succeeded",
        "has_errors": False,
    }


def test_a_fan_out_of_which_a_part_failed_is_partial() -> None:
    assert record(fan_out(*instances("r0", None, "r2"))) == {
        "response": ["r0", None, "r2"],
        "status": "partial",
        "fan_out": True,
        "instances": [
            {"index": 0, "status": "success"},
            {"index": 1, "status": "failed", "error": "the server said no"},
            {"index": 2, "status": "success"},
        ],
        "outcome": "partial",
        "has_errors": True,
    }


def test_a_fan_out_of_which_all_failed_is_failed_and_names_them() -> None:
    assert record(fan_out(*instances(None, None), status="failed", reason="none of 2 has a result")) == {
        "response": [None, None],
        "status": "failed",
        "fan_out": True,
        "instances": [{"index": index, "status": "failed", "error": "the server said no"} for index in (0, 1)],
        "error": "[0] the server said no; [1] the server said no",
        "outcome": "failed",
        "has_errors": True,
    }


def test_a_fan_out_that_a_clock_ended_is_failed_and_keeps_what_its_instances_said() -> None:
    cut = (*instances("r0"), ended("skipped", "it never got a place", "f[1]", 1))
    told = record(fan_out(*cut, status="timed_out", reason="the clock ran out"))
    assert (told["status"], told["outcome"], told["response"]) == ("failed", "failed", ["r0", None])
    assert told["instances"][1] == {"index": 1, "status": "skipped", "error": "it never got a place"}
    assert told["error"] == "[1] it never got a place"


def test_a_fan_out_over_an_empty_list_is_a_success_without_instances() -> None:
    assert record(fan_out()) == {
        "response": [],
        "status": "success",
        "fan_out": True,
        "instances": [],
        "outcome": "succeeded",
        "has_errors": False,
    }


def test_a_fan_out_without_a_list_is_a_plain_failure() -> None:
    failed = fan_out(status="failed", reason="${one} is no list")
    assert record(failed) == {
        "response": None,
        "status": "failed",
        "model_substituted": False,
        "error": "${one} is no list",
        "outcome": "failed",
        "has_errors": True,
    }


# ---- a loop


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ({"done": True}, {"done": True}),
        ('{"done": true, "x": "é"}', {"done": True, "x": "é"}),
        ("a text", {"value": "a text"}),
        ("[1, 2]", {"value": "[1, 2]"}),
        ([1, 2], {}),  # only scripts give such, and llm-orc shows none of it
        ({"n": math.nan}, {"n": "nan"}),
        ("[" * 100_000, {"value": "[" * 100_000}),
        (None, {}),
    ],
)
def test_a_loop_answers_with_its_output_as_an_object(value: Any, output: Any) -> None:
    given = json.loads(response(loop(child(answered()), child(answered()), value=value)))
    assert given == {"output": output, "iterations": 2, "terminated": "until", "has_errors": False}


def test_a_loop_that_is_exhausted_is_a_success_and_only_its_last_round_counts_as_an_error() -> None:
    bad = child(answered(), ended("failed", "no", "two"))
    early = loop(bad, child(answered()), value="x", terminated="exhausted")
    assert json.loads(response(early)) == {
        "output": {"value": "x"},
        "iterations": 2,
        "terminated": "exhausted",
        "has_errors": False,
    }
    late = loop(child(answered()), bad, value="x", terminated="exhausted")
    assert json.loads(response(late))["has_errors"] is True
    assert (record(late)["status"], record(late)["outcome"], record(late)["has_errors"]) == (
        "success",
        "succeeded",
        True,
    )


# ---- an ensemble within another


@pytest.mark.parametrize("kind", ["ensemble", "dispatch"])
def test_a_childs_response_is_its_whole_result_as_json(kind: Any) -> None:
    outcomes = (answered("one", "first"), answered("two", "é"))
    given = record(child(*outcomes, kind=kind))
    whole = json.loads(given.pop("response"))
    assert given == {"status": "success", "model_substituted": False, "outcome": "succeeded", "has_errors": False}
    assert whole == plain_json(
        result("inside", outcomes, phases=[["one", "two"]], terminals=["one", "two"], started=100.0, ended=101.0)
    )
    assert list(whole) == [
        "ensemble",
        "status",
        "has_errors",
        "input",
        "results",
        "metadata",
        "deliverable",
        "execution_order",
    ]
    assert (whole["deliverable"], whole["execution_order"]) == ("é", ["one", "two"])


def plain_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def test_a_child_has_its_own_input_and_its_own_handled_failures() -> None:
    outcomes = (ended("failed", "no"), answered("two"))
    whole = json.loads(response(child(*outcomes, handled=("two",), input={"n": 1})))
    assert whole["input"] == {"data": '{"n": 1}'}
    assert whole["results"]["two"]["outcome"] == "handled_failure"


def test_a_child_of_which_an_agent_failed_has_succeeded_with_errors() -> None:
    told = record(child(ended("failed", "no", "one"), answered("two")))
    assert (told["status"], told["outcome"], told["has_errors"]) == ("success", "succeeded", True)
    assert json.loads(told["response"])["status"] == "completed_with_errors"


def test_a_child_of_which_a_guard_skipped_an_agent_has_no_errors() -> None:
    told = record(child(ended("skipped", "a guard", "one"), answered("two"), excused=("one",)))
    assert told["has_errors"] is False
    whole = json.loads(told["response"])
    assert (whole["status"], whole["results"]["one"]["outcome"]) == ("completed", "skipped_by_guard")


def test_a_partial_fan_out_within_a_child_is_an_error_of_it() -> None:
    told = record(child(fan_out(*instances("r0", None)), answered("two")))
    assert (told["outcome"], told["has_errors"]) == ("succeeded", True)


def test_a_child_without_a_successful_terminal_agent_has_no_response() -> None:
    failed = child(ended("failed", "no"), status="failed")
    assert (response(failed), record(failed)["status"]) == (None, "failed")


def test_an_ensemble_within_a_child_is_json_within_json() -> None:
    inside = child(answered("deep", "text"))
    whole = json.loads(response(child(inside)))
    assert json.loads(whole["results"]["ch"]["response"])["deliverable"] == "text"


def test_the_instances_of_a_fan_out_may_be_ensembles() -> None:
    [whole] = response(fan_out(child(answered("deep", "text"))))
    assert json.loads(whole)["deliverable"] == "text"


# ---- the whole result


def three() -> dict[str, Any]:
    """A run in two phases: a script, a model, a fan-out of one instance; the fan-out is declared first."""
    script = answered("s", '["x"]', reply=Reply("", route="script"), attempts=(attempt("", cost=0.0),))
    return result(
        "e",
        [fan_out(*instances("said")), script, answered("m")],
        phases=[["s", "m"], ["f"]],
        terminals=["m", "f"],
        input="go",
        started=100.0,
        ended=101.3125,
    )


PEAKS = {"peak_cpu": 0.0, "avg_cpu": 0.0, "peak_memory": 0.0, "avg_memory": 0.0, "sample_count": 0}
SPENT = {
    "input_tokens": 5,
    "output_tokens": 2,
    "total_tokens": 7,
    "cost_usd": 0.5,
    "duration_ms": 250,
    "model": "a",
    "model_profile": None,
    "start_time": 100.0,
    "baseline_cpu": 0.0,
    "baseline_memory": 0.0,
    **PEAKS,
    "cpu_samples": [],
    "memory_samples": [],
    "resource_duration_seconds": 0.25,
    "resource_sample_count": 0,
}


def phase_metrics(index: int, names: list[str]) -> dict[str, Any]:
    return {
        "phase_index": index,
        "phase_name": f"phase_{index}",
        "agent_count": len(names),
        "phase_start_time": 100.0 + index,
        "agent_names": names,
        "start_time": 100.0 + index,
        "duration_seconds": 0.5,
        "end_time": 100.5 + index,
        "agents_completed": len(names),
        **PEAKS,
    }


def test_the_whole_result_of_a_run() -> None:
    said = {"status": "success", "model_substituted": False, "outcome": "succeeded", "has_errors": False}
    gathered = fan_out(*instances("said"))
    assert three() == {
        "ensemble": "e",
        "status": "completed",
        "has_errors": False,
        "input": {"data": "go"},
        "results": {
            "s": {"response": '["x"]', **said, "agent_requests": []},
            "m": {"response": "answer", **said},
            "f[0]": {"response": "said", **said},
            "f": record(gathered),
        },
        "metadata": {
            "agents_used": 3,
            "started_at": 100.0,
            "duration": "1.31s",
            "completed_at": 101.3125,
            "usage": {
                "agents": {"f[0]": SPENT, "m": SPENT},
                "totals": {
                    "total_tokens": 14,
                    "total_input_tokens": 10,
                    "total_output_tokens": 4,
                    "total_cost_usd": 1.0,
                    "total_duration_ms": 500,
                    "agents_count": 2,
                },
            },
            "adaptive_resource_management": {
                "adaptive_used": False,
                "management_type": "user_configured",
                "concurrency_decisions": [],
                "resource_metrics": [],
                "execution_metrics": {**PEAKS, "raw_cpu_samples": [], "raw_memory_samples": []},
                "phase_metrics": [phase_metrics(0, ["s", "m"]), phase_metrics(1, ["f[0]"])],
            },
        },
        "deliverable": "answer",
        "execution_order": ["f", "s", "m"],
    }


def test_the_results_stand_phase_by_phase_who_was_skipped_first_and_what_was_gathered_last() -> None:
    outcomes = [fan_out(*instances("x")), answered("late", phase=1), answered("one"), ended("skipped", "no", "two", 1)]
    whole = result("e", outcomes, phases=[["one"], ["f", "late", "two"]], terminals=[], excused=["two"])
    assert list(whole["results"]) == ["one", "two", "f[0]", "late", "f"]
    assert whole["execution_order"] == ["f", "late", "one", "two"]


def test_everything_is_json() -> None:
    assert plain_json(three()) == three()
    odd = child(answered("\ud800"), fan_out(loop(value=object()), *instances(None)), status="ok")
    assert plain_json(record(odd))


@pytest.mark.parametrize(
    ("outcomes", "excused", "status", "has_errors"),
    [
        ([answered()], [], "completed", False),
        ([answered(), ended("skipped", "a guard", "two")], ["two"], "completed", False),
        ([answered(), ended("skipped", "no", "two")], [], "completed_with_errors", True),
        ([ended("failed", "no")], [], "completed_with_errors", True),
        ([ended("cancelled", "no")], [], "completed_with_errors", True),
        ([child(ended("failed", "no"), answered("two"))], [], "completed_with_errors", True),
        ([], [], "completed", False),
    ],
)
def test_a_result_has_errors_when_one_of_its_records_has(
    outcomes: list[Outcome], excused: list[str], status: str, has_errors: bool
) -> None:
    whole = result("e", outcomes, phases=[[o.agent for o in outcomes]], terminals=[], excused=excused)
    assert (whole["status"], whole["has_errors"]) == (status, has_errors)


@pytest.mark.parametrize(
    ("outcomes", "deliverable"),
    [
        ([answered("one", "1"), answered("two", "2")], "2"),
        ([answered("one", "1"), ended("failed", "no", "two")], "1"),
        ([answered("one", "1"), fan_out(*instances("x"))], "1"),
        ([fan_out(*instances("x"))], None),
        ([ended("failed", "no")], None),
        ([answered("one", "1"), answered("inner", "3")], "1"),
        ([], None),
    ],
)
def test_the_deliverable_is_the_last_terminal_agents_text_and_absent_without_one(
    outcomes: list[Outcome], deliverable: str | None
) -> None:
    whole = result("e", outcomes, phases=[[o.agent for o in outcomes]], terminals=["one", "two", "f"])
    assert whole.get("deliverable") == deliverable
    assert ("deliverable" in whole) is (deliverable is not None)


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ("text", "text"),
        (None, ""),
        ({"z": [1, "é"]}, '{"z": [1, "é"]}'),
        ([{"role": "user", "content": "last"}], "last"),
    ],
)
def test_the_input_is_a_text(given: Any, data: str) -> None:
    assert result("e", [], phases=[], terminals=[], input=given)["input"] == {"data": data}


def test_handled_failures_are_named_from_outside() -> None:
    outcomes = [ended("failed", "no"), answered("two")]
    whole = result("e", outcomes, phases=[["one"], ["two"]], terminals=["two"], handled=["two"])
    assert whole["results"]["two"]["outcome"] == "handled_failure"
    assert whole["deliverable"] == "answer"


def test_a_run_that_is_not_over_has_no_end_yet() -> None:
    whole = result("e", [answered()], phases=[["one"], ["two"]], terminals=["two"], started=100.0)
    metadata = whole["metadata"]
    assert (metadata["completed_at"], metadata["duration"], metadata["agents_used"]) == (None, "0.50s", 1)
    assert list(whole["results"]) == ["one"]


# ---- usage


def usage_of(*outcomes: Outcome) -> dict[str, Any]:
    usage: dict[str, Any] = result("e", outcomes, phases=[], terminals=[])["metadata"]["usage"]
    return usage


def test_only_models_that_answered_are_in_the_usage() -> None:
    outcomes = (
        answered("function", attempts=(attempt("", cost=0.0),), reply=Reply("x", route="function")),
        ended("failed", "no", "failed", attempts=(attempt(error=Overloaded()),)),
        ended("skipped", "no", "skipped"),
        child(answered("deep")),
        loop(child(answered("deep")), value="x"),
    )
    assert usage_of(*outcomes) == {
        "agents": {},
        "totals": {
            "total_tokens": 0,
            "total_input_tokens": 0,
            "total_output_tokens": 0,
            "total_cost_usd": 0.0,
            "total_duration_ms": 0,
            "agents_count": 0,
        },
    }


def test_the_usage_counts_all_requests_and_names_the_model_that_answered() -> None:
    tried = (attempt(error=Overloaded(), cost=0.25), attempt("openrouter/x/b", started=100.5, ended=102.0))
    spent = usage_of(answered(attempts=tried, usage=Usage(10, 4)))["agents"]["one"]
    told = {name: spent[name] for name in ("model", "total_tokens", "cost_usd", "duration_ms", "start_time")}
    assert told == {"model": "x/b", "total_tokens": 14, "cost_usd": 0.75, "duration_ms": 2000, "start_time": 100.0}


def test_a_cost_that_is_unknown_counts_nothing_and_an_estimate_counts() -> None:
    cut = attempt(cancelled=True, usage=None, cost=None, estimate=(Usage(1, 1), 0.125))
    assert usage_of(answered(attempts=(cut, attempt(cost=None))))["totals"]["total_cost_usd"] == 0.125


def test_a_reply_out_of_a_cache_has_its_model_and_took_no_time() -> None:
    spent = usage_of(answered(attempts=(), reply=Reply("x", model="gpt-5", route="cache"), cost=0.0))["agents"]["one"]
    assert (spent["model"], spent["duration_ms"], spent["cost_usd"], spent["start_time"]) == ("gpt-5", 0, 0.0, 100.0)
