"""An agent: a name, one kind of work, and what the work needs.

Python's keywords and the keys of a YAML file are the same words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from . import marks
from .address import check_base_url
from .contract import check_layer
from .errors import ConfigError
from .params import check_params
from .secret import Secret
from .settings import check_seconds

if TYPE_CHECKING:
    from .contract import Middleware
    from .inputs import Inputs

NAME_LENGTH = 200

Function = Callable[["Inputs"], Awaitable[Any]] | Callable[["Inputs"], Any]
PromptFunction = Callable[["Inputs"], str]


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of an ensemble.

    Args:
        name: 1 to 200 characters, no control characters.
        model: "provider/model"; None: the ensemble's.
        function: `async def f(inputs: Inputs)`, or a plain function, which runs in a thread; gives a text or JSON data.
        system_prompt: text with marks; None: no system message.
        prompt: text with marks, or a function of `Inputs`; None: the ensemble's composer writes it.
        depends_on: names of agents whose results it needs.
        on_dependency_failure: "skip" (default) when no dependency succeeded, or "run".
        when: `${agent.field}`, alone or `==` / `!=` a literal; the agent is skipped when it does not hold.
        params: OpenAI chat parameters, `extra_headers` and `extra_body`.
        timeout: seconds above 0, from its first request's admission to its end; None: `Settings.default_timeout`.
        base_url: http(s) address of the model's provider; None: the provider's own.
        api_key: goes only to this agent's `base_url` or provider.
        api_key_env: the environment variable that holds the key: `*_API_KEY`, or one of the provider's own.
        stream: True or False wins over the run's.
        middleware: layers laid over the ensemble's and the runner's.

    Raises:
        ConfigError: at construction; names the agent, the key, its bound and the value.
    """

    name: str
    _: KW_ONLY
    model: str | None = None
    function: Function | None = None
    system_prompt: str | None = None
    prompt: str | PromptFunction | None = None
    depends_on: Sequence[str] = ()
    on_dependency_failure: Literal["skip", "run"] | None = None
    when: str | None = None
    params: Mapping[str, Any] | None = None
    timeout: float | None = None
    base_url: str | None = None
    api_key: Secret | str | None = None
    api_key_env: str | None = None
    stream: bool | None = None
    middleware: Sequence[Middleware] | None = None

    def __post_init__(self) -> None:
        check_agent_name(self.name)
        put = object.__setattr__
        _check_kind(self)
        _check_texts(self)
        put(self, "depends_on", _names(self))
        if self.on_dependency_failure not in (None, "skip", "run"):
            self._refuse("on_dependency_failure", "'skip' or 'run'", self.on_dependency_failure)
        if self.stream is not None and not isinstance(self.stream, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            self._refuse("stream", "true or false", self.stream)
        check_seconds("timeout", self.timeout, agent=self.name)
        if self.params is not None:
            check_params(self.params, agent=self.name)
            put(self, "params", MappingProxyType(dict(self.params)))
        if self.base_url is not None:
            check_base_url(self.base_url, agent=self.name)
        if self.api_key is not None and not isinstance(self.api_key, Secret):
            key: Any = self.api_key
            if not isinstance(key, str) or not key.strip():
                raise ConfigError("api_key must be a text that is not empty", agent=self.name, key="api_key")
            put(self, "api_key", Secret(key))
        if self.middleware is not None:
            put(self, "middleware", listed("middleware", self.middleware, "layers", agent=self.name))
            for layer in self.middleware:
                check_layer(layer)

    def _refuse(self, key: str, bound: str, value: Any) -> None:
        raise ConfigError(f"{key} must be {bound}, got {value!r}", agent=self.name, key=key)


def listed(key: str, values: Any, what: str, *, agent: str | None = None) -> tuple[Any, ...]:
    """Give a list as a tuple.

    Raises:
        ConfigError: when it is no list.
    """
    if isinstance(values, (str, Mapping)) or not hasattr(values, "__iter__"):
        raise ConfigError(f"{key} must be a list of {what}, got {values!r}", agent=agent, key=key)
    return tuple(values)


def check_agent_name(name: Any) -> None:
    """Refuse a name that is not 1 to 200 characters, or holds control characters.

    Raises:
        ConfigError: says what is wrong with it.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"an agent's name must be a text of 1 to {NAME_LENGTH} characters, got {name!r}", key="name")
    if len(name) > NAME_LENGTH:
        message = f"an agent's name must have at most {NAME_LENGTH} characters, got {len(name)}"
        raise ConfigError(message, agent=name[:40], key="name")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        raise ConfigError("an agent's name must hold no control characters", agent=name, key="name")


def _check_kind(agent: Agent) -> None:
    if agent.model is not None:
        if agent.function is not None:
            message = "an agent has exactly one kind of work: model or function, not both"
            raise ConfigError(message, agent=agent.name, key="function")
        model: Any = agent.model
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"model must be 'provider/model', got {agent.model!r}", agent=agent.name, key="model")
    if agent.function is not None and not callable(agent.function):
        message = f"function must be callable, got {agent.function!r}"
        raise ConfigError(message, agent=agent.name, key="function")


def _check_texts(agent: Agent) -> None:
    for key in ("system_prompt", "prompt", "when", "api_key_env"):
        value = getattr(agent, key)
        if key == "prompt" and iscoroutinefunction(value):
            raise ConfigError("prompt must be a plain function: it is not awaited", agent=agent.name, key=key)
        if value is None or (key == "prompt" and callable(value)):
            continue
        if not isinstance(value, str):
            raise ConfigError(f"{key} must be a text, got {value!r}", agent=agent.name, key=key)
        if key in ("system_prompt", "prompt"):
            marks.read(value, agent=agent.name, key=key)
    if agent.when is not None:
        marks.guard(agent.when, agent=agent.name)


def _names(agent: Agent) -> tuple[str, ...]:
    if isinstance(agent.depends_on, str):
        message = f"depends_on must be a list of names: write [{agent.depends_on!r}]"
        raise ConfigError(message, agent=agent.name, key="depends_on")
    names = listed("depends_on", agent.depends_on, "names", agent=agent.name)
    for name in names:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"depends_on must be a list of names, got {name!r} in it"
            raise ConfigError(message, agent=agent.name, key="depends_on")
    return tuple(dict.fromkeys(names))


AGENT_KEYS = tuple(f.name for f in fields(Agent))
