"""Call every service that litellm knows, through `litellm.acompletion`, over our own HTTP session.

It retries nothing, prints nothing, and finds no key in the environment: what is sent is what the call holds.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stretto.call import Call, Endpoint
from stretto.errors import BadResponse, ConfigError, RequestRejected
from stretto.per_loop import PerLoop
from stretto.providers import litellm_setup
from stretto.providers.litellm_errors import failure_of
from stretto.providers.litellm_reply import complete, own_streamed, streamed
from stretto.providers.litellm_setup import NO_KEY, PATIENCE
from stretto.providers.wire import MAX_RESPONSE_BYTES, Wire
from stretto.reply import Reply
from stretto.usage import Price

if TYPE_CHECKING:
    import ssl

    from stretto.providers.litellm_clients import Clients

# Of a model that is not in its table litellm asks these servers, with a client that blocks the loop.
_ASKED = {"ollama": "ollama", "ollama_chat": "ollama"}
# What we always ask for, and litellm refuses for a few services instead of leaving it out.
_UNKNOWN_TO = {"bytez": ["stream_options"], "gradient_ai": ["max_retries"]}
ROUTES = ("auto", "acompletion")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLM:
    """The provider of every prefix that names one of litellm's services.

    All that litellm sends for a call goes over one HTTP session of ours: no redirect is followed, answers are bounded,
    link-local and metadata addresses are refused, one call is one request. Its connections are closed with the last
    runner that uses it on a loop; without a runner, use it in `async with`.

    Refused are services that litellm calls with a client that blocks (amazon_nova, custom, maritalk, nlp_cloud,
    oobabooga, petals) or with connections that it makes itself (aiohttp_openai, gdc, oci, sap), that want somebody to
    log in (chatgpt, github_copilot), and names that are no chat completions over HTTP (the other nulls under `client`
    in `services.json`). Machine credentials of Google, AWS and Azure are fetched by those companies' own packages.

    Args:
        route: how a call is made: "acompletion", or "auto", at present the same.
        connect_timeout: seconds above 0 for name look-up, connecting and the TLS handshake together.
        max_response_bytes: the most that an answer may have, decompressed, a whole stream included; above 0.
        trust_env: use the environment's proxies.
        ssl_context: for an own certificate authority or a client certificate. None: the system's authorities.

    Raises:
        ConfigError: at construction, for a route or a number that cannot be.
    """

    route: str = "auto"
    connect_timeout: float = 10
    max_response_bytes: int = MAX_RESPONSE_BYTES
    trust_env: bool = True
    ssl_context: ssl.SSLContext | None = None
    _wire: Wire = field(init=False, repr=False, compare=False)
    _clients: PerLoop[Clients] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.route not in ROUTES:
            known = " and ".join(map(repr, ROUTES))
            why = "does not exist yet" if self.route == "direct" else "is none"
            raise ConfigError(f"route {self.route!r} {why}: there are {known}", key="route")
        wire = Wire(
            connect_timeout=self.connect_timeout,
            max_response_bytes=self.max_response_bytes,
            trust_env=self.trust_env,
            ssl_context=self.ssl_context,
        )
        object.__setattr__(self, "_wire", wire)
        object.__setattr__(self, "_clients", PerLoop(partial(_clients, wire)))

    def check(self, model: str, endpoint: Endpoint) -> None:
        """Refuse a service that cannot be called, or not without an address.

        Raises:
            ConfigError: before any call.
        """
        problem = _problem(model, endpoint)
        if problem is not None:
            raise ConfigError(problem[0], key=problem[1])

    async def prepare(self) -> None:
        """Import litellm and the HTTP library in a thread: 3 s, when that has not been done before."""
        await litellm_setup.ready()
        await self._wire.prepare()

    async def __aenter__(self) -> LiteLLM:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wire.close()
        await litellm_setup.end_chores()

    def price(self, model: str) -> Price | None:
        """Look a price up in litellm's table, without importing litellm; None when it is not there."""
        prefix, _, bare = model.partition("/")
        table = litellm_setup.price_table()
        entry = table.get(model) or table.get(bare) or {}
        read, written = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
        if read is None or written is None or not str(entry.get("litellm_provider", "")).startswith(prefix):
            return None
        cached = entry.get("cache_read_input_token_cost")
        return Price(read * 1e6, written * 1e6, None if cached is None else cached * 1e6)

    async def __call__(self, call: Call) -> Reply:
        """Make one request.

        Raises:
            CallError: classified by status and cause, without the foreign error.
        """
        await self.prepare()
        problem = _problem(call.model, call.endpoint)
        if problem is not None:
            raise RequestRejected(problem[0])
        if litellm_setup.imported().model_fallbacks:  # with them it calls itself for ever, and blocks the loop
            raise RequestRejected(
                "litellm.model_fallbacks is set in this process: unset it, and use the layer Fallback"
            )
        clients = self._clients.get()
        exchange = clients.exchange(call)
        handled = sys.exception()  # a retry's first failure: what stands behind it does not belong to this request
        try:
            with exchange.current():
                answer = await litellm_setup.acompletion(_request(call, clients), begun=lambda: exchange.begun)
            call.attempt.headers = exchange.headers
            if exchange.answer is None and exchange.failure is None:  # else litellm has made this one up
                if call.emit is None or not hasattr(answer, "aclose"):  # a few services never stream
                    return await complete(call, exchange, answer)
                return await (own_streamed(call, exchange) if exchange.own else streamed(call, exchange, answer))
            error: Exception = BadResponse("litellm has made up an answer")
        except Exception as caught:
            if exchange.emitting:
                raise
            error = caught  # this is where foreign errors end
        finally:
            exchange.close()
        call.attempt.headers = exchange.headers or None
        raise failure_of(exchange, error, handled)  # outside of the except block, so that it has no foreign context


