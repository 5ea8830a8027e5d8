"""Read server-sent events and lines of JSON as they come in, whatever pieces the network makes of them."""

from __future__ import annotations

from typing import NamedTuple

from stretto.errors import BadResponse

MAX_LINE = 16 * 2**20
MAX_EVENTS = 1_000_000
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event of a stream.

    Attributes:
        name: of its `event:` field; "" without one, and for lines of JSON.
        data: its `data:` lines, joined with line breaks; or the line of JSON.
    """

    name: str
    data: str


class Events:
    """Take bytes in, give the events that are complete.

    Comments, blank lines, unknown fields and a byte order mark are passed over; lines end with LF, CR or CRLF; the
    space after a colon may be missing. An event without data is none. Bytes that are no UTF-8 become U+FFFD.

    Args:
        ndjson: each line that is not blank is an event.
        max_line: the most bytes that a line, and the data of an event, may have.
        max_events: the most events that a stream may have.

    Source: WHATWG HTML, "Interpreting an event stream"; unlike it, an event at the end of the stream needs no blank
    line after it.
    """

    __slots__ = (
        "_after_cr",
        "_count",
        "_data",
        "_first",
        "_held",
        "_max_events",
        "_max_line",
        "_name",
        "_ndjson",
        "_size",
    )

    def __init__(self, *, ndjson: bool = False, max_line: int = MAX_LINE, max_events: int = MAX_EVENTS) -> None:
        self._ndjson = ndjson
        self._max_line = max_line
        self._max_events = max_events
        self._count = 0
        self._first = True
        self._after_cr = False
        self._held = bytearray()  # of a line that has not ended
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes in, and give the events that they complete.

        Raises:
            BadResponse: not retryable, when a line is too long or there are too many events.
        """
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:  # the second half of a CRLF
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = data.split(b"\n")
        if lines and self._held:
            lines[0] = bytes(self._held) + lines[0]
            self._held.clear()
        if rest:
            self._held += rest
            self._bound(len(self._held))
        found: list[Event] = []
        for line in lines:
            self._take(line, found)
        return found

    def end(self) -> list[Event]:
        """Give the event that the end of the stream completes, if there is one.

        Raises:
            BadResponse: as `feed`.
        """
        found = self.feed(b"\n")
        self._dispatch(found)
        return found

    def _take(self, line: bytes, found: list[Event]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        self._bound(len(line))
        if self._ndjson:
            if line and not line.isspace():
                self._add(Event("", line.decode("utf-8", "replace")), found)
        elif not line:
            self._dispatch(found)
        elif line.startswith(b"data:") or line == b"data":
            self._size += len(line)
            self._bound(self._size)
            start = 6 if line.startswith(b"data: ") else 5
            self._data.append(line[start:].decode("utf-8", "replace"))
        elif line.startswith(b"event:") or line == b"event":
            self._name = line[6:].decode("utf-8", "replace").removeprefix(" ")

    def _dispatch(self, found: list[Event]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else "\n".join(self._data)
            if data:
                self._add(Event(self._name, data), found)
            self._data.clear()
            self._size = 0
        self._name = ""

    def _add(self, event: Event, found: list[Event]) -> None:
        self._count += 1
        if self._count > self._max_events:
            raise BadResponse(f"the stream has more than {self._max_events} events", retryable=False)
        found.append(event)

    def _bound(self, size: int) -> None:
        if size > self._max_line:
            raise BadResponse(f"a line of the stream has more than {self._max_line} bytes", retryable=False)
