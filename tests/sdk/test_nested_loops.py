"""Loops: rounds until something holds, what one carries to the next, what stays of a round that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import pytest

from nesting import a_run, child, echo, gives, shows, tree, trees
from stretto import Agent, Call, Delta, Ensemble, Inputs, Reply, Runner
from stretto.errors import DeadlineExceeded, InvalidOutput
from stretto.loop import Loop
from stretto.outcome import Outcome
from stretto.usage import Price, Usage
from watched import fails, hang, says


class Rounds:
    """A function agent's work that gives one value after the other and keeps what it was given."""

    def __init__(self, *values: Any, after: float = 1.0) -> None:
        self.values = list(values)
        self.given: list[Any] = []
        self.after = after

    async def __call__(self, inputs: Inputs) -> Any:
        self.given.append(inputs.input)
        await asyncio.sleep(self.after)
        value = self.values.pop(0)
        if isinstance(value, BaseException):
            raise value
        return value


def looped(
    work: Callable[[Inputs], Any],
    most: int = 5,
    until: str | None = None,
    carry: str | None = None,
    *,
    input: Any = "x",
    strictness: Literal["strict", "compat"] = "strict",
    **options: Any,
) -> Outcome:
    body = child(Agent("a", function=work), name="body")
    loop = Agent("l", loop=Loop(body, most, until, carry))
    return a_run(loop, input=input, strictness=strictness, **options)["l"]


# When it ends


def test_without_until_it_runs_all_rounds() -> None:
    work = Rounds(1, 2, 3)
    outcome = looped(work, 3)
    assert tree(outcome) == ("ok", {f"l[{n}]": ("ok", {"a": "ok"}) for n in (1, 2, 3)})
    assert (outcome.value, outcome.text, outcome.reason) == (3, "3", "")
    assert outcome.inner is not None
    assert (outcome.inner.kind, outcome.inner.ensemble, outcome.inner.terminated) == ("loop", "body", "exhausted")


@pytest.mark.parametrize(
    ("until", "values", "rounds"),
    [
        ("${body.done}", [{"done": False}, {"done": True}, {}], 2),
        ("${body.done} == true", [{"done": False}, {"done": True}, {}], 2),
        ("${body.done} == true", [{"done": "true"}, {}], 1),
        ("${body.score} == 3", [{"score": 1}, {"score": 2}, {"score": 3}, {}], 3),
        ("${body.state} != open", [{"state": "open"}, {"state": "shut"}, {}], 2),
        ("${body.state} == 'all done'", [{"state": "all done"}, {}], 1),
        ("${body}", ["", 0, [], "good", "no more"], 4),
        ("${body} == good", ["bad", "good", "no more"], 2),
        ("${body.deep.0.ok}", [{"deep": [{"ok": 0}]}, {"deep": [{"ok": 1}]}, {}], 2),
        ("${body.done}", ['{"done": false}', '{"done": true}', ""], 2),
        ("${input} == x", ["one", "two"], 1),
    ],
)
def test_it_ends_after_the_round_in_which_until_holds(until: str, values: list[Any], rounds: int) -> None:
    outcome = looped(Rounds(*values), 5, until)
    assert len(outcome.children) == rounds
    assert outcome.value == values[rounds - 1]
    assert outcome.inner is not None
    assert (outcome.status, outcome.reason, outcome.inner.terminated) == ("ok", "", "until")


def test_that_until_never_held_is_said_in_the_reason_and_the_loop_is_ok() -> None:
    outcome = looped(Rounds({"ok": False}, {"ok": False}), 2, "${body.ok}")
    assert (outcome.status, outcome.value) == ("ok", {"ok": False})
    assert outcome.reason == "exhausted: until ${body.ok} did not hold in 2 rounds"
    assert outcome.inner is not None
    assert outcome.inner.terminated == "exhausted"


def test_one_round_is_a_loop() -> None:
    outcome = looped(Rounds({"ok": True}), 1, "${body.ok}")
    assert tree(outcome) == ("ok", {"l[1]": ("ok", {"a": "ok"})})
    assert outcome.inner is not None
    assert outcome.inner.terminated == "until"


