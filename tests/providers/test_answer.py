"""What answers say: how long a server asks to wait, and what kind of error its answer is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.errors import BadResponse, CallError, ContentBlocked, ContextTooLong, RateLimited, RequestRejected
from stretto.providers.wire import Answer, causes, error_of, plain_headers, request_id, retry_after

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


@pytest.mark.parametrize(
    "text",
    [
        "9" * 400 + "s",
        "Aaa, 0 Jan 0 3000000000:00:00 GMT",
        "",
        "soon",
        "-3",
        "nan",
        "inf",
        "1,5",
        "6m0",
        "Tue, 99 Foo 2026",
    ],
)
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
        ({"detail": [{"loc": ["body", "n"], "msg": "not"}, {"msg": "here"}]}, "not; here"),  # FastAPI
        ({"detail": [{"loc": []}, 1]}, "said otherwise"),
        ({"error": "no" * 10_000}, "no" * 1000),
        ({"object": "error", "message": "no", "code": 40303}, "no"),  # vLLM of old
        ({"error": {"message": "", "msg": "no"}}, "no"),
        ({"error": {"message": ["no"]}}, "said otherwise"),
        ([[], {"message": "no"}], "said otherwise"),
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


TEXTS = st.one_of(
    st.text(max_size=20),
    st.from_regex(
        r"[A-Z][a-z]{2}, \d{1,12} (Jan|Feb|Foo) \d{1,12} \d{1,12}:\d\d:\d\d( GMT| [+-]\d{1,9})?", fullmatch=True
    ),
    st.from_regex(r"\d{1,400}(\.\d)?(s|m|ms|h|d)?", fullmatch=True),
    st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", fullmatch=True),
)
HEADERS = st.sampled_from(
    "retry-after retry-after-ms date x-ratelimit-reset x-ratelimit-remaining x-request-id".split()
)
NAMES = st.sampled_from("error message code type detail msg innererror".split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.sampled_from([200, 302, 400, 429, 500]), st.dictionaries(HEADERS, TEXTS), JSON)
def test_any_answer_makes_an_error(status: int, headers: dict[str, str], body: Any) -> None:
    error = error_of(Answer(status, headers, body), "nothing said")
    assert isinstance(error.message, str)
    assert isinstance(str(error), str)
    assert error.retry_after is None or 0 <= error.retry_after < inf
