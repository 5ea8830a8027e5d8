"""The format of Ollama's /api/chat.

Source: its API reference, and its types of requests and answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from formats_shape import INPUT, OUTPUT, TOOL_NAME, Format, Said


@dataclass(frozen=True, kw_only=True)
class Ollama(Format):
    """Ollama's /api/chat: a line of JSON for each piece, the last one `done`."""

    stream_type: ClassVar[str] = "application/x-ndjson"
    finishes: ClassVar[tuple[str, ...]] = ("stop", "length", "tool_calls")

    cached: int = 0
    reasoned: int = 0
    tool_id: str | None = None
    request_id: str = ""

    def complete(self, said: Said) -> Any:
        message: dict[str, Any] = {"content": said.text}
        if said.reasoning:
            message["thinking"] = said.reasoning
        if said.tools:
            message["tool_calls"] = self._tools(said)
        return self._body(message, said)

    def begin(self, said: Said) -> Iterator[bytes]:
        for text in said.thoughts:
            yield self._line(self._body({"content": "", "thinking": text}))
        for text in said.texts:
            yield self._line(self._body({"content": text}))
        for tool in self._tools(said):
            yield self._line(self._body({"content": "", "tool_calls": [tool]}))

    def end(self, said: Said) -> Iterator[bytes]:
        yield self._line(self._body({"content": ""}, said))

    def error(self, status: int, message: str) -> Any:
        return {"error": message}

    def break_off(self, message: str) -> bytes:
        return self._line({"error": message})

    def nothing(self) -> Any:
        body = self._body({}, Said())
        del body["message"]
        return body

    def garbage(self) -> bytes:
        return b'{"model":"qwen3:8b","created_at":"20\n'

    def _tools(self, said: Said) -> list[dict[str, Any]]:
        return [
            {"function": {"index": index, "name": TOOL_NAME, "arguments": given}}
            for index, (_, given) in enumerate(self.called(said))
        ]

    @staticmethod
    def _line(body: Any) -> bytes:
        return json.dumps(body).encode() + b"\n"

    @staticmethod
    def _body(message: dict[str, Any], ended: Said | None = None) -> dict[str, Any]:
        body: dict[str, Any] = {"model": "qwen3:8b", "created_at": "2026-08-31T21:24:10.632534Z"}
        body |= {"message": {"role": "assistant", **message}, "done": ended is not None}
        if ended is None:
            return body
        body["done_reason"] = "length" if ended.finish == "length" else "stop"  # also after a tool call
        body |= {"total_duration": 8785179500, "load_duration": 7085390400, "prompt_eval_count": INPUT}
        return body | {"prompt_eval_duration": 1673361000, "eval_count": OUTPUT, "eval_duration": 23066000}
