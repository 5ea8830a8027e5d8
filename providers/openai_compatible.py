"""Call whatever speaks the OpenAI chat format over HTTP: vLLM, llama.cpp, Ollama, LM Studio, gateways.

The model is `compatible/<name>`, or any name without a known prefix whose agent has a `base_url`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from stretto.address import check_base_url
from stretto.call import Call, Endpoint
from stretto.errors import BadResponse, CallError, ConfigError, ProviderUnavailable, RequestRejected
from stretto.params import SESSION_HEADERS
from stretto.providers.wire import (
    MAX_RESPONSE_BYTES,
    Answer,
    Chunks,
    Event,
    Events,
    Wire,
    answer_of,
    error_of,
    reply_of,
    unblocked,
)
from stretto.reply import Delta, Reply
from stretto.secret import Secret
from stretto.shapes import is_mapping

if TYPE_CHECKING:
    import ssl

    from stretto.providers.connection import Response

ROUTE = "compatible"
_PATH = "/chat/completions"
_END = "[DONE]"


def _plain(value: Any) -> Any:
    if is_mapping(value):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain).encode


@dataclass(frozen=True, slots=True)
class OpenAICompatible:
    """The provider of `compatible/`. litellm is not imported.

    A streamed answer ends with `data: [DONE]`; one that ends without it was cut off. An address that ends in
    `/chat/completions` is called as it is, else that is appended to its path.

    Args:
        base_url: http(s) address up to and without `/chat/completions`, for agents that give none.
        api_key: sent as a bearer token, to `base_url` only. None: no key, or the agent's.
        connect_timeout: seconds above 0 for name look-up, connecting and the TLS handshake together.
        max_response_bytes: the most that an answer may have, decompressed, a whole stream included; above 0.
        trust_env: use the environment's proxies.
        ssl_context: for an own certificate authority or a client certificate. None: the system's authorities.

    Raises:
        ConfigError: at construction, for an address, a key or a number that cannot be.
    """

    base_url: str | None = None
    api_key: Secret | str | None = field(default=None, kw_only=True)
    connect_timeout: float = field(default=10, kw_only=True)
    max_response_bytes: int = field(default=MAX_RESPONSE_BYTES, kw_only=True)
    trust_env: bool = field(default=True, kw_only=True)
    ssl_context: ssl.SSLContext | None = field(default=None, kw_only=True)
    _wire: Wire = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.base_url is not None:
            check_base_url(self.base_url, agent=None)
        if isinstance(self.api_key, str):
            object.__setattr__(self, "api_key", Secret(self.api_key))
        wire = Wire(
            connect_timeout=self.connect_timeout,
            max_response_bytes=self.max_response_bytes,
            trust_env=self.trust_env,
            ssl_context=self.ssl_context,
        )
        object.__setattr__(self, "_wire", wire)

    def check(self, model: str, endpoint: Endpoint) -> None:
        """Refuse a call without an address.

        Raises:
            ConfigError: before any call.
        """
        if endpoint.base_url is None:
            message = f"{model!r} needs an address: give the agent a base_url, or the runner OpenAICompatible(base_url)"
            raise ConfigError(message, key="base_url")

    @property
    def _secret(self) -> Secret | None:
        return self.api_key if isinstance(self.api_key, Secret) else None

    async def prepare(self) -> None:
        """Import the HTTP library in a thread, when that has not been done."""
        await self._wire.prepare()

    async def __aenter__(self) -> OpenAICompatible:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wire.close()

    async def __call__(self, call: Call) -> Reply:
        """Make one request.

        Raises:
            CallError: classified by status, by the code in the body, and by what broke.
        """
        endpoint = call.endpoint
        if endpoint.base_url is None and self.base_url is not None:  # a call that no runner has completed
            endpoint = Endpoint(self.base_url, endpoint.api_key or self._secret)
        url = _address(endpoint.base_url)
        headers = _headers(call, endpoint.api_key)
        response = await self._wire.send("POST", url, headers, _body(call), trusted=endpoint.trusted)
        call.attempt.headers = response.headers
        try:
            if not 200 <= response.status < 300:
                await _refused(response, url)
            if call.emit is not None and not _is_json(response):
                reply = await _streamed(call, response)
            else:
                reply = await _complete(call, response)
        finally:
            response.close()
        return reply


@lru_cache(maxsize=256)
def _address(base_url: str | None) -> str:
    from yarl import URL

    if base_url is None:
        raise RequestRejected("this call has no address: give the agent a base_url")
    scheme, netloc, path, query, _ = urlsplit(base_url)
    path = path.rstrip("/")
    try:
        return str(URL(urlunsplit((scheme, netloc, path if path.endswith(_PATH) else path + _PATH, query, ""))))
    except ValueError as error:
        failure = RequestRejected(f"base_url cannot be called: {error}")
    raise failure


@lru_cache(maxsize=2)
def _own_headers(streamed: bool) -> Mapping[str, str]:
    return {
        "content-type": "application/json",
        "accept": "text/event-stream" if streamed else "application/json",
        "accept-encoding": "identity" if streamed else "gzip, deflate",  # compressed pieces come late
        "user-agent": f"stretto/{version('stretto')}",
    }


def _headers(call: Call, key: Secret | None) -> Mapping[str, str]:
    headers = dict(_own_headers(call.emit is not None))
    for name, value in call.extra_headers.items():
        if name.lower() in SESSION_HEADERS:
            raise RequestRejected(f"extra_headers must not hold {name}: it belongs to the HTTP session")
        headers[name.lower()] = str(value)
    if key is not None:
        headers["authorization"] = f"Bearer {key.reveal()}"
    return headers


def _body(call: Call) -> bytes:
    body: dict[str, Any] = {"model": call.model.partition("/")[2], "messages": call.messages, **call.params}
    try:
        if call.emit is not None:
            body["stream"] = True
            options = call.params.get("stream_options", {})
            if options is not None:
                body["stream_options"] = {"include_usage": True, **options}
        body.update(call.extra_body)
        return _encode({name: value for name, value in body.items() if value is not None}).encode()
    except (TypeError, ValueError, RecursionError) as error:
        failure = RequestRejected(f"the request is no JSON: {error}")
    raise failure


async def _refused(response: Response, url: str) -> NoReturn:
    error = error_of(await answer_of(response))
    if error.status in (404, 405) and "/v1/" not in urlsplit(url).path:
        error.reason = "most servers want a base_url that ends in /v1"
    raise error


async def _complete(call: Call, response: Response) -> Reply:
    text = await response.read()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        failure = BadResponse("the answer is no JSON", status=200)
    else:
        if _is_error(body):
            raise error_of(Answer(200, response.headers, body), "the answer is an error")
        reply = reply_of(body, ROUTE, response.headers)
        return _usage_told(call, unblocked(reply))
    raise failure


async def _streamed(call: Call, response: Response) -> Reply:
    ndjson = response.headers.get("content-type", "").lower().startswith("application/x-ndjson")
    events, chunks = Events(ndjson=ndjson), Chunks(ROUTE)
    ended = False
    while not ended:
        data = await response.chunk()
        for event in events.feed(data) if data else events.end():
            if event.data.strip() == _END:
                ended = True
                break
            await _taken(call, chunks, event, response.headers)
        if not data:
            break
    if not chunks.answered:
        raise BadResponse("the answer is not a stream of chunks", status=200)
    if not (ended or (ndjson and chunks.finish_reason)):
        raise ProviderUnavailable(f"the stream ended before its end mark, {_END}")
    await response.finish()
    reply = _usage_told(call, unblocked(chunks.reply(response.headers)))
    if call.emit is not None and reply.usage is not None:
        await call.emit(Delta(usage=reply.usage))
    return reply


async def _taken(call: Call, chunks: Chunks, event: Event, headers: Mapping[str, str]) -> None:
    try:
        chunk = json.loads(event.data)
    except (ValueError, RecursionError):
        failure: CallError = BadResponse("a chunk of the stream is no JSON", status=200)
    else:
        if event.name == "error" or _is_error(chunk):
            raise error_of(Answer(200, headers, chunk), "the stream ended with an error")
        for delta in chunks.add(chunk):
            await call.emit(delta)  # type: ignore[misc]
        return
    raise failure


def _is_json(response: Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("application/json")


def _is_error(body: Any) -> bool:
    """Tell whether a 200 holds an error; the second form is that of older vLLM."""
    return is_mapping(body) and bool(body.get("error") or body.get("object") == "error")


def _usage_told(call: Call, reply: Reply) -> Reply:
    call.attempt.usage = reply.usage
    return reply
