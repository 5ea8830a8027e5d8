"""Give litellm its clients: ours while it works for a call of ours, its own in all that the application asks of it.

litellm takes some clients from its caller and finds others itself. Where it looks for them, `guard` puts a question
first: is this for a call of ours?
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from stretto.errors import CallError
from stretto.providers import litellm_setup
from stretto.providers.litellm_setup import PATIENCE
from stretto.providers.litellm_transport import Client, Exchange, exchange, inherited
from stretto.providers.wire import Wire

if TYPE_CHECKING:
    from stretto.call import Call

_HTTP = "litellm.llms.custom_httpx.http_handler"
# Whose clients litellm keeps beside those of services, by the end of their name in its cache.
_NOT_OURS = ("logging_callback", "guardrail_callback", "caching", "secret_manager")
_MOST_FACES = 1024
_GUARDING = threading.Lock()
_guarded: list[bool] = []


class Clients:
    """What litellm sends with on one loop: one client over our session, in the forms in which it takes it.

    Args:
        wire: the session.

    Attributes:
        client: an httpx client.
        handler: the same in litellm's own form.
        cached: what litellm keeps for further calls.
    """

    __slots__ = ("_faces", "cached", "client", "handler")

    def __init__(self, wire: Wire) -> None:
        guard()
        self.client = Client(wire)
        make: Any = importlib.import_module(_HTTP).AsyncHTTPHandler
        self.handler = make(timeout=PATIENCE, transport=self.client._transport)  # pyright: ignore[reportPrivateUsage]
        self.handler.client = self.client
        self.cached: dict[str, Any] = {}
        self._faces: dict[tuple[str, str | None, str], Any] = {}

    def exchange(self, call: Call) -> Exchange:
        """Begin what is sent for a call."""
        return Exchange(call, self)

    def of(self, model: str, base_url: str | None, key: str) -> Any:
        """Give the client that is handed over with a request; None where litellm takes none."""
        prefix = model.partition("/")[0]
        kind = litellm_setup.service(model).get("client")
        if kind != "openai":
            return self.handler if kind == "http" else None
        wanted = prefix, base_url, key
        if wanted not in self._faces:
            if len(self._faces) >= _MOST_FACES:
                self._faces.clear()
            self._faces[wanted] = self._face(model, base_url, key)
        return self._faces[wanted]

    def _face(self, model: str, base_url: str | None, key: str) -> Any:
        prefix = model.partition("/")[0]
        # What the environment says of openai is meant for it alone.
        own = base_url is None and prefix in ("openai", "text-completion-openai")
        url: str | None = base_url or litellm_setup.imported().get_llm_provider(model, api_key=key)[3]
        url = url or litellm_setup.service(model)["url"]  # else it would be openai's, which is then sent the key
        make = sdk_client(environment=own)
        return make(api_key=key, base_url=url, http_client=self.client, timeout=PATIENCE)


@cache
def sdk_client(*, environment: bool = False) -> Any:
    """Make openai's client without retries of its own, and without what it takes from the environment."""
    base: Any = importlib.import_module("openai").AsyncOpenAI

    class Client(base):  # type: ignore[misc]
        # litellm sets it with each call; where a service does not know max_retries, to 2.
        max_retries = property(lambda self: 0, lambda self, value: None)  # pyright: ignore

    class Bare(Client):
        organization = project = property(lambda self: None, lambda self, value: None)  # pyright: ignore

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]
            self._custom_headers: Mapping[str, str] = {}  # from OPENAI_CUSTOM_HEADERS

    return Client if environment else Bare


def guard() -> None:
    """Ask before each of litellm's clients whether it is for a call of ours; once in a process.

    Raises:
        CallError: when this version of litellm looks for its clients in other places.
    """
    with _GUARDING:
        if not _guarded:
            try:
                _put_up()
            except (AttributeError, ImportError) as error:
                failure = CallError(f"this version of litellm is not known: {error}", retryable=False)
            else:
                _guarded.append(True)
                return
            raise failure


def _put_up() -> None:
    litellm = litellm_setup.imported()
    http: Any = importlib.import_module(_HTTP)
    cached: Any = importlib.import_module("litellm.caching.llm_caching_handler").LLMClientCache
    sdk: Any = importlib.import_module("litellm.llms.openai.common_utils").BaseOpenAILLM
    databricks: Any = importlib.import_module("litellm.llms.databricks.common_utils").DatabricksBase
    found = (
        (cached, "get_cache", _get(cached.get_cache)),
        (cached, "set_cache", _set(cached.set_cache)),
        (sdk, "_get_async_http_client", staticmethod(_sdk(sdk._get_async_http_client))),
        (http.AsyncHTTPHandler, "client", _shared(http.AsyncHTTPHandler.client, litellm)),
        (http.HTTPHandler, "client", _blocking(http.HTTPHandler.client)),
        (databricks, "_get_oauth_m2m_token", _signing(databricks._get_oauth_m2m_token)),
    )
    for owner, name, guarded in found:  # all of them or none
        setattr(owner, name, guarded)


def _get(plain: Callable[..., Any]) -> Callable[..., Any]:
    def get_cache(self: Any, key: str, **options: Any) -> Any:
        found = exchange()
        if found is None or key.endswith(_NOT_OURS):
            return plain(self, key, **options)
        clients: Clients = found.clients
        return clients.handler if key.startswith("async_httpx_client") else clients.cached.get(key)

    return get_cache


def _set(plain: Callable[..., Any]) -> Callable[..., Any]:
    def set_cache(self: Any, key: str, value: Any, *places: Any, **options: Any) -> Any:
        found = exchange()
        if found is None or key.endswith(_NOT_OURS):
            return plain(self, key, value, *places, **options)
        clients: Clients = found.clients
        if len(clients.cached) >= _MOST_FACES:
            clients.cached.clear()
        clients.cached[key] = value
        return None

    return set_cache


def _sdk(plain: Callable[..., Any]) -> Callable[..., Any]:
    def _get_async_http_client(*places: Any, **options: Any) -> Any:
        found = exchange()
        return plain(*places, **options) if found is None else found.clients.client

    return _get_async_http_client


def _shared(plain: Any, litellm: Any) -> Any:
    def client(self: Any) -> Any:
        found = exchange()
        if found is None or self is not litellm.__dict__.get("module_level_aclient"):
            return plain.fget(self)
        return found.clients.client

    return property(client, plain.fset)


def _blocking(plain: Any) -> Any:
    def client(self: Any) -> Any:
        if not inherited() or (exchange() is None and litellm_setup.heard()):
            return plain.fget(self)
        message = "litellm calls this service with a client that blocks: it cannot be used here"
        raise CallError(message, retryable=False)

    return property(client, plain.fset)


def _signing(plain: Callable[..., Any]) -> Callable[..., Any]:
    def sign(self: Any, *places: Any, **options: Any) -> Any:
        if exchange() is None:
            return plain(self, *places, **options)
        message = (
            "litellm would sign in with DATABRICKS_CLIENT_ID over a connection of its own: unset it, and give a key"
        )
        raise CallError(message, retryable=False)

    return sign
