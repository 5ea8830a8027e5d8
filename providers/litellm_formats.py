"""Watch an answer on its way to litellm, which passes over what is broken, and makes up an end that did not come."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stretto.errors import BadResponse, CallError
from stretto.providers import litellm_cohere
from stretto.providers.wire import Answer, Events, error_of
from stretto.shapes import is_list, is_mapping


class Form(NamedTuple):
    """What is known of a format.

    Attributes:
        last: tells whether an event of a stream is its end mark; `[DONE]` always is.
        mended: changes a complete answer where litellm would stumble over it.
        own: litellm cannot read it: we do.
    """

    last: Callable[[Mapping[str, Any]], bool]
    mended: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    own: bool = False


def _never(_: Mapping[str, Any]) -> bool:
    return False


def _finish(event: Mapping[str, Any]) -> Any:
    choices = event.get("choices")
    first = choices[0] if is_list(choices) and choices else None
    return first.get("finish_reason") if is_mapping(first) else None


def _filtered(event: Mapping[str, Any]) -> bool:
    """Tell whether a filter stopped it: on Azure no `[DONE]` comes after that."""
    return bool(_finish(event) == "content_filter")


def _finished(event: Mapping[str, Any]) -> bool:
    """Tell whether the reason to finish came: Perplexity sends `[DONE]` with one of its models only."""
    return bool(_finish(event))


def _gemini_last(event: Mapping[str, Any]) -> bool:
    blocked, candidates = event.get("promptFeedback"), event.get("candidates")
    if is_mapping(blocked) and blocked.get("blockReason"):
        return True
    return is_list(candidates) and any(is_mapping(each) and each.get("finishReason") for each in candidates)


def _is(name: str, value: Any) -> Callable[[Mapping[str, Any]], bool]:
    return lambda event: event.get(name) == value


def _groq(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add what litellm takes for granted, and give the reasoning the name under which it is looked for."""
    choices = body.get("choices")
    return {
        "service_tier": None,
        **body,
        "choices": [_named(each) for each in choices] if is_list(choices) else choices,
    }


def _named(choice: Any) -> Any:
    message = choice.get("message") if is_mapping(choice) else None
    if not is_mapping(message) or "reasoning" not in message:
        return choice
    return {**choice, "message": {"reasoning_content": message["reasoning"], **message}}


_OPENAI = Form(_filtered)
_GROQ = Form(_filtered, _groq)
_PERPLEXITY = Form(_finished)
_ANTHROPIC = Form(_is("type", "message_stop"))
_GEMINI = Form(_gemini_last)
_BEDROCK = Form(_never)  # its streams hold checksums, and are checked
_OLLAMA = Form(_is("done", True))
_COHERE = Form(_is("type", "message-end"), litellm_cohere.stand_in, own=True)
_BY_PATH: tuple[tuple[str, Form], ...] = (
    ("/chat/completions", _OPENAI),
    ("/messages", _ANTHROPIC),
    (":generateContent", _GEMINI),
    (":streamGenerateContent", _GEMINI),
    ("/api/chat", _OLLAMA),
    ("/converse", _BEDROCK),
    ("/converse-stream", _BEDROCK),
)
_BY_PREFIX: Mapping[str, Form] = {"cohere": _COHERE, "cohere_chat": _COHERE, "groq": _GROQ, "perplexity": _PERPLEXITY}
_MARK = "[DONE]"


def form_of(prefix: str, path: str) -> Form | None:
    """Find the format of an answer; None when it is none of those that are known."""
    if prefix in _BY_PREFIX:
        return _BY_PREFIX[prefix]
    return next((form for end, form in _BY_PATH if path.endswith(end)), None)


def watch_of(form: Form | None, headers: Mapping[str, str]) -> Watch | None:
    """Begin to watch a stream; None where its format is not known."""
    return None if form is None or form is _BEDROCK else Watch(form, headers)


def reasoned(data: bytes) -> bool:
    """Tell whether tokens of reasoning are told: where they are not, litellm puts an estimate."""
    return b"reasoning_tokens" in data or b"thoughtsTokenCount" in data


def mended(form: Form, data: bytes, headers: Mapping[str, str]) -> tuple[bytes, Any]:
    """Give a complete answer as litellm can read it, and parsed as it came.

    Raises:
        BadResponse: when it is no JSON object, or an error.
    """
    body = _parsed(data, "the answer is no JSON")
    if not is_mapping(body):
        raise BadResponse("the answer is no object of JSON", status=200)
    if (failure := failure_in(body, headers)) is not None:
        raise failure
    return data if form.mended is None else json.dumps(form.mended(body)).encode(), body


def failure_in(body: Any, headers: Mapping[str, str]) -> CallError | None:
    """Give the error that an answer with status 200, or an event of it, tells of; None when it is an answer."""
    if not is_mapping(body):
        return None
    if body.get("error") or "error" in (body.get("type"), body.get("object")):
        return error_of(Answer(200, headers, body), "the answer is an error")
    return None


def _parsed(data: bytes | str, problem: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        pass
    raise BadResponse(problem, status=200)


class Watch:
    """Read a stream beside litellm.

    Args:
        form: of the stream.
        headers: of the answer.

    Attributes:
        ended: its end mark has come.
        failure: what is wrong with it, else None.
        events: those of the last piece, parsed.
        model: that answers, as the service names it; "" until it has said so.
    """

    __slots__ = ("_form", "_headers", "_lines", "ended", "events", "failure", "model")

    def __init__(self, form: Form, headers: Mapping[str, str]) -> None:
        kind = headers.get("content-type", "")
        self._lines = Events(ndjson=not kind.startswith("text/event-stream"))
        self._form = form
        self._headers = headers
        self.ended = False
        self.failure: CallError | None = None
        self.events: list[Any] = []
        self.model = ""

    def feed(self, data: bytes) -> None:
        """Take the next bytes in; none: the end."""
        self.events = []
        if self.failure is None:
            try:
                for _, text in self._lines.feed(data) if data else self._lines.end():
                    self._take(text)
            except CallError as error:
                self.failure = error

    def _take(self, text: str) -> None:
        if text == _MARK:
            self.ended = True
        elif not self.ended:
            event = _parsed(text, "a chunk of the stream is no JSON")
            if not is_mapping(event):
                raise BadResponse("a chunk of the stream is no object of JSON", status=200)
            if (failure := failure_in(event, self._headers)) is not None:
                raise failure
            self.ended = self._form.last(event)
            self.events.append(event)
            self.model = self.model or str(event.get("model") or "")
