"""`LiteLLM` against eleven wire formats, and `OpenAICompatible` against those that are OpenAI's.

What becomes of each reply, and of each way in which one can fail. The expectations are ours, one for all formats: by
status, by a code meant for machines, by how the answer ended. Where an API has a form of its own for something, its
expectation stands beside that form.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat
from typing import Any, NamedTuple

import pytest

from formats import FORMATS, INPUT, OUTPUT, TOOL_NAME, TOOLS, Anthropic, Format, Gemini, Groq, Said
from formats_shape import event
from loopback import Answer, Loopback
from stretto.call import Endpoint
from stretto.errors import (
    AuthenticationFailed,
    BadResponse,
    CallError,
    ContentBlocked,
    ContextTooLong,
    Overloaded,
    PermissionDenied,
    ProviderFailed,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from stretto.providers.litellm import LiteLLM
from stretto.providers.openai_compatible import OpenAICompatible
from stretto.reply import Reply
from stretto.secret import Secret
from stretto.testing import CallForTests, Stack, a_call
from stretto.usage import Usage

# litellm itself ignores these warnings of its own when it is imported; pytest forgets that with each test.
pytestmark = [
    pytest.mark.usefixtures("silence"),
    pytest.mark.filterwarnings("ignore:Accessing the '.*' attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier"),
]

# The formats that OpenAICompatible is to read as well.
ALIKE = ("openai", "azure", "mistral", "groq", "deepseek", "openrouter")
CASES = dict(FORMATS) | {
    f"compatible-{name}": replace(FORMATS[name], model=f"compatible/{FORMATS[name].model}", path="/v1")
    for name in ALIKE
}
EACH = pytest.mark.parametrize("form", CASES.values(), ids=CASES)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
KEY = "sk-of-this-call"


@pytest.fixture(autouse=True)
def credentials(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the format of a test needs beside a key."""
    callspec: Any = getattr(request.node, "callspec", None)
    form: Format | None = callspec.params.get("form") if callspec is not None else None
    for name, value in (form.environment if form is not None else {}).items():
        monkeypatch.setenv(name, value)


Provider = LiteLLM | OpenAICompatible


def provider_of(form: Format | None, **options: Any) -> Provider:
    ours = form is not None and form.model.startswith("compatible/")
    return OpenAICompatible(**options) if ours else LiteLLM(**options)


@pytest.fixture
async def provider(server: Loopback, request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Give the provider of the test's format; hold for every test that it leaves no task and no connection."""
    callspec: Any = getattr(request.node, "callspec", None)
    async with provider_of(callspec.params.get("form") if callspec is not None else None) as provider:
        yield provider
    await server.all_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def to(server: Loopback, form: Format, stream: bool, **fields: Any) -> CallForTests:
    key = None if form.key is None else Secret(form.key)
    return a_call(stream, **{"model": form.model, "endpoint": Endpoint(form.base_url(server.origin), key), **fields})


# Replies.

REPLIES: Mapping[str, Said] = {
    "text": Said(),
    "reasoning": Said(reasoning="let me see"),
    "a tool call": Said("", tools=1, finish="tool_calls"),
    "two tool calls": Said("", tools=2, finish="tool_calls"),
    "text and a tool call": Said("I will look.", tools=1, finish="tool_calls"),
    "the limit of tokens": Said(finish="length"),
    "a filter that stopped it": Said(finish="content_filter"),
    "150 chunks that are alike": Said("again " * 150, parts=("again ",) * 150),
    "other alphabets": Said("Grüße aus 東京 🦀"),
}


def expected(form: Format, said: Said) -> dict[str, Any]:
    return {
        "text": said.text,
        "reasoning": said.reasoning if form.reasons else "",
        "tool_calls": [(TOOL_NAME, given) for _, given in form.called(said)],
        "tool_ids": [name or "any" for name, _ in form.called(said)],
        "finish_reason": said.finish,
        "usage": Usage(INPUT, OUTPUT, cached_tokens=form.cached, reasoning_tokens=form.reasoned),
        "requests": 1,
    }


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def found(form: Format, reply: Reply, server: Loopback) -> dict[str, Any]:
    ids = [tool.id if form.tool_id else ("any" if tool.id else "none") for tool in reply.tool_calls]
    inputs = [parsed(tool.arguments) for tool in reply.tool_calls]
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "tool_calls": [(tool.name, given) for tool, given in zip(reply.tool_calls, inputs, strict=True)],
        "tool_ids": ids,
        "finish_reason": reply.finish_reason,
        "usage": reply.usage,
        "requests": len(server.requests),
    }


