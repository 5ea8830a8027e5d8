"""Carry what litellm sends for one call over our own HTTP session, and keep what came back.

litellm, and the SDKs in it, send through httpx clients. `Client` is one without connections of its own; an `Exchange`
is what goes over it for one call. Imported late, since httpx takes a while.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from stretto.address import origin
from stretto.errors import CallError
from stretto.providers.litellm_formats import Watch, form_of, mended, reasoned, watch_of
from stretto.providers.litellm_response import Streamed
from stretto.providers.litellm_setup import CHORES, PATIENCE, at_home
from stretto.providers.wire import Answer, Wire, answer_of

if TYPE_CHECKING:
    from stretto.call import Call, Emit
    from stretto.providers.connection import Response
    from stretto.reply import Delta

_DONE = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)
# aiohttp writes these itself.
_OWN = frozenset(
    (b"accept-encoding", b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade")
)
_SECRET = re.compile(r"auth|key|token|secret|signature|credential|amz|cookie")


class Exchange:
    """What is sent and what comes back for one call.

    After an answer with an error status, or none, nothing more is sent: one call is one request, whatever litellm and
    the SDKs in it would try again.

    Args:
        call: what litellm is asked for.
        clients: what litellm is to use meanwhile; read by the guard.

    Attributes:
        answer: with an error status; None when there was none.
        begun: something is being sent, or was.
        headers: of the last answer, whatever its status.
        failure: our own error; None when there was none.
        emitting: a piece is being handed over.
        body: of the last complete answer, parsed, where its format is known.
        own: litellm cannot read the format: we do.
        reasoned: tokens of reasoning were told, or may have been.
        watch: over the last stream, where its format is known.
    """

    __slots__ = ("_closed", "_endpoint", "_ended", "_prefix", "_responses", "_task", "answer", "begun", "body",
                 "clients", "emitting", "failure", "headers", "own", "reasoned", "watch")  # fmt: skip

    def __init__(self, call: Call, clients: Any) -> None:
        self.clients = clients
        self.answer: Answer | None = None
        self.failure: CallError | None = None
        self.headers: dict[str, str] = {}
        self.body: Any = None
        self.begun = self.emitting = False
        self.own = False
        self.reasoned = False
        self.watch: Watch | None = None
        self._prefix = call.model.partition("/")[0]
        self._endpoint = call.endpoint
        self._task = asyncio.current_task()
        self._responses: list[Response] = []
        self._ended = self._closed = False

    @property
    def sent(self) -> bool:
        """Whether an answer has come."""
        return bool(self._responses)

    @contextmanager
    def current(self) -> Generator[None]:
        """Carry what litellm sends in here."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def concerns(self, task: asyncio.Task[Any] | None) -> bool:
        """Tell whether a task sends for this call: listeners of the application do not, though they inherit it."""
        if self._closed:
            return False
        if task is None or task is self._task:
            return True
        return not getattr(task.get_coro(), "__qualname__", "").startswith(CHORES)

    async def send(self, wire: Wire, request: httpx.Request, stream: bool) -> httpx.Response:
        """Send a request of litellm's.

        Raises:
            CallError: when no answer came, or nothing more is to be sent.
        """
        self._check(request, str(request.url))  # not kept: it may be a call of the application's, from a hook in ours
        self.begun = True
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            raise CallError("it is not sent again", retryable=False)
        try:
            return await self._sent(wire, request, stream)
        except CallError as error:
            if self.failure is None:
                self.failure = error
            raise

    async def _sent(self, wire: Wire, request: httpx.Request, stream: bool) -> httpx.Response:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in request.headers.raw if k.lower() not in _OWN}
        headers["accept-encoding"] = "identity" if stream else "gzip, deflate"  # compressed pieces come late
        url = str(request.url)
        trusted = self._endpoint.trusted and origin(url) == self._endpoint.origin
        response = await wire.send(request.method, url, headers, await request.aread(), trusted=trusted)
        self._responses.append(response)
        self.headers = response.headers
        status = response.status
        form = form_of(self._prefix, request.url.path) if request.method == "POST" else None
        self.own = form is not None and form.own
        self.reasoned = form is None
        if not 200 <= status < 300:
            self.answer = await answer_of(response)
            data = json.dumps(self.answer.body).encode()
        elif stream:
            self._ended = False
            self.watch = watch_of(form, response.headers)
            return Streamed(partial(self.piece, response), status, headers=response.headers, request=request)
        else:
            data = await response.read()
            if form is not None:
                self.reasoned = reasoned(data)
                data, self.body = mended(form, data, response.headers)
        told = {name: value for name, value in response.headers.items() if name != "content-length"}
        return httpx.Response(status, headers=told, content=data, request=request)

    def _check(self, request: httpx.Request, url: str) -> None:
        """Refuse to send what carries a key, or the prompt, to another address than the call's.

        The model's name, or what the application has set in litellm, may lead it elsewhere.
        """
        base = self._endpoint.base_url
        there = origin(url) == self._endpoint.origin if base is not None else at_home(self._prefix, url)
        plain = request.method == "GET" and not any(map(_secret, request.headers)) and not request.url.query
        key = self._endpoint.api_key
        if key is not None and base is not None and not all(key.reveal() in each for each in _credentials(request)):
            message = "litellm would send credentials of this machine along with the call's own key"
            raise CallError(message, retryable=False)
        if request.url.userinfo or not (there or plain):  # plain: a picture of the prompt
            whose = "the agent's base_url" if base is not None else f"an address of {self._prefix}"
            raise CallError(f"litellm would send this call to {origin(url)}, which is not {whose}", retryable=False)

    async def piece(self, response: Response) -> bytes:
        """Give the next piece of a stream; b"" at its end.

        Raises:
            CallError: when the connection broke, or what came before was no part of an answer.
        """
        if self.failure is not None:
            raise self.failure
        if self._ended:
            return b""
        try:
            data = await response.chunk()
        except CallError as error:
            self.failure = error
            raise
        self._ended = not data
        if self.watch is not None:
            self.watch.feed(data)
            self.reasoned = self.reasoned or reasoned(data)
            self.failure = self.watch.failure  # raised with the next piece: what came before it is to be read
            if self.watch.ended:
                self._ended = True  # for litellm; a server may keep the connection open
                if mark := _DONE.search(data):  # what follows does not count, and openai's SDK would leave a generator
                    data = data[: mark.start()]
        return data

    async def events(self) -> AsyncGenerator[Mapping[str, Any]]:
        """Iterate over the events of a stream, parsed."""
        while not self._ended and self.watch is not None:
            await self.piece(self._responses[-1])
            for event in self.watch.events:
                yield event

    async def ended(self) -> bool:
        """Read the stream on to its end mark; tell whether it came, True where the format is not known.

        Raises:
            CallError: when the connection broke before.
        """
        if self.watch is None:
            return True
        response = self._responses[-1]
        while not (self.watch.ended or self._ended):
            await self.piece(response)
        if self.failure is not None:
            raise self.failure
        await response.finish()
        self._ended = True
        return self.watch.ended

    def stop(self) -> None:
        """Let nothing more of a stream come."""
        self._ended = True

    async def emit(self, emit: Emit, delta: Delta) -> None:
        """Hand a piece over; what `emit` raises is not litellm's."""
        self.emitting = True
        await emit(delta)
        self.emitting = False

    def close(self) -> None:
        """End it: connections that were not read to their end are closed."""
        self._closed = True
        for response in self._responses:
            response.close()


