"""Carry requests over one HTTP session for each provider object and event loop.

It retries nothing, follows no redirect, keeps no cookie, and bounds what an answer may be.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stretto.address import forbidden
from stretto.errors import CallError, ConfigError, RequestRejected
from stretto.per_loop import PerLoop
from stretto.settings import check_seconds

if TYPE_CHECKING:
    import ssl

    from stretto.providers.connection import Pool, Response

MAX_RESPONSE_BYTES = 32 * 2**20
_MOST_ORIGINS = 4096
_PROXIES = ("http", "https")  # the kinds that aiohttp speaks


class Wire:
    """Send requests over connections that are kept, one pool for each event loop.

    The pool has no limit: `ConcurrencyLimit` is the limit. DNS answers are kept for a minute, connections for half a
    minute after their last use; the connection of a call that was cancelled or not read to its end is closed.

    Args:
        connect_timeout: seconds above 0 that resolving, connecting and the TLS handshake may take together.
        max_response_bytes: the most that one answer may have, decompressed, streams included; above 0.
        trust_env: proxies of the environment are used (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, upper- or
            lower-case); they are read here, once.
        ssl_context: for an own certificate authority or a client certificate. None: the system's authorities.

    Raises:
        ConfigError: at construction, when a number is out of its range.
    """

    __slots__ = ("_pools", "_proxies", "_proxy_of", "connect_timeout", "max_response_bytes", "ssl_context")

    def __init__(
        self,
        *,
        connect_timeout: float = 10,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        trust_env: bool = True,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if connect_timeout is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise ConfigError("connect_timeout must be seconds above 0, got None", key="connect_timeout")
        check_seconds("connect_timeout", connect_timeout)
        most: Any = max_response_bytes
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            message = f"max_response_bytes must be a whole number above 0, got {most!r}"
            raise ConfigError(message, key="max_response_bytes")
        self.connect_timeout = connect_timeout
        self.max_response_bytes = max_response_bytes
        self.ssl_context = ssl_context
        self._proxies: Mapping[str, str] = _environment() if trust_env else {}
        self._proxy_of: dict[tuple[str, str, bool], str | None] = {}
        self._pools: PerLoop[dict[bool, Pool]] = PerLoop(dict)

    async def prepare(self) -> None:
        """Import the HTTP library, in a thread when that has not been done."""
        if "stretto.providers.connection" not in sys.modules:
            await asyncio.to_thread(_connection)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, *, trusted: bool = False
    ) -> Awaitable[Response]:
        """Send one request, and wait for the head of its answer, whatever its status.

        Args:
            method: of HTTP.
            url: http(s) address.
            headers: sent as they are, beside Host, Content-Length and the like.
            body: its bytes. None: no body.
            trusted: link-local and metadata addresses may be called.

        Raises:
            ProviderUnavailable: when no answer came.
            BadResponse: not retryable, when its head is too large.
            RequestRejected: when it cannot be sent.
            CallError: not retryable, for a refused address.
        """
        pools = self._pools.get()
        pool = pools.get(trusted)
        if pool is None:  # apart, so that no connection is handed from one to the other
            pool = pools[trusted] = _connection()(self, any_address=trusted)
        proxy = None
        if self._proxies or not trusted:
            proxy = self._checked(url, trusted)
        return pool.send(method, url, headers, body, proxy)

    def _checked(self, url: str, trusted: bool) -> str | None:
        """Refuse an address that is written as such; give the proxy for the others."""
        try:
            parts = urlsplit(url)
        except ValueError as error:
            failure = RequestRejected(f"the request cannot be sent: {error}")
        else:
            origin = parts.scheme, parts.netloc, trusted
            if origin in self._proxy_of:
                return self._proxy_of[origin]
            host = parts.hostname or ""
            if not trusted and forbidden(host):
                raise refused(host)
            if len(self._proxy_of) >= _MOST_ORIGINS:
                self._proxy_of.clear()
            proxy = self._proxy_of[origin] = _proxy(self._proxies, parts.scheme, parts.netloc)
            return proxy
        raise failure

    async def close(self) -> None:
        """Close all connections of the running loop; the next request opens new ones."""
        pools = self._pools.known()
        while pools:
            await pools.popitem()[1].close()


def refused(host: str) -> CallError:
    """Make the error of an address that is link-local or a metadata service's."""
    message = f"{host} is a link-local or metadata address: it is called only when its origin is in trusted_origins"
    return CallError(message, retryable=False)


def _connection() -> type[Pool]:
    from stretto.providers.connection import Pool  # aiohttp takes 0.15 s, and a plan needs none of it

    return Pool


def _environment() -> Mapping[str, str]:
    from urllib.request import getproxies_environment

    return getproxies_environment()


def _proxy(proxies: Mapping[str, str], scheme: str, netloc: str) -> str | None:
    found = proxies.get(scheme) or proxies.get("all")
    if not found:
        return None
    from urllib.request import (  # type: ignore[attr-defined]  # the stubs leave it out
        proxy_bypass_environment,  # pyright: ignore
    )

    if proxy_bypass_environment(netloc, dict(proxies)):
        return None
    proxy = found if "://" in found else f"http://{found}"
    kind = proxy.partition("://")[0].lower()
    if kind not in _PROXIES:
        message = f"the environment names a {kind}:// proxy, and only http and https ones are known"
        raise CallError(f"{message}: unset it, or give the provider trust_env=False", retryable=False)
    return proxy
