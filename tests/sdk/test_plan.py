"""Phases by dependency level, in file order; what cannot be planned is named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from stretto.agent import Agent
from stretto.errors import ConfigError
from stretto.plan import Plan, plan


def agents(**depends_on: str | Sequence[str]) -> list[Agent]:
    """Make agents of names and their dependencies, blank-separated."""
    return [Agent(name, depends_on=on.split() if isinstance(on, str) else on) for name, on in depends_on.items()]


def refused(*given: Agent) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        plan(given)
    return error.value


@pytest.mark.parametrize(
    ("given", "phases"),
    [
        (agents(a=""), [["a"]]),
        (agents(b="", a=""), [["b", "a"]]),
        (agents(a="", b="a", c="b"), [["a"], ["b"], ["c"]]),
        (agents(c="b", b="a", a=""), [["a"], ["b"], ["c"]]),
        (agents(z="", lead="z y", y="", x=""), [["z", "y", "x"], ["lead"]]),
        (agents(a="", b="a", c="", d="b c"), [["a", "c"], ["b"], ["d"]]),
        (agents(d="c a", c="b", b="a", a=""), [["a"], ["b"], ["c"], ["d"]]),
        (agents(a="", b="a", c="a", d="b c", e="c"), [["a"], ["b", "c"], ["d", "e"]]),
        ([], []),
    ],
)
def test_an_agent_stands_one_phase_after_its_last_dependency(given: list[Agent], phases: list[list[str]]) -> None:
    assert plan(given).phases == phases


def test_the_plan_knows_dependencies_and_the_phase_of_each_agent() -> None:
    made = plan(agents(a="", b="", c="b a"), ("a warning",))
    assert made.dependencies == {"a": (), "b": (), "c": ("b", "a")}
    assert made.phase_of() == {"a": 0, "b": 0, "c": 1}
    assert made.warnings == ("a warning",)


def test_a_guard_makes_a_dependency() -> None:
    made = plan([*agents(a="", b=""), Agent("c", depends_on=["b"], when="${a.ok} == true")])
    assert made == Plan([["a", "b"], ["c"]], {"a": (), "b": (), "c": ("b", "a")})


def test_a_guard_on_a_dependency_makes_no_second_one() -> None:
    assert plan([*agents(a=""), Agent("b", depends_on=["a"], when="${a}")]).dependencies["b"] == ("a",)


def test_a_guard_on_the_input_makes_no_dependency() -> None:
    assert plan([Agent("a", when="${input.kind} == x")]).phases == [["a"]]


def test_the_longest_name_wins_in_a_guard() -> None:
    assert plan([*agents(**{"a": "", "a.b": ""}), Agent("c", when="${a.b}")]).dependencies["c"] == ("a.b",)


@pytest.mark.parametrize("mark", ["secruity", "dependencies"])
def test_a_guard_that_names_no_agent_is_refused(mark: str) -> None:
    error = refused(Agent("security"), Agent("c", when=f"${{{mark}}}"))
    assert f"${{{mark}}} in when names no agent" in str(error)
    assert (error.agent, error.key) == ("c", "when")
    assert error.nearest == ("security" if mark == "secruity" else None)


def test_an_unknown_dependency_is_named_with_the_nearest() -> None:
    error = refused(*agents(security="", style="", lead="style secruity"))
    assert str(error) == (
        "agent 'lead': depends_on names 'secruity', which is no agent of this ensemble (did you mean 'security'?)"
    )
    assert (error.agent, error.key, error.nearest) == ("lead", "depends_on", "security")


def test_an_unknown_dependency_that_is_like_nothing_has_no_nearest() -> None:
    assert refused(*agents(a="zzzzzz")).nearest is None


def test_duplicates_are_named_with_their_number() -> None:
    error = refused(Agent("a"), Agent("b"), Agent("a"), Agent("a"))
    assert "3 agents are named 'a': names must differ" in str(error)
    assert (error.agent, error.key) == ("a", "name")


def test_an_agent_that_depends_on_itself_is_named() -> None:
    assert str(refused(*agents(a="", b="a b"))) == "agent 'b': it depends on itself"


def test_a_guard_on_itself_is_a_dependency_on_itself() -> None:
    assert "agent 'a': it depends on itself" in str(refused(Agent("a", when="${a}")))


def test_a_cycle_is_named_along_its_path() -> None:
    error = refused(*agents(a="c", b="a", c="b"))
    assert "these agents wait for each other: a -> c -> b -> a" in str(error)
    assert error.key == "depends_on"


def test_only_the_ring_is_named_and_not_what_hangs_on_it() -> None:
    error = refused(*agents(start="", tail="end", end="x", x="y start", y="x"))
    assert "wait for each other: x -> y -> x" in str(error)


def test_a_cycle_through_a_guard_is_named() -> None:
    error = refused(Agent("a", when="${b}"), Agent("b", depends_on=["a"]))
    assert "a -> b -> a" in str(error)


def ring(size: int) -> list[Agent]:
    return [Agent(f"a{n}", depends_on=[f"a{(n + 1) % size}"]) for n in range(size)]


def test_two_thousand_agents_in_a_ring_give_a_short_error() -> None:
    error = refused(*ring(2000))
    assert "a0 -> a1 -> a2" in str(error)
    assert "... -> a1996 -> a1997 -> a1998 -> a1999 -> a0 (2000 agents)" in str(error)
    assert len(str(error)) < 300


def test_a_ring_of_eleven_is_shown_whole() -> None:
    assert "..." not in str(refused(*ring(11)))
    assert "a9 -> a10 -> a0" in str(refused(*ring(11)))


def cpu(*given: Any) -> tuple[float, Plan]:
    started = time.process_time()
    made = plan(*given)
    return time.process_time() - started, made


def test_a_chain_of_ten_thousand_agents_is_planned_quickly() -> None:
    seconds, made = cpu([Agent(f"a{n}", depends_on=[f"a{n - 1}"] if n else []) for n in range(10_000)])
    assert len(made.phases) == 10_000
    assert seconds < 1


def test_ten_thousand_agents_that_wait_for_one_are_planned_quickly() -> None:
    seconds, made = cpu([Agent("a"), *(Agent(f"b{n}", when="${a} == yes") for n in range(10_000))])
    assert list(map(len, made.phases)) == [1, 10_000]
    assert seconds < 1.5


# References are edges


@pytest.mark.parametrize(
    "agent",
    [
        Agent("me", when="${a.ok}"),
        Agent("me", fan_out="${a.items}", function=print),
        Agent("me", dispatch="${a.to}"),
        Agent("me", dispatch="x-${a}", fan_out="${input}"),
        Agent("me", dispatch="${item.to}", fan_out="${a}"),
    ],
)
def test_what_an_agent_needs_to_know_before_it_begins_it_waits_for(agent: Agent) -> None:
    made = plan([agent, Agent("a")])
    assert made.phases == [["a"], ["me"]]
    assert made.dependencies["me"] == ("a",)


def test_all_of_a_dispatch_s_marks_are_edges_after_those_of_depends_on() -> None:
    agent = Agent("me", dispatch="${a}/${b.x}/${input.y}", depends_on=["c"], when="${d}")
    made = plan([*agents(a="", b="a", c="", d=""), agent])
    assert made.dependencies["me"] == ("c", "d", "a", "b")
    assert made.phase_of()["me"] == 2


@pytest.mark.parametrize("source", ["${input}", "${input.items}"])
def test_the_input_is_no_edge(source: str) -> None:
    assert plan([Agent("me", fan_out=source, function=print)]).dependencies["me"] == ()


def test_the_item_and_the_index_of_a_fan_out_are_no_edges_of_its_dispatch() -> None:
    made = plan([Agent("me", dispatch="${item.to}-${index}", fan_out="${input}")])
    assert made.dependencies["me"] == ()


@pytest.mark.parametrize(
    ("agent", "key"),
    [
        (Agent("me", dispatch="${item.to}"), "dispatch"),
        (Agent("me", dispatch="${rooter}"), "dispatch"),
        (Agent("me", fan_out="${rooter.x}", function=print), "fan_out"),
        (Agent("me", fan_out="${item}", function=print), "fan_out"),
        (Agent("me", when="${item}", fan_out="${input}", function=print), "when"),
        (Agent("me", dispatch="${dependencies}"), "dispatch"),
    ],
)
def test_a_reference_to_what_is_no_agent_is_refused(agent: Agent, key: str) -> None:
    error = refused(Agent("router"), agent)
    assert (error.agent, error.key) == ("me", key)
    assert "names no agent" in str(error)


@pytest.mark.parametrize("agent", [Agent("me", dispatch="${me}"), Agent("me", fan_out="${me.x}", function=print)])
def test_a_reference_to_itself_is_refused(agent: Agent) -> None:
    assert "it depends on itself" in str(refused(agent))


def test_a_cycle_through_a_fan_out_or_a_dispatch_is_named() -> None:
    ring = [Agent("a", fan_out="${b}", function=print), Agent("b", dispatch="${c}"), Agent("c", when="${a}")]
    assert "these agents wait for each other: a -> b -> c -> a" in str(refused(*ring))


def test_in_llm_orc_s_files_a_guard_may_name_what_is_no_agent_and_nothing_else_may() -> None:
    assert plan([Agent("me", when="${nobody.x}")], compat=True).dependencies["me"] == ()
    with pytest.raises(ConfigError, match="in fan_out names no agent"):
        plan([Agent("me", fan_out="${nobody.x}", function=print)], compat=True)


def test_in_llm_orc_s_files_a_guard_that_names_an_agent_is_an_edge_too() -> None:
    made = plan([Agent("me", when="${a.x}"), Agent("a")], compat=True)
    assert made.phases == [["a"], ["me"]]


def test_warnings_are_kept() -> None:
    assert plan([], ("careful",)).warnings == ("careful",)
