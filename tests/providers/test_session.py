"""`Wire`: one request for each send, over connections that are kept, to no address that must not be called."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler

from loopback import Answer, Loopback
from rawserver import OK, RawServer, answering, silent
from stretto import address
from stretto.errors import BadResponse, CallError, ConfigError, ProviderUnavailable, RequestRejected
from stretto.providers import session
from stretto.providers.wire import Wire, answer_of

PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def wire(server: Loopback) -> AsyncIterator[Wire]:
    """Give a session; hold for every test that it leaves no connection and no task."""
    wire = Wire()
    yield wire
    await wire.close()
    await server.all_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def body_of(wire: Wire, url: str, method: str = "POST", **given: Any) -> bytes:
    async with asyncio.timeout(10):  # what nobody ends is to fail
        response = await wire.send(method, url, given.pop("headers", {}), given.pop("body", b"{}"), **given)
        try:
            return await response.read()
        finally:
            response.close()


async def refusal(wire: Wire, url: str, **given: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        await body_of(wire, url, **given)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


# ---- settings


@pytest.mark.parametrize("seconds", [None, 0, -1, float("nan"), float("inf"), "1", True])
def test_a_connect_timeout_is_seconds_above_0(seconds: Any) -> None:
    with pytest.raises(ConfigError, match="connect_timeout must be seconds above 0") as error:
        Wire(connect_timeout=seconds)
    assert error.value.key == "connect_timeout"


@pytest.mark.parametrize("most", [None, 0, -1, 1.5, "1", True])
def test_a_cap_is_a_whole_number_above_0(most: Any) -> None:
    with pytest.raises(ConfigError, match="max_response_bytes must be a whole number above 0"):
        Wire(max_response_bytes=most)


# ---- one request, on connections that are kept


async def test_a_request_is_sent_as_it_is(server: Loopback, wire: Wire) -> None:
    await body_of(wire, server.url + "/a%2Fb?c=%2B%2f", headers={"x-mine": "1"}, body=b"exactly this")
    request = server.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/v1/a%2Fb?c=%2B%2f", b"exactly this")
    assert request.headers["x-mine"] == "1"
    assert request.headers["content-length"] == "12"
    assert "cookie" not in request.headers


async def test_a_connection_is_kept_after_answers_errors_and_redirects(server: Loopback, wire: Wire) -> None:
    for status in (200, 429, 500, 404, 302):
        server.answer(Answer(status=status))
        response = await wire.send("POST", server.url, {}, b"{}")
        assert response.status == status
        await answer_of(response)
    assert server.connections == 1


async def test_calls_at_once_have_connections_of_their_own_without_a_limit(server: Loopback, wire: Wire) -> None:
    await asyncio.gather(*(body_of(wire, server.url) for _ in range(150)))
    assert server.connections == 150
    await asyncio.gather(*(body_of(wire, server.url) for _ in range(150)))
    assert server.connections == 150


async def test_small_pieces_are_sent_at_once(server: Loopback, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[int] = []
    made = ResponseHandler.connection_made

    def connection_made(self: ResponseHandler, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        connected = transport.get_extra_info("socket")
        delays.append(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(ResponseHandler, "connection_made", connection_made)
    await body_of(wire, server.url)
    assert [bool(delay) for delay in delays] == [True]


async def test_cookies_are_not_kept(server: Loopback, wire: Wire) -> None:
    server.answer(Answer(headers={"set-cookie": "a=b"}))
    response = await wire.send("POST", server.url, {}, b"{}")
    await response.read()
    assert "set-cookie" not in response.headers
    await body_of(wire, server.url)
    assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
async def test_a_request_on_a_dead_connection_is_not_sent_again(method: str) -> None:
    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)
        await server.request(reader)  # and it is gone

    async with RawServer(serve) as server:
        wire = Wire()
        await body_of(wire, server.url, method, body=None)
        failure = await refusal(wire, server.url, method=method, body=None)
        assert (type(failure), failure.retryable) == (ProviderUnavailable, True)
        assert (len(server.heads), server.connections) == (2, 1)
        await wire.close()


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async with RawServer(answering(OK, stay=False)) as server:
        wire = Wire()
        for count in (1, 2, 3):
            assert await body_of(wire, server.url) == b"{}"
            await server.all_closed()
            await asyncio.sleep(0.01)  # until we have heard of it
            assert len(server.heads) == server.connections == count
        await wire.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(server: Loopback, wire: Wire, status: int) -> None:
    async with Loopback() as elsewhere:
        server.answer(Answer(status=status, headers={"location": elsewhere.url}))
        response = await wire.send("POST", server.url, {"authorization": "Bearer sk-key"}, b"{}")
        await answer_of(response)
        assert (response.status, response.headers["location"]) == (status, elsewhere.url)
        assert elsewhere.connections == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 5 * 2**20 + 3])
async def test_a_large_body_is_sent_whole_and_without_a_warning(wire: Wire, size: int) -> None:
    body = b"0123456789abcdef" * (size // 16) + b"x" * (size % 16)
    async with RawServer(answering(OK)) as server:
        await body_of(wire, server.url, body=body)
        assert server.bodies == [body]
        await wire.close()


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "http:///x", "/x", "", "http://[::1/x", "http://h:99999/x", "http://a..b/x", "http://127.1/x"]
)
async def test_an_address_that_is_none_is_refused_for_good(wire: Wire, url: str) -> None:
    failure = await refusal(wire, url)
    assert (type(failure), failure.retryable) == (RequestRejected, False)


async def test_a_header_cannot_bring_another(server: Loopback, wire: Wire) -> None:
    failure = await refusal(wire, server.url, headers={"x-mine": "sk-secret\r\nx-other: 1"})
    assert (type(failure), failure.retryable) == (RequestRejected, False)
    assert "sk-secret" not in str(failure)
    assert server.requests == []


async def test_a_method_cannot_bring_a_header(server: Loopback, wire: Wire) -> None:
    assert type(await refusal(wire, server.url, method="POST / HTTP/1.1\r\nx: y")) is RequestRejected
    assert server.requests == []


# ---- loops, and the end


def test_a_second_run_of_the_loop_works() -> None:
    wire = Wire()

    async def main() -> bytes:
        async with Loopback(Answer(body=b"hello")) as server:
            await body_of(wire, server.url)
            try:
                return await body_of(wire, server.url)
            finally:
                await wire.close()

    for _ in range(2):
        assert asyncio.run(main()) == b"hello"
        gc.collect()  # what was not closed would warn now


def test_two_loops_at_once_take_nothing_from_each_other() -> None:
    wire = Wire()
    connections: list[int] = []

    async def main() -> None:
        async with Loopback() as server:
            for _ in range(10):
                await asyncio.gather(*(body_of(wire, server.url) for _ in range(5)))
            await wire.close()
            connections.append(server.connections)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert connections == [5, 5, 5]


async def test_after_close_the_next_request_opens_anew(server: Loopback, wire: Wire) -> None:
    for count in (1, 2):
        await body_of(wire, server.url)
        assert server.connections == count
        await wire.close()
        await server.all_closed()
    await wire.close()


async def test_closing_before_the_first_request_does_nothing(wire: Wire) -> None:
    await wire.close()


@pytest.mark.parametrize("after", [0, 10])
async def test_closing_ends_the_calls_that_are_under_way(server: Loopback, wire: Wire, after: int) -> None:
    server.answer(Answer(body=b"x" * 100, hang_after=after))
    call = asyncio.create_task(refusal(wire, server.url))
    await server.received(1)
    await asyncio.sleep(0.02)  # until it has read what there is
    await wire.close()
    failure = await call
    assert type(failure) is ProviderUnavailable


async def test_closing_ends_look_ups_with_an_error_and_not_a_cancel(wire: Wire, names: Names) -> None:
    names.held.clear()
    calls = [asyncio.create_task(refusal(wire, "http://good.example")) for _ in range(2)]
    await asyncio.sleep(0.02)
    await wire.close()
    names.held.set()
    assert [type(await call) for call in calls] == [ProviderUnavailable] * 2


async def test_a_cancel_during_a_look_up_is_one(wire: Wire, names: Names) -> None:
    names.held.clear()
    call = asyncio.create_task(body_of(wire, "http://good.example"))
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    names.held.set()


SCRIPT = """
import asyncio
from loopback import Answer, Loopback
from stretto.providers.wire import Wire, answer_of

