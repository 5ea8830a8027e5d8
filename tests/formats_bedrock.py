"""The format of Bedrock's Converse and ConverseStream, whose streams are binary frames.

Source: AWS, the API reference of Amazon Bedrock Runtime and the event stream encoding of its SDKs.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from zlib import crc32

from formats_shape import CACHED, INPUT, OUTPUT, TOOL_NAME, Format, Said

_SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
_TEXT = 7  # the type of a header's value


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Write one frame: lengths with their checksum, headers, payload, checksum of it all."""
    block = b"".join(
        bytes([len(name)]) + name.encode() + struct.pack(">BH", _TEXT, len(value)) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    message = lengths + struct.pack(">I", crc32(lengths)) + block + payload
    return message + struct.pack(">I", crc32(message))


@dataclass(frozen=True, kw_only=True)
class Bedrock(Format):
    """Bedrock's."""

    stream_type: ClassVar[str] = "application/vnd.amazon.eventstream"

    key: str | None = None
    reasoned: int = 0
    request_id: str = "x-amzn-requestid"
    tool_id: str | None = "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q"

    def complete(self, said: Said) -> Any:
        content: list[Any] = []
        if said.reasoning:
            text = {"text": said.reasoning, "signature": _SIGNATURE}
            content.append({"reasoningContent": {"reasoningText": text}})
        if said.text:
            content.append({"text": said.text})
        content += [{"toolUse": {**self._tool(name), "input": given}} for name, given in self.called(said)]
        body = {"output": {"message": {"role": "assistant", "content": content}}}
        return {**body, "stopReason": self._finish(said), "usage": self._usage(), "metrics": {"latencyMs": 551}}

    def begin(self, said: Said) -> Iterator[bytes]:
        yield self._event("messageStart", role="assistant")
        index = 0
        if said.thoughts:
            deltas: list[Any] = [{"reasoningContent": {"text": text}} for text in said.thoughts]
            yield from self._block(index, None, [*deltas, {"reasoningContent": {"signature": _SIGNATURE}}])
            index += 1
        if said.texts:
            yield from self._block(index, None, [{"text": text} for text in said.texts])
            index += 1
        for index, (name, given) in enumerate(self.called(said), index):  # noqa: B020 - they go on
            text = json.dumps(given)
            deltas = [{"toolUse": {"input": part}} for part in (text[:9], text[9:])]
            yield from self._block(index, {"toolUse": self._tool(name)}, deltas)

    def end(self, said: Said) -> Iterator[bytes]:
        yield self._event("messageStop", stopReason=self._finish(said))
        yield self._event("metadata", usage=self._usage(), metrics={"latencyMs": 551})

    def error(self, status: int, message: str) -> Any:
        return {"message": message}

    def error_headers(self, status: int) -> dict[str, str]:
        kinds = {403: "AccessDenied", 404: "ResourceNotFound", 429: "Throttling", 500: "InternalServer"}
        kind = kinds.get(status, "ServiceUnavailable" if status >= 500 else "Validation")
        return {"x-amzn-errortype": f"{kind}Exception:http://internal.amazon.com/coral/com.amazon.bedrock/"}

    def break_off(self, message: str) -> bytes:
        kind = {":exception-type": "serviceUnavailableException", ":content-type": "application/json"}
        return frame({**kind, ":message-type": "exception"}, json.dumps({"message": message}).encode())

    def nothing(self) -> Any:
        return {**self.complete(Said()), "output": {}}

    def too_long(self) -> tuple[int, Any] | None:
        message = "The model returned the following errors: Input is too long for requested model."
        return 400, self.error(400, message)

    def garbage(self) -> bytes:
        good = self._event("contentBlockDelta", contentBlockIndex=0, delta={"text": "x"})
        return good[:-1] + bytes([good[-1] ^ 1])  # its checksum is wrong

    @staticmethod
    def _finish(said: Said) -> str:
        words = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
        return words.get(said.finish, "guardrail_intervened")

    @staticmethod
    def _tool(name: str | None) -> dict[str, Any]:
        return {"toolUseId": name, "name": TOOL_NAME}

    @staticmethod
    def _usage() -> dict[str, Any]:
        usage = {"inputTokens": INPUT - CACHED, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT}
        return {**usage, "cacheReadInputTokens": CACHED, "cacheWriteInputTokens": 0}

    @staticmethod
    def _event(name: str, **fields: Any) -> bytes:
        headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
        return frame(headers, json.dumps({**fields, "p": "abcdefghijk"}).encode())

    def _block(self, index: int, opened: dict[str, Any] | None, deltas: list[Any]) -> Iterator[bytes]:
        if opened is not None:  # only a tool call is announced
            yield self._event("contentBlockStart", contentBlockIndex=index, start=opened)
        for delta in deltas:
            yield self._event("contentBlockDelta", contentBlockIndex=index, delta=delta)
        yield self._event("contentBlockStop", contentBlockIndex=index)
