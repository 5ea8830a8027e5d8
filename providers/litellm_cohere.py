"""Read cohere's answers, complete and streamed: litellm loses most of the first, and all of the second.

Source: Cohere's API reference, "Chat (V2)" and "Chat with streaming (V2)".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stretto.errors import BadResponse
from stretto.reply import Delta, Reply, ToolCall
from stretto.shapes import is_mapping
from stretto.usage import Usage

_FINISHES = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}


def stand_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """Make an answer that litellm can read: it is not used."""
    message = {"role": "assistant", "content": [{"type": "text", "text": ""}]}
    return {"id": str(body.get("id")), "message": message, "finish_reason": "COMPLETE", "usage": {"tokens": {}}}


def reply_of(body: Mapping[str, Any], route: str) -> Reply:
    """Read a complete answer.

    Raises:
        BadResponse: when it holds no message.
    """
    message = body.get("message")
    if not is_mapping(message):
        raise BadResponse("the answer has no message", status=200)
    parts = [each for each in message.get("content") or () if is_mapping(each)]
    return Reply(
        "".join(each.get("text") or "" for each in parts),
        reasoning="".join(each.get("thinking") or "" for each in parts),
        tool_calls=tuple(_tool(each, place) for place, each in enumerate(message.get("tool_calls") or ())),
        usage=usage_of(body),
        finish_reason=finish_of(body),
        route=route,
        response_id=body.get("id"),
        raw=body,
    )


def deltas(event: Mapping[str, Any]) -> Iterator[Delta]:
    """Give what an event of a stream brings."""
    message = _object(_object(event.get("delta")).get("message"))
    kind = event.get("type")
    if kind in ("content-start", "content-delta"):
        content = _object(message.get("content"))
        if content.get("thinking"):
            yield Delta(reasoning=content["thinking"])
        if content.get("text"):
            yield Delta(text=content["text"])
    elif kind in ("tool-call-start", "tool-call-delta"):
        yield Delta(tool_call=_tool(_object(message.get("tool_calls")), int(event.get("index") or 0)))


def finish_of(body: Mapping[str, Any]) -> str | None:
    """Give the reason to finish, by OpenAI's names where there is one."""
    told = body.get("finish_reason")
    return _FINISHES.get(told, told) if isinstance(told, str) else None


def usage_of(body: Mapping[str, Any]) -> Usage | None:
    """Read the tokens; None where they are not told."""
    told = _object(body.get("usage"))
    tokens = _object(told.get("tokens")) or _object(told.get("billed_units"))
    if not tokens:
        return None
    cached = int(told.get("cached_tokens") or 0)
    return Usage(int(tokens.get("input_tokens") or 0), int(tokens.get("output_tokens") or 0), cached_tokens=cached)


def _tool(told: Mapping[str, Any], place: int) -> ToolCall:
    function = _object(told.get("function"))
    return ToolCall(told.get("id") or "", function.get("name") or "", function.get("arguments") or "", place)


def _object(value: Any) -> Mapping[str, Any]:
    return value if is_mapping(value) else {}
