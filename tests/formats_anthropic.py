"""The format of Anthropic's Messages.

Source: its API reference: Messages, its streaming page, its errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from formats_shape import CACHED, INPUT, OUTPUT, TOOL_NAME, Format, Said, event

_SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"


@dataclass(frozen=True, kw_only=True)
class Anthropic(Format):
    """Anthropic's Messages.

    Args:
        brief: the last usage of a stream tells the output alone.
    """

    only_mark: ClassVar[int] = 1

    brief: bool = False
    reasoned: int = 0
    request_id: str = "request-id"
    tool_id: str | None = "toolu_01T1x1fJ34qAmk2tNTrN7Up6"

    def complete(self, said: Said) -> Any:
        content: list[Any] = []
        if said.reasoning:
            content.append({"type": "thinking", "thinking": said.reasoning, "signature": _SIGNATURE})
        if said.text:
            content.append({"type": "text", "text": said.text})
        content += [{**self._tool(name), "input": given} for name, given in self.called(said)]
        return self._message(content, self._finish(said), self._usage(OUTPUT))

    def begin(self, said: Said) -> Iterator[bytes]:
        yield self._event("message_start", message=self._message([], None, self._usage(1)))
        index = 0
        if said.thoughts:
            opened = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": text} for text in said.thoughts]
            deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
            yield from self._block(index, opened, deltas)
            index += 1
        yield self._event("ping")
        if said.texts:
            deltas = [{"type": "text_delta", "text": text} for text in said.texts]
            yield from self._block(index, {"type": "text", "text": ""}, deltas)
            index += 1
        for index, (name, given) in enumerate(self.called(said), index):  # noqa: B020 - they go on
            text = json.dumps(given)
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", text[:9], text[9:])]
            yield from self._block(index, {**self._tool(name), "input": {}}, deltas)

    def end(self, said: Said) -> Iterator[bytes]:
        delta = {"stop_reason": self._finish(said), "stop_sequence": None}
        usage = {"output_tokens": OUTPUT} if self.brief else self._usage(OUTPUT)
        yield self._event("message_delta", delta=delta, usage=usage)
        yield self._event("message_stop")

    def error(self, status: int, message: str) -> Any:
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
        kinds |= {413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "id-of-anthropic"}

    def break_off(self, message: str) -> bytes:
        return event(self.error(529, message), "error")

    def nothing(self) -> Any:
        return None  # no content is an answer: the model had nothing to add

    def too_long(self) -> tuple[int, Any] | None:
        return 400, self.error(400, "prompt is too long: 210012 tokens > 200000 maximum")

    def blocked(self) -> tuple[int, Any] | None:
        return 400, self.error(400, "Output blocked by content filtering policy")

    def garbage(self) -> bytes:
        return b'event: content_block_delta\ndata: {"type":"content_block_de\n\n'

    def _finish(self, said: Said) -> str:
        words = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
        return words[said.finish]

    @staticmethod
    def _tool(name: str | None) -> dict[str, Any]:
        return {"type": "tool_use", "id": name, "name": TOOL_NAME}

    @staticmethod
    def _message(content: list[Any], stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant"}
        message |= {"model": "claude-sonnet-4-5-20250929", "content": content}
        return message | {"stop_reason": stop, "stop_sequence": None, "usage": usage}

    @staticmethod
    def _usage(output: int) -> dict[str, Any]:
        usage: dict[str, Any] = {"input_tokens": INPUT - CACHED, "cache_creation_input_tokens": 0}
        usage |= {"cache_read_input_tokens": CACHED, "output_tokens": output, "service_tier": "standard"}
        return usage | {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}}

    @staticmethod
    def _event(name: str, **fields: Any) -> bytes:
        return event({"type": name, **fields}, name)

    def _block(self, index: int, opened: dict[str, Any], deltas: list[dict[str, Any]]) -> Iterator[bytes]:
        yield self._event("content_block_start", index=index, content_block=opened)
        for delta in deltas:
            yield self._event("content_block_delta", index=index, delta=delta)
        yield self._event("content_block_stop", index=index)