def _clients(wire: Wire) -> Clients:
    made: Clients = import_module("stretto.providers.litellm_clients").Clients(wire)  # not before litellm
    return made


def _problem(model: str, endpoint: Endpoint) -> tuple[str, str] | None:
    service = litellm_setup.service(model)
    if service and service["client"] is None:
        prefix = model.partition("/")[0]
        return f"{prefix} is not supported: litellm does not reach it over a connection that can be guarded", "model"
    if service and endpoint.base_url is None and service["movable"] and service["url"] is None:
        # litellm would send it, key and all, to openai
        return f"{model!r}: this service has no address of its own, give the agent a base_url", "base_url"
    url = endpoint.base_url or ""
    if "#" in url or ("?" in url and not model.startswith("azure")):
        return f"{model!r}: litellm would put the path after the query of its base_url: leave that out", "base_url"
    return None


def _request(call: Call, clients: Clients) -> dict[str, Any]:
    service = litellm_setup.service(call.model)
    endpoint, prefix = call.endpoint, call.model.partition("/")[0]
    key = endpoint.api_key.reveal() if endpoint.api_key is not None else NO_KEY
    # Others may sign with credentials of the machine: the core lets them go to addresses that are trusted only.
    signs = endpoint.api_key is None and not service.get("movable")
    if prefix in _ASKED:
        entry = {"litellm_provider": _ASKED[prefix], "mode": "chat"}
        litellm_setup.imported().model_cost.setdefault(call.model, entry)
    request: dict[str, Any] = deepcopy(dict(call.params))  # litellm writes into what it is given
    body: dict[str, Any] = deepcopy(dict(call.extra_body))
    if service.get("client") == "openai" and "metadata" in request:
        body.setdefault("metadata", request.pop("metadata"))  # by this name litellm takes data for itself
    if body:
        request["extra_body"] = body
    if call.emit is not None:
        request["stream"] = True
        request["stream_options"] = {"include_usage": True, **request.get("stream_options", {})}
    return request | {
        "model": call.model,
        "messages": [deepcopy(dict(message)) for message in call.messages],
        "base_url": endpoint.base_url,
        "api_key": None if signs else key,
        "client": clients.of(call.model, endpoint.base_url, key),
        "extra_headers": dict(call.extra_headers) or None,
        "timeout": PATIENCE,
        "max_retries": 0,
        "num_retries": 0,
        "caching": False,
        "additional_drop_params": _UNKNOWN_TO.get(prefix),
        "_skip_mcp_handler": True,  # else tools need the package mcp
    }
