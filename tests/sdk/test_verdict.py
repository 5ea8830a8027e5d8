"""Whether an agent gets to work: by its dependencies, and by its guard; in llm-orc's files as there."""

from __future__ import annotations

from typing import Any

import pytest

from nesting import a_run, child, echo, gives, trees
from stretto import Agent, Outcome, Run
from stretto.errors import InvalidOutput
from stretto.outcome import Inner, Status
from stretto.verdict import Verdict, judge
from watched import fails, statuses


def ok(name: str, value: Any = "x", **fields: Any) -> Outcome:
    return Outcome(agent=name, phase=0, status="ok", value=value, text=str(value), **fields)


def ended(name: str, status: Status) -> Outcome:
    return Outcome(agent=name, phase=0, status=status, reason="because")


OUTCOMES = {
    "good": ok("good", {"yes": True, "no": False, "n": 3, "text": "3"}),
    "words": ok("words", "only words"),
    "bad": ended("bad", "failed"),
    "late": ended("late", "timed_out"),
    "guarded": ended("guarded", "skipped"),
}


def verdict(*, excused: set[str] | None = None, compat: bool = False, given: Any = "in", **fields: Any) -> Any:
    agent = Agent("me", function=echo, **fields)
    return judge(agent, given, OUTCOMES, {"guarded"} if excused is None else excused, compat=compat)


both = pytest.mark.parametrize("compat", [False, True])


@both
@pytest.mark.parametrize("names", [[], ["good"], ["bad", "good"], ["guarded", "late", "words"]])
def test_one_dependency_with_a_result_is_enough(names: list[str], compat: bool) -> None:
    assert verdict(depends_on=names, compat=compat) is None


@both
def test_without_any_result_it_is_skipped_and_they_are_named(compat: bool) -> None:
    found = verdict(depends_on=["bad", "late"], compat=compat)
    assert found == Verdict("skipped", "no dependency succeeded: bad (failed), late (timed_out)")


@both
@pytest.mark.parametrize(("names", "excused"), [(["guarded"], True), (["guarded", "bad"], False)])
def test_what_guards_skipped_excuses_its_dependants(names: list[str], excused: bool, compat: bool) -> None:
    assert verdict(depends_on=names, compat=compat).excused is excused


@both
def test_an_agent_may_run_all_the_same(compat: bool) -> None:
    assert verdict(depends_on=["bad"], on_dependency_failure="run", compat=compat) is None


@both
@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("${good.yes}", True),
        ("${good.no}", False),
        ("${good.n} == 3", True),
        ("${good.n} == 4", False),
        ("${good.n} != 4", True),
        ("${input} == in", True),
        ("${input} == out", False),
    ],
)
def test_a_guard_lets_it_work_or_excuses_it(when: str, holds: bool, compat: bool) -> None:
    found = verdict(when=when, compat=compat)
    assert found == (None if holds else Verdict("skipped", f"when {when} does not hold", True))


def test_a_text_is_compared_as_it_is_shown_but_in_llm_orc_s_files() -> None:
    assert verdict(when="${good.text} == 3") is None
    assert verdict(when="${good.text} == 3", compat=True) is not None


@pytest.mark.parametrize("when", ["${good.nothing}", "${words.field}", "${good.n.deep}", "${input.x} == 1"])
def test_a_guard_that_cannot_be_read_fails_its_agent_but_in_llm_orc_s_files(when: str) -> None:
    found = verdict(when=when)
    assert (found.status, found.excused) == ("failed", False)
    assert isinstance(found.error, InvalidOutput)
    assert found.error.agent == "me"
    skipped = verdict(when=when, compat=True)
    assert (skipped.status, skipped.excused, skipped.error) == ("skipped", True, None)


@both
@pytest.mark.parametrize(("name", "excused"), [("bad", False), ("guarded", True)])
def test_a_guard_on_an_agent_without_a_result_skips(name: str, excused: bool, compat: bool) -> None:
    found = verdict(when=f"${{{name}.x}}", compat=compat)
    # In llm-orc it is as a condition that does not hold, whatever became of that agent.
    assert found == Verdict("skipped", f"when ${{{name}.x}}: {name} has no result", excused or compat)


def test_in_llm_orc_s_files_a_guard_may_name_nobody() -> None:
    found = verdict(when="${nobody.x}", compat=True)
    assert found == Verdict("skipped", "when ${nobody.x}: nobody is no agent", True)


@both
def test_dependencies_are_looked_at_before_the_guard(compat: bool) -> None:
    found = verdict(when="${good.no}", depends_on=["bad"], compat=compat)
    assert found.reason.startswith("no dependency succeeded")
    assert found.excused is False


@both
def test_the_longest_name_wins(compat: bool) -> None:
    outcomes = {"a": ok("a", {"b": False}), "a.b": ok("a.b", "yes")}
    agent = Agent("me", function=echo, when="${a.b}")
    assert judge(agent, "in", outcomes, (), compat=compat) is None


def test_a_guard_sees_the_fields_of_what_ran_within_an_agent() -> None:
    inner = Inner(kind="loop", ensemble="body", terminated="until")
    loop = Outcome(agent="l", phase=0, status="ok", value={"n": 1}, inner=inner, children=(ok("l[1]"),))
    for when, holds in (
        ("${l.n} == 1", True),
        ("${l.terminated} == until", True),
        ("${l.iterations} == 1", True),
        ("${l.terminated} == exhausted", False),
    ):
        agent = Agent("me", function=echo, when=when)
        assert (judge(agent, "in", {"l": loop}, ()) is None) is holds


# In runs


def run_of(*agents: Agent, strictness: Any = "compat") -> Run:
    return a_run(*agents, strictness=strictness)


def test_in_llm_orc_s_files_a_run_whose_guards_cannot_be_read_completes() -> None:
    agents = [Agent("a", function=gives("words")), Agent("b", function=echo, when="${a.field}", depends_on=["a"])]
    assert run_of(*agents).status == "completed"
    assert run_of(*agents, strictness="strict").status == "completed_with_errors"


def test_a_guard_of_a_child_works_as_its_own_file_says() -> None:
    agents = [Agent("a", function=gives("words")), Agent("b", function=echo, when="${a.field}", depends_on=["a"])]
    theirs, ours = child(*agents, strictness="compat"), child(*agents, name="ours")
    run = a_run(Agent("theirs", ensemble=theirs), Agent("ours", ensemble=ours))
    assert trees(run) == {
        "theirs": ("ok", {"a": "ok", "b": "skipped"}),
        "ours": ("failed", {"a": "ok", "b": "failed"}),
    }


def test_a_guard_over_a_child_reads_its_result() -> None:
    pair = child(Agent("x", function=gives({"go": True})), Agent("y", function=fails(ValueError("no"))))
    run = run_of(
        Agent("c", ensemble=pair),
        Agent("by_value", function=echo, when="${c.go}", depends_on=["c"]),
        Agent("by_status", function=echo, when="${c.status} == completed_with_errors", depends_on=["c"]),
        Agent("by_agent", function=echo, when="${c.results.x.status} == success", depends_on=["c"]),
        Agent("never", function=echo, when="${c.status} == completed", depends_on=["c"]),
    )
    assert statuses(run) == {"c": "ok", "by_value": "ok", "by_status": "ok", "by_agent": "ok", "never": "skipped"}
