"""The loopback server's own promises: bodies of any kind, and formats that are what their APIs send."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Iterator
from itertools import repeat
from typing import Any
from zlib import crc32

import aiohttp
import pytest

from formats import FORMATS, Format, Said
from loopback import Answer, Loopback

EVERYTHING = Said("some text", reasoning="let me see", tools=2, finish="tool_calls")
EACH = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def test_a_body_without_an_end_comes_for_as_long_as_it_is_read(
    server: Loopback, client: aiohttp.ClientSession
) -> None:
    server.answer(Answer(chunks=repeat(b"x" * 1024), content_type="text/event-stream"))
    async with client.get(server.url) as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readexactly(100_000) == b"x" * 100_000
        response.close()
    await server.all_closed()


async def test_a_body_is_compressed_when_asked_for(server: Loopback, client: aiohttp.ClientSession) -> None:
    server.answer(Answer(chunks=[b"one ", b"two"], gzip=True), Answer(body=b"three", gzip=True))
    for text in (b"one two", b"three"):
        async with client.get(server.url) as response:
            assert response.headers["content-encoding"] == "gzip"
            assert await response.read() == text


async def test_chunks_are_cut_where_they_are_told_to_be(server: Loopback, client: aiohttp.ClientSession) -> None:
    server.answer(Answer(chunks=[b"one", b"two", b"three"], cut_after=2))
    async with client.get(server.url) as response:
        assert await response.content.readexactly(6) == b"onetwo"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_an_empty_value_leaves_a_header_out(server: Loopback, client: aiohttp.ClientSession) -> None:
    server.answer(Answer(headers={"x-request-id": "", "x-mine": "1"}))
    async with client.get(server.url) as response:
        assert "x-request-id" not in response.headers
        assert response.headers["x-mine"] == "1"


@EACH
def test_a_stream_says_what_the_complete_reply_says(form: Format) -> None:
    complete, streamed = json.dumps(form.complete(EVERYTHING)), b"".join(_payloads(form)).decode()
    assert "some text" in complete
    assert "some" in streamed
    assert " text" in streamed
    for text in (complete, streamed):
        assert "weather" in text
        assert "Paris" in text
        assert "Rome" in text
        assert ('"let' in text) is form.reasons


@EACH
def test_each_chunk_of_a_stream_is_whole(form: Format) -> None:
    for payload in _payloads(form):
        assert payload == b"[DONE]" or isinstance(json.loads(payload), dict)


@EACH
def test_errors_and_garbage_differ_from_what_is_well_formed(form: Format) -> None:
    with pytest.raises((ValueError, AssertionError)):
        _parsed(form, form.garbage())
    assert "no room" in json.dumps(_parsed(form, form.break_off("no room")))
    assert "no room" in json.dumps(form.error(500, "no room"))


def _payloads(form: Format) -> list[bytes]:
    chunks = [*form.begin(EVERYTHING), *form.end(EVERYTHING)]
    return [payload for chunk in chunks for payload in _read(form, chunk)]


def _parsed(form: Format, chunk: bytes) -> list[Any]:
    return [json.loads(payload) for payload in _read(form, chunk)]


def _read(form: Format, chunk: bytes) -> Iterator[bytes]:
    if form.stream_type == "application/vnd.amazon.eventstream":
        yield _unframed(chunk)[1]
    elif form.stream_type == "application/x-ndjson":
        yield chunk.removesuffix(b"\n")
    else:
        assert chunk.endswith(b"\n\n")
        yield from (line[6:] for line in chunk.splitlines() if line.startswith(b"data: "))


def _unframed(chunk: bytes) -> tuple[dict[str, Any], bytes]:
    """Read one frame of AWS's event streams."""
    total, size, checksum = struct.unpack(">III", chunk[:12])
    assert total == len(chunk)
    assert checksum == crc32(chunk[:8])
    assert struct.unpack(">I", chunk[-4:]) == (crc32(chunk[:-4]),)
    headers: dict[str, Any] = {}
    rest = chunk[12 : 12 + size]
    while rest:
        length = rest[0]
        kind, space = struct.unpack(">BH", rest[1 + length : 4 + length])
        assert kind == 7
        headers[rest[1 : 1 + length].decode()] = rest[4 + length : 4 + length + space].decode()
        rest = rest[4 + length + space :]
    assert headers[":message-type"] in ("event", "exception")
    return headers, chunk[12 + size : -4]
