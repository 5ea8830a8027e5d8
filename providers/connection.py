"""The one place that knows the HTTP library: a request in; status, headers and pieces of the body out.

A faster library can take its place here.
"""

from __future__ import annotations

import asyncio
import errno
import io
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from yarl import URL

from stretto.address import forbidden
from stretto.errors import BadResponse, CallError, ProviderUnavailable, RequestRejected
from stretto.providers.answer import causes, plain_headers
from stretto.providers.compression import Inflating, Unknown
from stretto.providers.session import refused

if TYPE_CHECKING:
    from stretto.providers.session import Wire

KEEP_ALIVE = 30.0
DNS_SECONDS = 60
_HEADERS, _HEADER_BYTES = 128, 16 * 1024
_READ_AT_ONCE = 256 * 1024
# From here on aiohttp warns that it would block the loop, unless it is given a file.
_LARGE = 2**20
_LAST_BYTES = 0.05  # seconds; who misses them pays for another connection
_LONGEST_MESSAGE = 500
_TOO_MANY_HEADERS = "Too many headers received"  # aiohttp's words; it has no class for it
_NO_ADDRESS = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)
_BROKEN = (aiohttp.ClientError, OSError, HttpProcessingError)


class _ForbiddenError(OSError):
    """All addresses of a name are link-local or a metadata service's."""


class _Checked(AbstractResolver):
    """Resolve a name, and leave out what must not be called: this is the address that is connected to."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [each for each in found if not forbidden(each["host"])]
        if found and not allowed:
            raise _ForbiddenError(host)
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


class _Connection(ResponseHandler):
    """aiohttp's, which leaves nobody waiting: neither a socket for the other side, nor a reader for its bytes."""

    def close(self) -> None:
        self.abort()  # else it stays open until what is left has been taken, or the end of TLS been answered

    def abort(self) -> None:
        payload = self._payload
        super().abort()
        _tell(payload, aiohttp.ClientConnectionError("Connection closed"))

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
            exc.__cause__ = exc_cause
        _tell(self._payload, exc)


def _tell(payload: aiohttp.StreamReader | None, error: BaseException) -> None:
    if payload is not None and payload.exception() is None and not payload.is_eof():
        payload.set_exception(error)


class Pool:
    """The connections of one `Wire` on one loop.

    Args:
        wire: whose.
        any_address: link-local and metadata addresses may be called.
    """

    __slots__ = ("_session", "_wire")

    def __init__(self, wire: Wire, *, any_address: bool) -> None:
        self._wire = wire
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEP_ALIVE,
            ttl_dns_cache=DNS_SECONDS,
            resolver=None if any_address else _Checked(),
            ssl=wire.ssl_context or True,
        )
        connection = partial(_Connection, loop=asyncio.get_running_loop())
        connector._factory = connection  # type: ignore[assignment]  # pyright: ignore
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=wire.connect_timeout, sock_connect=wire.connect_timeout),
            auto_decompress=False,  # it would do so without a bound
            headers={"Accept-Encoding": "gzip, deflate"},  # what can be undone here; a request's own wins
            read_bufsize=_READ_AT_ONCE,
            max_field_size=_HEADER_BYTES,
            max_headers=_HEADERS,
        )
        # Where a kept connection is dead it would send once more, unless it is a POST.
        self._session._retry_connection = False  # pyright: ignore[reportPrivateUsage]

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, proxy: str | None
    ) -> Response:
        """Send one request, and wait for the head of its answer."""
        try:
            response = await self._session.request(
                method,
                _address(url),
                headers=headers,
                data=body if body is None or len(body) < _LARGE else io.BytesIO(body),
                allow_redirects=False,
                proxy=proxy,
            )
        except _BROKEN as error:
            failure = self._failure(error)
        except ValueError as error:  # of aiohttp and yarl: an address or a header that cannot be sent
            failure = RequestRejected(f"the request cannot be sent: {error}")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._session.closed or task is None or task.cancelling():
                raise
            failure = ProviderUnavailable("the session was closed")  # which cancels look-ups, and who waits for them
        else:
            return Response(response, self._wire.max_response_bytes)
        raise failure  # outside of the except block, so that it has no foreign context

    def _failure(self, error: Exception) -> CallError:
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if isinstance(cause, _ForbiddenError):
            return refused(str(cause))
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return ProviderUnavailable(_out_of_files(), retryable=False)
        if isinstance(error, _NO_ADDRESS):  # its own text may hold a proxy's password
            why = getattr(error, "description", None) or "it is no http(s) address"
            return RequestRejected(f"the address, or that of the proxy, cannot be called: {why}")
        if isinstance(error, aiohttp.ClientHttpProxyError):
            message = f"the proxy answered {error.status} {error.message}"[:_LONGEST_MESSAGE]
            return ProviderUnavailable(message, retryable=error.status >= 500)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ProviderUnavailable(f"no connection within {self._wire.connect_timeout:g} s")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            message = "its certificate is not trusted: give the provider an ssl_context that knows its authority"
            return ProviderUnavailable(f"{message} ({cause})"[:_LONGEST_MESSAGE], retryable=False)
        if isinstance(error, aiohttp.ClientConnectorError):
            return ProviderUnavailable(f"no connection to {error.host}:{error.port} ({cause})"[:_LONGEST_MESSAGE])
        return broken(error)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await asyncio.sleep(0)  # the transports' turn