@pytest.mark.parametrize("value", [{}, {"other": 1}, "no json", 5, None, ["x"]])
def test_a_field_that_until_names_and_the_body_does_not_give_fails_the_loop(value: Any) -> None:
    outcome = looped(Rounds(value, value), 2, "${body.ok}")
    assert outcome.status == "failed"
    assert isinstance(outcome.error, InvalidOutput)
    assert "${body.ok}" in outcome.reason
    assert [tree(made) for made in outcome.children] == [("ok", {"a": "ok"})]


@pytest.mark.parametrize("value", [{}, {"other": 1}, "no json", 5, None, ["x"]])
def test_in_llm_orc_s_files_until_does_not_hold_then(value: Any) -> None:
    outcome = looped(Rounds(value, {"ok": True}), 3, "${body.ok}", strictness="compat")
    assert (outcome.status, len(outcome.children)) == ("ok", 2)


def test_what_a_round_was_without_stays_in_the_reason() -> None:
    pair = child(Agent("a", function=gives({"ok": False})), Agent("b", function=fails(ValueError("no"))))
    body = child(Agent("c", ensemble=pair), Agent("d", function=fails(ValueError("worse"))), name="body")
    reason = a_run(Agent("l", loop=Loop(body, 2, "${body.ok}")))["l"].reason
    assert reason.startswith("exhausted: until ${body.ok} did not hold in 2 rounds; 1 of 2 of 'body'")
    assert "d (failed: worse)" in reason


# What it carries


def test_without_carry_each_round_has_the_agent_s_own_input() -> None:
    work = Rounds("one", "two", "three")
    looped(work, 3, input={"n": 1})
    assert work.given == [{"n": 1}] * 3


def test_a_mark_alone_carries_data() -> None:
    work = Rounds({"next": {"n": [2]}}, {"next": {"n": [3]}}, {"next": 0})
    looped(work, 3, carry="${body.next}", input={"n": [1]})
    assert work.given == [{"n": [1]}, {"n": [2]}, {"n": [3]}]


def test_a_whole_result_is_carried() -> None:
    work = Rounds("b", "c", "d")
    looped(work, 3, carry="${body}", input="a")
    assert work.given == ["a", "b", "c"]


def test_more_than_a_mark_carries_text_with_data_as_json() -> None:
    work = Rounds({"draft": "d1", "notes": ["ü"]}, {"draft": "d2", "notes": []}, 0)
    looped(work, 3, carry="${input}: better than ${body.draft}, see ${body.notes} for $${5}", input="task")
    assert work.given == [
        "task",
        'task: better than d1, see ["ü"] for ${5}',
        "task: better than d2, see [] for ${5}",
    ]


def test_the_input_that_carry_names_is_the_first() -> None:
    work = Rounds({"x": 1}, {"x": 2}, 0)
    looped(work, 3, carry="${input.q}", input={"q": {"q": "first"}})
    assert work.given == [{"q": {"q": "first"}}, {"q": "first"}, {"q": "first"}]


def test_a_carry_without_a_mark_is_the_text_itself() -> None:
    work = Rounds("one", "two")
    looped(work, 2, carry="again")
    assert work.given == ["x", "again"]


def test_text_that_carries_json_is_read_where_a_field_is_picked() -> None:
    work = Rounds('{"next": "b"}', '{"next": "c"}', "")
    looped(work, 3, carry="${body.next}", input="a")
    assert work.given == ["a", "b", "c"]


def test_a_field_that_carry_names_and_the_body_does_not_give_fails_the_loop() -> None:
    outcome = looped(Rounds({"next": "b"}, {}), 3, carry="${body.next}")
    assert outcome.status == "failed"
    assert outcome.reason == "${body.next}: body has no field 'next'"
    assert len(outcome.children) == 2


def test_in_llm_orc_s_files_the_input_stays_then() -> None:
    work = Rounds({"next": "b"}, {}, {"next": "c"}, {})
    outcome = looped(work, 4, carry="${body.next}", input="a", strictness="compat")
    assert outcome.ok
    assert work.given == ["a", "b", "b", "c"]


def test_nothing_is_carried_after_the_last_round() -> None:
    assert looped(Rounds({"next": "b"}, "the end"), 2, carry="${body.next}").ok


def test_a_carried_null_is_as_no_input() -> None:
    body = child(Agent("a", function=shows), name="body", default_input={"mine": None})
    run = a_run(Agent("l", loop=Loop(body, 2, carry="${body.mine}")), input=None)
    assert run.output == {"mine": None}