async def main():
    async with Loopback() as server:
        wire = Wire()
        for answer in (Answer(), Answer(status=500), Answer(gzip=True), Answer(cut_after=3), Answer(hang_after=3)):
            server.answer(answer)
            call = asyncio.create_task(wire.send("POST", server.url, {}, b"x" * 2**21))
            response = await call
            try:
                async with asyncio.timeout(0.05):
                    await answer_of(response)
            except TimeoutError:
                pass
        await wire.close()
        await server.all_closed()

asyncio.run(main())
"""


def test_nothing_is_left_unclosed_and_nothing_warns() -> None:
    path = str(Path(__file__).parents[1])
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "nclosed" not in done.stderr
    assert "Warning" not in done.stderr


# ---- addresses


class Names:
    """What names resolve to, in place of the system's resolver.

    Attributes:
        known: addresses by name.
        asked: the names that were looked up, in order.
        held: while it is cleared, look-ups wait.
    """

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.held = threading.Event()
        self.held.set()

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        self.held.wait(5)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = [(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in self.known[host]]
        return [
            (family, socket.SOCK_STREAM, 6, "", (each, port, 0, 0) if ":" in each else (each, port))
            for family, each in found
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    yield names
    names.held.set()


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make an address that a server of a test can have one that is forbidden."""

    def forbid(network: str) -> None:
        monkeypatch.setattr(address, "_METADATA", (ip_network(network),))
        address.forbidden.cache_clear()

    yield forbid
    address.forbidden.cache_clear()


