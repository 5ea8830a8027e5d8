"""Write what an agent is asked: its prompt with the marks filled in, or the composer's text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import marks
from .errors import InvalidOutput
from .inputs import Inputs, as_text

if TYPE_CHECKING:
    from .agent import Agent
    from .outcome import Outcome

Composer = Callable[[Inputs], str]


def blocks(inputs: Inputs) -> str:
    """Give a labelled block for the result of each dependency."""
    return "\n\n".join(_block(outcome) for outcome in inputs.results.values())


def _block(outcome: Outcome) -> str:
    if outcome.ok:
        return f"Agent {outcome.agent}:\n{outcome.text}"
    why = outcome.error if outcome.error is not None else outcome.reason
    return f"Agent {outcome.agent} ({outcome.status}): {why}"


def llm_orc(inputs: Inputs) -> str:
    """Compose as llm-orc labels it: the input alone, or the input and the results under their headings."""
    if not inputs.results:
        return inputs.text
    return "\n\n".join(
        (
            "Other agents have worked on this task before you.",
            f"Original Input:\n{inputs.text}",
            f"Previous Agent Results (for your reference):\n{blocks(inputs)}",
            "Do your own part of the task, and build on their results where they help.",
        )
    )


def plain(inputs: Inputs) -> str:
    """Compose the dependencies' blocks alone; without dependencies the input."""
    return blocks(inputs) if inputs.results else inputs.text


COMPOSERS: Mapping[str, Composer] = {"llm_orc": llm_orc, "plain": plain}


def compose(agent: Agent, given: Any, outcomes: Mapping[str, Outcome], composer: Composer, metadata: Any) -> Inputs:
    """Make an agent's `Inputs`: `text` is what it is asked.

    Args:
        agent: whose.
        given: the run's input, or the agent's own.
        outcomes: of all agents that have ended, by name.
        composer: writes the text where the agent has no prompt.
        metadata: the run's.

    Raises:
        InvalidOutput: when a mark names a field that the value does not have.
        TypeError: when a function for prompts gives no text.
    """
    results = {name: outcomes[name] for name in agent.depends_on if name in outcomes}
    bare = Inputs(as_text(given), given, results, metadata, agent.name)
    if isinstance(agent.prompt, str):
        return replace(bare, text=_filled(agent.prompt, bare, outcomes))
    text = _text(composer(bare), "the composer")
    composed = bare if text is bare.text else replace(bare, text=text)
    return composed if agent.prompt is None else replace(composed, text=_text(agent.prompt(composed), "prompt"))


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must give a text, got {type(value).__name__}")
    return value


def system(agent: Agent, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> str | None:
    """Give the system prompt with its marks filled in.

    Raises:
        InvalidOutput: when a mark names a field that the value does not have.
    """
    return None if agent.system_prompt is None else _filled(agent.system_prompt, inputs, outcomes)


def _filled(text: str, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> str:
    if "${" not in text:
        return text

    def value(name: str, path: tuple[str, ...]) -> str:
        if name == marks.DEPENDENCIES:
            return blocks(inputs)
        return as_text(mark_value(name, path, inputs.input, outcomes))

    return marks.fill(marks.read(text), outcomes, value)


def mark_value(name: str, path: tuple[str, ...], given: Any, outcomes: Mapping[str, Outcome]) -> Any:
    """Give the value of a mark; an agent without result gives `[name: status, reason]`.

    Raises:
        InvalidOutput: when the value has no such field.
    """
    if name == marks.INPUT:
        value = given
    else:
        outcome = outcomes[name]
        if not outcome.ok:
            return f"[{name}: {outcome.status}, {outcome.reason}]"
        value = outcome.value
    try:
        return marks.pick(value, path)
    except marks.MissingField as missing:
        raise InvalidOutput(f"${{{'.'.join((name, *path))}}}: {name} {missing}") from None
