"""Streams of events: whatever pieces the network makes of them, they are read as the standard says."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.errors import BadResponse
from stretto.providers.wire import Event, Events

PROPERTY = settings(deadline=None, derandomize=True, max_examples=400)


def read(pieces: Sequence[bytes], *, ndjson: bool = False, **bounds: int) -> list[Event]:
    events = Events(ndjson=ndjson, **bounds)
    return [event for piece in pieces for event in events.feed(piece)] + events.end()


def read_naively(stream: bytes) -> list[Event]:
    """Read a whole stream, word by word as WHATWG HTML says in "Interpreting an event stream".

    Unlike it an event without data is none, and one at the end counts; its last event ID is of no use to us.
    """
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    found: list[Event] = []
    data = event_type = ""
    for line in [*lines, ""]:
        if line == "":
            if data not in ("", "\n"):
                found.append(Event(event_type, data.removesuffix("\n")))
            data = event_type = ""
            continue
        if line.startswith(":"):
            continue
        field, colon, value = line.partition(":")
        if colon and value.startswith(" "):
            value = value[1:]
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
    return found


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted(place % (len(stream) + 1) for place in places)
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


PLACES = st.lists(st.integers(0, 10_000), max_size=12)
LINE = st.one_of(
    st.sampled_from(
        [b"", b"data", b"data:", b"data: ", b"data:  two", b"datax: no", b"Data: no", b" data: no", b"event", b"event:"]
    ),
    st.sampled_from(
        [b": ping", b":", b"id: 1", b"retry: 5", b"id", b"data:a:b", b"data\xff: x", b"\xef\xbb\xbfdata: b"]
    ),
    st.binary(max_size=6).map(lambda value: b"data: " + value.translate(None, b"\r\n")),
    st.binary(max_size=4).map(lambda value: b"event:" + value.translate(None, b"\r\n")),
    st.text(max_size=5).map(lambda value: f"data:{value}".encode().translate(None, b"\r\n")),
    st.binary(max_size=5).map(lambda value: value.translate(None, b"\r\n")),
)
STREAM = st.builds(
    lambda bom, lines, rest: bom + b"".join(line + end for line, end in lines) + rest,
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf"]),
    st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r"])), max_size=12),
    LINE,
)


@PROPERTY
@given(STREAM, PLACES)
def test_events_are_those_of_the_standard_whatever_the_pieces(stream: bytes, places: list[int]) -> None:
    assert read(cut(stream, places)) == read_naively(stream)


@PROPERTY
@given(st.binary(max_size=60) | st.text("adt: \r\n\ufeffé", max_size=40).map(str.encode), PLACES)
def test_so_are_those_of_arbitrary_bytes(stream: bytes, places: list[int]) -> None:
    assert read(cut(stream, places)) == read_naively(stream)
    assert read([stream[n : n + 1] for n in range(len(stream))]) == read_naively(stream)


@PROPERTY
@given(
    st.lists(st.sampled_from([b'{"a": 1}', b"", b"  ", b"\t", b'"\xff"', b"[1]", b"\xef\xbb\xbf1"])), PLACES, st.data()
)
def test_each_line_of_json_is_an_event_whatever_the_pieces(
    lines: list[bytes], places: list[int], data: st.DataObject
) -> None:
    ends = data.draw(st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=len(lines), max_size=len(lines)))
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    whole = stream.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
    assert read(cut(stream, places), ndjson=True) == [Event("", line) for line in whole if line.strip()]


def test_the_last_line_of_json_needs_no_end() -> None:
    assert read([b'{"a":', b" 1}"], ndjson=True) == [Event("", '{"a": 1}')]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [Event("", "a")]),
        (b"data: a\ndata: b\n\ndata: c\n\n", [Event("", "a\nb"), Event("", "c")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [Event("error", "a"), Event("", "b")]),
        (b"event: lost\n\ndata: a\n\n", [Event("", "a")]),
        (b"event: lost\nevent\ndata: a\n\n", [Event("", "a")]),
        (b"data:a\r\rdata:b\r\r", [Event("", "a"), Event("", "b")]),
        (b"\xef\xbb\xbfdata: a\r\n\r\n", [Event("", "a")]),
        (b": OPENROUTER PROCESSING\n\ndata: a\n\n", [Event("", "a")]),
        (b"data: [DONE]", [Event("", "[DONE]")]),
        (b"data: \xe4\n\n", [Event("", "\ufffd")]),
        (b"data:\n\ndata\n\n", []),
    ],
)
def test_what_servers_send(stream: bytes, events: list[Event]) -> None:
    assert read([stream]) == events


def test_an_event_is_given_as_soon_as_it_is_complete() -> None:
    events = Events()
    assert events.feed(b"data: a\n") == []
    assert events.feed(b"\n") == [Event("", "a")]
    assert events.feed(b"data: b\r\n\r") == [Event("", "b")]
    assert events.feed(b"\ndata: c\n\ndata: d\n\nda") == [Event("", "c"), Event("", "d")]
    assert events.feed(b"ta: e\n\n") == [Event("", "e")]
    assert events.end() == []


def test_nothing_in_nothing_out() -> None:
    assert read([]) == read([b""]) == read([b"", b"\n", b"", b"\r"]) == read([], ndjson=True) == []


# ---- bounds


@pytest.mark.parametrize("ndjson", [False, True])
@pytest.mark.parametrize("pieces", [[b"data: " + b"a" * 100], [b"data: "] + [b"a"] * 100], ids=["whole", "pieces"])
@pytest.mark.parametrize("end", [b"", b"\n\n"])
def test_a_line_has_a_bound(pieces: list[bytes], end: bytes, ndjson: bool) -> None:
    with pytest.raises(BadResponse, match="more than 105 bytes") as caught:
        read([*pieces, end], ndjson=ndjson, max_line=105)
    assert not caught.value.retryable
    assert len(read([*pieces, end], ndjson=ndjson, max_line=106)) == 1


@pytest.mark.parametrize("line", [b"data: aaaa\n", b"data:\n", b"data\n"])
def test_the_data_of_an_event_has_the_same_bound(line: bytes) -> None:
    with pytest.raises(BadResponse, match="more than 1000 bytes"):
        read([line] * 1001, max_line=1000)


def test_the_bound_is_for_each_event_anew() -> None:
    assert len(read([b"data: aaaa\n\n"] * 1000, max_line=100)) == 1000


@pytest.mark.parametrize("ndjson", [False, True])
def test_their_number_has_a_bound(ndjson: bool) -> None:
    stream = b"data: a\n\n" * 10 + b": and comments\n" * 10 * (not ndjson)
    assert len(read([stream], ndjson=ndjson, max_events=10)) == 10
    with pytest.raises(BadResponse, match="more than 9 events") as caught:
        read([stream], ndjson=ndjson, max_events=9)
    assert not caught.value.retryable


@pytest.mark.parametrize(("size", "total"), [(100, 64 * 2**20), (1, 2**18)])
def test_a_line_without_an_end_costs_linear_time_and_bounded_memory(size: int, total: int) -> None:
    most = min(total // 2, 16 * 2**20)
    events, piece, fed = Events(max_line=most), b"a" * size, 0
    tracemalloc.start()
    started = time.process_time()
    try:
        with suppress(BadResponse):
            while fed < total:
                fed += len(piece)
                events.feed(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < fed <= most + size
    assert peak < 1.5 * most + 2**20
    assert time.process_time() - started < 10  # half a second; minutes, were it quadratic
