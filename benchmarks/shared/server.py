"""Answer chat completions on a loopback port, in a process of its own, with as little work as can be.

`python server.py SECONDS CHUNKS`: each answer comes after SECONDS, a streamed one in CHUNKS pieces. The port
is the first line on stdout; the process ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys

BACKLOG = 16_384
_ENVELOPE = {"id": "chatcmpl-1", "created": 1700000000, "model": "m"}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def _complete() -> bytes:
    message = {"role": "assistant", "content": "hello world"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({**_ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: r\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def _streamed(chunks: int) -> bytes:
    envelope = {**_ENVELOPE, "object": "chat.completion.chunk"}
    choices = [{"index": 0, "delta": {"content": "hello "}, "finish_reason": None}] * chunks
    events = [{**envelope, "choices": [choice]} for choice in choices]
    events.append({**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({**envelope, "choices": [], "usage": _USAGE})
    lines = [f"data: {text}\n\n".encode() for text in [*map(json.dumps, events), "[DONE]"]]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines) + b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection, kept alive."""

    seconds = 0.0
    answers = (b"", b"")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.read = b""

    def data_received(self, data: bytes) -> None:
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            head = self.read[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self.read) < end + 4 + length:
                return
            body, self.read = self.read[end + 4 : end + 4 + length], self.read[end + 4 + length :]
            answer = self.answers[b'"stream":true' in body.replace(b" ", b"")]
            if self.seconds:
                asyncio.get_running_loop().call_later(self.seconds, self.transport.write, answer)  # type: ignore[attr-defined]
            else:
                self.transport.write(answer)  # type: ignore[attr-defined]


async def main(seconds: float, chunks: int) -> None:
    Connection.seconds = seconds
    Connection.answers = (_complete(), _streamed(chunks))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
