"""The common ground of all providers that speak HTTP, for those of others too.

`Wire` carries requests, `Events` reads streams, `error_of` makes the error of an answer, `retry_after` reads how long
to wait, `reply_of` and `Chunks` read the OpenAI chat format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stretto.providers.answer import (
    Answer,
    answer_of,
    causes,
    error_of,
    plain_headers,
    request_id,
    retry_after,
)
from stretto.providers.chat_completion import Chunks, Collected, Places, reply_of, unblocked, usage_of
from stretto.providers.event_stream import Event, Events
from stretto.providers.session import MAX_RESPONSE_BYTES, Wire

if TYPE_CHECKING:
    from stretto.providers.connection import Response

__all__ = [
    "Answer",
    "Chunks",
    "Collected",
    "Event",
    "Events",
    "MAX_RESPONSE_BYTES",
    "Places",
    "Response",
    "Wire",
    "answer_of",
    "causes",
    "error_of",
    "plain_headers",
    "reply_of",
    "request_id",
    "retry_after",
    "unblocked",
    "usage_of",
]


def __getattr__(name: str) -> Any:
    if name != "Response":
        raise AttributeError(f"module 'stretto.providers.wire' has no attribute {name!r}")
    from stretto.providers.connection import Response  # it brings aiohttp

    return Response


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
