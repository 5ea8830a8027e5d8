"""Read the answers of the OpenAI chat format, and of the many that speak it in their own way.

Source: OpenAI's API reference for chat completions and their chunks; where others differ it is said on the spot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from stretto.errors import BadResponse, ContentBlocked
from stretto.reply import Delta, Reply, ToolCall
from stretto.usage import Usage

# The text of the model's reasoning: DeepSeek, vLLM, llama.cpp and LM Studio; OpenRouter, Ollama and newer vLLM.
_REASONING = ("reasoning_content", "reasoning", "thinking")
_NOTHING: dict[str, Any] = {}
_MOST_TOKENS = 2**53  # more is no count


class Collected:
    """What a stream has brought so far, made of its deltas."""

    __slots__ = ("_reasoning", "_text", "_tools")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tools: dict[int, ToolCall] = {}

    def __bool__(self) -> bool:
        return bool(self._text or self._reasoning or self._tools)

    def add(self, delta: Delta) -> None:
        """Take a piece in; those of one tool call belong together by their index."""
        if delta.text is not None:
            self._text.append(delta.text)
        elif delta.reasoning is not None:
            self._reasoning.append(delta.reasoning)
        elif (new := delta.tool_call) is not None:
            old = self._tools.get(new.index, ToolCall("", ""))
            arguments = old.arguments + new.arguments
            self._tools[new.index] = ToolCall(new.id or old.id, new.name or old.name, arguments, new.index)

    def reply(self, route: str) -> Reply:
        """Give the whole reply."""
        tools = tuple(self._tools[index] for index in sorted(self._tools))
        return Reply("".join(self._text), reasoning="".join(self._reasoning), tool_calls=tools, route=route)


def reply_of(body: Any, route: str, headers: Mapping[str, str] = _NOTHING) -> Reply:
    """Read a complete answer.

    Args:
        body: the parsed JSON.
        route: how the call went.
        headers: of the response.

    Raises:
        BadResponse: when it holds no choice with a message.
    """
    choice = _first(body)
    message = choice.get("message")
    if not _is_object(message):
        raise BadResponse("the answer has no message", status=200)
    text, reasoning = _content(message)
    return Reply(
        text,
        reasoning=reasoning,
        tool_calls=tuple(replace(call, index=place) for place, call in enumerate(_tool_calls(message))),
        usage=usage_of(body, choice),
        finish_reason=_text(choice.get("finish_reason")) or None,
        model=_text(body.get("model")),
        route=route,
        response_id=_text(body.get("id")) or None,
        headers=headers,
        raw=body,
    )


def unblocked(reply: Reply) -> Reply:
    """Give a reply that says something back.

    Args:
        reply: of any provider.

    Raises:
        ContentBlocked: when a content filter left nothing of it.
    """
    if reply.finish_reason == "content_filter" and not (reply.text or reply.tool_calls):
        raise ContentBlocked("a content filter stopped the answer", status=200)
    return reply


def _first(body: Any) -> Mapping[str, Any]:
    choices = body.get("choices") if _is_object(body) else None
    if not _is_array(choices):
        raise BadResponse("the answer is no chat completion", status=200)
    if not choices or not _is_object(choices[0]):
        raise BadResponse("the answer has no choices", status=200)
    return choices[0]


class Places:
    """Where the tool calls of a stream stand: some services give each that comes whole the index 0."""

    __slots__ = ("_ids", "_last", "_places")

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self._places: dict[int, int] = {}
        self._last = -1

    def of(self, index: int, id: str | None) -> int:
        """Give the place of a piece: another id at the same index is another call.

        Args:
            index: as it came.
            id: as it came; pieces after the first have none.
        """
        if index not in self._places or (id and self._ids[index] and self._ids[index] != id):
            self._last = max(self._last + 1, index)
            self._places[index] = self._last
            self._ids[index] = ""
        self._ids[index] = id or self._ids[index]
        return self._places[index]


class Chunks:
    """Read a streamed answer, chunk by chunk.

    Args:
        route: how the call went.

    Attributes:
        answered: a choice has come.
        finish_reason: as soon as it came, else None.
        usage: as soon as it came, else None.
    """

    __slots__ = (
        "_collected",
        "_id",
        "_index",
        "_last_index",
        "_model",
        "_places",
        "_route",
        "answered",
        "finish_reason",
        "usage",
    )

    def __init__(self, route: str) -> None:
        self._route = route
        self._collected = Collected()
        self._id: str | None = None
        self._model = ""
        self._index: Any = None  # of the choice that is read
        self._last_index = -1
        self._places = Places()
        self.answered = False
        self.finish_reason: str | None = None
        self.usage: Usage | None = None

    def add(self, chunk: Any) -> list[Delta]:
        """Take a chunk in, and give its pieces; empty ones are left out.

        Raises:
            BadResponse: when it is no chunk of a chat completion.
        """
        choices = chunk.get("choices") if _is_object(chunk) else None
        if choices is None and _is_object(chunk) and ("usage" in chunk or chunk.get("object") not in (None, "error")):
            choices = []  # some leave it out of the chunk that brings the usage
        if not _is_array(choices):
            raise BadResponse("the answer is not a stream of chunks", status=200)
        if self._id is None:
            self._id = _text(chunk.get("id")) or None
        self._model = self._model or _text(chunk.get("model"))
        choice = self._choice(choices)
        self.answered = self.answered or bool(choice)
        if chunk.get("usage") or choice.get("usage") or "x_groq" in chunk:
            self.usage = usage_of(chunk, choice) or self.usage
        if reason := choice.get("finish_reason"):
            self.finish_reason = _text(reason) or self.finish_reason
        delta = choice.get("delta")
        if not _is_object(delta):
            return []
        found = list(self._pieces(delta))
        for each in found:
            self._collected.add(each)
        return found

    def _choice(self, choices: list[Any]) -> Mapping[str, Any]:
        """Give what the chunk has of the choice that came first: with `n` there are several."""
        for each in choices:
            if _is_object(each):
                index = each.get("index")
                if self._index is None:
                    self._index = index
                if index is None or index == self._index:
                    return each
        return _NOTHING

    def _pieces(self, delta: Mapping[str, Any]) -> Iterator[Delta]:
        text, reasoning = _content(delta)
        if reasoning:
            yield Delta(reasoning=reasoning)
        if text:
            yield Delta(text=text)
        for call in _tool_calls(delta, self._last_index):
            self._last_index = max(self._last_index, call.index)
            yield Delta(tool_call=replace(call, index=self._places.of(call.index, call.id)))

    def reply(self, headers: Mapping[str, str] = _NOTHING) -> Reply:
        """Give the whole reply, with the headers of the response."""
        return replace(
            self._collected.reply(self._route),
            headers=headers,
            usage=self.usage,
            finish_reason=self.finish_reason,
            model=self._model,
            response_id=self._id,
        )


def _content(message: Mapping[str, Any]) -> tuple[str, str]:
    """Give text and reasoning."""
    content = message.get("content")
    reasoning = next((found for name in _REASONING if isinstance(found := message.get(name), str) and found), "")
    if isinstance(content, str):
        text = content
    elif _is_array(content):
        text, thought = _parts(content)
        reasoning = reasoning or thought
    else:
        text = ""
    if not reasoning and _is_array(details := message.get("reasoning_details")):  # OpenRouter
        reasoning = "".join(_text(part.get("text") or part.get("summary")) for part in details if _is_object(part))
    return text or _text(message.get("refusal")), reasoning


def _parts(content: Any) -> tuple[str, str]:
    """Read content that is a list of parts, as Mistral's reasoning models give it."""
    text, reasoning = "", ""
    for part in content:
        if not _is_object(part):
            continue
        if part.get("type") == "thinking":
            thought = part.get("thinking")
            inner = thought if _is_array(thought) else [{"text": thought}]
            reasoning += "".join(_text(each.get("text")) for each in inner if _is_object(each))
        else:
            text += _text(part.get("text"))
    return text, reasoning


