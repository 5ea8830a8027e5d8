"""What comes back from a call: the complete `Reply`, and `Delta`s while it is being written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .usage import Usage


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function that the model asks to be called.

    Args:
        id: the provider's name of it, to be sent back with the result.
        name: the function's name.
        arguments: JSON text, as the model wrote it; in a `Delta` a piece of it.
        index: its place among the calls of one reply, from 0.
    """

    id: str
    name: str
    arguments: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply: exactly one of the fields is not None.

    Args:
        text: a piece of the answer.
        reasoning: a piece of the reasoning.
        tool_call: index, id, name and a piece of the arguments.
        usage: tokens so far.
        restart: True: what was emitted before is void.

    Raises:
        ValueError: at construction, when none or several are given.
    """

    text: str | None = None
    reasoning: str | None = None
    tool_call: ToolCall | None = None
    usage: Usage | None = None
    restart: bool | None = None

    def __post_init__(self) -> None:
        given = (
            (self.text is not None)
            + (self.reasoning is not None)
            + (self.tool_call is not None)
            + (self.usage is not None)
            + (self.restart is not None)
        )
        if given != 1:
            raise ValueError(f"a Delta has exactly one of its fields, got {given}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer, streamed or not. Only `text` is needed to make one.

    Args:
        text: the answer; "" when the model only called tools.
        reasoning: the text of its reasoning, "" when there is none.
        tool_calls: in the model's order.
        usage: tokens; None when the provider did not say.
        cost: USD; None when it is unknown.
        finish_reason: "stop", "length", "tool_calls", "content_filter", or the provider's own word.
        model: the model that answered, as the provider names it.
        route: how the call went: "acompletion", "local", "simulated", "cache" ...
        response_id: the provider's name of the response.
        headers: of the response, lower-case names, without set-cookie.
        raw: what the provider gave, for those who need more; of a function, what it returned.
    """

    text: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    cost: float | None = None
    finish_reason: str | None = None
    model: str = ""
    route: str = ""
    response_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    raw: Any = None

    @property
    def message(self) -> dict[str, Any]:
        """The reply as a message of the OpenAI chat format, valid to send again."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        return message
