"""What an agent is asked: marks filled in, or the composer's text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stretto.agent import Agent
from stretto.ensemble import Ensemble
from stretto.errors import ConfigError, InvalidOutput, Overloaded
from stretto.inputs import Inputs, Item
from stretto.marks import Mark, alone, read
from stretto.outcome import Inner, Outcome, Status
from stretto.prompt import COMPOSERS, blocks, check_picked, compose, data, filled, llm_orc, picked, plain, system
from stretto.runner import Runner


def ok(name: str, value: Any) -> Outcome:
    return Outcome(agent=name, phase=0, status="ok", value=value, text=value if isinstance(value, str) else "as text")


def ended(name: str, status: Status, reason: str, **fields: Any) -> Outcome:
    return Outcome(agent=name, phase=0, status=status, reason=reason, **fields)


OUTCOMES = {
    "a": ok("a", "first"),
    "b": ok("b", {"verdict": "good", "scores": [1, 2]}),
    "json": ok("json", '{"verdict": "bad"}'),
    "late": ended("late", "timed_out", "the agent's clock", text="half of"),
    "skipped": ended("skipped", "skipped", "no dependency succeeded: x"),
}


def asked(
    prompt: Any, *, given: Any = "the input", depends_on: tuple[str, ...] = ("a", "b"), composer: Any = plain
) -> str:
    agent = Agent("me", model="simulated/echo", prompt=prompt, depends_on=depends_on)
    return compose(agent, given, OUTCOMES, composer, {}).text


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Say: ${input}", "Say: the input"),
        ("${a}, ${a}", "first, first"),
        ("${b.verdict}", "good"),
        ("${b.scores}", "[1, 2]"),
        ("${b.scores.1}", "2"),
        ("${b}", '{"verdict": "good", "scores": [1, 2]}'),
        ("${json.verdict}", "bad"),
        ("${late}", "[late: timed_out, the agent's clock]"),
        ("${skipped.field}", "[skipped: skipped, no dependency succeeded: x]"),
        ("$${a}", "${a}"),
        ("nothing", "nothing"),
        ("${dependencies}", "Agent a:\nfirst\n\nAgent b:\nas text"),
    ],
)
def test_a_prompt_is_filled_in(prompt: str, expected: str) -> None:
    assert asked(prompt) == expected


def test_fields_of_the_input_are_filled_in() -> None:
    assert asked("${input.name} of ${input.list.0}", given={"name": "x", "list": ["y"]}) == "x of y"


def test_a_field_that_is_missing_is_an_invalid_output() -> None:
    with pytest.raises(InvalidOutput, match=r"\$\{b\.verdikt\}: b has no field 'verdikt'"):
        asked("${b.verdikt}")
    with pytest.raises(InvalidOutput, match=r"\$\{a\.x\}: a has no field 'x': it is not JSON"):
        asked("${a.x}")
    with pytest.raises(InvalidOutput, match=r"\$\{input\.x\}: input has no field 'x'"):
        asked("${input.x}")


def test_results_are_plain_text_and_not_read_again() -> None:
    outcomes = {"a": ok("a", "${input} $${x}")}
    agent = Agent("me", model="simulated/echo", prompt="${a}", depends_on=["a"])
    assert compose(agent, "secret", outcomes, plain, {}).text == "${input} $${x}"


def test_without_a_prompt_the_composer_writes() -> None:
    assert asked(None) == "Agent a:\nfirst\n\nAgent b:\nas text"


def test_a_prompt_function_gets_the_composer_s_text_and_everything_else() -> None:
    seen: list[Inputs] = []

    def prompt(inputs: Inputs) -> str:
        seen.append(inputs)
        return f"written from {inputs.text!r}"

    assert asked(prompt, given={"n": 1}, depends_on=("a",)) == "written from 'Agent a:\\nfirst'"
    (inputs,) = seen
    assert (inputs.input, dict(inputs.results), inputs.agent) == ({"n": 1}, {"a": OUTCOMES["a"]}, "me")


def test_the_results_are_those_of_the_dependencies_in_their_order() -> None:
    agent = Agent("me", model="simulated/echo", depends_on=["b", "missing", "a"])
    inputs = compose(agent, "x", OUTCOMES, plain, {"tenant": "t"})
    assert list(inputs.results) == ["b", "a"]
    assert inputs.metadata == {"tenant": "t"}


def test_a_composer_of_ones_own_gets_the_input_as_text() -> None:
    assert asked(None, given=[1], composer=lambda inputs: f"{inputs.text}|{len(inputs.results)}") == "[1]|2"


def given(*outcomes: Outcome, text: str = "the input") -> Inputs:
    return Inputs(text, text, {outcome.agent: outcome for outcome in outcomes})


@pytest.mark.parametrize("composer", [llm_orc, plain])
def test_without_dependencies_both_composers_give_the_input(composer: Any) -> None:
    assert composer(given()) == "the input"


def test_plain_gives_the_blocks_alone() -> None:
    assert plain(given(ok("a", "first"), ok("c", "third"))) == "Agent a:\nfirst\n\nAgent c:\nthird"


def test_llm_orc_gives_the_input_and_the_blocks_under_their_headings() -> None:
    text = llm_orc(given(ok("a", "first")))
    assert "Original Input:\nthe input\n\n" in text
    assert "Previous Agent Results (for your reference):\nAgent a:\nfirst\n\n" in text


def test_a_block_of_an_agent_without_result_says_why() -> None:
    failed = ended("f", "failed", "it failed", error=Overloaded("no room"))
    assert blocks(given(failed, OUTCOMES["skipped"])) == (
        "Agent f (failed): no room\n\nAgent skipped (skipped): no dependency succeeded: x"
    )


def test_the_composers_are_known_by_name() -> None:
    assert dict(COMPOSERS) == {"llm_orc": llm_orc, "plain": plain}


def test_a_system_prompt_has_marks_too() -> None:
    agent = Agent("me", model="simulated/echo", system_prompt="You follow ${a}.", depends_on=["a"])
    inputs = compose(agent, "x", OUTCOMES, plain, {})
    assert system(agent, inputs, OUTCOMES) == "You follow first."


def test_without_a_system_prompt_there_is_none() -> None:
    agent = Agent("me", model="simulated/echo")
    assert system(agent, compose(agent, "x", {}, plain, {}), {}) is None


@pytest.mark.parametrize("answer", [5, None, b"x"])
def test_a_prompt_function_that_gives_no_text_fails_its_agent(answer: Any) -> None:
    run = Runner().run_sync(Agent("a", model="simulated/echo", prompt=lambda inputs: answer), "x")
    assert (run["a"].status, "prompt must give a text" in run["a"].reason) == ("failed", True)


def test_a_prompt_function_that_would_have_to_be_awaited_is_refused() -> None:
    async def prompt(inputs: Inputs) -> str:
        return "x"

    with pytest.raises(ConfigError, match="it is not awaited"):
        Agent("a", model="simulated/echo", prompt=prompt)  # type: ignore[arg-type]


# Data for those who take data


def mark(text: str) -> Mark:
    found = alone(read(text))
    assert found is not None
    return found


def inputs_of(given: Any = "the input", **fields: Any) -> Inputs:
    results = {name: OUTCOMES[name] for name in ("a", "b")}
    return Inputs(str(given), given, results, {}, "me", **fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${b}", {"verdict": "good", "scores": [1, 2]}),
        ("${b.scores}", [1, 2]),
        ("${b.scores.1}", 2),
        ("${json.verdict}", "bad"),
        ("${json}", '{"verdict": "bad"}'),
        ("${input}", {"q": [1]}),
        ("${input.q}", [1]),
        ("${item}", {"n": None}),
        ("${item.n}", None),
        ("${index}", 3),
        ("${dependencies}", "Agent a:\nfirst\n\nAgent b:\nas text"),
    ],
)
def test_a_mark_picks_data(text: str, expected: Any) -> None:
    inputs = inputs_of({"q": [1]}, item={"n": None}, index=3, count=5)
    assert picked(mark(text), inputs, OUTCOMES) == expected


@pytest.mark.parametrize("text", ["${late}", "${skipped.field}", "${late.x}"])
def test_an_agent_without_a_result_gives_no_data(text: str) -> None:
    with pytest.raises(InvalidOutput, match=r"has no result \((timed_out|skipped)\)"):
        picked(mark(text), inputs_of(), OUTCOMES)


def test_an_item_is_bound_where_there_is_one_only() -> None:
    outcomes = {**OUTCOMES, "item": ok("item", "an agent's"), "index": ended("index", "failed", "no")}
    assert picked(mark("${item}"), inputs_of(), outcomes) == "an agent's"
    assert picked(mark("${item}"), inputs_of(item="mine", index=0, count=1), outcomes) == "mine"
    assert picked(mark("${index}"), inputs_of(item="mine", index=0, count=1), outcomes) == 0
    assert filled("${item} ${index}", inputs_of(item=[1], index=0, count=1), outcomes) == "[1] 0"


def a_child(**fields: Any) -> Agent:
    return Agent("me", ensemble=Ensemble("x", [Agent("a", model="t/m")]), **fields)


@pytest.mark.parametrize(
    ("agent", "item", "expected"),
    [
        (a_child(), None, {"q": 1}),
        (a_child(depends_on=["a"]), None, '{"q": 1}\n\nAgent a:\nfirst'),
        (a_child(depends_on=["a"], prompt="${b.scores}"), None, [1, 2]),
        (a_child(depends_on=["a"], prompt="${a}!"), None, "first!"),
        (a_child(prompt="no mark"), None, "no mark"),
        (a_child(prompt=lambda inputs: "written"), None, "written"),
        (a_child(fan_out="${input}"), Item([1], 0, 1), [1]),
        (a_child(fan_out="${input}", depends_on=["a"]), Item(None, 0, 1), None),
        (a_child(fan_out="${input}", prompt="${item.0}"), Item([7], 0, 1), 7),
        (a_child(fan_out="${input}", prompt="n${index}"), Item([7], 4, 5), "n4"),
        (Agent("me", script="s.py", depends_on=["a"]), None, {"q": 1}),
        (Agent("me", script="s.py", depends_on=["a"], prompt="${dependencies}"), None, "Agent a:\nfirst"),
    ],
)
def test_what_an_agent_that_takes_data_gets(agent: Agent, item: Item | None, expected: Any) -> None:
    inputs = compose(agent, {"q": 1}, OUTCOMES, plain, {}, item)
    assert data(agent, inputs, OUTCOMES) == expected


def test_a_prompt_that_is_a_field_of_an_agent_without_result_is_refused() -> None:
    for prompt in ("${late.x}", "${skipped.y.z}"):
        with pytest.raises(InvalidOutput, match="has no result"):
            check_picked(prompt, inputs_of(), OUTCOMES)
    for prompt in ("${late}", "see ${late.x}", "${b.verdict}", "${input}", "no mark"):
        check_picked(prompt, inputs_of(), OUTCOMES)


def test_a_text_that_was_made_before_is_not_made_again() -> None:
    text = "made " + "before"
    inputs = compose(Agent("me", model="t/m"), {"q": 1}, {}, plain, {}, text=text)
    assert inputs.text is text


def test_an_instance_has_its_item_its_number_and_their_count() -> None:
    inputs = compose(Agent("me", model="t/m"), "task", {}, plain, {}, Item({"n": 1}, 2, 9))
    assert (inputs.text, inputs.item, inputs.index, inputs.count) == ('{"n": 1}', {"n": 1}, 2, 9)


def test_llm_orc_tells_an_instance_which_chunk_it_has() -> None:
    inputs = compose(Agent("me", model="t/m"), "task", {}, llm_orc, {}, Item("piece", 2, 9))
    assert inputs.text == "Processing chunk 3 of 9.\n\nOriginal task: task\n\nChunk content:\npiece"


# What others ran within themselves, in a block


def within_of(kind: Any, *children: Outcome, terminals: tuple[str, ...] = (), **fields: Any) -> Outcome:
    inner = Inner(kind=kind, terminals=terminals)
    return Outcome(agent="c", phase=0, status="ok", text="its text", inner=inner, children=children, **fields)


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        (within_of("ensemble", ok("a", "one"), ok("z", "two"), terminals=("z",)), "z:\ntwo"),
        (within_of("ensemble", ok("y", "one"), ok("z", "two"), terminals=("y", "z")), "y:\none\n\nz:\ntwo"),
        (
            within_of("ensemble", ok("y", "one"), ended("z", "failed", "no"), terminals=("y", "z")),
            "y:\none\n\nz (failed): no",
        ),
        (within_of("dispatch", ok("z", "two"), terminals=("z",)), "z:\ntwo"),
        (within_of("loop", ok("c[1]", "one"), ok("c[2]", "two")), "its text"),
        (within_of("fan_out", ok("c[0]", "one"), ended("c[1]", "failed", "no")), "[0]:\none\n\n[1] (failed): no"),
        (within_of("fan_out"), "its text"),
        (within_of("ensemble"), "its text"),
    ],
)
def test_a_block_shows_what_came_of_what_is_within(outcome: Outcome, shown: str) -> None:
    assert blocks(given(outcome)) == f"Agent c:\n{shown}"


def test_a_block_of_a_fan_out_of_ensembles_has_an_entry_for_each_terminal_of_each() -> None:
    one = replace(within_of("ensemble", ok("a", "one"), ok("z", "two"), terminals=("a", "z")), agent="c[0]")
    two = ended("c[1]", "failed", "no")
    assert blocks(given(within_of("fan_out", one, two))) == "Agent c:\na[0]:\none\n\nz[0]:\ntwo\n\n[1] (failed): no"


def test_a_null_within_a_text_is_a_null_and_no_gap() -> None:
    outcomes = {"a": ok("a", {"n": None})}
    agent = Agent("me", model="t/m", prompt="${a.n} ${item} ${item.x}", depends_on=("a",), fan_out="${a.items}")
    told = compose(agent, "x", outcomes, plain, {}, Item({"x": None}, 0, 1)).text
    assert told == 'null {"x": null} null'
    bare = replace(agent, prompt=None)
    assert compose(bare, "x", outcomes, plain, {}, Item(None, 0, 1)).text == "null"
    assert compose(bare, "x", outcomes, llm_orc, {}, Item(None, 0, 1)).text.endswith("Chunk content:\nnull")


def test_a_model_is_not_told_which_host_and_attempt_another_agent_failed_at() -> None:
    error = Overloaded("busy", status=503)
    error.agent, error.model, error.attempt = "late", "secret-host/m", 3
    outcomes = {"late": ended("late", "failed", str(error), error=error)}
    told = compose(Agent("me", model="t/m", depends_on=("late",)), "x", outcomes, plain, {}).text
    assert told == "Agent late (failed): busy"
