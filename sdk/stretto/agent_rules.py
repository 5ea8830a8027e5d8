"""What the keys of an agent may hold."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import marks
from .contract import check_layer
from .errors import ConfigError
from .secret import Secret
from .shapes import is_mapping, told

if TYPE_CHECKING:
    from .agent import Agent

NAME_LENGTH = 200

# The kinds of work: exactly one of these keys is given, `model` also by the ensemble.
KINDS = ("model", "function", "script", "ensemble", "loop", "dispatch")
# What only one kind of work has a use for; a system prompt is kept elsewhere, too, as in llm-orc.
ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "model": ("params", "fallback", "base_url", "api_key", "api_key_env"),
    "script": ("parameters", "env"),
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def refused(agent: Agent, key: str, bound: str, value: Any) -> ConfigError:
    """Give the error for a value that a key may not have."""
    return ConfigError(f"{key} must be {bound}, got {told(value)}", agent=agent.name, key=key)


def listed(key: str, values: Any, what: str, *, agent: str | None = None) -> tuple[Any, ...]:
    """Give a list as a tuple.

    Raises:
        ConfigError: when it is no list.
    """
    if isinstance(values, (str, type)) or is_mapping(values) or not hasattr(values, "__iter__"):
        raise ConfigError(f"{key} must be a list of {what}, got {told(values)}", agent=agent, key=key)
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


def check_kind(agent: Agent) -> None:
    """Refuse two kinds of work, and a kind that holds what it cannot.

    Raises:
        ConfigError: names both, or the bound.
    """
    given = [key for key in KINDS if getattr(agent, key) is not None]
    if len(given) > 1:
        message = f"an agent has exactly one kind of work: {given[0]} or {given[1]}, not both"
        raise ConfigError(message, agent=agent.name, key=given[1])
    for kind, keys in ONLY_FOR.items():
        for key in keys if given and given != [kind] else ():
            if getattr(agent, key) is not None:
                message = f"{key} has no effect on an agent with {given[0]}: it belongs to one with {kind}"
                raise ConfigError(message, agent=agent.name, key=key)
    model: Any = agent.model
    if model is not None and (not isinstance(model, str) or not model.strip()):
        raise refused(agent, "model", "'provider/model'", model)
    if agent.function is not None and not callable(agent.function):
        raise refused(agent, "function", "callable", agent.function)
    for key in ("script", "dispatch"):
        value = getattr(agent, key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise refused(agent, key, "a text that is not empty", value)
    ensemble: Any = agent.ensemble
    # The class itself stands further up.
    is_one = hasattr(ensemble, "plan") and hasattr(ensemble, "strictness") and not isinstance(ensemble, type)
    if ensemble is not None and not (isinstance(ensemble, str) and ensemble.strip()) and not is_one:
        raise refused(agent, "ensemble", "an Ensemble, a relative path or a stem", ensemble)


def check_texts(agent: Agent) -> None:
    """Refuse texts that are none, and marks that are not well formed.

    Raises:
        ConfigError: says which.
    """
    for key in ("system_prompt", "prompt", "when", "fan_out", "dispatch", "api_key_env"):
        value = getattr(agent, key)
        if key == "prompt" and iscoroutinefunction(value):
            raise ConfigError("prompt must be a plain function: it is not awaited", agent=agent.name, key=key)
        if value is None or (key == "prompt" and callable(value)):
            continue
        if not isinstance(value, str):
            raise ConfigError(f"{key} must be a text, got {told(value)}", agent=agent.name, key=key)
        if key in ("system_prompt", "prompt", "dispatch"):
            marks.read(value, agent=agent.name, key=key)
    if agent.when is not None:
        marks.guard(agent.when, agent=agent.name)
    if agent.fan_out is not None and marks.alone(marks.read(agent.fan_out, agent=agent.name, key="fan_out")) is None:
        raise refused(agent, "fan_out", "${agent.field} or ${input.field}", agent.fan_out)


def check_choices(agent: Agent) -> None:
    """Refuse what is none of a key's choices.

    Raises:
        ConfigError: names them.
    """
    if agent.on_dependency_failure not in (None, "skip", "run"):
        raise refused(agent, "on_dependency_failure", "'skip' or 'run'", agent.on_dependency_failure)
    if agent.stream is not None and not isinstance(agent.stream, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise refused(agent, "stream", "true or false", agent.stream)


def names_in(agent: Agent, key: str) -> tuple[str, ...]:
    """Give a list of names, each once.

    Raises:
        ConfigError: when it is a text, or holds something else.
    """
    value = getattr(agent, key)
    if isinstance(value, str):
        message = f"{key} must be a list of names: write [{value!r}]"
        raise ConfigError(message, agent=agent.name, key=key)
    names = listed(key, value, "names", agent=agent.name)
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"{key} must be a list of names, got {told(name)} in it", agent=agent.name, key=key)
    return tuple(dict.fromkeys(names))


def variables(agent: Agent) -> tuple[str, ...]:
    """Give the names of environment variables.

    Raises:
        ConfigError: for what cannot be one: a value does not belong into a file.
    """
    names = names_in(agent, "env")
    for name in names:
        if not _VARIABLE.fullmatch(name):  # not repeated: it may be NAME=secret
            message = "env must be a list of names of environment variables; their values do not belong here"
            raise ConfigError(message, agent=agent.name, key="env")
    return names


def json_mapping(agent: Agent, key: str) -> Mapping[str, Any]:
    """Give a mapping that JSON can hold.

    Raises:
        ConfigError: says what it holds instead.
    """
    value = getattr(agent, key)
    if not is_mapping(value):
        raise ConfigError(f"{key} must be a mapping, got {type(value).__name__}", agent=agent.name, key=key)
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{key} must be JSON data: {error}", agent=agent.name, key=key) from None
    return MappingProxyType(dict(value))


def secret(agent: Agent) -> Secret:
    """Give the key as a Secret; the error does not repeat it.

    Raises:
        ConfigError: when it is no text, or empty.
    """
    key: Any = agent.api_key
    if isinstance(key, Secret):
        return key
    if not isinstance(key, str) or not key.strip():
        raise ConfigError("api_key must be a text that is not empty", agent=agent.name, key="api_key")
    return Secret(key)


def layers(agent: Agent) -> tuple[Any, ...]:
    """Give the layers.

    Raises:
        ConfigError: for what is none.
    """
    given = listed("middleware", agent.middleware, "layers", agent=agent.name)
    for layer in given:
        check_layer(layer)
    return given
