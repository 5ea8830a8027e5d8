"""Write what an agent is asked: its prompt with the marks filled in, or the composer's text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import marks
from .errors import CallError, InvalidOutput
from .inputs import Inputs, Item, as_text
from .llm_orc_result import response

if TYPE_CHECKING:
    from .agent import Agent
    from .outcome import Outcome

Composer = Callable[[Inputs], str]


def blocks(inputs: Inputs) -> str:
    """Give a labelled block for the result of each dependency."""
    return "\n\n".join(map(_block, inputs.results.values()))


def _block(outcome: Outcome) -> str:
    if outcome.ok:
        return f"Agent {outcome.agent}:\n{_result(outcome)}"
    return f"Agent {outcome.agent} ({outcome.status}): {_why(outcome)}"


def _why(outcome: Outcome) -> str:
    """Say why there is no result, to a model: which host and which attempt it was are none of its affairs."""
    error = outcome.error
    return error.message if isinstance(error, CallError) and error.message else outcome.reason


def _result(outcome: Outcome) -> str:
    """Give a result as text: of an ensemble an entry for each terminal agent, of a fan-out one for each instance."""
    inner = outcome.inner
    if inner is None or inner.kind == "loop" or not outcome.children:
        return outcome.text
    if inner.kind != "fan_out":
        return "\n\n".join(_entries(outcome, ""))
    entries: list[str] = []
    for number, child in enumerate(outcome.children):
        nested = child.ok and child.inner is not None and child.inner.kind == "ensemble"
        entries += _entries(child, f"[{number}]") if nested else [_entry(f"[{number}]", child)]
    return "\n\n".join(entries)


def _entries(outcome: Outcome, suffix: str) -> list[str]:
    terminals = () if outcome.inner is None else outcome.inner.terminals
    return [_entry(f"{child.agent}{suffix}", child) for child in outcome.children if child.agent in terminals]


def _entry(label: str, outcome: Outcome) -> str:
    return f"{label}:\n{outcome.text}" if outcome.ok else f"{label} ({outcome.status}): {_why(outcome)}"


def llm_orc(inputs: Inputs) -> str:
    """Compose as llm-orc labels it: the input alone, or the input and the results under their headings."""
    if inputs.index is not None:
        head = f"Processing chunk {inputs.index + 1} of {inputs.count}."
        return f"{head}\n\nOriginal task: {inputs.text}\n\nChunk content:\n{_shown(inputs.item)}"
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


def _shown(value: Any) -> str:
    """Give a value within a text; no input is no text, but a null is one."""
    return "null" if value is None else as_text(value)


def plain(inputs: Inputs) -> str:
    """Compose the dependencies' blocks alone; without dependencies the input, in a fan-out the item."""
    if inputs.index is not None:
        return _shown(inputs.item)
    return blocks(inputs) if inputs.results else inputs.text


COMPOSERS: Mapping[str, Composer] = {"llm_orc": llm_orc, "plain": plain}


def compose(
    agent: Agent,
    given: Any,
    outcomes: Mapping[str, Outcome],
    composer: Composer,
    metadata: Any,
    item: Item | None = None,
    *,
    text: str | None = None,
    compat: bool = False,
) -> Inputs:
    """Make an agent's `Inputs`: `text` is what it is asked.

    Args:
        agent: whose.
        given: the run's input, or the agent's own.
        outcomes: of all agents that have ended, by name.
        composer: writes the text where the agent has no prompt.
        metadata: the run's.
        item: of a fan-out instance.
        text: `given` as text, where that was made before.
        compat: loops and dispatches, and to an ensemble ensembles as well, are shown as JSON, as in llm-orc.

    Raises:
        InvalidOutput: when a mark names a field that the value does not have.
        TypeError: when a function for prompts gives no text.
    """
    results = {name: outcomes[name] for name in agent.depends_on if name in outcomes}
    if compat:
        kinds = ("loop", "dispatch", "ensemble") if agent.composite else ("loop", "dispatch")
        results = {name: _as_json(outcome, kinds) for name, outcome in results.items()}
    bare = Inputs(as_text(given) if text is None else text, given, results, metadata, agent.name)
    if item is not None:
        bare = replace(bare, item=item.value, index=item.index, count=item.count)
    if isinstance(agent.prompt, str):
        return replace(bare, text=filled(agent.prompt, bare, outcomes))
    if agent.model is None and agent.prompt is None and agent.composite:
        return bare  # `data` says what it gets: nobody reads a text
    made = _text(composer(bare), "the composer")
    composed = bare if made is bare.text else replace(bare, text=made)
    return composed if agent.prompt is None else replace(composed, text=_text(agent.prompt(composed), "prompt"))