LITERALS = [
    "169.254.169.254",
    "169.254.169.254.",
    "[::ffff:169.254.169.254]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "0xa9.254.0xa9.0376",
    "\uff11\uff16\uff19.254.169.254",
    "100.100.100.200",
]


@pytest.mark.parametrize("host", LITERALS)
async def test_a_forbidden_address_is_refused_for_good(wire: Wire, names: Names, host: str) -> None:
    failure = await refusal(wire, f"http://{host}:80/latest/meta-data")
    assert (type(failure), failure.retryable) == (CallError, False)
    assert "trusted_origins" in failure.message
    assert names.asked == []


@pytest.mark.parametrize("host", LITERALS)
async def test_nor_is_it_reached_through_a_proxy(
    server: Loopback, wire: Wire, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.origin)
    proxied = Wire()
    assert not (await refusal(proxied, f"http://{host}/")).retryable
    assert server.connections == 0
    await proxied.close()


@pytest.mark.parametrize(
    "found", [["169.254.169.254"], ["fe80::1", "169.254.169.254"], ["::ffff:169.254.169.254"], ["64:ff9b::a9fe:a9fe"]]
)
async def test_a_name_that_leads_to_a_forbidden_address_is_refused(wire: Wire, names: Names, found: list[str]) -> None:
    names.known["sneaky.example"] = found
    failure = await refusal(wire, "http://sneaky.example/")
    assert (type(failure), failure.retryable) == (CallError, False)
    assert "sneaky.example" in failure.message


async def test_of_a_name_s_addresses_only_those_that_are_allowed_are_called(
    server: Loopback, wire: Wire, names: Names, forbid: Callable[[str], None]
) -> None:
    forbid("127.0.0.9/32")
    names.known["both.example"] = ["127.0.0.9", "127.0.0.1"]
    port = server.origin.rpartition(":")[2]
    await body_of(wire, f"http://both.example:{port}/v1")
    assert server.requests[0].headers["host"] == f"both.example:{port}"


async def test_a_trusted_origin_may_be_called_wherever_it_is(
    server: Loopback, wire: Wire, names: Names, forbid: Callable[[str], None]
) -> None:
    forbid("127.0.0.0/8")
    names.known["inner.example"] = ["127.0.0.1"]
    port = server.origin.rpartition(":")[2]
    for url in (server.url, f"http://inner.example:{port}/v1"):
        assert await body_of(wire, url, trusted=True)
        assert not (await refusal(wire, url)).retryable  # the kept connection is no way around
    assert len(server.requests) == 2


async def test_a_name_is_checked_each_time_that_it_is_looked_up(server: Loopback, wire: Wire, names: Names) -> None:
    url = f"http://rebound.example:{server.origin.rpartition(':')[2]}/v1"
    names.known["rebound.example"] = ["127.0.0.1"]
    await body_of(wire, url)
    names.known["rebound.example"] = ["169.254.169.254"]
    await body_of(wire, url)  # still where it was
    await wire.close()
    assert not (await refusal(wire, url)).retryable


async def test_a_name_is_looked_up_once_a_minute(names: Names) -> None:
    names.known["good.example"] = ["127.0.0.1"]
    async with RawServer(answering(OK, stay=False)) as server:
        wire = Wire()
        for _ in range(3):
            await asyncio.gather(*(body_of(wire, f"http://good.example:{server.port}/") for _ in range(5)))
            await server.all_closed()
        await wire.close()
    assert server.connections == 15
    assert names.asked == ["good.example"]


async def test_an_unknown_name_is_no_answer(wire: Wire, names: Names) -> None:
    failure = await refusal(wire, "http://nobody.example/")
    assert (type(failure), failure.retryable) == (ProviderUnavailable, True)
    assert "nobody.example" in failure.message


# ---- proxies


