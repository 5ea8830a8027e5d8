"""The HTTP library's place: what servers may do to a call, and what is left when it ends early."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import socket
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rawserver import CHUNKED, OK, RawServer, Serve, answering, pouring, silent
from stretto.errors import BadResponse, CallError, ProviderUnavailable
from stretto.providers.connection import Response
from stretto.providers.wire import Wire, answer_of

CAP = 2**20
MIB = 2**20
ZEROS = b"\0" * MIB


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """Give a session with a cap of 1 MiB; hold for every test that it leaves no task."""
    wire = Wire(trust_env=False, max_response_bytes=CAP)
    yield wire
    await wire.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def body_of(wire: Wire, url: str, body: bytes = b"{}") -> bytes:
    async with asyncio.timeout(10):  # what nobody ends is to fail
        response = await wire.send("POST", url, {}, body)
        try:
            return await response.read()
        finally:
            response.close()


async def failure_of(wire: Wire, serve: Serve) -> CallError:
    """Give the error of a call; hold that it was one request, and that nothing is left open."""
    async with RawServer(serve) as server:
        with pytest.raises(CallError) as caught:
            await body_of(wire, server.url)
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert len(server.heads) == server.connections == 1
        await server.all_closed()
    return caught.value


@contextmanager
def memory(mib: float) -> Iterator[None]:
    """Hold that no more than so many MiB are in use at any time, by client and server together."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib * MIB
    finally:
        tracemalloc.stop()


# ---- heads


@pytest.mark.parametrize(
    "answer",
    [
        b"hello there\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"<html>HTTP/0.9</html>",
        b"",
        b"\r\n\r\n\r\n",
        b"HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 1000 No\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n no name\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-len",
        CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\r\n{}abc\r\n0\r\n\r\n",
    ],
    ids=range(20),
)
async def test_what_is_no_http_is_no_answer(wire: Wire, answer: bytes) -> None:
    failure = await failure_of(wire, answering(answer, stay=False))
    assert (type(failure), failure.retryable) == (ProviderUnavailable, True)
    assert len(failure.message) < 700


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n{}", b"HTTP/1.0 200 OK\r\n\r\n{}"])
async def test_a_body_may_end_with_the_connection(wire: Wire, answer: bytes) -> None:
    async with RawServer(answering(answer, stay=False)) as server:
        assert await body_of(wire, server.url) == b"{}"


async def test_hints_before_the_answer_are_passed_over(wire: Wire) -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with RawServer(answering(hints * 5 + OK)) as server:
        assert await body_of(wire, server.url) == b"{}"


async def test_a_switch_of_protocols_is_an_answer_without_a_body(wire: Wire) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nand bytes"
    async with RawServer(answering(head)) as server:
        response = await wire.send("POST", server.url, {}, b"{}")
        assert (await answer_of(response)).status == 101
        await server.all_closed()


START = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (START + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"\r\n", ()),
        (START + b"x: " + b"a" * 100_000 + b"\r\n\r\n", ()),
        (b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n", ()),
        (START, itertools.repeat(b"x: y\r\n" * 1000)),
        (START + b"x: ", itertools.repeat(b"a" * 65536)),
        (START, itertools.repeat(b"a" * 65536)),
        (b"HTTP/1.1 200 ", itertools.repeat(b"a" * 65536)),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", itertools.repeat(b"x: y\r\n" * 1000)),
    ],
    ids=["10000", "giant", "status", "endless", "endless-value", "endless-name", "endless-status", "trailers"],
)
async def test_a_head_that_is_too_large_is_refused_for_good(wire: Wire, head: bytes, pieces: Iterable[bytes]) -> None:
    with memory(16):
        failure = await failure_of(wire, pouring(head, pieces))
    assert (type(failure), failure.retryable) == (BadResponse, False)
    assert failure.message.startswith("the head of the answer is too large")


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (CHUNKED, b"0" * 65536),
        (CHUNKED + b"2;x=", b"a" * 65536),
    ],
    ids=["hints", "size", "extension"],
)
async def test_what_never_comes_to_the_point_takes_no_memory_and_can_be_cancelled(
    wire: Wire, head: bytes, piece: bytes
) -> None:
    with memory(24):
        async with RawServer(pouring(head, itertools.repeat(piece))) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await body_of(wire, server.url)
            await server.all_closed()