def _as_json(outcome: Outcome, kinds: tuple[str, ...]) -> Outcome:
    if not outcome.ok or outcome.inner is None or outcome.inner.kind not in kinds:
        return outcome
    told = response(outcome)
    return replace(outcome, text=told, value=told, inner=None)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must give a text, got {type(value).__name__}")
    return value


def system(agent: Agent, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> str | None:
    """Give the system prompt with its marks filled in.

    Raises:
        InvalidOutput: when a mark names a field that the value does not have.
    """
    return None if agent.system_prompt is None else filled(agent.system_prompt, inputs, outcomes)


def data(agent: Agent, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> Any:
    """Give what a script or an ensemble gets: the prompt's value, the item, the input, or input and blocks as text.

    Raises:
        InvalidOutput: when a mark names a field that the value does not have, or an agent without result.
    """
    if isinstance(agent.prompt, str):
        mark = marks.alone(marks.read(agent.prompt))
        return inputs.text if mark is None else picked(mark, inputs, outcomes)
    if agent.prompt is not None:
        return inputs.text
    if inputs.index is not None:
        return inputs.item
    if agent.script is not None or not inputs.results:
        return inputs.input
    return f"{as_text(inputs.input)}\n\n{blocks(inputs)}"


def picked(mark: marks.Mark, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> Any:
    """Give the value that a mark stands for, as data.

    Raises:
        InvalidOutput: when the value has no such field, or the agent has no result: a sentence that says so is no data.
    """
    name, path = mark.resolve({*outcomes, *_bound(inputs)})
    if name == marks.DEPENDENCIES:
        return blocks(inputs)
    if name in outcomes and name not in _bound(inputs) and not outcomes[name].ok:
        raise InvalidOutput(f"${{{mark.text}}}: {name} has no result ({outcomes[name].status})")
    return mark_value(name, path, inputs.input, outcomes, _bound(inputs))


def check_picked(prompt: str, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> None:
    """Refuse a prompt that is one mark with a field of an agent without result: a sentence that says so is no input.

    Raises:
        InvalidOutput: names the agent.
    """
    mark = marks.alone(marks.read(prompt))
    if mark is not None and "." in mark.text:
        picked(mark, inputs, outcomes)


def _bound(inputs: Inputs) -> dict[str, Any]:
    return {} if inputs.index is None else {marks.ITEM: inputs.item, marks.INDEX: inputs.index}


def filled(text: str, inputs: Inputs, outcomes: Mapping[str, Outcome]) -> str:
    """Fill the marks of a text in.

    Raises:
        InvalidOutput: when a mark names a field that the value does not have.
    """
    if "${" not in text:
        return text
    bound = _bound(inputs)

    def value(name: str, path: tuple[str, ...]) -> str:
        if name == marks.DEPENDENCIES:
            return blocks(inputs)
        found = mark_value(name, path, inputs.input, outcomes, bound)
        return _shown(found) if path or name in bound else as_text(found)

    return marks.fill(marks.read(text), {*outcomes, *bound} if bound else outcomes, value)


def mark_value(
    name: str,
    path: tuple[str, ...],
    given: Any,
    outcomes: Mapping[str, Outcome],
    bound: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """Give the value of a mark; an agent without result gives `[name: status, reason]`.

    Args:
        name: of what it stands for.
        path: of fields.
        given: the input.
        outcomes: by agent name.
        bound: what stands for something else here, such as `item`.

    Raises:
        InvalidOutput: when the value has no such field.
    """
    outcome = None
    if name in bound:
        value = bound[name]
    elif name == marks.INPUT:
        value = given
    else:
        outcome = outcomes[name]
        if not outcome.ok:
            return f"[{name}: {outcome.status}, {outcome.reason}]"
        value = outcome.value
    try:
        return marks.pick(value, path)
    except marks.MissingField as missing:
        if outcome is not None and outcome.inner is not None:  # such as `${child.deliverable}`, `${loop.iterations}`
            with suppress(marks.MissingField):
                return marks.pick(response(outcome), path)
        raise InvalidOutput(f"${{{'.'.join((name, *path))}}}: {name} {missing}") from None