def test_the_first_round_has_the_prompt_s_value() -> None:
    work = Rounds("one", "two")
    body = child(Agent("a", function=work), name="body")
    loop = Agent("l", loop=Loop(body, 2, carry="${input} ${body}"), depends_on=["before"], prompt="${before.n}")
    a_run(Agent("before", function=gives({"n": 7})), loop)
    assert work.given == [7, "7 one"]


# When the body fails


def test_a_round_that_fails_ends_the_loop_and_stays_with_those_before() -> None:
    error = ValueError("no")
    outcome = looped(Rounds("one", "two", error, "four"), 4)
    assert tree(outcome) == (
        "failed",
        {"l[1]": ("ok", {"a": "ok"}), "l[2]": ("ok", {"a": "ok"}), "l[3]": ("failed", {"a": "failed"})},
    )
    assert outcome.error is error
    assert outcome.reason == "'body' has no result: a failed: no"
    assert (outcome.value, outcome.text) == (None, "")
    assert outcome.inner is not None
    assert outcome.inner.terminated == ""


def test_in_llm_orc_s_files_only_the_last_round_decides() -> None:
    good = looped(Rounds(ValueError("no"), {"ok": True}), 3, "${body.ok}", strictness="compat")
    assert tree(good) == ("ok", {"l[1]": ("failed", {"a": "failed"}), "l[2]": ("ok", {"a": "ok"})})
    bad = looped(Rounds("fine", ValueError("no")), 2, strictness="compat")
    assert tree(bad) == ("failed", {"l[1]": ("ok", {"a": "ok"}), "l[2]": ("failed", {"a": "failed"})})


def test_a_round_with_one_of_two_results_is_a_round() -> None:
    body = child(Agent("a", function=gives({"ok": True})), Agent("b", function=fails(ValueError("no"))), name="body")
    outcome = a_run(Agent("l", loop=Loop(body, 3, "${body.ok}")))["l"]
    assert tree(outcome) == ("ok", {"l[1]": ("ok", {"a": "ok", "b": "failed"})})
    assert outcome.children[0].reason == "1 of 2 of 'body' without a result: b (failed: no)"


def test_a_round_that_is_cut_off_stays_as_far_as_it_came() -> None:
    body = child(
        Agent("a", function=Rounds("one", "two", "three", after=4)),
        Agent("b", function=echo, depends_on=["a"], prompt="${a}!"),
        name="body",
    )
    outcome = a_run(Agent("l", loop=Loop(body, 5), timeout=10))["l"]
    ended = ("ok", {"a": "ok", "b": "ok"})
    cut = ("timed_out", {"a": "timed_out", "b": "skipped"})
    assert tree(outcome) == ("timed_out", {"l[1]": ended, "l[2]": ended, "l[3]": cut})
    assert outcome.text == "two!"
    assert outcome.children[2].reason == "the agent's clock of 10 s ran out"
    assert isinstance(outcome.children[2].error, DeadlineExceeded)
    assert outcome.children[2].inner is not None
    assert outcome.children[2].inner.terminals == ("b",)
    assert outcome.timings.total == pytest.approx(10)


def test_what_the_rounds_cost_is_added_up() -> None:
    async def answers(call: Call) -> Reply:
        return Reply("x", usage=Usage(10, 5))

    body = child(Agent("a", model="t/m"), name="body")
    options: dict[str, Any] = {"providers": {"t": answers}, "prices": {"t/m": Price(1e6, 0)}}
    run = a_run(Agent("l", loop=Loop(body, 3)), **options)
    assert (run["l"].usage, run["l"].cost) == (Usage(30, 15), 30)
    assert [made.cost for made in run["l"].children] == [10, 10, 10]
    assert run.known_cost == 30


def test_the_rounds_before_one_that_is_abandoned_are_paid() -> None:
    sent: list[Call] = []

    async def clings(call: Call) -> Reply:
        sent.append(call)
        until = asyncio.get_running_loop().time() + (1 if len(sent) == 1 else 3600)
        while (now := asyncio.get_running_loop().time()) < until:
            try:
                await asyncio.sleep(until - now)
            except asyncio.CancelledError:
                continue
        return Reply("x", usage=Usage(10, 5))

    for grace in (0, 2):
        sent.clear()
        body = child(Agent("a", model="t/m"), Agent("b", function=echo, depends_on=["a"]), name="body")
        run = a_run(Agent("l", loop=Loop(body, 3), timeout=5), providers={"t": clings}, cancel_grace=grace)
        cut = ("timed_out", {"a": "timed_out", "b": "skipped"})
        assert tree(run["l"]) == ("timed_out", {"l[1]": ("ok", {"a": "ok", "b": "ok"}), "l[2]": cut})
        assert run["l"].usage == Usage(10, 5)
        assert "abandoned" in run["l"].children[1].children[0].reason