@EACH
@BOTH
async def test_a_reply_is_read_whole(server: Loopback, provider: Provider, form: Format, stream: bool) -> None:
    wrong = Wrong()
    for name, said in REPLIES.items():
        if said.finish not in form.finishes or (said.reasoning and not form.reasons):
            continue
        if isinstance(form, Gemini) and said.finish == "content_filter" and not stream:
            continue  # nothing is left of it: a failure
        server.requests.clear()
        server.answer(form.answer(said, stream))
        call = to(server, form, stream, params={"tools": TOOLS} if said.tools else {})
        try:
            reply = await provider(call)
        except CallError as error:
            wrong.note(name, "reply", repr(error))
            continue
        wrong.compare(name, found(form, reply, server), expected(form, said))
        if stream:
            told = {"text": said.texts, "reasoning": said.thoughts if form.reasons else []}
            heard = {kind: [text for p in call.pieces if (text := getattr(p, kind))] for kind in told}
            wrong.compare(f"{name}, as it comes", heard, told)
    wrong.none()


class Wrong:
    """What was not as expected, of all cases of a test."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def note(self, case: str, field: str, what: str) -> None:
        self._found.append(f"{case}: {field} is {what}")

    def compare(self, case: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        for field, value in expected.items():
            if found[field] != value:
                self.note(case, field, f"{found[field]!r}, not {value!r}")

    def none(self) -> None:
        if self._found:
            pytest.fail("\n".join(["", *self._found]), pytrace=False)


# Errors.

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
DATE = {"date": format_datetime(NOON, usegmt=True)}
IN_30_S = format_datetime(NOON + timedelta(seconds=30), usegmt=True)
EPOCH = NOON.timestamp()

WAITS: Mapping[str, tuple[Mapping[str, str], float | None]] = {
    "seconds": ({"retry-after": "2"}, 2),
    "a fraction": ({"retry-after": "1.5"}, 1.5),
    "milliseconds": ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    "a date": ({"retry-after": IN_30_S, **DATE}, 30),
    "a window's end, of requests": (
        {"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"},
        360,
    ),
    "a window's end, of tokens": (
        {
            "x-ratelimit-reset-requests": "24h0m0s",
            "x-ratelimit-remaining-requests": "5",
            "x-ratelimit-reset-tokens": "17ms",
            "x-ratelimit-remaining-tokens": "0",
        },
        0.017,
    ),
    "a window's end, as a moment": ({"x-ratelimit-reset": str(int((EPOCH + 5) * 1000)), **DATE}, 5),
    "a window's end, of anthropic": (
        {
            "anthropic-ratelimit-requests-reset": "2026-11-24T12:30:00Z",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-input-tokens-reset": "2026-11-24T12:00:07Z",
            "anthropic-ratelimit-input-tokens-remaining": "0",
            **DATE,
        },
        7,
    ),
    "nothing": ({}, None),
    "nonsense": ({"retry-after": "soon", "retry-after-ms": "nan"}, None),
}

STATUSES: Mapping[int, type[CallError]] = {
    400: RequestRejected,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: RequestRejected,
    413: RequestRejected,
    422: RequestRejected,
    429: RateLimited,
    500: ProviderFailed,
    503: Overloaded,
    529: Overloaded,
}
# Where the API has a code for it, or litellm knows the API's words.
TOO_LONG: Mapping[str, type[CallError]] = dict.fromkeys(FORMATS, ContextTooLong) | {
    "mistral": RequestRejected,  # its code stands for any argument that is invalid
    "openrouter": RequestRejected,  # its code is the status
}
BLOCKED: Mapping[str, type[CallError]] = dict.fromkeys(FORMATS, ContentBlocked) | {
    "deepseek": RequestRejected,  # it has no code of its own
    "openrouter": PermissionDenied,  # the same
}


class Case(NamedTuple):
    """A way to fail.

    Attributes:
        name: of the case.
        answer: of the server.
        kinds: the error is one of these.
        status: that it tells; None: that does not matter.
        retry_after: that it tells.
        message: that it holds.
        named: it holds the request's id, when the API gives one.
    """

    name: str
    answer: Answer
    kinds: tuple[type[CallError], ...]
    status: int | None = None
    retry_after: float | None = None
    message: str = ""
    named: bool = False


def refusals(form: Format) -> Iterator[Case]:
    for status, kind in STATUSES.items():
        answer = form.refuse(status, f"said of {status}")
        yield Case(str(status), answer, (kind,), status, message=f"said of {status}", named=True)
        bare = form.body(b"<html>no</html>", status, content_type="text/html")
        yield Case(f"{status} of something else", bare, (kind,), status, named=True)
    for name, (headers, seconds) in WAITS.items():
        yield Case(f"429, wait: {name}", form.refuse(429, "no", headers), (RateLimited,), 429, seconds, named=True)
    yield Case("503, wait", form.refuse(503, "no", {"retry-after": "2"}), (Overloaded,), 503, 2, named=True)
    too_long = TOO_LONG if not form.model.startswith("compatible/deepseek") else {form.name: RequestRejected}
    for name, made, kinds in (("too long", form.too_long(), too_long), ("blocked", form.blocked(), BLOCKED)):
        if made is not None:
            status, body = made
            answer = form.body(body, status, form.error_headers(status))
            yield Case(name, answer, (kinds[form.name],), status, named=True)
    if isinstance(form, Gemini):
        yield Case("a wrong key", form.body(form.wrong_key(), 400), (AuthenticationFailed,), 400)
        yield Case("429, wait: in the body", form.body(form.wait(34), 429), (RateLimited,), 429, 34)


def broken(form: Format, stream: bool) -> Iterator[Case]:
    """Make answers that came with 200, and are none."""
    html = b"<!DOCTYPE html><html><body>Bad gateway</body></html>"
    yield Case("a page", form.body(html, content_type="text/html"), (BadResponse,))
    yield Case("nothing", form.chunks([]) if stream else form.body(b""), (BadResponse,))
    yield Case("an error in a 200", form.body(form.error(500, "no")), (BadResponse, ProviderFailed))
    if form.nothing() is not None and not stream:
        yield Case("no choices", form.body(form.nothing()), (BadResponse,))
    if not stream:
        yield Case("half of it, as if it were whole", form.body(whole(form)[:-20]), (BadResponse,))
        yield Case("a list", form.body(b"[1]"), (BadResponse,))
        return
    begin, end = list(form.begin(Said())), list(form.end(Said()))
    yield Case("garbage at once", form.chunks([form.garbage()]), (BadResponse,))
    yield Case("garbage in the middle", form.chunks([*begin, form.garbage(), *end]), (BadResponse,))
    told = (BadResponse, Overloaded, ProviderFailed)
    yield Case("an error at once", form.chunks([form.break_off("no room")]), told)
    yield Case("an error in the middle", form.chunks([*begin, form.break_off("no room")]), told)


def cut(form: Format, stream: bool) -> Iterator[Case]:
    """Make answers that do not come to their end."""
    for how, reset in (("closed", False), ("reset", True)):
        for where, after in (("before it began", 0), ("in the middle", 3 if stream else 30)):
            answer = form.answer(Said(), stream, cut_after=after, reset=reset)
            yield Case(f"{how} {where}", answer, (ProviderUnavailable,))
    if not stream:
        return
    begin, end = list(form.begin(Said())), list(form.end(Said()))
    yield Case("an end without a mark", form.chunks(begin), (ProviderUnavailable,))
    if form.only_mark:
        answer = form.chunks([*begin, *end[: -form.only_mark]])
        yield Case("an end without its mark alone", answer, (ProviderUnavailable,))


def whole(form: Format) -> bytes:
    body = form.answer(Said(), False).body
    assert isinstance(body, bytes)
    return body


@EACH
@BOTH
async def test_a_failure_becomes_its_error_after_one_request(
    server: Loopback, provider: Provider, form: Format, stream: bool
) -> None:
    wrong = Wrong()
    for case in chain(refusals(form), broken(form, stream), cut(form, stream)):
        server.requests.clear()
        server.answer(case.answer)
        try:
            reply = await provider(to(server, form, stream))
        except CallError as error:
            failure = error
        else:
            wrong.note(case.name, "error", f"a reply: {reply.text!r} {reply.finish_reason}")
            continue
        kinds = " or ".join(kind.__name__ for kind in case.kinds)
        if type(failure) not in case.kinds:
            wrong.note(case.name, "error", f"{failure!r} {failure.status}, not {kinds}")
            continue
        told: dict[str, Any] = {
            "requests": len(server.requests),
            "retryable": failure.retryable,
            "retry_after": failure.retry_after,
            "foreign": (failure.__cause__, failure.__context__),
            "key": KEY in f"{failure} {failure!r} {vars(failure)}",
        }
        right: dict[str, Any] = {
            "requests": 1,
            "retryable": type(failure).retryable_by_default,
            "retry_after": None if case.retry_after is None else pytest.approx(case.retry_after),
            "foreign": (None, None),
            "key": False,
        }
        if case.status is not None:
            told, right = {**told, "status": failure.status}, {**right, "status": case.status}
        if case.named and form.request_id:
            told, right = {**told, "request_id": failure.request_id}, {**right, "request_id": f"id-of-{form.name}"}
        wrong.compare(case.name, told, right)
        if case.message not in failure.message:
            wrong.note(case.name, "message", repr(failure.message))
    wrong.none()


@EACH
@BOTH
async def test_no_redirect_is_followed(server: Loopback, provider: Provider, form: Format, stream: bool) -> None:
    wrong = Wrong()
    async with Loopback(form.answer(Said(), stream)) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            server.requests.clear()
            server.answer(form.body(b"", status, {"location": form.base_url(elsewhere.origin)}))
            with pytest.raises(CallError) as caught:
                await provider(to(server, form, stream))
            failure = caught.value
            told = {"kind": type(failure), "retryable": failure.retryable, "status": failure.status}
            right = {"kind": BadResponse, "retryable": False, "status": status, "sent": 1, "elsewhere": 0}
            sent = {"sent": len(server.requests), "elsewhere": len(elsewhere.requests)}
            wrong.compare(f"a redirect by {status}", {**told, **sent}, right)
    wrong.none()


@EACH
@BOTH
async def test_a_key_that_is_echoed_stands_in_no_error(
    server: Loopback, provider: Provider, form: Format, stream: bool
) -> None:
    server.answer(form.refuse(401, f"Incorrect API key provided: {KEY}"))
    call = to(server, form, stream)
    with pytest.raises(AuthenticationFailed) as caught:
        await Stack(provider=provider)(call)
    assert KEY not in f"{caught.value!r} {vars(caught.value)} {call.attempt}"


@EACH
@BOTH
@pytest.mark.parametrize("after", [0, 3], ids=["at once", "in the middle"])
async def test_a_call_that_is_cancelled_leaves_nothing(
    server: Loopback, provider: Provider, form: Format, stream: bool, after: int
) -> None:
    server.answer(form.answer(Said(), stream, hang_after=after))
    call = asyncio.create_task(provider(to(server, form, stream)))
    await server.received(1)
    await asyncio.sleep(0.02)  # until it has read what there is
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await server.all_closed()
    assert len(server.requests) == 1


@BOTH
async def test_groq_may_leave_its_service_tier_out(server: Loopback, provider: Provider, stream: bool) -> None:
    form = Groq(name="groq", model=FORMATS["groq"].model, path=FORMATS["groq"].path, tier=None)
    server.answer(form.answer(Said(), stream))
    assert (await provider(to(server, form, stream))).text == "three little words"


@BOTH
async def test_a_filter_that_leaves_nothing_of_an_answer_is_an_error(
    server: Loopback, provider: Provider, stream: bool
) -> None:
    form = FORMATS["gemini"]
    assert isinstance(form, Gemini)
    for body in (form.refused(), form.complete(Said(finish="content_filter"))):
        server.answer(form.chunks([event(body)]) if stream else form.body(body))
        with pytest.raises(ContentBlocked) as caught:
            await provider(to(server, form, stream))
        assert not caught.value.retryable


async def test_anthropic_may_tell_the_output_alone_at_the_end(server: Loopback, provider: LiteLLM) -> None:
    form = Anthropic(name="anthropic", model=FORMATS["anthropic"].model, brief=True)
    server.answer(form.answer(Said(), True))
    assert (await provider(to(server, form, True))).usage == Usage(INPUT, OUTPUT, cached_tokens=form.cached)


@EACH
async def test_a_body_may_be_compressed(server: Loopback, provider: Provider, form: Format) -> None:
    for stream in (False, True):
        server.answer(form.answer(Said(), stream, gzip=True))
        assert (await provider(to(server, form, stream))).text == "three little words"


@EACH
@BOTH
async def test_an_answer_without_an_end_is_bounded(server: Loopback, form: Format, stream: bool) -> None:
    piece = next(each for each in form.begin(Said()) if b"little" in each)
    server.answer(form.chunks(repeat(piece if stream else b" " * 1024)))
    async with provider_of(form, max_response_bytes=2**16) as provider:
        with pytest.raises(BadResponse) as caught:
            await provider(to(server, form, stream))
    assert not caught.value.retryable
    await server.all_closed()
    assert len(server.requests) == 1


@EACH
async def test_many_calls_at_once_get_their_own_replies(server: Loopback, provider: Provider, form: Format) -> None:
    server.otherwise = form.answer(Said(), True)
    replies = await asyncio.gather(*(provider(to(server, form, True)) for _ in range(12)))
    assert [reply.text for reply in replies] == ["three little words"] * 12
    assert len(server.requests) == 12