async def test_header_values_can_be_written_out_whatever_their_bytes(wire: Wire) -> None:
    head = b"HTTP/1.1 200 OK\r\nx-request-id: a\xff\xc3\xa4b\r\ncontent-length: 2\r\n\r\n{}"
    async with RawServer(answering(head)) as server:
        response = await wire.send("POST", server.url, {}, b"{}")
        await response.read()
        assert response.headers["x-request-id"] == "a\ufffdäb"


# ---- bodies


async def test_a_body_that_says_it_is_too_large_is_not_read(wire: Wire) -> None:
    failure = await failure_of(wire, pouring(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n", [b"{}"]))
    assert (type(failure), failure.retryable) == (BadResponse, False)
    assert f"max_response_bytes ({CAP})" in failure.message


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (CHUNKED, itertools.repeat(b"10000\r\n" + b"a" * 65536 + b"\r\n")),
        (b"HTTP/1.1 200 OK\r\n\r\n", itertools.repeat(b"a" * 65536)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\nconnection: close\r\n\r\n", [b"a" * (CAP + 1)]),
    ],
    ids=["chunked", "until-the-end", "said"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_has_a_bound(wire: Wire, head: bytes, pieces: Iterable[bytes], streamed: bool) -> None:
    async def read(response: Response) -> None:
        if not streamed:
            await response.read()
        async for _ in response.chunks():
            pass

    async with RawServer(pouring(head, pieces)) as server:
        with memory(16):
            response = await wire.send("POST", server.url, {}, b"{}")
            with pytest.raises(BadResponse, match="larger than max_response_bytes") as caught:
                await read(response)
        assert not caught.value.retryable
        await server.all_closed()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_body_of_exactly_the_bound_is_read(wire: Wire, encoding: str) -> None:
    body = os.urandom(CAP)
    sent = gzip.compress(body) if encoding == "gzip" else body
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(sent))
    async with RawServer(answering(head + sent)) as server:
        assert await body_of(wire, server.url) == body
        await server.received(1)


async def test_the_body_of_an_error_is_read_as_far_as_it_is_of_use(wire: Wire) -> None:
    pieces = itertools.repeat(b"10000\r\n" + b"a" * 65536 + b"\r\n")
    async with RawServer(pouring(CHUNKED.replace(b"200", b"500"), pieces)) as server:
        with memory(8):
            answer = await answer_of(await wire.send("POST", server.url, {}, b"{}"))
        assert (answer.status, len(answer.body["message"])) == (500, 500)
        await server.all_closed()


@pytest.mark.parametrize(
    "rest",
    [
        [b"content-length: 100\r\n\r\nhalf"],
        [b"transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", b"zz\r\n"],
        [b"content-encoding: br\r\ncontent-length: 4\r\n\r\nhalf"],
        [b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nhalf"],
        [b"content-length: 9999999999\r\n\r\n" + b"a" * 2**21],
    ],
    ids=["cut", "garbage", "br", "no-gzip", "large"],
)
async def test_the_status_of_an_error_counts_whatever_becomes_of_its_body(wire: Wire, rest: list[bytes]) -> None:
    head = b"HTTP/1.1 429 Too Many\r\nretry-after: 2\r\n"
    async with RawServer(answering(head + rest[0], *rest[1:], stay=False)) as server:
        answer = await answer_of(await wire.send("POST", server.url, {}, b"{}"))
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize("stay", [True, False])
async def test_garbage_in_the_middle_of_a_body_ends_it(wire: Wire, stay: bool) -> None:
    failure = await failure_of(wire, answering(CHUNKED + b"2\r\n{}\r\n", b"zz\r\n", stay=stay))
    assert (type(failure), failure.retryable) == (ProviderUnavailable, True)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", CHUNKED + b"2\r\n{}\r\n", CHUNKED + b"5\r\n{}"]
)
async def test_a_body_that_is_cut_off_is_no_answer(wire: Wire, answer: bytes) -> None:
    failure = await failure_of(wire, answering(answer, stay=False))
    assert (type(failure), failure.retryable) == (ProviderUnavailable, True)
    assert failure.message.startswith("the answer was cut off")


# ---- compression


def encoded(encoding: str, *pieces: bytes) -> Serve:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ntransfer-encoding: chunked\r\n\r\n" % encoding.encode()
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece]
    return answering(head, *chunks, b"0\r\n\r\n")


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


TEXT = b"a text that is worth it " * 1000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("gzip", b"".join(gzip.compress(TEXT[n : n + 1000]) for n in range(0, len(TEXT), 1000))),
        ("gzip", gzip.compress(b"") * 1000 + gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("identity", TEXT),
        ("", TEXT),
    ],
    ids=["gzip", "GZIP", "x-gzip", "members", "empty-members", "deflate", "raw", "identity", "none"],
)
async def test_what_was_asked_for_is_decompressed(wire: Wire, encoding: str, body: bytes) -> None:
    for pieces in ([body], [body[:1], body[1:7], body[7:100], body[100:]]):
        async with RawServer(encoded(encoding, *pieces)) as server:
            response = await wire.send("POST", server.url, {}, b"{}")
            assert await response.read() == TEXT
            assert "content-encoding" not in response.headers
            await body_of(wire, server.url)
            assert server.connections == 1
            await wire.close()


