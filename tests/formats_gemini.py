"""The format of Gemini's generateContent, and of streamGenerateContent with alt=sse.

Source: its API reference, and google.rpc's error details.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from formats_shape import CACHED, INPUT, OUTPUT, REASONED, TOOL_NAME, Format, Said, event

_SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"


@dataclass(frozen=True, kw_only=True)
class Gemini(Format):
    """Gemini's: whole tool calls without ids, the reasoning as parts, a finish reason as the end mark.

    What its filter stops has no content at all; of a stream the content that came before has been sent.
    """

    tool_id: str | None = None
    request_id: str = ""

    def complete(self, said: Said) -> Any:
        if said.finish == "content_filter":
            return self._body(None, said.finish)
        parts = [{"text": said.reasoning, "thought": True}] if said.reasoning else []
        return self._body([*parts, *([{"text": said.text}] if said.text else []), *self._tools(said)], said.finish)

    def begin(self, said: Said) -> Iterator[bytes]:
        for text in said.thoughts:
            yield event(self._body([{"text": text, "thought": True}]))
        for text in said.texts:
            yield event(self._body([{"text": text}]))
        for tool in self._tools(said):
            yield event(self._body([tool]))

    def end(self, said: Said) -> Iterator[bytes]:
        yield event(self._body(None if said.finish == "content_filter" else [{"text": ""}], said.finish))

    def error(self, status: int, message: str) -> Any:
        names = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
        names |= {500: "INTERNAL", 503: "UNAVAILABLE"}
        return {"error": {"code": status, "message": message, "status": names.get(status, "INVALID_ARGUMENT")}}

    def break_off(self, message: str) -> bytes:
        return event(self.error(503, message))

    def nothing(self) -> Any:
        return {**self._body([]), "candidates": []}

    def too_long(self) -> tuple[int, Any] | None:
        message = "The input token count (1148577) exceeds the maximum number of tokens allowed (1048576)."
        return 400, self.error(400, message)

    def refused(self) -> Any:
        """Make the body of a 200 to a prompt that was blocked: no candidates at all."""
        body = {**self._body([]), "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        del body["candidates"]
        return body

    def wrong_key(self) -> Any:
        """Make the body of the 400 that it answers to a wrong key."""
        body = self.error(400, "API key not valid. Please pass a valid API key.")
        detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
        body["error"]["details"] = [{**detail, "domain": "googleapis.com"}]
        return body

    def wait(self, seconds: int) -> Any:
        """Make the body of a 429, which says how long to wait; no header does."""
        body = self.error(429, "no")
        detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
        body["error"]["details"] = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []}, detail]
        return body

    def garbage(self) -> bytes:
        return b'data: {"candidates": [{"content": {"pa\n\n'

    def _tools(self, said: Said) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = [
            {"functionCall": {"name": TOOL_NAME, "args": given}} for _, given in self.called(said)
        ]
        return [{**calls[0], "thoughtSignature": _SIGNATURE}, *calls[1:]] if calls else []

    @staticmethod
    def _body(parts: list[Any] | None, finish: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {} if parts is None else {"content": {"parts": parts, "role": "model"}}
        if finish is not None:  # a call of a tool has no word of its own
            words = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
            candidate["finishReason"] = words.get(finish, "STOP")
        usage: dict[str, Any] = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT - REASONED}
        usage |= {"totalTokenCount": INPUT + OUTPUT, "cachedContentTokenCount": CACHED}
        usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": INPUT}]
        usage["thoughtsTokenCount"] = REASONED
        body = {"candidates": [{**candidate, "index": 0}], "usageMetadata": usage}
        return {**body, "modelVersion": "gemini-2.5-flash", "responseId": "3w4Vad6yF-y1vdIP_q_zgAw"}
