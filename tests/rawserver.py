"""Write bytes to whoever connects to a loopback port, exactly as scripted: HTTP that is broken, endless or hostile.

async with RawServer(answering(b"HTTP/1.1 200 OK\\r\\n\\r\\n", b"and so on")) as server:
    ...  # call server.url
    assert len(server.heads) == 1
    await server.all_closed()
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class RawServer:
    """Run a function for each connection.

    Args:
        serve: gets the server, a reader and a writer; the connection is closed when it returns.
        tls: makes it an https server.

    Attributes:
        heads: of the requests that were read with `request`.
        bodies: likewise.
        open: connections that are open now.
        connections: connections that were ever opened.
    """

    def __init__(self, serve: Serve, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.open = 0
        self.connections = 0
        self._serve = serve
        self._tls = tls
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """An address of it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def request(self, reader: asyncio.StreamReader) -> None:
        """Read one request with a Content-Length, or without a body."""
        head = await reader.readuntil(b"\r\n\r\n")
        sizes = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        self.bodies.append(await reader.readexactly(int(sizes[0]) if sizes else 0))
        self.heads.append(head)
        await self._notify()

    async def received(self, count: int) -> None:
        """Wait until `count` requests have come."""
        await self._until(lambda: len(self.heads) >= count)

    async def connected(self, count: int) -> None:
        """Wait until `count` connections have been opened."""
        await self._until(lambda: self.connections >= count)

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        await self._until(lambda: self.open == 0)

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(reached)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())  # type: ignore[arg-type]
        self.open += 1
        self.connections += 1
        await self._notify()
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(self, reader, writer)
        finally:
            writer.transport.abort() if self._tls else writer.close()
            self.open -= 1
            self._tasks.discard(task)  # type: ignore[arg-type]
            await self._notify()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()


Serve = Callable[[RawServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(*pieces: bytes, stay: bool = True) -> Serve:
    """Answer every request with `pieces`, each as a packet of its own.

    Args:
        pieces: written one after the other.
        stay: the connection stays open, for further requests; False: it is closed after the first answer.
    """

    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005 if len(pieces) > 1 else 0)
            if not stay:
                return

    return serve


def pouring(head: bytes, pieces: Iterable[bytes]) -> Serve:
    """Answer the first request with `head`, then with `pieces` until they end or the client goes away."""

    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(head)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        await reader.read()

    return serve


async def silent(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read all that comes, and say nothing."""
    while await reader.read(65536):
        pass
