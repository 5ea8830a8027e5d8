"""The format of chat completions, of OpenAI and of Azure.

Source: the API references of OpenAI and Azure OpenAI, and their error pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from formats_shape import CACHED, INPUT, OUTPUT, REASONED, TOOL_NAME, Format, Said, event

# Type and code of an error by its status.
TYPES: Mapping[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("request_forbidden", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}


@dataclass(frozen=True, kw_only=True)
class OpenAI(Format):
    """OpenAI's own, which tells no reasoning."""

    only_mark: ClassVar[int] = 1
    reasoning_field: ClassVar[str] = "reasoning_content"
    answering: ClassVar[str] = "gpt-5-mini-2025-08-07"
    response_id: ClassVar[str] = "chatcmpl-CYt3NtVDkXOQLUJdYqYFqv0vWjh3q"

    reasons: bool = False
    path: str = "/v1"

    def complete(self, said: Said) -> Any:
        return {
            **self.envelope("chat.completion"),
            "choices": [self.choice("message", self.message(said), said.finish)],
            "usage": self.usage(),
            **self.beside(),
        }

    def begin(self, said: Said) -> Iterator[bytes]:
        yield self.piece({"role": "assistant", "content": ""})
        for thought in said.thoughts if self.reasons else ():
            yield self.piece(self.reasoning(thought))
        for text in said.texts:
            yield self.piece({"content": text})
        for index, tool in enumerate(self.tools(said)):
            yield from (self.piece({"tool_calls": [part]}) for part in self.tool_parts(index, tool))

    def end(self, said: Said) -> Iterator[bytes]:
        yield self.piece({}, said.finish)
        yield event({**self.envelope("chat.completion.chunk"), "choices": [], "usage": self.usage(), **self.beside()})
        yield event("[DONE]")

    def error(self, status: int, message: str) -> Any:
        kind, code = TYPES.get(status, ("invalid_request_error", None))
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def break_off(self, message: str) -> bytes:
        return event({"error": {"message": message, "type": "server_error", "param": None, "code": None}})

    def nothing(self) -> Any:
        return {**self.complete(Said()), "choices": []}

    def too_long(self) -> tuple[int, Any] | None:
        message = "This model's maximum context length is 400000 tokens. However, your messages resulted in 500001."
        error = {"message": message, "type": "invalid_request_error", "param": "messages"}
        return 400, {"error": {**error, "code": "context_length_exceeded"}}

    def blocked(self) -> tuple[int, Any] | None:
        error = {"message": "Your request was rejected by our safety system.", "type": "invalid_request_error"}
        return 400, {"error": {**error, "param": None, "code": "content_policy_violation"}}

    # What the others write otherwise.

    def envelope(self, kind: str) -> dict[str, Any]:
        """Give the fields of every body and chunk."""
        return {"id": self.response_id, "object": kind, "created": 1763942400, "model": self.answering}

    def beside(self) -> dict[str, Any]:
        """Give the fields that stand after the choices."""
        return {"service_tier": "default", "system_fingerprint": None}

    def choice(self, name: str, content: Any, finish: str | None) -> dict[str, Any]:
        """Make the one choice."""
        return {"index": 0, name: content, "logprobs": None, "finish_reason": finish}

    def message(self, said: Said) -> dict[str, Any]:
        """Make the message of a complete reply."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": said.text or None,
            "refusal": None,
            "annotations": [],
        }
        if said.reasoning and self.reasons:
            message |= {self.reasoning_field: said.reasoning}
        return message | ({"tool_calls": self.tools(said)} if said.tools else {})

    def reasoning(self, text: str) -> dict[str, Any]:
        """Make the delta of a piece of reasoning."""
        return {"content": None, self.reasoning_field: text}

    def tools(self, said: Said) -> list[dict[str, Any]]:
        """Make the tool calls of a complete reply."""
        return [
            {"id": name, "type": "function", "function": {"name": TOOL_NAME, "arguments": json.dumps(given)}}
            for name, given in self.called(said)
        ]

    def tool_parts(self, index: int, tool: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Make the pieces of a tool call in a stream."""
        text = tool["function"]["arguments"]
        yield {"index": index, **tool, "function": {"name": TOOL_NAME, "arguments": ""}}
        for part in (text[:9], text[9:]):
            yield {"index": index, "function": {"arguments": part}}

    def piece(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        """Make a chunk of a stream."""
        choices = [self.choice("delta", delta, finish)]
        return event({**self.envelope("chat.completion.chunk"), "choices": choices, **self.beside(), **more})

    def usage(self) -> dict[str, Any]:
        """Make the usage."""
        return {
            "prompt_tokens": INPUT,
            "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT,
            "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": REASONED,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}


@dataclass(frozen=True, kw_only=True)
class Azure(OpenAI):
    """Azure's: verdicts of its filter before and beside the choices, and errors whose code is often their status."""

    def begin(self, said: Said) -> Iterator[bytes]:
        verdict = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        yield event({**verdict, "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}]})
        yield from super().begin(said)

    def complete(self, said: Said) -> Any:
        verdicts = [{"prompt_index": 0, "content_filter_results": _SAFE}]
        return {**super().complete(said), "prompt_filter_results": verdicts}

    def beside(self) -> dict[str, Any]:
        return {"system_fingerprint": "fp_efad92c60b"}

    def choice(self, name: str, content: Any, finish: str | None) -> dict[str, Any]:
        filtered = {**_SAFE, "violence": {"filtered": True, "severity": "medium"}}
        results = filtered if finish == "content_filter" else _SAFE
        return {**super().choice(name, content, finish), "content_filter_results": results}

    def error(self, status: int, message: str) -> Any:
        codes = {404: "DeploymentNotFound", 500: "InternalServerError", 503: "ServiceUnavailable"}
        return {"error": {"code": codes.get(status, str(status)), "message": message}}

    def blocked(self) -> tuple[int, Any] | None:
        filtered = {**_SAFE, "violence": {"filtered": True, "severity": "medium"}}
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": filtered}
        error = {"message": "The response was filtered.", "type": None, "param": "prompt", "code": "content_filter"}
        return 400, {"error": {**error, "status": 400, "innererror": inner}}