async def test_a_proxy_of_the_environment_is_used(
    server: Loopback, wire: Wire, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.origin.removeprefix("http://"))
    proxied = Wire()
    await body_of(proxied, "http://target.example/v1?a=b", headers={"authorization": "Bearer sk-key"})
    await proxied.close()
    assert server.requests[0].path == "http://target.example/v1?a=b"
    assert server.requests[0].headers["host"] == "target.example"
    assert names.asked == []


async def test_the_environment_is_read_at_construction_and_a_proxy_found_once_for_each_origin(
    server: Loopback, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    plain = session._proxy

    def proxy(proxies: Any, scheme: str, netloc: str) -> str | None:
        found.append(f"{scheme}://{netloc}")
        return plain(proxies, scheme, netloc)

    monkeypatch.setattr(session, "_proxy", proxy)
    monkeypatch.setenv("http_proxy", server.origin)
    proxied = Wire()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for path in ("a", "b"):
        for host in ("one.example", "two.example"):
            await body_of(proxied, f"http://{host}/{path}")
    await proxied.close()
    assert found == ["http://one.example", "http://two.example"]


@pytest.mark.parametrize("excluded", ["127.0.0.1", "*", "example.org, 127.0.0.1"])
async def test_no_proxy_leaves_addresses_out(
    server: Loopback, wire: Wire, monkeypatch: pytest.MonkeyPatch, excluded: str
) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", excluded)
    direct = Wire()
    await body_of(direct, server.url)
    await direct.close()
    assert server.requests[0].path == "/v1"


async def test_without_trust_env_there_is_no_proxy(
    server: Loopback, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    direct = Wire(trust_env=False)
    await body_of(direct, server.url)
    await direct.close()


async def test_a_proxy_with_a_password_gets_it_and_no_error_tells_it(
    server: Loopback, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.origin.replace("://", "://user:secret%40word@"))
    proxied = Wire()
    await body_of(proxied, "http://target.example/")
    await proxied.close()
    assert server.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXRAd29yZA=="
    for answer in (b"garbage\r\n\r\n", b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n", b""):
        async with RawServer(answering(answer, stay=False)) as broken:
            monkeypatch.setenv("https_proxy", f"http://user:secretword@127.0.0.1:{broken.port}")
            proxied = Wire()
            assert "secret" not in str(await refusal(proxied, "https://target.example/"))
            await proxied.close()
    for url in ("http://user:secretword@[bad", "http://user:secretword@h:99999", "http://user:secretword@127.0.0.1:1"):
        monkeypatch.setenv("http_proxy", url)
        proxied = Wire()
        assert "secret" not in str(await refusal(proxied, "http://target.example/"))
        await proxied.close()


@pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks4", "ftp"])
async def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{kind}://user:secretword@127.0.0.1:1")
    wire = Wire()
    failure = await refusal(wire, "http://target.example/")
    await wire.close()
    assert not failure.retryable
    assert f"{kind}://" in failure.message
    assert "trust_env=False" in failure.message
    assert "secret" not in failure.message


@pytest.mark.parametrize(("status", "retryable"), [(407, False), (403, False), (502, True)])
async def test_a_proxy_that_opens_no_tunnel_says_so_and_gets_no_key(
    monkeypatch: pytest.MonkeyPatch, status: int, retryable: bool
) -> None:
    async with RawServer(answering(b"HTTP/1.1 %d Scripted\r\ncontent-length: 0\r\n\r\n" % status)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        wire = Wire()
        failure = await refusal(wire, "https://target.example/v1", headers={"authorization": "Bearer sk-key"})
        assert (type(failure), failure.retryable) == (ProviderUnavailable, retryable)
        assert f"the proxy answered {status}" in failure.message
        assert proxy.heads[0].startswith(b"CONNECT target.example:443 HTTP/1.1\r\n")
        assert b"sk-key" not in proxy.heads[0]
        await proxy.all_closed()
        await wire.close()


async def test_an_https_address_is_reached_through_a_tunnel(
    monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    async with RawServer(answering(OK), authority.server()) as target:

        async def tunnel(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.request(reader)
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                try:
                    while data := await source.read(65536):
                        sink.write(data)
                finally:
                    sink.close()

            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

        async with RawServer(tunnel) as proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            wire = Wire(ssl_context=authority.client())
            for _ in range(2):
                url = f"https://localhost:{target.port}/v1"
                assert await body_of(wire, url, headers={"authorization": "Bearer sk-key"}) == b"{}"
            assert (proxy.connections, target.connections) == (1, 1)
            await wire.close()
            await proxy.all_closed()
    assert b"authorization: Bearer sk-key" in target.heads[0]


# ---- certificates


class Authority:
    """A certificate authority, with a server's and a client's certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._make("ca", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
        leaf = ("basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature")
        for name in ("server", "client"):
            signed = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key")
            self._make(name, *leaf, "subjectAltName=DNS:localhost,IP:127.0.0.1", signed=signed)

    def _make(self, name: str, *extensions: str, signed: tuple[str | Path, ...] = ()) -> None:
        more = [*(word for each in extensions for word in ("-addext", each)), *signed]
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}")
        out = ("-out", self._folder / f"{name}.pem", "-keyout", self._folder / f"{name}.key")
        subprocess.run(["openssl", "req", "-x509", *key, *out, *more], check=True, capture_output=True, timeout=60)

    def server(self, *, asks: bool = False) -> ssl.SSLContext:
        """The server's context; `asks`: for a client certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
        if asks:
            context.load_verify_locations(self._folder / "ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, *, shows: bool = False) -> ssl.SSLContext:
        """A client's context, that trusts the authority; `shows`: its certificate."""
        context = ssl.create_default_context(cafile=self._folder / "ca.pem")
        if shows:
            context.load_cert_chain(self._folder / "client.pem", self._folder / "client.key")
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no openssl command that makes certificates")


async def test_an_own_authority_is_trusted_through_a_context(authority: Authority) -> None:
    async with RawServer(answering(OK), authority.server()) as server:
        wire = Wire(ssl_context=authority.client())
        for _ in range(2):
            assert await body_of(wire, server.url) == b"{}"
        assert server.connections == 1
        await wire.close()
        await server.all_closed()


async def test_an_unknown_authority_is_an_error_that_says_what_to_do(authority: Authority) -> None:
    async with RawServer(answering(OK), authority.server()) as server:
        wire = Wire()
        failure = await refusal(wire, server.url)
        await wire.close()
        assert server.heads == []
    assert (type(failure), failure.retryable) == (ProviderUnavailable, False)
    assert "ssl_context" in failure.message
    assert "CERTIFICATE_VERIFY_FAILED" in failure.message


async def test_a_certificate_for_another_name_is_refused(authority: Authority, names: Names) -> None:
    names.known["other.example"] = ["127.0.0.1"]
    async with RawServer(answering(OK), authority.server()) as server:
        wire = Wire(ssl_context=authority.client())
        failure = await refusal(wire, f"https://other.example:{server.port}/")
        await wire.close()
        assert server.heads == []
    assert not failure.retryable


async def test_a_client_certificate_is_shown(authority: Authority) -> None:
    async with RawServer(answering(OK), authority.server(asks=True)) as server:
        for shows in (True, False):
            wire = Wire(ssl_context=authority.client(shows=shows))
            if shows:
                assert await body_of(wire, server.url) == b"{}"
            else:
                assert type(await refusal(wire, server.url)) is ProviderUnavailable
            await wire.close()
        assert len(server.heads) == 1


async def test_a_cancelled_call_leaves_no_tls_connection_though_the_server_says_nothing(authority: Authority) -> None:
    gone = asyncio.Event()

    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.transport.pause_reading()  # it answers no farewell either
        await gone.wait()

    async with RawServer(serve, authority.server()) as server:
        wire = Wire(ssl_context=authority.client())
        before = sockets()
        call = asyncio.create_task(body_of(wire, server.url))
        await server.received(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.01)
        assert sockets() == before + 1  # the server's own end
        gone.set()
        await wire.close()


def sockets() -> int:
    """Count the sockets of this process."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    return sum("socket:" in os.readlink(each) for each in folder.iterdir() if each.is_symlink())


async def test_a_cancelled_handshake_leaves_no_connection() -> None:
    async with RawServer(silent) as server:
        wire = Wire()
        call = asyncio.create_task(body_of(wire, server.url.replace("http:", "https:")))
        await server.connected(1)
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.all_closed()
        await wire.close()


async def test_a_handshake_that_is_not_answered_counts_as_connecting() -> None:
    async with RawServer(silent) as server:
        wire = Wire(connect_timeout=0.1)
        failure = await refusal(wire, server.url.replace("http:", "https:"))
        assert (type(failure), failure.retryable) == (ProviderUnavailable, True)
        assert failure.message == "no connection within 0.1 s"
        await server.all_closed()
        await wire.close()


async def test_a_server_without_tls_is_no_answer(server: Loopback, wire: Wire) -> None:
    async with RawServer(answering(b"HTTP/1.1 400 Bad\r\n\r\n", stay=False)) as plain:

        async def serve(raw: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        plain._serve = serve
        failure = await refusal(wire, plain.url.replace("http:", "https:"))
        assert type(failure) in (ProviderUnavailable, BadResponse)