def repeated_zeros(count: int) -> bytes:
    """A valid gzip file of so many MiB."""
    deflate = zlib.compressobj(wbits=31)
    return b"".join(deflate.compress(ZEROS) for _ in range(count)) + deflate.flush()


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", repeated_zeros(64)),
        ("gzip", gzip.compress(ZEROS) * 10_240),  # 10 GiB
        ("gzip", repeated_zeros(4)[:-4] + (10 * 2**30 & 0xFFFFFFFF).to_bytes(4, "little")),
        ("deflate", zlib.compress(ZEROS * 64)),
        ("deflate", raw_deflate(ZEROS * 64)),
    ],
    ids=["one", "members", "claim", "deflate", "raw"],
)
async def test_a_bomb_is_refused_for_good(wire: Wire, encoding: str, bomb: bytes) -> None:
    serve = encoded(encoding, bomb)
    with memory(24 + 2 * len(bomb) / MIB):  # the server has it in one piece
        failure = await failure_of(wire, serve)
    assert (type(failure), failure.retryable) == (BadResponse, False)
    assert "max_response_bytes" in failure.message


async def test_members_that_hold_nothing_come_to_an_end(wire: Wire) -> None:
    member = gzip.compress(b"") * 3000
    chunk = b"%x\r\n%b\r\n" % (len(member), member)
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    failure = await failure_of(wire, pouring(head, itertools.repeat(chunk)))
    assert (type(failure), failure.retryable) == (BadResponse, False)


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "x" * 1000])
async def test_an_encoding_that_was_not_asked_for_is_refused(wire: Wire, encoding: str) -> None:
    failure = await failure_of(wire, encoded(encoding, b"{}"))
    assert (type(failure), failure.retryable) == (BadResponse, False)
    assert encoding[:40] in failure.message
    assert len(failure.message) < 200


BROKEN = gzip.compress(TEXT)


@pytest.mark.parametrize(
    "body",
    [b"no gzip at all", BROKEN[:10] + b"\xff" * 50, BROKEN[:-8] + b"\0" * 8, BROKEN + b"and more"],
    ids=["none", "inside", "checksum", "after"],
)
async def test_broken_compression_is_a_bad_response(wire: Wire, body: bytes) -> None:
    failure = await failure_of(wire, encoded("gzip", body))
    assert (type(failure), failure.retryable) == (BadResponse, True)
    assert "compression is broken" in failure.message


# ---- connecting


