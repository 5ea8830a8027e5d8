"""The common ground of the providers: how long a server asks to wait, and what kind of error its answer is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from stretto.errors import BadResponse, CallError, ContentBlocked, ContextTooLong, RateLimited, RequestRejected
from stretto.providers.wire import Answer, Collected, causes, error_of, plain_headers, request_id, retry_after
from stretto.reply import Delta, ToolCall

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
DATE = format_datetime(NOON, usegmt=True)


def in_seconds(seconds: float) -> str:
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": in_seconds(30), "date": DATE}, 30),
        ({"retry-after": in_seconds(-30), "date": DATE}, 0),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "17ms"}, 0.017),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset": str(NOON.timestamp() + 5), "date": DATE}, 5),
        ({"x-ratelimit-reset": str((NOON.timestamp() + 5) * 1000), "date": DATE}, 5),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-24T12:00:07Z", "date": DATE}, 7),
        ({"anthropic-ratelimit-input-tokens-reset": "2026-11-24T12:00:07+00:00", "date": DATE}, 7),
        ({"retry-after": "3", "x-ratelimit-reset-requests": "6m0s"}, 3),
    ],
)
def test_every_form_of_retry_after_is_read(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, 429) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-3", "nan", "inf", "1,5", "6m0", "Tue, 99 Foo 2026"])
def test_nonsense_is_ignored(text: str) -> None:
    assert retry_after({"retry-after": text}, 429) is None
    assert retry_after({"retry-after-ms": text, "retry-after": "2"}, 429) == 2


def test_a_date_without_the_servers_clock_counts_from_ours() -> None:
    moment = format_datetime(datetime.fromtimestamp(time.time() + 30, UTC), usegmt=True)
    assert retry_after({"retry-after": moment}) == pytest.approx(30, abs=2)


def test_the_end_of_a_window_counts_only_where_it_is_empty() -> None:
    headers = {
        "x-ratelimit-reset-requests": "24h0m0s",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-tokens": "6s",
        "x-ratelimit-remaining-tokens": "0",
    }
    assert retry_after(headers, 429) == 6
    assert retry_after(headers, 500) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "no", "code": "context_length_exceeded"}}, ContextTooLong),
        (400, {"error": {"code": "x", "innererror": {"code": "content_filter"}}}, ContentBlocked),
        (400, {"error": {"message": "context_length_exceeded"}}, RequestRejected),
        (429, [{"error": {"message": "no", "code": 429}}], RateLimited),
        (302, None, BadResponse),
        (200, {"error": {"message": "no"}}, BadResponse),
    ],
)
def test_an_answer_becomes_its_error(status: int, body: Any, kind: type[CallError]) -> None:
    error = error_of(Answer(status, {"x-request-id": "7"}, body), "nothing said")
    assert type(error) is kind
    assert (error.status, error.request_id) == (status, "7")


def test_the_server_says_whether_another_try_may_help() -> None:
    assert not error_of(Answer(503, {"x-should-retry": "false"})).retryable
    assert error_of(Answer(400, {"x-should-retry": "true"})).retryable


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no"}}, "no"),
        ([{"error": {"message": "no"}}], "no"),
        ({"error": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ({"error": {}}, "said otherwise"),
        ("no", "said otherwise"),
        (None, "said otherwise"),
    ],
)
def test_the_message_is_found_in_its_usual_places(body: Any, message: str) -> None:
    assert error_of(Answer(400, {}, body), "said otherwise").message == message


def test_headers_are_plain_and_without_cookies() -> None:
    assert plain_headers({"X-Request-ID": "7", "Set-Cookie": "a=b"}) == {"x-request-id": "7"}
    assert request_id({}) is None


def test_what_is_being_handled_stands_behind_no_later_error() -> None:
    earlier, cause, error = ValueError("earlier"), OSError("reset"), RuntimeError("wrapped")
    cause.__context__ = earlier
    error.__cause__ = cause
    assert list(causes(error, earlier)) == [error, cause]


def test_the_pieces_of_a_tool_call_belong_together_by_their_index() -> None:
    collected = Collected()
    assert not collected
    for tool in (ToolCall("1", "f", '{"a"', 1), ToolCall("0", "g", "{}", 0), ToolCall("", "", ": 1}", 1)):
        collected.add(Delta(tool_call=tool))
    collected.add(Delta(text="hel"))
    collected.add(Delta(text="lo"))
    reply = collected.reply("here")
    assert reply.text == "hello"
    assert reply.tool_calls == (ToolCall("0", "g", "{}", 0), ToolCall("1", "f", '{"a": 1}', 1))
