"""Answer chat completions on a loopback port, each after the latency that its prompt asks for: "wait 0.300000".

`python -m studied.server`: the port is the first line on stdout. For each line on stdin it says in a line of JSON what
its connections did since the line before; it ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import selectors

BACKLOG = 1024
_WAIT = re.compile(rb"wait (\d+\.\d+)")


def _answer() -> bytes:
    message = {"role": "assistant", "content": "hello world"}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)


class Counts:
    """What the connections did since somebody asked."""

    def __init__(self) -> None:
        self.open = self.peak = self.opened = self.requests = 0

    def told(self) -> str:
        said = json.dumps({"peak": self.peak, "opened": self.opened, "requests": self.requests})
        self.peak, self.opened, self.requests = self.open, 0, 0
        return said


class Connection(asyncio.Protocol):
    """One connection, kept alive."""

    counts = Counts()
    answer = _answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.read = b""
        self.counts.open += 1
        self.counts.opened += 1
        self.counts.peak = max(self.counts.peak, self.counts.open)

    def connection_lost(self, exc: Exception | None) -> None:
        self.counts.open -= 1

    def data_received(self, data: bytes) -> None:
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            head = self.read[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self.read) < end + 4 + length:
                return
            body, self.read = self.read[end + 4 : end + 4 + length], self.read[end + 4 + length :]
            asked = _WAIT.search(body)
            self.counts.requests += 1
            asyncio.get_running_loop().call_later(float(asked[1]) if asked else 0.0, self._write)

    def _write(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.answer)  # type: ignore[attr-defined]


async def main() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def asked() -> None:
        lines = os.read(0, 4096)
        if not lines:
            loop.remove_reader(0)
            ended.set()
        for _ in range(lines.count(b"\n")):
            print(Connection.counts.told(), flush=True)

    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=BACKLOG)
    loop.add_reader(0, asked)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    # epoll waits whole milliseconds: a latency of 300 ms would be one of up to 301. select takes microseconds, and up
    # to 1,000 connections.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main())