async def test_nobody_there_is_no_answer(wire: Wire) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(ProviderUnavailable) as caught:
            await body_of(wire, f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert caught.value.retryable
    assert "127.0.0.1" in caught.value.message


@pytest.fixture
def full() -> Iterator[str]:
    """Give an address that takes no further connection, and refuses none."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/v1"
        for each in waiting:
            each.close()


async def test_connecting_has_a_bound(full: str) -> None:
    wire = Wire(connect_timeout=0.1, trust_env=False)
    with pytest.raises(ProviderUnavailable) as caught:
        await body_of(wire, full)
    assert caught.value.message == "no connection within 0.1 s"
    assert caught.value.retryable
    await wire.close()


SCRIPT = """
import asyncio, os, resource, socket
from stretto.errors import ProviderUnavailable
from stretto.providers.wire import Wire

async def main():
    wire = Wire(trust_env=False)
    await wire.prepare()
    await asyncio.to_thread(int)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    for url in ("http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"):
        try:
            await wire.send("POST", url, {}, b"{}")
        except ProviderUnavailable as error:
            print(error.retryable, error)
    for each in held:
        os.close(each)
    await wire.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
def test_when_there_are_too_many_files_the_error_says_how_to_raise_the_limit() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("False ")
        assert "its limit is 40" in line
        assert "ulimit -n" in line


# ---- cancelled calls


def sockets() -> int:
    """Count the sockets of this process."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    return sum("socket:" in os.readlink(each) for each in folder.iterdir() if each.is_symlink())


async def cancelled(call: asyncio.Task[Any]) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_call_that_is_cancelled_while_connecting_leaves_no_socket(wire: Wire, full: str) -> None:
    before = sockets()
    call = asyncio.create_task(body_of(wire, full))
    await asyncio.sleep(0.02)
    assert sockets() == before + 1
    await cancelled(call)
    await asyncio.sleep(0.01)
    assert sockets() == before


@pytest.mark.parametrize(
    "serve",
    [
        silent,
        pouring(START + b"x: y\r\n", ()),
        pouring(OK[:-1], ()),
        pouring(CHUNKED + b"5\r\ndata:\r\n", ()),
        pouring(CHUNKED, itertools.repeat(b"10\r\n" + b"a" * 16 + b"\r\n")),
    ],
    ids=["before", "head", "body", "stream", "pouring"],
)
async def test_a_call_that_is_cancelled_closes_its_connection(wire: Wire, serve: Serve) -> None:
    async with RawServer(serve) as server:
        call = asyncio.create_task(body_of(wire, server.url))
        await server.connected(1)
        await asyncio.sleep(0.02)  # until it has read what there is
        await cancelled(call)
        await server.all_closed()


async def test_a_call_that_is_cancelled_while_it_sends_leaves_no_socket(wire: Wire) -> None:
    go_on = asyncio.Event()

    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()  # and reads nothing

    async with RawServer(serve) as server:
        before = sockets()
        call = asyncio.create_task(body_of(wire, server.url, b"x" * 2**24))
        await server.connected(1)
        await asyncio.sleep(0.02)
        await cancelled(call)
        await asyncio.sleep(0.01)
        assert sockets() == before + 1  # the server's own end
        go_on.set()
        await server.all_closed()


async def test_a_response_that_is_left_early_closes_its_connection(wire: Wire) -> None:
    async with RawServer(pouring(CHUNKED, [b"5\r\nhello\r\n"])) as server:
        response = await wire.send("POST", server.url, {}, b"{}")
        assert await response.chunk() == b"hello"
        response.close()
        response.close()
        await server.all_closed()


async def test_the_end_of_a_body_is_taken_in_when_it_comes_at_once(wire: Wire) -> None:
    for rest, connections in ([b"0\r\n\r\n"], 1), ([], 2), ([b"3\r\n: x\r\n", b"0\r\n\r\n"], 2):
        async with RawServer(answering(CHUNKED + b"5\r\nhello\r\n", *rest)) as server:
            for _ in range(2):
                response = await wire.send("POST", server.url, {}, b"{}")
                assert await response.chunk() == b"hello"
                await response.finish()
                response.close()
            assert server.connections == connections or len(rest) == 2
            await wire.close()


async def test_an_answer_before_the_body_was_sent_counts(wire: Wire) -> None:
    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        while await reader.read(65536):
            pass

    async with RawServer(serve) as server:
        response = await wire.send("POST", server.url, {}, b"x" * 2**23)
        assert (await answer_of(response)).status == 413
        await server.all_closed()


async def test_a_body_that_was_not_sent_whole_is_no_begin_of_the_next_request(wire: Wire) -> None:
    go_on = asyncio.Event()

    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        server.heads.append(head)
        await go_on.wait()
        while await reader.read(65536):
            pass

    async with RawServer(serve) as server:
        assert await body_of(wire, server.url, b"x" * 2**23) == b"{}"
        assert await body_of(wire, server.url, b"{}") == b"{}"
        assert (len(server.heads), server.connections) == (2, 2)
        go_on.set()
        await wire.close()
        await server.all_closed()