# Loops of loops, and what they are


def test_a_loop_of_loops_runs_each_within_each() -> None:
    work = Rounds(*range(6))
    inner = child(Agent("i", loop=Loop(child(Agent("a", function=work), name="leaf"), 2)), name="body")
    outcome = a_run(Agent("l", loop=Loop(inner, 3)))["l"]
    rounds = ("ok", {"i[1]": ("ok", {"a": "ok"}), "i[2]": ("ok", {"a": "ok"})})
    assert tree(outcome) == ("ok", {f"l[{n}]": ("ok", {"i": rounds}) for n in (1, 2, 3)})
    assert outcome.value == 5


def test_the_fields_of_a_loop_are_those_of_its_result() -> None:
    loop = Agent("l", loop=Loop(child(Agent("a", function=gives({"n": 1}))), 2))
    after = Agent("after", function=echo, depends_on=["l"], prompt="${l.n} ${l.iterations} ${l.terminated}")
    assert a_run(loop, after).output == "1 2 exhausted"


def test_a_mapping_makes_a_loop() -> None:
    body = child(Agent("a", function=Rounds({"ok": 1})), name="body")
    assert a_run(Agent("l", loop={"body": body, "max_iterations": 3, "until": "${body.ok}"}))["l"].ok


def test_a_dependant_is_shown_the_last_round_only() -> None:
    loop = Agent("l", loop=Loop(child(Agent("a", function=Rounds("one", "two"))), 2))
    run = a_run(loop, Agent("after", function=echo, depends_on=["l"]), composer="plain")
    assert run.output == "Agent l:\ntwo"


def test_a_round_has_the_times_of_its_own() -> None:
    outcome = looped(Rounds("one", "two", after=3), 2)
    assert [made.ended - made.started for made in outcome.children] == [pytest.approx(3)] * 2
    assert outcome.children[1].started == pytest.approx(outcome.children[0].ended)


def test_a_loop_that_streams_emits_no_pieces() -> None:
    async def streams(call: Call) -> Reply:
        if call.emit is not None:
            await call.emit(Delta(text="pie"))
            await call.emit(Delta(text="ce"))
        return Reply("piece")

    run = a_run(Agent("l", loop=Loop(child(Agent("a", model="t/m")), 2)), providers={"t": streams}, stream=True)
    assert run["l"].text == "piece"


def test_a_body_whose_guards_skip_everything_ends_well_with_nothing() -> None:
    body = child(Agent("a", function=echo, when="${input} == never"), name="body")
    run = a_run(Agent("l", loop=Loop(body, 2)))
    assert trees(run) == {"l": ("ok", {"l[1]": ("ok", {"a": "skipped"}), "l[2]": ("ok", {"a": "skipped"})})}
    assert run.status == "completed"


def test_a_hanging_body_has_the_clocks_of_its_agents() -> None:
    body = child(Agent("a", function=says("one")), Agent("b", function=hang, depends_on=["a"]), name="body")
    outcome = a_run(Agent("l", loop=Loop(body, 3)), default_timeout=5)["l"]
    assert tree(outcome) == ("timed_out", {"l[1]": ("timed_out", {"a": "ok", "b": "timed_out"})})


def test_the_same_body_serves_two_loops_at_once() -> None:
    body = Ensemble("body", [Agent("a", function=shows)])
    loops = [Agent(f"l{n}", loop=Loop(body, 3, carry="${body}+"), prompt=f"{n}${{input}}") for n in range(5)]
    run = a_run(*loops, input="x")
    assert [run[f"l{n}"].value for n in range(5)] == [f"{n}x++" for n in range(5)]


def test_a_body_without_agents_does_not_keep_the_clock_from_ending_it() -> None:
    empty = Ensemble("empty", [], strictness="compat")
    work = Ensemble("e", [Agent("l", loop={"body": empty, "max_iterations": 10**9}, timeout=0.01)])
    run = Runner().run_sync(work, "hi")
    assert run["l"].status == "timed_out"
