"""Make our error of what litellm raises: by what came over the wire, and where nothing came by the cause behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stretto.errors import (
    AuthenticationFailed,
    BadResponse,
    CallError,
    ContentBlocked,
    ContextTooLong,
    RequestRejected,
)
from stretto.providers.wire import Answer, causes, error_of, retry_after
from stretto.shapes import is_list, is_mapping

if TYPE_CHECKING:
    from stretto.providers.litellm_transport import Exchange

# What litellm knows better than the status. It reads some of them out of a message: that is its own affair.
_KINDS: Mapping[str, type[CallError]] = {
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentBlocked,
}
# Source: google.rpc.ErrorInfo's reasons.
_REASONS: Mapping[str, type[CallError]] = {
    "API_KEY_INVALID": AuthenticationFailed,
    "API_KEY_EXPIRED": AuthenticationFailed,
}
_LONGEST_MESSAGE = 500


def failure_of(exchange: Exchange, error: Exception, handled: BaseException | None) -> CallError:
    """Give the error of a call, without foreign causes.

    Args:
        exchange: what was sent and what came back.
        error: what litellm raised.
        handled: what was being handled before the call; it stands behind every later error.
    """
    failure = _failure(exchange, error, handled)
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)


def _failure(exchange: Exchange, error: Exception, handled: BaseException | None) -> CallError:
    if exchange.failure is not None:
        return exchange.failure
    chain = list(causes(error, handled))
    names = [type(each).__name__ for each in chain]
    kind = next((_KINDS[name] for name in names if name in _KINDS), None)
    text = str(error).partition("\n")[0][:_LONGEST_MESSAGE]  # what follows may be a traceback
    if exchange.answer is not None:
        return _refusal(exchange.answer, text, kind)
    ours = next((each for each in chain if isinstance(each, CallError)), None)
    if ours is not None:
        return ours
    if exchange.sent:  # a 200: whatever status litellm gives it is made up
        return (kind or BadResponse)(text, status=200)
    missing = next((each for each in chain if isinstance(each, ImportError)), None)
    if missing is not None:
        return CallError(f"litellm needs another package for this model: {missing}", retryable=False)
    told = (getattr(each, "status_code", None) for each in chain)  # its own checks; 500 is whatever it does not know
    status = next((s for s in told if isinstance(s, int) and 400 <= s < 500), None)
    return (kind or RequestRejected)(text) if status is None else error_of(Answer(status, {}), text, kind=kind)


def _refusal(answer: Answer, text: str, kind: type[CallError] | None) -> CallError:
    wait = None
    for detail in _details(answer.body):
        kind = kind or _REASONS.get(str(detail.get("reason")))
        if str(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            wait = retry_after({"retry-after": str(detail.get("retryDelay"))})
    failure = error_of(answer, text, kind=kind)
    if failure.retry_after is None:
        failure.retry_after = wait
    return failure


def _details(body: Any) -> Iterator[Mapping[str, Any]]:
    """Give what Google adds to an error."""
    whole = body[0] if is_list(body) and body else body
    error = whole.get("error") if is_mapping(whole) else None
    details = error.get("details") if is_mapping(error) else None
    yield from (each for each in (details if is_list(details) else ()) if is_mapping(each))
