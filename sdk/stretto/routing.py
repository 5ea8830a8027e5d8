"""Find the provider, the address, the key and the price of a model.

A key never leaves its origin: one from the environment goes only to its provider's own address, to one that the
environment itself names, or to an origin that the caller trusts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from copy import copy
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .address import check_base_url, forbidden, origin
from .call import Endpoint, Target
from .errors import ConfigError
from .secret import Redactor, Secret
from .usage import Price, Usage

if TYPE_CHECKING:
    from importlib import metadata

    from .agent import Agent
    from .contract import Next
    from .substitute import Substitute

# Found by module path, so that a provider and what it imports load when a model first needs it.
OWN = {
    "compatible": ("openai_compatible", "OpenAICompatible"),
    "local": ("local", "Local"),
    "simulated": ("simulated", "Simulated"),
}
_COMPATIBLE = "compatible"
# Services that sign with credentials of the machine, but not when the call has a key: shown on the wire.
_KEYED = frozenset(("azure", "azure_text", "bedrock", "bedrock_mantle", "snowflake"))
_MOST_ENDPOINTS = 4096
_HERE = ("local", "simulated")  # they call nobody
LITELLM = ("litellm", "LiteLLM")
_ALL = "*"  # litellm's one provider, for all its prefixes
_KEY_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")


class Service(NamedTuple):
    """What is known of a service that litellm reaches.

    Attributes:
        keys: environment variables that hold its key, the first that is set counts.
        bases: environment variables that name its address.
        url: its own address; None when it differs by account.
        movable: shown on the wire: sent to another address it carries nothing but what the call holds.
    """

    keys: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    url: str | None = None
    movable: bool = False


@cache
def services() -> Mapping[str, Service]:
    """Read the services that litellm reaches, by model prefix."""
    from importlib import resources  # costs more than all of this file, and many runs need none of it

    text = resources.files("stretto").joinpath("services.json").read_text(encoding="utf-8")
    return MappingProxyType(
        {
            name: Service(tuple(entry["keys"]), tuple(entry["bases"]), entry["url"], entry["movable"])
            for name, entry in json.loads(text).items()
        }
    )


@cache
def entry_points(group: str, shipped: tuple[str, ...]) -> Mapping[str, metadata.EntryPoint]:
    """Find what other distributions add under `group`.

    Raises:
        ConfigError: when a name is taken twice, or is one of `shipped`; names both distributions.
    """
    from importlib import metadata  # as above

    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=group):
        distribution = point.dist.name if point.dist is not None else "?"
        other = found.get(point.name)
        if point.name in shipped or other is not None:
            taken = "stretto" if other is None or other.dist is None else other.dist.name
            message = f"{point.name!r} in {group} is claimed by both {taken} and {distribution}: uninstall one"
            raise ConfigError(message, key=point.name)
        found[point.name] = point
    return found


class Routing:
    """The providers, addresses, keys and prices of one runner.

    Args:
        providers: by model prefix; "*" stands for every prefix that neither it nor stretto names.
        trusted_origins: addresses that keys of the environment may go to.
        prices: USD per million tokens by model pattern; the most specific pattern wins.
        environ: where keys and addresses are looked up.
        capture_content: prompts and replies go into spans.

    Raises:
        ConfigError: when a trusted origin is not an http(s) address.
    """

    def __init__(
        self,
        providers: Mapping[str, Next] | None,
        trusted_origins: Iterable[str],
        prices: Mapping[str, Price] | None,
        environ: Mapping[str, str],
        capture_content: bool = False,
    ) -> None:
        self.capture_content = capture_content
        if isinstance(trusted_origins, (str, type)) or not hasattr(trusted_origins, "__iter__"):
            raise ConfigError("trusted_origins must be a list of addresses", key="trusted_origins")
        trusted = tuple(trusted_origins)
        for url in trusted:
            check_base_url(url, agent=None)
        self._trusted = frozenset(map(origin, trusted))
        self._given = dict(providers or {})
        self._made: dict[str, Next] = {}
        self._prices = dict(prices or {})
        self._price_of: dict[str, Price | None] = {}
        self._environ = environ
        self._endpoints: dict[tuple[str, Endpoint | None, str | None, bool], Endpoint] = {}
        names = {key for service in services().values() for key in service.keys}
        self._secrets: set[Secret] = set(filter(None, map(self._secret, names)))
        self._redactor: Redactor | None = None
        self._redacted = 0  # secrets that it knows

    @property
    def redactor(self) -> Redactor:
        """What takes the keys of the environment out of texts, and those that this run was given."""
        if self._redactor is None or self._redacted != len(self._secrets):  # of one run they only become more
            self._redactor, self._redacted = Redactor(self._secrets), len(self._secrets)
        return self._redactor

    def over(self, prices: Mapping[str, Price]) -> Routing:
        """Give the same for one run, with `prices` under its own; providers and endpoints are shared, keys are not."""
        _ = self.redactor  # made once for all runs
        other = copy(self)
        other._secrets = set(self._secrets)
        if prices:
            other._prices = {**prices, **self._prices}
            other._price_of = {}
        return other

    def within(self, prices: Mapping[str, Price]) -> Routing:
        """Give the same for an ensemble of this run, with `prices` under its own; keys are shared."""
        if all(pattern in self._prices for pattern in prices):
            return self
        other = copy(self)
        other._prices = {**prices, **self._prices}
        other._price_of = {}
        return other

    def named(self, model: str, base_url: str | None) -> str:
        """Give the model with its prefix: with an address, one without a known prefix is `compatible/`."""
        prefix, slash, _ = model.partition("/")
        if base_url is None or (slash and (prefix in self._made or self._known(prefix))):
            return model
        return f"{_COMPATIBLE}/{model}"

    def _known(self, prefix: str) -> bool:
        if prefix in self._given or prefix in OWN or prefix in services() or _ALL in self._given:
            return True
        return prefix in _entry_points()

    def provider(self, model: str) -> Next:
        """Find the provider by the model's prefix; made once, at first use.

        Raises:
            ConfigError: for a prefix that nobody knows, with the nearest one.
        """
        prefix, slash, _ = model.partition("/")
        found = self._made.get(prefix)
        if found is None:
            if not slash:
                message = f"{model!r} names no provider: write 'provider/model', or give a base_url"
                raise ConfigError(message, key="model")
            found = self._made[prefix] = self._make(prefix, model)
        return found

    def _make(self, prefix: str, model: str) -> Next:
        if prefix in self._given:
            return self._given[prefix]
        if prefix in OWN:
            shipped: Next = _shipped(*OWN[prefix])
            return shipped
        point = _entry_points().get(prefix)
        if point is not None:
            made: Next = point.load()()
            return made
        if _ALL in self._given:
            return self._given[_ALL]
        if prefix in services():
            if _ALL not in self._made:
                self._made[_ALL] = _shipped(*LITELLM)
            return self._made[_ALL]
        known = [*self._given, *OWN, *services()]
        nearest = next(iter(get_close_matches(prefix, known, 1)), None)
        message = (
            f"no provider is known for {model!r}: its part before the / must be a provider's name, or the agent needs "
            "the base_url of an OpenAI-style server"
        )
        raise ConfigError(message, key="model", nearest=nearest)

    def agent_endpoint(self, agent: Agent, *, key_needed: bool = True) -> Endpoint:
        """Complete the address and key of an agent.

        Args:
            agent: whose.
            key_needed: False lets the variable that `api_key_env` names be unset, for plans.

        Raises:
            ConfigError: when its key may not go to its address, with the cure.
        """
        secret = agent.api_key if isinstance(agent.api_key, Secret) else None
        given = Endpoint(agent.base_url, secret) if agent.base_url or secret else None
        try:
            model = self.model(agent)
            endpoint = self._endpoint(model, given, agent.api_key_env, key_needed)
            check = getattr(self.provider(model), "check", None)
            if check is not None:
                check(model, endpoint)
            return endpoint
        except ConfigError as error:
            raise ConfigError(error.message, agent=agent.name, key=error.key, nearest=error.nearest) from None

    def target(self, substitute: Substitute, *, key_needed: bool = True) -> Target:
        """Complete a model that stands in for an agent's own: the address is its own, and so is the key.

        Args:
            substitute: the model, and where it is reached.
            key_needed: as of `agent_endpoint`.

        Raises:
            ConfigError: as of `agent_endpoint`.
        """
        given = Endpoint(substitute.base_url) if substitute.base_url else None
        model = self.named(substitute.model, substitute.base_url)
        endpoint = self._endpoint(model, given, substitute.api_key_env, key_needed)
        check = getattr(self.provider(model), "check", None)
        if check is not None:
            check(model, endpoint)
        return Target(model, endpoint, substitute.params)

    def model(self, agent: Agent) -> str:
        """Give the model of an agent with its prefix."""
        return self.named(agent.model or "", agent.base_url)

    def endpoint(self, model: str, given: Endpoint | None) -> Endpoint:
        """Complete an address and key for `model`.

        Raises:
            ConfigError: when the model or the address is refused.
        """
        return self._endpoint(model, given, None)

    def _endpoint(self, model: str, given: Endpoint | None, variable: str | None, key_needed: bool = True) -> Endpoint:
        cached = (model.partition("/")[0], given, variable, key_needed)
        found = self._endpoints.get(cached)
        if found is None:
            if len(self._endpoints) >= _MOST_ENDPOINTS:
                self._endpoints.clear()
            found = self._endpoints[cached] = self._resolve(model, given or Endpoint(), variable, key_needed)
        if found.api_key is not None and found.api_key not in self._secrets:
            self._secrets.add(found.api_key)
        return found

    def _resolve(self, model: str, given: Endpoint, variable: str | None, key_needed: bool) -> Endpoint:
        prefix = model.partition("/")[0]
        provider = self.provider(model)
        service = services().get(prefix, Service())
        own_url: str | None = getattr(provider, "base_url", None)
        named = [self._address(name) for name in service.bases if self._environ.get(name)]
        url = given.base_url or own_url or next(iter(named), None)
        if url is None:
            trusted = True
        else:
            check_base_url(url, agent=None)
            own = {origin(known) for known in (service.url, own_url, *named) if known}
            trusted = origin(url) in own | self._trusted
            host = urlsplit(url).hostname or ""
            if forbidden(host) and origin(url) not in self._trusted:
                message = f"{host} is a link-local or metadata address"
                raise ConfigError(f"{message}: to call it, trust it: trusted_origins=[{origin(url)!r}]", key="base_url")
        keyed = given.api_key is not None and prefix in _KEYED
        if not trusted and prefix in services() and not (service.movable or keyed):
            cure = "give api_key in code, or trust it" if prefix in _KEYED else "trust it"
            raise ConfigError(_untrusted(url, f"{prefix} may add credentials of this machine", cure), key="base_url")
        key = given.api_key
        if key is None and variable is not None:
            self._check_variable(variable, prefix, service, url, trusted)
            key = self._secret(variable)
            if key is None and key_needed:
                raise ConfigError(f"the environment variable {variable} is not set", key="api_key_env")
        if key is None and variable is None and (url is None or own_url == url):
            key = getattr(provider, "api_key", None)
            key = Secret(key) if isinstance(key, str) else key
        if key is None and variable is None and trusted:
            names = (*getattr(provider, "key_names", ()), *service.keys)
            key = next(filter(None, map(self._secret, names)), None)
        return Endpoint(url, key, trusted=url is not None and origin(url) in self._trusted)

    def _secret(self, variable: str) -> Secret | None:
        value = self._environ.get(variable, "").strip()  # a file that was read into it ends with a line break
        return Secret(value) if value else None

    def _address(self, variable: str) -> str:
        url = self._environ[variable].strip()
        try:
            check_base_url(url, agent=None)
        except ConfigError as error:
            raise ConfigError(f"the environment variable {variable}: {error.message}", key="base_url") from None
        return url

    def _check_variable(self, variable: str, prefix: str, service: Service, url: str | None, trusted: bool) -> None:
        own = (*getattr(self._made.get(prefix), "key_names", ()), *service.keys)
        if variable not in own:
            if not _KEY_VARIABLE.fullmatch(variable):
                # not repeated: it may be the key itself
                message = "api_key_env must name a variable that ends in _API_KEY; a key itself does not belong here"
                raise ConfigError(message, key="api_key_env")
            owner = next((name for name, other in services().items() if variable in other.keys), None)
            if owner is not None:
                message = f"{variable} is the key of {owner}: it does not go to {prefix}"
                raise ConfigError(message, key="api_key_env")
        if not trusted:
            raise ConfigError(_untrusted(url, f"{variable} goes only to its provider's own address"), key="base_url")

    def host(self, agent: Agent) -> str | None:
        """Say where an agent's calls go; None for work that is no model's, and when the address is not known here."""
        if agent.model is None:
            return None
        prefix = self.model(agent).partition("/")[0]
        url = self.agent_endpoint(agent, key_needed=False).base_url or services().get(prefix, Service()).url
        if url is not None:
            return origin(url)
        return "this process" if prefix in _HERE and prefix not in self._given else None

    def key_name(self, agent: Agent) -> str | None:
        """Say which key an agent's calls carry, never its value; None without one."""
        if agent.model is None:
            return None
        if agent.api_key is not None:
            return "given in code"
        prefix = self.model(agent).partition("/")[0]
        names = [agent.api_key_env] if agent.api_key_env else list(services().get(prefix, Service()).keys)
        key = self.agent_endpoint(agent, key_needed=False).api_key
        if key is None:
            own = agent.base_url is None and names
            return f"{' or '.join(names)}: not set" if own or agent.api_key_env else None
        return next((name for name in names if self._secret(name) == key), "of the provider")

    def price(self, model: str) -> Price | None:
        """Find the price of a model: the caller's own, else the provider's, else None."""
        own = self._own_price(model)
        if own is None:
            of_provider = getattr(self.provider(model), "price", None)
            own = of_provider(model) if of_provider is not None else None
        return own

    def cost(self, model: str, usage: Usage | None, told: float | None) -> float | None:
        """Give USD: by the caller's own price, else as the provider told, else by the provider's price."""
        own = self._own_price(model) if self._prices else None
        if own is None and told is not None:
            return told
        price = own if own is not None else self.price(model)
        return None if price is None or usage is None else price.of(usage)

    def _own_price(self, model: str) -> Price | None:
        if model not in self._price_of:
            fitting = [pattern for pattern in self._prices if fnmatchcase(model, pattern)]
            best = max(fitting, key=lambda pattern: (pattern == model, len(pattern)), default=None)
            self._price_of[model] = None if best is None else self._prices[best]
        return self._price_of[model]


def _entry_points() -> Mapping[str, metadata.EntryPoint]:
    return entry_points("stretto.providers", (*OWN, "litellm"))


def _untrusted(url: str | None, why: str, cure: str = "give api_key in code, or trust it") -> str:
    where = origin(url or "")
    return f"{why}, and {where} is another one: {cure}: trusted_origins=[{where!r}]"


def _shipped(module: str, name: str) -> Any:
    return getattr(import_module(f"stretto.providers.{module}"), name)()
