"""Give litellm a streamed response that leaves no generator behind, wherever it stops reading."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

import httpx

T = TypeVar("T")


class _Pieces(Generic[T]):
    """The pieces of a stream as litellm wants them. No generator: litellm drops those, and each becomes a task."""

    __slots__ = ("_decode", "_ended", "_next", "_ready")

    def __init__(self, piece: Callable[[], Awaitable[bytes]], decode: Callable[[bytes], Iterable[T]]) -> None:
        self._next = piece
        self._decode = decode
        self._ready: deque[T] = deque()
        self._ended = False

    def __aiter__(self) -> _Pieces[T]:
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            data = await self._next()
            self._ended = not data
            self._ready.extend(self._decode(data))
        return self._ready.popleft()


class _Lines:
    """Split bytes into lines, at line feeds alone: a model's text may hold what else Unicode breaks lines at."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def __call__(self, data: bytes) -> list[str]:
        *lines, rest = data.split(b"\n")
        if lines or not data:
            lines[:1] = [b"".join([*self._held, *lines[:1]])]
            self._held.clear()
        if rest:
            self._held.append(rest)
        if not data and lines == [b""]:
            return []
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]


class Streamed(httpx.Response):
    """A response whose body comes from the exchange. Closing is the exchange's: litellm may stop before the end."""

    def __init__(self, piece: Callable[[], Awaitable[bytes]], status: int, **told: Any) -> None:
        super().__init__(status, stream=httpx.AsyncByteStream(), **told)
        self._piece = piece

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Iterate over the bytes."""
        return _Pieces(self._piece, lambda data: (data,) if data else ())

    aiter_bytes = aiter_raw

    def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """Iterate over the text."""
        decoder = getincrementaldecoder("utf-8")("replace")
        return _Pieces(self._piece, lambda data: filter(None, (decoder.decode(data, not data),)))

    def aiter_lines(self) -> AsyncIterator[str]:
        """Iterate over the lines, without their ends."""
        return _Pieces(self._piece, _Lines())
