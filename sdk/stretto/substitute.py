"""Another model for an agent whose own has failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from .address import check_base_url
from .errors import ConfigError
from .params import check_params
from .shapes import is_list, is_mapping, told


@dataclass(frozen=True, slots=True)
class Substitute:
    """A model that stands in, with where it is reached.

    Args:
        model: "provider/model".
        base_url: http(s) address of its provider; None: the provider's own, never the agent's.
        api_key_env: the environment variable that holds its key.
        params: laid over the agent's, key by key; None as a value leaves the agent's out. None: the agent's. Its
            `extra_headers` go to the same service alone, since one may hold a token.

    Raises:
        ConfigError: at construction; names the key.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    params: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        model: Any = self.model
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"fallback: model must be 'provider/model', got {told(model)}", key="fallback")
        if self.base_url is not None:
            check_base_url(self.base_url, agent=None)
        variable: Any = self.api_key_env
        if not isinstance(variable, str | None):
            raise ConfigError(f"fallback: api_key_env must be a text, got {told(variable)}", key="fallback.api_key_env")
        if self.params is not None:
            if not is_mapping(self.params):
                raise ConfigError(f"fallback: params must be a mapping, got {told(self.params)}", key="fallback.params")
            check_params({key: value for key, value in self.params.items() if value is not None}, agent=None)
            object.__setattr__(self, "params", MappingProxyType(dict(self.params)))


SUBSTITUTE_KEYS = tuple(f.name for f in fields(Substitute))


def substitutes(given: Any, *, agent: str | None = None) -> tuple[Substitute, ...]:
    """Read a model, a mapping (`model`, `base_url`, `api_key_env`, `params`), or a list of those.

    Raises:
        ConfigError: names the agent, the key and the value.
    """
    if given is None:
        return ()
    several = given if is_list(given) else (given,)
    try:
        return tuple(map(_substitute, several))
    except ConfigError as error:
        raise ConfigError(error.message, agent=agent, key=error.key, nearest=error.nearest) from None


def _substitute(given: Any) -> Substitute:
    if isinstance(given, Substitute):
        return given
    if isinstance(given, str):
        return Substitute(given)
    if not is_mapping(given):
        message = f"fallback must be a model, a mapping with a model, or a list of those, got {told(given)}"
        raise ConfigError(message, key="fallback")
    for key in given:
        if key not in SUBSTITUTE_KEYS:
            nearest = next(iter(get_close_matches(str(key), SUBSTITUTE_KEYS, 1)), None)
            raise ConfigError(f"{key!r} is not a key of fallback", key=f"fallback.{key}", nearest=nearest)
    if "model" not in given:
        raise ConfigError("fallback needs a model", key="fallback")
    return Substitute(**given)
