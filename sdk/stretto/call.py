"""One request to be made: what travels through the layers to the provider.

A `Call` is frozen. Three verbs make another of it: `with_` (the same request changed), `again` (another request of the
same logical call), `apart` (another logical call).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from .address import origin
from .attempt import Attempt, Record
from .errors import ConfigError
from .params import CALL_FIELDS, check_params
from .reply import Delta, Reply
from .shapes import is_list, is_mapping
from .usage import Price, Usage

if TYPE_CHECKING:
    from .contract import Next
    from .deadline import AgentClock
    from .secret import Redactor, Secret
    from .substitute import Substitute

Message = Mapping[str, Any]
Emit = Callable[[Delta], Awaitable[None]]
Kind = Literal["llm", "script", "function"]
Work = Callable[["Call"], Awaitable[Reply]]

# The rule of `Call.estimate`. English prose has about four characters a token
# (Source: OpenAI, "What are tokens and how to count them?"); chat templates add about four tokens a message.
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
OUTPUT_TOKENS = 500


class LimitKey(NamedTuple):
    """Whom a limit concerns: one account at one address of one provider, for one model.

    Attributes:
        provider: the model's prefix.
        origin: scheme, host and port; "" for the provider's own.
        account: a digest of the key; "" without one.
        model: the model without its prefix.
    """

    provider: str
    origin: str
    account: str
    model: str

    def __str__(self) -> str:
        where = "@".join(part for part in (self.account, self.origin) if part)
        return f"{self.provider}/{self.model}" + (f" ({where})" if where else "")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a call goes, and with which key.

    Args:
        base_url: http(s) address. None: the provider's own.
        api_key: None: without a key.
        trusted: its origin is in `trusted_origins`, so that link-local and metadata addresses may be called. The core
            says so; what else sets it is overruled.
    """

    base_url: str | None = None
    api_key: Secret | None = None
    trusted: bool = field(default=False, compare=False)
    origin: str = field(init=False, repr=False)
    account: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", origin(self.base_url) if self.base_url else "")
        digest = hashlib.sha256(self.api_key.reveal().encode()).hexdigest()[:8] if self.api_key else ""
        object.__setattr__(self, "account", digest)


@dataclass(frozen=True, slots=True)
class Target:
    """A model that may stand in for a call's own, complete.

    Args:
        model: "provider/model".
        endpoint: its address and key.
        params: laid over the call's, key by key; None as a value leaves the call's out.
    """

    model: str
    endpoint: Endpoint = Endpoint()
    params: Mapping[str, Any] | None = None


