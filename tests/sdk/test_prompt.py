"""What an agent is asked: marks filled in, or the composer's text."""

from __future__ import annotations

from typing import Any

import pytest

from stretto.agent import Agent
from stretto.errors import ConfigError, InvalidOutput, Overloaded
from stretto.inputs import Inputs
from stretto.outcome import Outcome, Status
from stretto.prompt import COMPOSERS, blocks, compose, llm_orc, plain, system
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