def _credentials(request: httpx.Request) -> Iterator[str]:
    return (value for name, value in request.headers.items() if name in ("api-key", "authorization", "x-api-key"))


def _secret(header: str) -> bool:
    return _SECRET.search(header.lower()) is not None


_CURRENT: ContextVar[Exchange | None] = ContextVar("stretto_exchange", default=None)


def inherited() -> bool:
    """Tell whether the running code was begun by a call of ours, which may have ended."""
    return _CURRENT.get() is not None


def exchange() -> Exchange | None:
    """Give what the running code sends for; None outside of our calls."""
    found = _CURRENT.get()
    if found is None:
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:  # in a thread of litellm's, where it makes its requests
        task = None
    return found if found.concerns(task) else None


class Client(httpx.AsyncClient):
    """An httpx client that sends over a `Wire`: no redirect is followed, no cookie kept, no proxy looked up."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(transport=httpx.AsyncBaseTransport(), trust_env=False, timeout=PATIENCE)
        self._wire = wire

    async def send(self, request: httpx.Request, *, stream: bool = False, **_: Any) -> httpx.Response:
        """Send a request for the call that the running code belongs to."""
        found = exchange()
        if found is None:
            raise RuntimeError("nothing is sent outside of a call")
        return await found.send(self._wire, request, stream)
