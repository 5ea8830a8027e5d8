"""Answer chat completions on a loopback port, as scripted, and keep every request as it came.

    async with Loopback() as server:
        server.answer(Answer("hi"), Answer(status=429, headers={"retry-after": "2"}))
        ...  # call server.url
        assert server.requests[0].json["model"] == "gpt-5"
        await server.all_closed()

It speaks the OpenAI format, complete and streamed, over HTTP/1.1 with keep-alive; standard library only.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

USAGE: Mapping[str, Any] = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says to one request.

    Args:
        text: the model's answer, streamed word by word; with an error status the error's message.
        status: HTTP status; from 400 on the body is an error object.
        headers: sent as well; an empty value leaves a header out.
        usage: of the answer; None leaves it out. A stream has it only when the request asked for it.
        message: further fields of the message (`reasoning_content`, `tool_calls` ...); a stream sends each whole,
            before the text.
        finish_reason: of the answer.
        model: the name in the answer; None: the one that was asked for.
        body: sent instead of all that, whether a stream was asked for or not; a mapping is sent as JSON.
        events: data of the events of a stream, sent as they are instead of the answer.
        chunks: bytes, sent in HTTP chunks as they are instead of all that, whatever was asked for and of any
            status; without an end, when they have none.
        content_type: of the body; None: that of what is sent.
        gzip: the body is compressed as a whole.
        done: False: a stream ends cleanly, but without its `[DONE]`.
        cut_after: the connection is closed after this many bytes of the body, events of the stream, or chunks.
            0: before the status line.
        reset: a cut is an RST, not a FIN.
        hang_after: the same places, but it falls silent there until the client goes away.
    """

    text: str = "hello world"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    usage: Mapping[str, Any] | None = field(default_factory=lambda: USAGE)
    message: Mapping[str, Any] = field(default_factory=dict[str, Any])
    finish_reason: str = "stop"
    model: str | None = None
    body: bytes | Mapping[str, Any] | None = None
    events: Iterable[str] | None = None
    chunks: Iterable[bytes] | None = None
    content_type: str | None = None
    gzip: bool = False
    done: bool = True
    cut_after: int | None = None
    reset: bool = False
    hang_after: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Attributes:
        method, path: of the request line; the path with its query.
        headers: lower-case names.
        body: its bytes.
        raw: all of it: request line, headers and body.
        connection: the number of the connection that it came on, from 1.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    raw: bytes
    connection: int

    @property
    def json(self) -> Any:
        """The body parsed; None when it is no JSON."""
        with suppress(ValueError):
            return json.loads(self.body)
        return None


class Loopback:
    """A server on a free loopback port, for one `async with`.

    Attributes:
        requests: in the order in which they were complete.
        otherwise: what is answered when the script has been used up.
        open: connections that are open now.
        connections: connections that were ever opened.
    """

    def __init__(self, otherwise: Answer | None = None) -> None:
        self.requests: list[Request] = []
        self.otherwise = otherwise or Answer()
        self.open = 0
        self.connections = 0
        self._script: deque[Answer] = deque()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Condition()
        self._serving: set[asyncio.Task[None]] = set()

    def answer(self, *answers: Answer) -> None:
        """Put `answers` at the end of the script, one for each request to come."""
        self._script.extend(answers)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        assert self._server is not None, "the server runs inside its `async with` only"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        """The base URL that a client is given."""
        return self.origin + "/v1"

    async def received(self, count: int) -> None:
        """Wait until `count` requests have come."""
        await self._until(lambda: len(self.requests) >= count, f"{count} requests")

    async def all_closed(self) -> None:
        """Wait until the clients have closed all connections."""
        await self._until(lambda: self.open == 0, "no open connection")

    async def _until(self, reached: Any, what: str) -> None:
        try:
            async with asyncio.timeout(5), self._changed:
                await self._changed.wait_for(reached)
        except TimeoutError:
            found = f"{len(self.requests)} requests and {self.open} open connections"
            raise AssertionError(f"waited for {what}, found {found}") from None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**24)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connections))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        try:
            while request := await _read(reader, connection):
                answer = self._script.popleft() if self._script else self.otherwise
                self.requests.append(request)
                await self._notify()
                if not await _write(answer, request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away: a thing that tests do
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _read(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    body = b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = line.split(" ", 2)
    return Request(method, path, headers, body, head + body, connection)


async def _write(answer: Answer, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send the answer; False: the connection is at its end."""
    asked = request.json if isinstance(request.json, dict) else {}
    streamed = bool(asked.get("stream")) and answer.body is None and answer.status < 400
    chunks: Iterable[bytes] | None = _events(answer, asked) if streamed else None
    if answer.chunks is not None:
        chunks = answer.chunks
    whole = b"" if chunks is not None else _complete(answer, asked)
    if answer.gzip:
        whole = gzip.compress(whole if chunks is None else b"".join(chunks))
        chunks = None
    headers = {
        "content-type": answer.content_type or ("text/event-stream" if streamed else "application/json"),
        "x-request-id": f"request-{request.connection}",
        **({"content-encoding": "gzip"} if answer.gzip else {}),
        **({"content-length": str(len(whole))} if chunks is None else {"transfer-encoding": "chunked"}),
        **answer.headers,
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    head = f"HTTP/1.1 {answer.status} Scripted\r\n{fields}\r\n"
    stop = answer.cut_after if answer.cut_after is not None else answer.hang_after
    if stop != 0:
        writer.write(head.encode("latin-1") + whole[:stop])
        for chunk in islice(chunks or (), stop):
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
    if stop is None:
        writer.write(b"" if chunks is None else b"0\r\n\r\n")
        await writer.drain()
        return headers.get("connection") != "close"
    if answer.hang_after is not None:
        await reader.read()
    elif answer.reset:
        writer.transport.abort()
    return False


def _complete(answer: Answer, asked: Mapping[str, Any]) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    if answer.body is not None:
        return json.dumps(answer.body).encode()
    if answer.status >= 400:
        error = {"message": answer.text, "type": "scripted", "code": str(answer.status)}
        return json.dumps({"error": error}).encode()
    message = {"role": "assistant", "content": answer.text, **answer.message}
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    reply = {**_envelope(answer, asked, "chat.completion"), "choices": [choice]}
    return json.dumps(reply if answer.usage is None else {**reply, "usage": answer.usage}).encode()


def _events(answer: Answer, asked: Mapping[str, Any]) -> list[bytes]:
    events = list(_chunks(answer, asked) if answer.events is None else answer.events)
    return [f"data: {event}\n\n".encode() for event in [*events, *(["[DONE]"] if answer.done else [])]]


def _chunks(answer: Answer, asked: Mapping[str, Any]) -> Iterable[str]:
    envelope = _envelope(answer, asked, "chat.completion.chunk")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{name: value} for name, value in answer.message.items()]
    deltas += [{"content": piece} for piece in pieces(answer.text)]
    for delta in deltas:
        yield json.dumps({**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield json.dumps({**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish_reason}]})
    if answer.usage is not None and (asked.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**envelope, "choices": [], "usage": answer.usage})


def _envelope(answer: Answer, asked: Mapping[str, Any], kind: str) -> dict[str, Any]:
    model = answer.model or asked.get("model", "")
    return {"id": "chatcmpl-1", "object": kind, "created": 1700000000, "model": model}


def pieces(text: str) -> list[str]:
    """Split a text as the server streams it: each word with the space before it."""
    first, *rest = text.split(" ")
    return [first, *(" " + word for word in rest)]