class Services(Protocol):
    """What a call asks of whoever made it."""

    capture_content: bool

    @property
    def redactor(self) -> Redactor:
        """What takes keys out of texts."""
        ...

    def endpoint(self, model: str, given: Endpoint | None) -> Endpoint:
        """Complete an address and key for `model`."""
        ...

    def named(self, model: str, base_url: str | None) -> str:
        """Give the model with its prefix."""
        ...

    def target(self, substitute: Substitute) -> Target:
        """Complete a model that stands in; refuses what `endpoint` refuses."""
        ...

    def provider(self, model: str) -> Next:
        """Find the provider by the model's prefix."""
        ...

    def price(self, model: str) -> Price | None:
        """Find the price of a model; None when it is unknown."""
        ...

    def cost(self, model: str, usage: Usage | None, told: float | None) -> float | None:
        """Give USD: by the caller's own price, else as the provider told, else by the provider's price."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to be made.

    Args:
        agent: the agent's name.
        ensemble: the ensemble's name.
        run_id: of the run.
        kind: "llm", "script" or "function".
        model: "provider/model"; "" when the kind needs none.
        messages: chat messages in the OpenAI format.
        params: OpenAI chat parameters (an allow-list).
        extra_headers, extra_body: added to the request as they are.
        endpoint: address and key, complete from creation.
        fallback: the agent's further models, resolved.
        metadata: the run's, read-only.
        emit: takes `Delta`s as they come; None: the reply is not streamed.
        deadline: loop time past which waits and retries are refused; None: no bound.
        attempt: this request.
        record: the logical call that it belongs to.
        scratch: a dict for layers, shared by all requests of the logical call.
        services: finds providers, addresses, keys and prices; None: nobody can send it.
        clock: the agent's, started by the first request that is admitted; None: no bound.
        work: what makes the call in place of a provider; None: the model's provider.

    Raises:
        ConfigError: from `with_`, `again` and `apart`, when a parameter, model or address is refused.
    """

    agent: str
    ensemble: str = ""
    run_id: str = ""
    kind: Kind = "llm"
    model: str = ""
    messages: tuple[Message, ...] = ()
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType[str, Any]({}))
    extra_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType[str, str]({}))
    extra_body: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType[str, Any]({}))
    endpoint: Endpoint = Endpoint()
    fallback: tuple[Target, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType[str, Any]({}))
    emit: Emit | None = None
    deadline: float | None = None
    attempt: Attempt = field(default_factory=Attempt)
    record: Record = field(default_factory=Record)
    scratch: dict[Any, Any] = field(default_factory=dict[Any, Any])
    services: Services | None = field(default=None, repr=False)
    clock: AgentClock | None = field(default=None, repr=False)
    work: Work | None = field(default=None, repr=False)

    def with_(self, **changes: Any) -> Call:
        """Give the same request changed: `attempt`, `record` and `scratch` stay; `deadline` may only be lowered.

        Raises:
            ConfigError: for a deadline that is later, and a parameter, model or address that is refused.
        """
        _check_deadline(self.deadline, changes)
        return self._changed(changes)

    def again(self, *, hedge: bool = False, **changes: Any) -> Call:
        """Give another request of the same logical call, with an `Attempt` of its own.

        Raises:
            ConfigError: as of `with_`.
        """
        _check_deadline(self.deadline, changes)
        return self._changed({**changes, "attempt": Attempt(hedge=hedge)})

    def apart(self, **changes: Any) -> Call:
        """Give another logical call: no emit, no deadline, counted for nobody.

        Raises:
            ConfigError: for a parameter, model or address that is refused.
        """
        fresh: dict[str, Any] = {"emit": None, "deadline": None, "clock": None, "scratch": {}}
        return self._changed({**fresh, **changes, "attempt": Attempt(), "record": Record()})

    def _changed(self, changes: dict[str, Any]) -> Call:
        if "params" in changes:
            changes = {**changes, **_divided(changes["params"], changes, self.agent)}
        if "messages" in changes:
            changes["messages"] = tuple(changes["messages"])
        if "model" in changes or "endpoint" in changes:
            changes |= self._addressed(changes)
        unknown = changes.keys() - _FIELDS
        if unknown:
            raise TypeError(f"a Call has no field {sorted(unknown)[0]!r}")
        # dataclasses.replace would run default factories and __init__: 4 us instead of 2.
        new: Call = object.__new__(Call)
        for name in _FIELDS:
            object.__setattr__(new, name, changes[name] if name in changes else getattr(self, name))
        return new

    def _addressed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Complete model and endpoint; this call's own endpoint stays while the provider does."""
        model: str = changes.get("model", self.model)
        same = model.partition("/")[0] == self.model.partition("/")[0]
        given: Endpoint | None = changes.get("endpoint", self.endpoint if same else None)
        if self.services is not None:
            model = self.services.named(model, given.base_url if given is not None else None)
            given = self.services.endpoint(model, given)
        return {"model": model, "endpoint": given if given is not None else Endpoint()}

    @property
    def limit_key(self) -> LimitKey:
        """Whom a limit of this call concerns."""
        provider, _, model = self.model.partition("/")
        return LimitKey(provider, self.endpoint.origin, self.endpoint.account, model)

    @property
    def price(self) -> Price | None:
        """The price of the model; None when it is unknown."""
        return self.services.price(self.model) if self.services is not None else None

    def remaining(self) -> float:
        """Give the seconds to the nearest deadline, inf without one; unadmitted, the agent's timeout counts whole."""
        if self.deadline is None and self.clock is None:
            return math.inf
        time = asyncio.get_running_loop().time()
        left = math.inf if self.deadline is None else self.deadline - time
        return left if self.clock is None else min(left, self.clock.remaining(time))

    def patience(self) -> float:
        """Give the seconds that a wait before sending may take, inf without a bound.

        Unlike `remaining()` it leaves an agent's timeout out until its first request is admitted: waiting for a slot
        or a quota costs it nothing.
        """
        if self.clock is not None and self.clock.started:
            return self.remaining()
        return math.inf if self.deadline is None else self.deadline - asyncio.get_running_loop().time()

    def estimate(self) -> Usage:
        """Give the tokens that are expected.

        Input: a token for every 4 characters of text, and 4 for each message. Output: `max_completion_tokens` or
        `max_tokens` where given, else 500.
        """
        characters = sum(_characters(message.get("content")) for message in self.messages)
        given = self.params.get("max_completion_tokens") or self.params.get("max_tokens")
        return Usage(
            input_tokens=math.ceil(characters / CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(self.messages),
            output_tokens=given if isinstance(given, int) else OUTPUT_TOKENS,
            estimated=True,
        )


_FIELDS = tuple(f.name for f in fields(Call))


def _divided(params: Any, changes: Mapping[str, Any], agent: str) -> dict[str, Any]:
    """Check parameters, and give those that are fields of the call apart from the others."""
    check_params(params, agent=agent)
    apart = {name: params[name] for name in CALL_FIELDS if name in params and name not in changes}
    return {**apart, "params": MappingProxyType({k: v for k, v in params.items() if k not in CALL_FIELDS})}


def _check_deadline(now: float | None, changes: Mapping[str, Any]) -> None:
    if "deadline" in changes and now is not None and (changes["deadline"] is None or changes["deadline"] > now):
        raise ConfigError(f"a call's deadline may only be lowered: it is {now}, got {changes['deadline']}")


def _characters(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if is_list(content):
        return sum(len(part.get("text") or "") for part in content if is_mapping(part))
    return 0
