"""The format of Cohere's /v2/chat.

Source: its API reference and its streaming guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from formats_shape import CACHED, INPUT, OUTPUT, TOOL_NAME, Format, Said, event


@dataclass(frozen=True, kw_only=True)
class Cohere(Format):
    """Cohere's /v2/chat: an event for each begin and end, the tool call's plan apart from the text."""

    reasoned: int = 0
    request_id: str = ""
    tool_id: str | None = "weather_3v76fs3zjrgq"

    def complete(self, said: Said) -> Any:
        content = [{"type": "thinking", "thinking": said.reasoning}] if said.reasoning else []
        content += [{"type": "text", "text": said.text}] if said.text else []
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if said.tools:
            calls = [self._tool(name, json.dumps(given)) for name, given in self.called(said)]
            message |= {"tool_plan": "I will look.", "tool_calls": calls}
        body = {"id": "586ac33f-9c64-452c-8f8d-e5890e73b6fb", "message": message}
        return {**body, "finish_reason": self._finish(said), "usage": self._usage()}

    def begin(self, said: Said) -> Iterator[bytes]:
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        opened = {"id": "586ac33f-9c64-452c-8f8d-e5890e73b6fb", "type": "message-start"}
        yield event({**opened, "delta": {"message": empty}}, "message-start")
        index = 0
        for kind, texts in (("thinking", said.thoughts), ("text", said.texts)):
            if texts:
                yield self._event("content-start", index, content={"type": kind, kind: ""})
                for text in texts:
                    yield self._event("content-delta", index, content={kind: text})
                yield self._event("content-end", index)
                index += 1
        if said.tools:
            yield self._event("tool-plan-delta", None, tool_plan="I will look.")
        for index, (name, given) in enumerate(self.called(said)):
            text = json.dumps(given)
            yield self._event("tool-call-start", index, tool_calls=self._tool(name, ""))
            for part in (text[:9], text[9:]):
                yield self._event("tool-call-delta", index, tool_calls={"function": {"arguments": part}})
            yield self._event("tool-call-end", index)

    def end(self, said: Said) -> Iterator[bytes]:
        delta = {"finish_reason": self._finish(said), "usage": self._usage()}
        yield event({"type": "message-end", "delta": delta}, "message-end")

    def error(self, status: int, message: str) -> Any:
        return {"id": "586ac33f-9c64-452c-8f8d-e5890e73b6fb", "message": message}

    def break_off(self, message: str) -> bytes:
        return event({"type": "message-end", "delta": {"error": message, "finish_reason": "ERROR"}}, "message-end")

    def nothing(self) -> Any:
        body = self.complete(Said())
        del body["message"]
        return body

    def too_long(self) -> tuple[int, Any] | None:
        message = "too many tokens: total number of tokens in the prompt cannot exceed 255999 - received 270000."
        return 400, self.error(400, message)

    def garbage(self) -> bytes:
        return b'event: content-delta\ndata: {"type":"content-de\n\n'

    @staticmethod
    def _finish(said: Said) -> str:
        words = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
        return words.get(said.finish, "ERROR_TOXIC")

    @staticmethod
    def _tool(name: str | None, arguments: str) -> dict[str, Any]:
        return {"id": name, "type": "function", "function": {"name": TOOL_NAME, "arguments": arguments}}

    @staticmethod
    def _usage() -> dict[str, Any]:
        tokens = {"input_tokens": INPUT, "output_tokens": OUTPUT}
        return {"billed_units": {"input_tokens": 9, "output_tokens": 3}, "tokens": tokens, "cached_tokens": CACHED}

    @staticmethod
    def _event(name: str, index: int | None, **message: Any) -> bytes:
        body: dict[str, Any] = {"type": name} | ({} if index is None else {"index": index})
        return event(body | ({"delta": {"message": message}} if message else {}), name)
