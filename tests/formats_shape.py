"""What is common to the wire formats that the loopback server speaks: what is said, and the ways to say it wrong.

A `Format` makes the `Answer` for a case: a reply, an error, a stream that is cut, garbage. It knows nothing of whoever
calls the server.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from loopback import Answer, pieces

# Tokens of every reply: of the input 40 were read from a cache, of the output 7 are reasoning. A format tells what its
# API tells.
INPUT, CACHED, OUTPUT, REASONED = 100, 40, 20, 7
TOOL_NAME = "weather"
TOOL_INPUTS: tuple[dict[str, Any], ...] = ({"city": "Paris", "days": 2}, {"city": "Rome", "days": 3})
# What a caller sends to be answered with a tool call.
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": TOOL_NAME,
            "description": "Tell the weather.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
]


@dataclass(frozen=True, slots=True)
class Said:
    """What the model says.

    Args:
        text: of the answer; a stream has it in pieces.
        reasoning: before it, where the API tells it; a stream has it in pieces.
        tools: how many calls of the tool stand at the end, with `TOOL_INPUTS`.
        finish: "stop", "length", "tool_calls" or "content_filter"; written in the format's own word.
        parts: of the text, in place of its words.
    """

    text: str = "three little words"
    reasoning: str = ""
    tools: int = 0
    finish: str = "stop"
    parts: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The pieces in which a stream has the text."""
        return list(self.parts) or (pieces(self.text) if self.text else [])

    @property
    def thoughts(self) -> list[str]:
        """The pieces in which a stream has the reasoning."""
        return pieces(self.reasoning) if self.reasoning else []


@dataclass(frozen=True, kw_only=True)
class Format(ABC):
    """One API's form of replies, streams and errors.

    Args:
        name: of the format.
        model: what a caller asks for, "provider/model".
        path: what the address that a caller is given has after the server's origin.
        key: what the caller authenticates with; None: with credentials of the environment.
        environment: variables without which a caller has no credentials, or no version of the API.
        request_id: the header with the provider's name of the request; "" when it sends none.
        reasons: the API tells the text of the reasoning.
        cached, reasoned: tokens that it tells apart, as `CACHED` and `REASONED`, or 0.
        finishes: the finish reasons that it has a word for.
        tool_id: the id of the first tool call; None: the API has no ids.
        stream_type: content type of its streams.
        only_mark: chunks at the end of a stream that are its end mark and say nothing else.
    """

    stream_type: ClassVar[str] = "text/event-stream"
    only_mark: ClassVar[int] = 0
    finishes: ClassVar[tuple[str, ...]] = ("stop", "length", "tool_calls", "content_filter")

    name: str
    model: str
    path: str = ""
    key: str | None = "sk-of-this-call"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    request_id: str = "x-request-id"
    reasons: bool = True
    cached: int = CACHED
    reasoned: int = REASONED
    tool_id: str | None = "call_jHbS2ZGcfVFd0AElB3uDKqyr"

    @abstractmethod
    def complete(self, said: Said) -> Any:
        """Make the body of a complete reply, as JSON."""

    @abstractmethod
    def begin(self, said: Said) -> Iterable[bytes]:
        """Make the chunks of a stream up to its last piece of content."""

    @abstractmethod
    def end(self, said: Said) -> Iterable[bytes]:
        """Make the chunks that end a stream: finish reason, usage, end mark."""

    @abstractmethod
    def error(self, status: int, message: str) -> Any:
        """Make the body of an error, as JSON."""

    @abstractmethod
    def break_off(self, message: str) -> bytes:
        """Make the chunk that tells of an error in the middle of a stream."""

    @abstractmethod
    def nothing(self) -> Any:
        """Make the body of a 200 that is well-formed and has no answer; None where that is an answer."""

    def too_long(self) -> tuple[int, Any] | None:
        """Make status and body for messages that do not fit; None where the API never says so."""
        return None

    def blocked(self) -> tuple[int, Any] | None:
        """Make status and body for a request that a content filter refused; None where no error says so."""
        return None

    def garbage(self) -> bytes:
        """Make a chunk for the middle of a stream that cannot be read."""
        return b'data: {"choices": [{"delta": {"cont\n\n'

    def error_headers(self, status: int) -> dict[str, str]:
        """Give the headers that the API puts on an error, beside the request's id."""
        return {}

    def called(self, said: Said) -> list[tuple[str | None, dict[str, Any]]]:
        """Give id and input of each tool call."""
        inputs = TOOL_INPUTS[: said.tools]
        ids = (self.tool_id and f"{self.tool_id[:-1]}{n}" if n else self.tool_id for n in range(len(inputs)))
        return list(zip(ids, inputs, strict=True))

    # What a server answers.

    def base_url(self, origin: str) -> str:
        """Give the address for a caller."""
        return origin + self.path

    def answer(self, said: Said, stream: bool, **fields: Any) -> Answer:
        """Answer with a reply."""
        if stream:
            return self.chunks([*self.begin(said), *self.end(said)], **fields)
        return self.body(self.complete(said), **fields)

    def body(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """Answer with a body, JSON or bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Answer(status=status, body=raw, headers={**self.named(), **(headers or {})}, **fields)

    def chunks(self, chunks: Iterable[bytes], **fields: Any) -> Answer:
        """Answer with a stream of these chunks."""
        return Answer(chunks=chunks, content_type=self.stream_type, headers=self.named(), **fields)

    def refuse(self, status: int, message: str = "no", headers: Mapping[str, str] | None = None) -> Answer:
        """Answer with an error."""
        return self.body(self.error(status, message), status, {**self.error_headers(status), **(headers or {})})

    def named(self) -> dict[str, str]:
        """Give the headers with the request's id."""
        unnamed = {} if self.request_id == "x-request-id" else {"x-request-id": ""}
        return unnamed | ({self.request_id: f"id-of-{self.name}"} if self.request_id else {})


def event(data: Any, name: str = "") -> bytes:
    """Write a server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
