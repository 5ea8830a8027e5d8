"""Undo the compression of an answer, a bounded piece at a time: a bomb is never unfolded."""

from __future__ import annotations

import zlib

from stretto.errors import BadResponse

_HEADER, _NO_HEADER = 47, -15  # for zlib: gzip or zlib, as the first bytes say; plain deflate
_SLICE = 16 * 1024
# More than this never decompresses to nothing, unless somebody wants it to.
_MOST_IN_VAIN = 2**20


class Inflating:
    """Undo gzip and deflate, a bounded piece at a time."""

    __slots__ = ("_begun", "_held", "_in_vain", "_inflate")

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=_HEADER)
        self._begun = False
        self._held = b""  # until there is enough to tell what it is
        self._in_vain = 0

    def feed(self, data: bytes, most: int) -> bytes:
        """Decompress, up to `most` bytes: who gets as many has had too many.

        Raises:
            BadResponse: when it cannot be decompressed.
        """
        if not self._begun:
            data = self._held + data
            if len(data) < 2:
                self._held = data
                return b""
            self._begun = True
            self._inflate = zlib.decompressobj(wbits=_kind(data))
        try:
            found = self._pieces(data, most)
        except zlib.error as error:
            failure = BadResponse(f"the answer's compression is broken: {error}")
        else:
            self._in_vain += 0 if found else len(data)
            if self._in_vain <= _MOST_IN_VAIN:
                return found
            failure = BadResponse("the answer's compression holds nothing", retryable=False)
        raise failure

    def _pieces(self, data: bytes, most: int) -> bytes:
        parts: list[bytes] = []
        for start in range(0, len(data), _SLICE):  # what comes after a member is copied with each
            piece = data[start : start + _SLICE]
            while piece and most > 0:
                parts.append(self._inflate.decompress(piece, most))
                most -= len(parts[-1])
                if self._inflate.eof:  # gzip may have several members
                    piece = self._inflate.unused_data
                    self._inflate = zlib.decompressobj(wbits=_HEADER)
                else:
                    piece = self._inflate.unconsumed_tail
        return b"".join(parts)


def _kind(data: bytes) -> int:
    # Source: RFC 1952 and RFC 1950, the first two bytes. Some send deflate without either header.
    zlibs = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return _HEADER if zlibs or data.startswith(b"\x1f\x8b") else _NO_HEADER


class Unknown:
    """An encoding that was not asked for."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def feed(self, data: bytes, most: int) -> bytes:
        """Refuse it.

        Raises:
            BadResponse: not retryable.
        """
        message = f"the answer is encoded as {self._name[:40]!r}, which was not asked for"
        raise BadResponse(message, retryable=False)
