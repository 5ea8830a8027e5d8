"""`OpenAICompatible` on the wire: what is sent, what becomes of each answer, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopback import Answer, Loopback, pieces
from rawserver import CHUNKED, RawServer, answering
from stretto.agent import Agent
from stretto.call import Endpoint
from stretto.ensemble import Ensemble
from stretto.errors import (
    AuthenticationFailed,
    BadResponse,
    CallError,
    ConfigError,
    ContentBlocked,
    ContextTooLong,
    Overloaded,
    PermissionDenied,
    ProviderFailed,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from stretto.middleware.retry import Retry
from stretto.providers.openai_compatible import OpenAICompatible
from stretto.reply import Reply, ToolCall
from stretto.runner import Runner
from stretto.secret import Secret
from stretto.testing import CallForTests, Stack, a_call
from stretto.usage import Usage

pytestmark = pytest.mark.usefixtures("silence")
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
TOOL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
DETAILS = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 7},
}


@pytest.fixture
async def provider(server: Loopback) -> AsyncIterator[OpenAICompatible]:
    """Give a provider; hold for every test that it leaves no task and no connection."""
    async with OpenAICompatible(trust_env=False) as provider:
        yield provider
    await server.all_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def to(url: str, stream: bool = False, **fields: Any) -> CallForTests:
    given = {"model": "compatible/some-model", "endpoint": Endpoint(url, Secret("sk-of-this-call")), **fields}
    return a_call(stream, **given)


async def error(provider: OpenAICompatible, call: CallForTests) -> CallError:
    with pytest.raises(CallError) as caught:
        await provider(call)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


# ---- replies


@BOTH
async def test_a_reply_is_complete_streamed_or_not(server: Loopback, provider: OpenAICompatible, stream: bool) -> None:
    call = to(server.url, stream)
    reply = await provider(call)
    assert (reply.text, reply.finish_reason, reply.route) == ("hello world", "stop", "compatible")
    assert (reply.model, reply.response_id) == ("some-model", "chatcmpl-1")
    assert reply.usage == call.attempt.usage == Usage(5, 2)
    assert reply.cost is None
    assert reply.headers == call.attempt.headers
    assert reply.headers["x-request-id"] == "request-1"
    assert "".join(p.text or "" for p in call.pieces) == ("hello world" if stream else "")


async def test_pieces_come_as_they_are_on_the_wire(server: Loopback, provider: OpenAICompatible) -> None:
    message = {"reasoning_content": "hm", "tool_calls": [TOOL]}
    server.answer(Answer("three little words", message=message, finish_reason="tool_calls", usage=DETAILS))
    call = to(server.url, True)
    await provider(call)
    told = [p.text or p.reasoning or p.tool_call or p.usage for p in call.pieces]
    tool, usage = ToolCall("call_1", "f", '{"a": 1}'), Usage(100, 20, cached_tokens=40, reasoning_tokens=7)
    assert told == ["hm", tool, *pieces("three little words"), usage]


@BOTH
async def test_usage_that_is_not_told_is_not_invented(
    server: Loopback, provider: OpenAICompatible, stream: bool
) -> None:
    server.answer(Answer(usage=None))
    call = to(server.url, stream)
    reply = await provider(call)
    assert reply.usage is reply.cost is call.attempt.usage is None
    assert not [p for p in call.pieces if p.usage]


@BOTH
async def test_a_compressed_answer_is_read(server: Loopback, provider: OpenAICompatible, stream: bool) -> None:
    server.answer(Answer("a long text " * 1000, gzip=True))
    assert (await provider(to(server.url, stream))).text == "a long text " * 1000


@BOTH
async def test_the_connection_is_kept(server: Loopback, provider: OpenAICompatible, stream: bool) -> None:
    for answer in (Answer(), Answer(status=500), Answer(status=429), Answer(body=b"garbage"), Answer()):
        server.answer(answer)
        if answer.status == 200 and answer.body is None:
            await provider(to(server.url, stream))
        else:
            await error(provider, to(server.url, stream))
    assert len(server.requests) == 5
    assert server.connections == 1


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_who_does_not_stream_may_answer_whole(server: Loopback, provider: OpenAICompatible, kind: str) -> None:
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    server.answer(Answer(body=body, content_type=kind))
    assert (await provider(to(server.url, True))).text == "hi"


def chunk(text: str | None = "hi", finish: str | None = None, **fields: Any) -> str:
    delta = {} if text is None else {"content": text}
    return json.dumps({"id": "1", "model": "m", "choices": [{"delta": delta, "finish_reason": finish}], **fields})


@pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-8", "text/plain", "application/octet-stream", "x"])
async def test_the_content_type_of_a_stream_may_be_any(server: Loopback, provider: OpenAICompatible, kind: str) -> None:
    server.answer(Answer(content_type=kind))
    assert (await provider(to(server.url, True))).text == "hello world"


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/X-NDJSON; charset=utf-8"])
async def test_lines_of_json_need_no_end_mark(server: Loopback, provider: OpenAICompatible, kind: str) -> None:
    lines = f"{chunk('hel')}\n\n{chunk('lo')}\r\n{chunk(None, 'stop')}".encode()
    server.answer(Answer(chunks=[lines[:20], lines[20:]], content_type=kind))
    assert (await provider(to(server.url, True))).text == "hello"


async def test_comments_and_other_events_are_passed_over(server: Loopback, provider: OpenAICompatible) -> None:
    stream = f": ping\r\n\r\nretry: 5\r\nevent: message\r\ndata:{chunk()}\r\n\r\n: ping\r\n\r\ndata:[DONE]\r\n\r\n"
    server.answer(Answer(chunks=[stream[n : n + 7].encode() for n in range(0, len(stream), 7)]))
    assert (await provider(to(server.url, True))).text == "hi"


def a_stream() -> bytes:
    data = f"data: {chunk()}\n\ndata: [DONE]\n\n".encode()
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-type: text/event-stream\r\n\r\n")
    return head + b"%x\r\n%b\r\n" % (len(data), data)


async def test_the_connection_is_kept_when_the_end_comes_a_little_later(provider: OpenAICompatible) -> None:
    async with RawServer(answering(a_stream(), b"0\r\n\r\n")) as server:
        for _ in range(3):
            assert (await provider(to(server.url, True))).text == "hi"
        assert server.connections == 1


async def test_after_the_end_mark_nobody_waits(provider: OpenAICompatible) -> None:
    async with RawServer(answering(a_stream())) as server:
        started = time.monotonic()
        assert (await provider(to(server.url, True))).text == "hi"
        assert time.monotonic() - started < 0.5
        await server.all_closed()


async def test_what_comes_after_the_end_mark_does_not_count(server: Loopback, provider: OpenAICompatible) -> None:
    server.answer(Answer(events=[chunk(), "[DONE]", chunk("more"), "{garbage"]))
    call = to(server.url, True)
    assert (await provider(call)).text == "hi"
    assert [p.text for p in call.pieces] == ["hi"]


# ---- what is sent


@BOTH
async def test_what_the_call_holds_is_sent_and_stays_as_it_is(
    server: Loopback, provider: OpenAICompatible, stream: bool
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = ({"role": "user", "content": [{"type": "text", "text": "hé"}, picture]},)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    params = {"temperature": 1, "tools": tools, "max_completion_tokens": 9, "stop": None}
    extra: dict[str, Any] = {"extra_headers": {"X-Mine": "1"}, "extra_body": {"top_k": 3, "temperature": 2}}
    before = json.dumps([messages, params, extra])
    await provider(to(server.url, stream, messages=messages, params=params, **extra))
    request = server.requests[0]
    sent = {"model": "some-model", "messages": list(messages), "temperature": 2, "tools": tools, "top_k": 3}
    sent |= {"max_completion_tokens": 9}
    sent |= {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    assert request.json == sent
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer sk-of-this-call"
    assert request.headers["x-mine"] == "1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == ("text/event-stream" if stream else "application/json")
    assert request.headers["user-agent"].startswith("stretto/")
    assert json.dumps([messages, params, extra]) == before


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": False}),
        ({"other": 1}, {"include_usage": True, "other": 1}),
        (None, None),
    ],
)
async def test_usage_is_asked_for_unless_that_is_not_wanted(
    server: Loopback, provider: OpenAICompatible, options: Any, sent: Any
) -> None:
    await provider(to(server.url, True, params={"stream_options": options}))
    assert server.requests[0].json.get("stream_options") == sent


async def test_without_a_key_no_header_is_sent(server: Loopback, provider: OpenAICompatible) -> None:
    await provider(to(server.url, endpoint=Endpoint(server.url)))
    assert "authorization" not in server.requests[0].headers


async def test_messages_may_be_any_mapping_and_tuple(server: Loopback, provider: OpenAICompatible) -> None:
    part = MappingProxyType({"type": "text", "text": "hi"})
    message = MappingProxyType({"role": "user", "content": (part,)})
    await provider(to(server.url, messages=(message,)))
    assert server.requests[0].json["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


async def test_half_a_surrogate_pair_is_sent_as_its_escape(server: Loopback, provider: OpenAICompatible) -> None:
    await provider(to(server.url, messages=({"role": "user", "content": "a\ud83d"},)))
    assert rb"a\ud83d" in server.requests[0].body


def cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": ({"role": "user", "content": float("nan")},)},
        {"params": {"temperature": float("inf")}},
        {"params": {"stop": {"a set"}}},
        {"params": {"user": Secret("sk-secret")}},
        {"params": {"stop": cycle()}},
        {"params": {"stream_options": "text"}},
        {"extra_body": {"a": object()}},
        {"extra_body": {"a": {(1, 2): 3}}},
    ],
    ids=["nan", "inf", "set", "secret", "cycle", "options", "object", "key"],
)
async def test_what_is_no_json_is_refused_before_anything_is_sent(
    server: Loopback, provider: OpenAICompatible, fields: Any
) -> None:
    failure = await error(provider, to(server.url, True, **fields))
    assert (type(failure), failure.retryable) == (RequestRejected, False)
    assert "sk-secret" not in str(failure)
    assert server.connections == 0


async def test_messages_that_are_nested_too_deeply_are_refused(server: Loopback, provider: OpenAICompatible) -> None:
    deep: Any = MappingProxyType({})
    for _ in range(200_000):  # newer Pythons go deeper
        deep = MappingProxyType({"a": deep})
    assert type(await error(provider, to(server.url, messages=(deep,)))) is RequestRejected


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "connection", "expect"])
async def test_headers_of_the_session_cannot_be_given(server: Loopback, provider: OpenAICompatible, name: str) -> None:
    failure = await error(provider, to(server.url, extra_headers={name: "evil.example"}))
    assert (type(failure), failure.retryable) == (RequestRejected, False)
    assert name in failure.message
    assert server.connections == 0


async def test_a_header_cannot_bring_another(server: Loopback, provider: OpenAICompatible) -> None:
    assert type(await error(provider, to(server.url, extra_headers={"x": "a\r\nhost: evil"}))) is RequestRejected
    endpoint = Endpoint(server.url, Secret("sk-secret\r\nx: y"))
    failure = await error(provider, to(server.url, endpoint=endpoint))
    assert type(failure) is RequestRejected
    assert "sk-secret" not in str(failure)
    assert server.requests == []


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/chat/completions"),
        ("/", "/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1//", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1?api-version=1&x=%2B", "/v1/chat/completions?api-version=1&x=%2B"),
        ("/v1/chat/completions?a=b#fragment", "/v1/chat/completions?a=b"),
        ("/dépôt/v1", "/d%C3%A9p%C3%B4t/v1/chat/completions"),
        ("/a%20b/%C3%A9/v1", "/a%20b/%C3%A9/v1/chat/completions"),
        (
            "/openai/deployments/gpt?api-version=2024-10-21",
            "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
    ],
)
async def test_an_address_may_be_written_in_many_ways(
    server: Loopback, provider: OpenAICompatible, base: str, path: str
) -> None:
    await provider(to(server.origin + base))
    assert server.requests[0].path == path


async def test_an_address_may_be_a_literal_of_ipv6(provider: OpenAICompatible) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    heads: list[bytes] = []
    try:
        server = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert type(await error(provider, to(f"http://[::1]:{port}/v1"))) is ProviderFailed
    assert f"Host: [::1]:{port}".encode() in heads[0]


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://127.1/v1", "http://h\u200b.example/v1", "http://h:99999"])
async def test_an_address_that_cannot_be_called_is_refused_for_good(provider: OpenAICompatible, url: str) -> None:
    endpoint = Endpoint("http://placeholder")
    object.__setattr__(endpoint, "base_url", url)
    failure = await error(provider, to("", endpoint=endpoint))
    assert (type(failure), failure.retryable) == (RequestRejected, False)


async def test_without_a_runner_its_own_address_and_key_are_used(server: Loopback) -> None:
    async with OpenAICompatible(server.url, api_key="sk-of-the-provider") as provider:
        await provider(a_call(model="compatible/m"))
        await provider(to(server.url, endpoint=Endpoint(None, Secret("sk-of-this-call"))))
        await provider(to(server.url, endpoint=Endpoint(server.origin)))
    keys = [request.headers.get("authorization") for request in server.requests]
    assert keys == ["Bearer sk-of-the-provider", "Bearer sk-of-this-call", None]


async def test_without_any_address_it_is_refused(provider: OpenAICompatible) -> None:
    assert type(await error(provider, a_call(model="compatible/m"))) is RequestRejected


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"base_url": "ftp://h"}, "base_url"),
        ({"base_url": "http://user:hunter2@h"}, "base_url"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"max_response_bytes": 0}, "max_response_bytes"),
        ({"api_key": ""}, None),
    ],
)
def test_settings_are_checked_at_construction(given: Any, key: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAICompatible(**given)
    assert caught.value.key == key
    assert "hunter2" not in str(caught.value)


def test_its_key_is_in_no_text() -> None:
    assert "sk-secret" not in repr(OpenAICompatible("http://h", api_key="sk-secret"))


# ---- errors

STATUSES: Mapping[int, type[CallError]] = {
    302: BadResponse,
    304: BadResponse,
    400: RequestRejected,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: RequestRejected,
    408: ProviderFailed,
    409: ProviderFailed,
    413: RequestRejected,
    422: RequestRejected,
    429: RateLimited,
    500: ProviderFailed,
    503: Overloaded,
    529: Overloaded,
}


@BOTH
async def test_a_status_becomes_its_error_and_each_is_one_request(
    server: Loopback, provider: OpenAICompatible, stream: bool
) -> None:
    for status, kind in STATUSES.items():
        headers = {"retry-after": "1.5", "location": server.url + "/elsewhere"}
        server.otherwise = Answer("no", status=status, headers=headers, body=b"" if status == 304 else None)
        server.requests.clear()
        call = to(server.url, stream)
        failure = await error(provider, call)
        assert type(failure) is kind
        assert failure.retryable is (kind.retryable_by_default and status >= 400)
        assert (failure.status, failure.retry_after, len(server.requests)) == (status, 1.5, 1)
        assert failure.request_id == (call.attempt.headers or {})["x-request-id"]
        assert failure.message == ("no" if status >= 400 else "a redirect, which is not followed")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (422, {"detail": [{"loc": ["body", "n"], "msg": "Input should be 1"}]}, RequestRejected, "Input should be 1"),
        (
            400,
            {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}},
            ContextTooLong,
            "too long",
        ),
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, ContextTooLong, "too long"),
        (404, {"error": "model 'x' not found"}, RequestRejected, "model 'x' not found"),
        (400, {"object": "error", "message": "no", "code": 40303}, RequestRejected, "no"),
        (400, {"error": {"message": "no", "innererror": {"code": "content_filter"}}}, ContentBlocked, "no"),
        (500, b"Internal Server Error", ProviderFailed, "Internal Server Error"),
        (502, b"upstream  went\r\naway", ProviderFailed, "upstream went away"),
        (503, b"", Overloaded, ""),
        (500, b"\xff\xfe", ProviderFailed, "\ufffd\ufffd"),
        (500, b"[" * 100_000, ProviderFailed, "[" * 500),
        (401, b'"text"', AuthenticationFailed, ""),
    ],
    ids=range(12),
)
async def test_the_body_of_an_error_is_understood(
    server: Loopback, provider: OpenAICompatible, status: int, body: Any, kind: type[CallError], message: str
) -> None:
    for stream in (False, True):
        server.answer(Answer(status=status, body=body))
        failure = await error(provider, to(server.url, stream))
        assert (type(failure), failure.status, failure.message) == (kind, status, message)


async def test_a_page_of_a_proxy_is_not_repeated(server: Loopback, provider: OpenAICompatible) -> None:
    server.answer(Answer(status=502, body=b"<html>Bad Gateway</html>", content_type="text/html"))
    failure = await error(provider, to(server.url))
    assert (type(failure), failure.message) == (ProviderFailed, "")


@pytest.mark.parametrize(("path", "hint"), [("", True), ("/", True), ("/v2", True), ("/v1", False), ("/a/v1/", False)])
async def test_a_404_says_what_most_servers_want(
    server: Loopback, provider: OpenAICompatible, path: str, hint: bool
) -> None:
    server.otherwise = Answer("no", status=404)
    assert ("/v1" in str(await error(provider, to(server.origin + path)))) is hint


@BOTH
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_cut_connection_is_no_answer(
    server: Loopback, provider: OpenAICompatible, stream: bool, reset: bool
) -> None:
    for after in (0, 2):
        server.answer(Answer(cut_after=after, reset=reset))
        call = to(server.url, stream)
        failure = await error(provider, call)
        assert (type(failure), failure.retryable) == (ProviderUnavailable, True)
        assert [p.text for p in call.pieces] == (["hello"] if stream and after else [])
        assert call.attempt.usage is None
    assert len(server.requests) == 2


@pytest.mark.parametrize("finish", [None, "stop"])
async def test_a_stream_that_ends_without_its_end_mark_was_cut(
    server: Loopback, provider: OpenAICompatible, finish: str | None
) -> None:
    server.answer(Answer(events=[chunk("hel", finish)], done=False))
    failure = await error(provider, to(server.url, True))
    assert (type(failure), failure.retryable) == (ProviderUnavailable, True)


async def test_nobody_at_the_address_is_no_answer(provider: OpenAICompatible) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        failure = await error(provider, to(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
    assert (type(failure), failure.retryable) == (ProviderUnavailable, True)


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        b"",
        b"<html>",
        b"[1]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"choices": [{"message": ' + b"[" * 100_000,
        b"9" * 5000,
        {},
        {"choices": []},
        {"choices": None},
        {"error": {"message": "no", "code": 500}},
        {"error": "no"},
        {"object": "error", "message": "no"},
        {"detail": "no"},
    ],
    ids=range(16),
)
async def test_a_200_that_is_no_answer_is_a_bad_response(
    server: Loopback, provider: OpenAICompatible, stream: bool, body: Any
) -> None:
    for kind in ("application/json", "text/event-stream", "x"):
        server.answer(Answer(body=body, content_type=kind))
        failure = await error(provider, to(server.url, stream))
        assert (type(failure), failure.retryable, failure.status) == (BadResponse, True, 200)
        if kind == "application/json" and isinstance(body, dict) and "no" in str(body) and "detail" not in body:
            assert failure.message == "no"


@pytest.mark.parametrize("events", [["{bad"], [], ["null"], ["[]"], ['"text"'], ["[" * 100_000], ["{}"]], ids=range(7))
async def test_a_stream_of_no_chunks_is_a_bad_response(
    server: Loopback, provider: OpenAICompatible, events: list[str]
) -> None:
    server.answer(Answer(events=events))
    assert type(await error(provider, to(server.url, True))) is BadResponse


@pytest.mark.parametrize(
    "event",
    [
        'data: {"error": {"message": "boom", "code": 502}, "choices": []}',
        'data: {"error": "boom"}',
        'event: error\ndata: {"message": "boom"}',
        'event: error\ndata: {"error": {"message": "boom"}}',
        'data: {"object": "error", "message": "boom", "type": "BadRequestError", "code": 400}',
    ],
)
async def test_an_error_in_the_middle_of_a_stream_is_one(
    server: Loopback, provider: OpenAICompatible, event: str
) -> None:
    stream = f"data: {chunk('half')}\n\n{event}\n\ndata: [DONE]\n\n"
    server.answer(Answer(chunks=[stream.encode()], content_type="text/event-stream"))
    call = to(server.url, True)
    failure = await error(provider, call)
    assert (type(failure), failure.message) == (BadResponse, "boom")
    assert [p.text for p in call.pieces] == ["half"]


async def test_a_code_in_the_error_of_a_stream_says_more(server: Loopback, provider: OpenAICompatible) -> None:
    server.answer(Answer(events=['{"error": {"message": "no", "code": "context_length_exceeded"}}']))
    assert type(await error(provider, to(server.url, True))) is ContextTooLong


@BOTH
async def test_a_refusal_is_the_answer(server: Loopback, provider: OpenAICompatible, stream: bool) -> None:
    server.answer(Answer("", message={"content": None, "refusal": "I will not"}))
    assert (await provider(to(server.url, stream))).text == "I will not"


@BOTH
async def test_an_answer_of_which_a_filter_left_nothing_is_blocked(
    server: Loopback, provider: OpenAICompatible, stream: bool
) -> None:
    server.answer(Answer("", finish_reason="content_filter"), Answer("half", finish_reason="content_filter"))
    failure = await error(provider, to(server.url, stream))
    assert (type(failure), failure.retryable) == (ContentBlocked, False)
    assert (await provider(to(server.url, stream))).text == "half"


@BOTH
async def test_an_answer_has_a_bound(server: Loopback, stream: bool) -> None:
    server.otherwise = Answer("many words " * 1000)
    async with OpenAICompatible(max_response_bytes=1000) as provider:
        failure = await error(provider, to(server.url, stream))
    assert (type(failure), failure.retryable) == (BadResponse, False)
    assert "max_response_bytes" in failure.message


# ---- ends


@pytest.mark.parametrize("after", [0, 2])
@BOTH
async def test_a_cancelled_call_leaves_no_connection(
    server: Loopback, provider: OpenAICompatible, stream: bool, after: int
) -> None:
    server.answer(Answer(hang_after=after))
    call = asyncio.create_task(provider(to(server.url, stream)))
    await server.received(1)
    await asyncio.sleep(0.02)  # until it has read what there is
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await server.all_closed()


async def test_an_emit_that_fails_ends_the_call_and_its_connection(
    server: Loopback, provider: OpenAICompatible
) -> None:
    async def emit(_: Any) -> None:
        raise ZeroDivisionError

    server.answer(Answer(hang_after=3))
    with pytest.raises(ZeroDivisionError):
        await provider(to(server.url, emit=emit))
    await server.all_closed()


async def test_three_attempts_are_three_requests(server: Loopback, provider: OpenAICompatible) -> None:
    server.otherwise = Answer(status=500)
    call = to(server.url)
    with pytest.raises(ProviderFailed):
        await Stack(Retry(3, backoff=0.001), provider=provider)(call)
    assert len(server.requests) == len(call.record.attempts) == 3


def test_a_second_run_of_the_loop_works() -> None:
    provider = OpenAICompatible()

    async def main() -> Reply:
        async with Loopback() as server, provider:
            await provider(to(server.url, True))
            return await provider(to(server.url))

    for _ in range(2):
        assert asyncio.run(main()).text == "hello world"
        gc.collect()  # what was not closed would warn now


def test_two_loops_at_once_take_nothing_from_each_other() -> None:
    provider = OpenAICompatible()
    texts: list[str] = []

    async def main() -> None:
        async with Loopback() as server, provider:
            for _ in range(5):
                replies = await asyncio.gather(*(provider(to(server.url, n % 2 == 0)) for n in range(6)))
                texts.extend(reply.text for reply in replies)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert texts == ["hello world"] * 60


def test_neither_litellm_nor_the_http_library_is_imported_before_it_is_needed() -> None:
    script = "import sys, stretto.providers.openai_compatible as _; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert {"litellm", "aiohttp", "yarl"}.isdisjoint(done.stdout.split())


# ---- in a runner


@BOTH
@pytest.mark.parametrize("model", ["llama3", "meta-llama/Llama-3", "llama3.2:1b", "compatible/llama3"])
async def test_a_model_without_a_known_prefix_goes_to_its_address(server: Loopback, model: str, stream: bool) -> None:
    async with Runner(middleware=[]) as runner:
        run = await runner.run(Agent("a", model=model, base_url=server.url), "hi", stream=stream)
    assert run.ok
    assert run["a"].output == "hello world"
    assert server.requests[0].json["model"] == model.removeprefix("compatible/")
    await server.all_closed()


async def test_without_an_address_the_agent_is_named_before_any_call(server: Loopback) -> None:
    ensemble = Ensemble(
        "two",
        [Agent("fine", model="llama3", base_url=server.url), Agent("lost", model="compatible/llama3")],
    )
    async with Runner(middleware=[]) as runner:
        with pytest.raises(ConfigError, match="base_url") as caught:
            await runner.run(ensemble, "hi")
    assert (caught.value.agent, caught.value.key) == ("lost", "base_url")
    assert server.connections == 0


async def test_a_provider_of_one_s_own_gives_address_and_key(server: Loopback) -> None:
    async with Loopback() as elsewhere:
        provider = OpenAICompatible(server.url, api_key="sk-of-the-provider")
        agents = [
            Agent("own", model="compatible/m"),
            Agent("other", model="compatible/m", base_url=elsewhere.url),
            Agent("given", model="compatible/m", base_url=elsewhere.url, api_key="sk-of-the-agent"),
        ]
        async with Runner(providers={"compatible": provider}, middleware=[]) as runner:
            assert (await runner.run(Ensemble("three", agents), "hi")).ok
        assert [request.headers.get("authorization") for request in server.requests] == ["Bearer sk-of-the-provider"]
        keys = {request.headers.get("authorization") for request in elsewhere.requests}
        assert keys == {None, "Bearer sk-of-the-agent"}


async def test_no_key_of_the_environment_is_sent_unless_its_origin_is_trusted(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "COMPATIBLE_API_KEY", "TEAM_API_KEY"):
        monkeypatch.setenv(name, "sk-of-the-environment")
    plain = Agent("a", model="llama3", base_url=server.url)
    named = Agent("a", model="llama3", base_url=server.url, api_key_env="TEAM_API_KEY")
    async with Runner(middleware=[]) as runner:
        assert (await runner.run(plain, "hi")).ok
        with pytest.raises(ConfigError, match="trusted_origins"):
            await runner.run(named, "hi")
    async with Runner(middleware=[], trusted_origins=[server.origin]) as runner:
        assert (await runner.run(named, "hi")).ok
    keys = [request.headers.get("authorization") for request in server.requests]
    assert keys == [None, "Bearer sk-of-the-environment"]


async def test_a_redirect_takes_no_key_along(server: Loopback) -> None:
    async with Loopback() as elsewhere:
        server.otherwise = Answer(status=307, headers={"location": elsewhere.url})
        async with Runner(middleware=[]) as runner:
            run = await runner.run(Agent("a", model="m", base_url=server.url, api_key="sk-key-of-code"), "hi")
        assert type(run["a"].error) is BadResponse
        assert elsewhere.connections == 0


async def test_a_key_that_a_server_echoes_is_in_no_error(server: Loopback) -> None:
    server.otherwise = Answer("wrong key: key-of-code-1234", status=401, headers={"x-request-id": "key-of-code-1234"})
    async with Runner(middleware=[]) as runner:
        run = await runner.run(Agent("a", model="m", base_url=server.url, api_key="key-of-code-1234"), "hi")
    assert type(run["a"].error) is AuthenticationFailed
    assert "key-of-code" not in str(run["a"].error) + repr(vars(run["a"].error))


async def test_a_link_local_address_is_refused_before_any_call() -> None:
    async with Runner(middleware=[]) as runner:
        for host in ("169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]"):
            with pytest.raises(ConfigError, match="trusted_origins") as caught:
                await runner.run(Agent("a", model="m", base_url=f"http://{host}/v1"), "hi")
            assert caught.value.agent == "a"


# ---- anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "delta", "content", "error", "usage"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
STREAM = st.lists(
    st.binary(max_size=20)
    | JSON.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n")
    | st.sampled_from([b"data: " + chunk().encode() + b"\n\n", b"data: [DONE]\n\n", b"event: error\n", b"\r", b"\n"]),
    max_size=5,
)


@settings(
    deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()), STREAM)
def test_whatever_a_server_says_is_a_reply_or_an_error_of_ours(body: bytes, stream: list[bytes]) -> None:
    async def main() -> None:
        async with Loopback() as server, OpenAICompatible(trust_env=False) as provider:
            for status in (200, 400):
                server.answer(Answer(status=status, body=body), Answer(status=status, chunks=[c for c in stream if c]))
                for streamed in (False, True):
                    try:
                        reply = await provider(to(server.url, streamed))
                    except CallError:
                        continue
                    assert status == 200
                    assert isinstance(reply.text, str)

    asyncio.run(main())