def _tool_calls(message: Mapping[str, Any], last: int = -1) -> Iterator[ToolCall]:
    calls = message.get("tool_calls")
    if not calls and _is_object(old := message.get("function_call")):  # before there were tools
        calls = [{"index": 0, "function": old}]
    for call in calls if _is_array(calls) else ():
        if not _is_object(call):
            continue
        function = call.get("function")
        function = function if _is_object(function) else _NOTHING
        index = call.get("index")
        if type(index) is not int:  # some give none: then an id begins another call
            index = last + 1 if call.get("id") or last < 0 else last
        last = index
        arguments = _written(function.get("arguments"))
        yield ToolCall(_text(call.get("id")), _text(function.get("name")), arguments, index)


def _written(arguments: Any) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    try:
        return json.dumps(arguments)  # some give the object itself
    except RecursionError:
        failure = BadResponse("the arguments of a tool call are nested too deeply", status=200)
    raise failure


def usage_of(body: Mapping[str, Any], choice: Mapping[str, Any] = _NOTHING) -> Usage | None:
    """Read the tokens of an answer or a chunk; None where it does not say.

    Args:
        body: of the answer, or the chunk, parsed.
        choice: of it, where some services tell them.
    """
    told = body.get("usage") or choice.get("usage")  # Moonshot: of the choice
    if not _is_object(told):
        inside = body.get("x_groq")
        told = inside.get("usage") if _is_object(inside) else None
    if not _is_object(told):
        return None
    read, written = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    cached = _count(read, "cached_tokens") or _count(told, "prompt_cache_hit_tokens")  # the second is DeepSeek's
    usage = Usage(
        _count(told, "prompt_tokens"),
        _count(told, "completion_tokens"),
        cached_tokens=cached,
        cache_write_tokens=_count(read, "cache_write_tokens"),
        reasoning_tokens=_count(written, "reasoning_tokens"),
    )
    return usage if usage.input_tokens or usage.output_tokens else None


def _count(told: Any, name: str) -> int:
    value = told.get(name) if _is_object(told) else None
    return int(value) if isinstance(value, (int, float)) and 0 < value < _MOST_TOKENS else 0


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)  # what a JSON parser makes; to ask for a Mapping costs ten times as much


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
