"""The contract of the pipeline: what a layer and a provider are.

A provider is a `Next`. A layer is called with the call and the `Next` below it. No base class is needed: a plain
`async def layer(call, call_next)` satisfies `Middleware`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import ConfigError

if TYPE_CHECKING:
    from .call import Call
    from .reply import Reply


KINDS = ("llm", "script", "function")


@runtime_checkable
class Next(Protocol):
    """The rest of the pipeline below a layer, down to the provider.

    It may be awaited no time (a cache), once with the call or `call.with_(...)`, and further times with
    `call.again()`.
    """

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Send the call down; the reply is complete, also when it was streamed."""
        ...


@runtime_checkable
class Middleware(Protocol):
    """One layer of the pipeline.

    Optional attributes: `name`, `kinds` (default `("llm",)`), `models`, `__aenter__` and `__aexit__`.
    """

    def __call__(self, call: Call, call_next: Next, /) -> Awaitable[Reply]:
        """Pass the call on with `await call_next(call)`, and give the reply."""
        ...


def snake_case(name: str) -> str:
    """Give `ConcurrencyLimit` as `concurrency_limit`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def check_layer(layer: Any) -> None:
    """Refuse what cannot be a layer.

    Raises:
        ConfigError: says what came instead.
    """
    if isinstance(layer, type):
        message = f"{layer.__name__} is a class: put an instance into the stack, {layer.__name__}(...)"
        raise ConfigError(message, key="middleware")
    if not callable(layer):
        raise ConfigError(f"a layer must be callable as layer(call, call_next), got {layer!r}", key="middleware")
    kinds: Any = getattr(layer, "kinds", ())
    if isinstance(kinds, str) or not set(kinds) <= set(KINDS):
        message = f"kinds of the layer {type(layer).__name__} must be a tuple of {', '.join(KINDS)}, got {kinds!r}"
        raise ConfigError(message, key="kinds")


def layer_name(layer: Middleware) -> str:
    """Give a layer's `name`: its own, that of the function, or its class in snake_case."""
    name: Any = getattr(layer, "name", None) or getattr(layer, "__name__", None)
    return name if isinstance(name, str) else snake_case(type(layer).__name__)


def layer_kinds(layer: Middleware) -> tuple[str, ...]:
    """Give the kinds of calls that a layer wants to see."""
    return tuple(getattr(layer, "kinds", ("llm",)))
