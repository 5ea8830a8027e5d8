"""What an agent gets: the run's input, the results it depends on, and the text composed of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .shapes import is_list, is_mapping

if TYPE_CHECKING:
    from .outcome import Outcome


@dataclass(frozen=True, slots=True)
class Item:
    """What one instance of a fan-out gets.

    Args:
        value: the item.
        index: from 0.
        count: how many instances there are.
    """

    value: Any
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a function agent, a prompt function and a composer get.

    Args:
        text: the composed prompt; for a composer and without dependencies the input as text.
        input: the run's input, or the agent's own, as it was given: a text, chat messages or JSON data.
        results: the outcomes of the agents in `depends_on`, by name.
        metadata: the run's, read-only.
        agent: the agent's name.
        item: of a fan-out instance, its item; None elsewhere.
        index: of a fan-out instance, from 0; None elsewhere.
        count: of a fan-out, how many instances there are; 0 elsewhere.
    """

    text: str
    input: Any = None
    results: Mapping[str, Outcome] = field(default_factory=dict[str, "Outcome"])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    agent: str = ""
    item: Any = None
    index: int | None = None
    count: int = 0


def is_chat(value: Any) -> bool:
    """Tell whether a value is a list of chat messages."""
    return is_list(value) and bool(value) and all(is_mapping(m) and isinstance(m.get("role"), str) for m in value)


def check_input(value: Any, *, agent: str | None = None) -> None:
    """Refuse an input that is neither a text, nor chat messages, nor JSON data.

    Raises:
        ConfigError: says which type came.
    """
    if value is None or isinstance(value, str):
        return
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"input must be a text, chat messages or JSON data: {error}"
        raise ConfigError(message, agent=agent, key="input") from None


def as_text(value: Any) -> str:
    """Give a value as it stands in a prompt: a text as it is, of a chat the last message, data as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if is_chat(value):
        return _content(value[-1].get("content"))
    return json.dumps(value, ensure_ascii=False)


def _content(content: Any) -> str:
    if is_list(content):
        return "\n".join(str(part["text"]) for part in content if is_mapping(part) and "text" in part)
    return content if isinstance(content, str) else ""


def chat_messages(value: Any, text: str, system: str | None) -> tuple[Mapping[str, Any], ...]:
    """Make the messages of a request: the system prompt, the history where the input is a chat, then `text`."""
    head: tuple[Mapping[str, Any], ...] = ({"role": "system", "content": system},) if system is not None else ()
    if not is_chat(value):
        return (*head, {"role": "user", "content": text})
    last = value[-1]
    if text == as_text(value):  # nothing was composed: images and other parts stay as they are
        return (*head, *value)
    history = value[:-1] if last["role"] == "user" else value
    return (*head, *history, {"role": "user", "content": text})