class Response:
    """An answer: its head, then the pieces of its body as they come.

    Attributes:
        status: of HTTP; redirects are not followed.
        headers: lower-case names, without set-cookie; content-encoding is undone and gone.
    """

    __slots__ = ("_inflating", "_left", "_most", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, most: int) -> None:
        self._response = response
        self._most = self._left = most
        self.status = response.status
        self.headers = plain_headers(response.headers)
        self._inflating: Inflating | Unknown | None = None
        encoding = self.headers.pop("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            self._inflating = Inflating() if encoding in ("gzip", "x-gzip", "deflate") else Unknown(encoding)
            self.headers.pop("content-length", None)

    async def chunk(self) -> bytes:
        """Give the next piece, decompressed; b"" at the end.

        Raises:
            ProviderUnavailable: when the connection broke.
            BadResponse: not retryable, when the body is larger than allowed, or its encoding not what was asked for.
        """
        while True:
            try:
                data = await self._response.content.readany()
            except _BROKEN as error:
                failure = broken(error)
            else:
                ended = not data
                if self._inflating is not None and data:
                    data = self._inflating.feed(data, self._left + 1)
                self._left -= len(data)
                if self._left < 0:
                    self.close()
                    raise BadResponse(_too_large(self._most), retryable=False)
                if data or ended:
                    return data
                continue
            self.close()
            raise failure

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces; close the response when you leave before the end."""
        return _Chunks(self)

    async def read(self) -> bytes:
        """Give the whole body, as `chunk` does."""
        size = self.headers.get("content-length", "")
        if size.isdecimal() and int(size) > self._left:
            self.close()
            raise BadResponse(_too_large(self._most), retryable=False)
        parts: list[bytes] = []
        while data := await self.chunk():
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def finish(self) -> None:
        """Take the end of the body in, so that the connection is kept; what does not come at once is not waited for."""
        if not self._response.content.at_eof():
            with suppress(TimeoutError, CallError):
                async with asyncio.timeout(_LAST_BYTES):
                    while await self.chunk():
                        pass

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        self._response.close()


class _Chunks:
    """The pieces of a body: no generator, which the collector would have to close where it was left."""

    __slots__ = ("_response",)

    def __init__(self, response: Response) -> None:
        self._response = response

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if data := await self._response.chunk():
            return data
        raise StopAsyncIteration


def broken(error: BaseException) -> CallError:
    """Make the error of a connection that broke, or whose bytes are no HTTP."""
    said = error.message if isinstance(error, aiohttp.ClientResponseError) else error  # without the address
    text = " ".join(f"{type(error).__name__}: {said}".split())[:_LONGEST_MESSAGE]
    if any(map(_too_long, causes(error))):
        return BadResponse(f"the head of the answer is too large ({text})", retryable=False)
    if isinstance(error, aiohttp.ClientPayloadError):
        return ProviderUnavailable(f"the answer was cut off ({text})")
    return ProviderUnavailable(text)


def _too_long(error: BaseException) -> bool:
    return isinstance(error, LineTooLong) or getattr(error, "message", "") == _TOO_MANY_HEADERS


@lru_cache(maxsize=1024)
def _address(url: str) -> URL:
    return URL(url, encoded=True)  # signed as it is


def _too_large(most: int) -> str:
    return f"the answer is larger than max_response_bytes ({most}): give the provider a higher one if it may be"


def _out_of_files() -> str:
    return (
        f"this process may open no more files and connections{_limit()}: raise it with `ulimit -n 65536`, or lower "
        "max_concurrent_agents or ConcurrencyLimit"
    )


def _limit() -> str:
    try:
        from resource import RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows
        return ""
    return " (its limit is {}, at most {})".format(*getrlimit(RLIMIT_NOFILE))
