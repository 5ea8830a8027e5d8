"""Read what the answer of any provider says: headers, how long to wait, the kind of error."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from stretto.errors import (
    BadResponse,
    CallError,
    ContentBlocked,
    ContextTooLong,
    error_for_status,
)
from stretto.shapes import is_list

if TYPE_CHECKING:
    from stretto.providers.connection import Response

_LARGEST_ERROR = 256 * 1024
_LONGEST_MESSAGE = 500  # where the body is no JSON
_LONGEST_TEXT = 2000
# Numbers from here on are moments, not spans: seconds, or milliseconds, since the epoch.
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12
# Source: Go's time.Duration, in which OpenAI and those who copy it write "6m0s", "17ms" and "1h2m3.5s".
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|s|m|h|d)")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

# Where the end of a limit's window stands, and what is left of it.
# Source: the rate limit pages of OpenAI and Anthropic; the plain form is that of OpenRouter and GitHub.
_RESETS = (
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
)
_REQUEST_IDS = (
    "x-request-id",
    "request-id",  # Anthropic
    "x-amzn-requestid",
    "apim-request-id",  # Azure
    "mistral-correlation-id",
    "x-ds-trace-id",  # DeepSeek
    "cf-ray",
)

# What a body may say more exactly than its status. Codes for machines, never words of a message.
# Source: the error codes of OpenAI's and Azure's APIs, and of llama.cpp's server.
_BY_CODE: Mapping[str, type[CallError]] = {
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filter": ContentBlocked,
    "content_policy_violation": ContentBlocked,
}


class Answer(NamedTuple):
    """What is known of an answer that is an error.

    Attributes:
        status: of HTTP.
        headers: lower-case names.
        body: parsed JSON, or None.
    """

    status: int
    headers: Mapping[str, str]
    body: Any = None


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Give headers as a plain dict with lower-case names, without set-cookie.

    Args:
        headers: as an HTTP library gives them.
    """
    plain = {str(name).lower(): str(value) for name, value in headers.items()}
    plain.pop("set-cookie", None)
    for name, value in plain.items():
        if not value.isascii():  # HTTP libraries keep what is no UTF-8 as what nobody can write out
            plain[name] = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return plain


def request_id(headers: Mapping[str, str]) -> str | None:
    """Find the provider's own name of the request; None when it gave none.

    Args:
        headers: lower-case names.
    """
    return next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None)


def retry_after(headers: Mapping[str, str], status: int | None = None) -> float | None:
    """Give the seconds that the server asks to wait, 0 or more; None when it does not say, or says nonsense.

    `retry-after-ms` wins over `Retry-After` (seconds, fractions, a date). Without them an answer of 429 counts with the
    ends of its limits' windows: the latest of those that are empty, or that do not say so.

    Args:
        headers: lower-case names.
        status: of the answer.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    now = _moment(headers.get("date", ""))  # the server's clock, to which its dates belong
    asked = _seconds_until(headers.get("retry-after", ""), now)
    if asked is not None or status != 429:
        return asked
    waits: list[float] = []
    for reset, remaining in _RESETS:
        wait = _seconds_until(headers.get(reset, ""), now)
        if wait is not None and not _number(headers.get(remaining, "0")):
            waits.append(wait)
    return max(waits, default=None)


async def answer_of(response: Response) -> Answer:
    """Read the body of an answer that is an error, as far as it is of use and can be read, and close the response.

    Args:
        response: of `Wire.send`.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with suppress(CallError):  # the status is known, and says more
            while size < _LARGEST_ERROR and (data := await response.chunk()):
                parts.append(data)
                size += len(data)
    finally:
        response.close()
    text = b"".join(parts).decode("utf-8", "replace")
    try:
        body: Any = json.loads(text)
    except (ValueError, RecursionError):
        plain = not response.headers.get("content-type", "").startswith("text/html")
        body = {"message": " ".join(text.split())[:_LONGEST_MESSAGE]} if plain else None
    return Answer(response.status, response.headers, body)


def error_of(answer: Answer, message: str = "", *, kind: type[CallError] | None = None) -> CallError:
    """Make the error of an answer, classified by its status and by the code in its body.

    Args:
        answer: what came.
        message: used when the body has none.
        kind: a class that is known better than from the status.
    """
    status, headers, body = answer
    retryable = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    if kind is None:
        kind = next((_BY_CODE[code] for code in _codes(body) if code in _BY_CODE), None)
    if kind is None and 300 <= status < 400:
        kind, retryable = BadResponse, False  # it would lead to the same place each time
        message, body = "a redirect, which is not followed", None
    if kind is None:
        kind = error_for_status(status) if status >= 400 else BadResponse
    return kind(
        _message(body) or message,
        status=status,
        retryable=retryable,
        retry_after=retry_after(headers, status),
        request_id=request_id(headers),
    )


def causes(error: BaseException | None, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Give an error and what stands behind it, nearest first.

    Args:
        error: what an HTTP library, or something built on one, raised.
        handled: what `sys.exception()` gave before the request. It stands behind every later error, and is left out.
    """
    seen = {id(handled)}
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def _error_object(body: Any) -> Mapping[str, Any]:
    whole = _object(body[0] if isinstance(body, list) and body else body)  # Google wraps it in a list
    return _object(whole.get("error")) or whole


def _codes(body: Any) -> list[str]:
    found = _error_object(body)
    codes = (place.get(name) for place in (found, _object(found.get("innererror"))) for name in ("code", "type"))
    return [code for code in codes if isinstance(code, str)]


def _message(body: Any) -> str:
    found = _error_object(body)
    found = _object(found.get("message")) or found  # Mistral's has FastAPI's in it
    texts = (found.get(name) for name in ("message", "detail", "error", "msg"))
    text = next((text for text in texts if isinstance(text, str) and text), "")
    if not text and is_list(details := found.get("detail")):  # FastAPI: one for each field that is wrong
        text = "; ".join(str(told) for each in details if (told := _object(each).get("msg")))
    return text[:_LONGEST_TEXT]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds_until(text: str, now: float | None) -> float | None:
    """Read a span ("2", "1.5", "6m0s") or a moment (a date, RFC 3339, the epoch)."""
    text = text.strip()
    number = _number(text)
    if number is not None and number < _EPOCH_SECONDS:
        return number
    pieces = _PIECE.findall(text)
    if pieces and "".join(map("".join, pieces)) == text:
        span = sum(float(count) * _UNITS[unit] for count, unit in pieces)
        return span if span < math.inf else None
    moment = _moment(text) if number is None else number / (1000 if number >= _EPOCH_MILLISECONDS else 1)
    return None if moment is None else max(0.0, moment - (now if now is not None else time.time()))


def _moment(text: str) -> float | None:
    """Read an HTTP date or RFC 3339 as seconds since the epoch."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text.strip())
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
