"""Put layers in order: the default stack, the one merge rule, the chain that a call passes."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from itertools import count, pairwise
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .boundary import send
from .contract import check_layer, layer_kinds, layer_name, snake_case
from .errors import ConfigError
from .shapes import told

if TYPE_CHECKING:
    from .call import Call, Kind
    from .contract import Middleware, Next
    from .reply import Reply

# Outermost first. A layer that stretto ships finds its place here, whatever its name.
ORDER = (
    "trace",
    "budget",
    "cache",
    "fallback",
    "retry",
    "hedge",
    "circuit_breaker",
    "concurrency_limit",
    "rate_limit",
    "timeout",
)
DEFAULT = ("trace", "fallback", "retry", "concurrency_limit", "rate_limit", "timeout")
_RETRY = ORDER.index("retry")


Stack = tuple["Middleware", ...]


def default_stack(*yours: Middleware, **replacements: Middleware | None) -> list[Middleware]:
    """Give the default layers, outermost first, with your own just outside `Retry`.

    Args:
        yours: layers to add; a shipped one takes its own place.
        replacements: by the name of a place (`retry=Retry(5)`); any layer may stand there; None leaves it out.

    Raises:
        ConfigError: for a place that does not exist, with the nearest one.
    """
    for name, layer in replacements.items():
        if name not in ORDER:
            nearest = next(iter(get_close_matches(name, ORDER, 1)), None)
            raise ConfigError(f"the stack has no place {name!r}: {', '.join(ORDER)}", key=name, nearest=nearest)
        check_layer(layer) if layer is not None else None
    places = [name for name in ORDER if name in DEFAULT or name in replacements]
    made = [replacements[name] if name in replacements else shipped_layer(name)() for name in places]
    return list(merge(tuple(layer for layer in made if layer is not None), yours))


def shipped_layer(name: str) -> Any:
    """Find the class of a shipped layer by its name in the table."""
    module = import_module(f"stretto.middleware.{name}")
    return next(value for key, value in vars(module).items() if snake_case(key) == name and isinstance(value, type))


def names(stack: Sequence[Middleware]) -> list[str]:
    """Give the names of a stack's layers; plain functions of one name become `mw`, `mw_2`.

    Raises:
        ConfigError: when two layers that are not plain functions have the same name.
    """
    seen: dict[str, int] = {}
    found: list[str] = []
    for layer in stack:
        name = layer_name(layer)
        seen[name] = seen.get(name, 0) + 1
        if name in found:
            if not isinstance(layer, FunctionType):
                message = f"two layers are named {name!r}: give one another, {type(layer).__name__}(name=...)"
                raise ConfigError(message, key="middleware")
            name = next(free for n in count(max(2, seen[name])) if (free := f"{name}_{n}") not in found)
        found.append(name)
    return found


def checked(layers: Iterable[Middleware]) -> Stack:
    """Check a whole stack, and warn where shipped layers stand in another order than the table's.

    Raises:
        ConfigError: for something that is no layer, or two of one name.
    """
    if isinstance(layers, (str, type)) or not hasattr(layers, "__iter__"):
        raise ConfigError(f"middleware must be a list of layers, got {told(layers)}", key="middleware")
    stack = tuple(layers)
    for layer in stack:
        check_layer(layer)
    names(stack)
    shipped = [(rank, layer) for layer in stack if (rank := _shipped_rank(layer)) is not None]
    for (outer, first), (inner, second) in pairwise(shipped):
        if outer > inner:
            message = f"{type(second).__name__} belongs outside of {type(first).__name__}: {', '.join(ORDER)}"
            warnings.warn(message, UserWarning, stacklevel=3)
    return stack


def merge(base: Stack, over: Sequence[Middleware]) -> Stack:
    """Lay layers over a stack: one replaces the one of its name, a shipped one takes the table's place, one of
    yours goes just outside `Retry`, or where `Retry` would stand.

    Raises:
        ConfigError: for something that is no layer, or two of one name.
    """
    stack = list(base)
    known = names(stack)
    for layer in over:
        check_layer(layer)
    for layer, name in zip(over, names(over), strict=True):
        if name in known:
            stack[known.index(name)] = layer
            continue
        rank = _rank(layer)
        place = next((i for i, other in enumerate(stack) if _rank(other) > rank), len(stack))
        stack.insert(place, layer)
        known.insert(place, name)
    return tuple(stack)


def holds(stack: Stack, place: str) -> bool:
    """Tell whether a place of the table is taken: by its layer, or by another of that name."""
    rank = ORDER.index(place)
    return any(layer_name(layer) == place or _shipped_rank(layer) == rank for layer in stack)


def _shipped_rank(layer: Middleware) -> int | None:
    for kind in type(layer).__mro__:
        name = snake_case(kind.__name__)
        if kind.__module__ == f"stretto.middleware.{name}" and name in ORDER:
            return ORDER.index(name)
    return None


def _rank(layer: Middleware) -> float:
    rank = _shipped_rank(layer)
    return _RETRY - 0.5 if rank is None else rank


def chain(stack: Sequence[Middleware], kind: Kind) -> Next:
    """Join the layers that want calls of this kind, down to the boundary."""
    below: Next = send
    for layer in reversed(stack):
        if kind in layer_kinds(layer):
            below = _join(layer, below)
    return below


def _join(layer: Middleware, below: Next) -> Next:
    def pass_on(call: Call, /) -> Awaitable[Reply]:
        return layer(call, below)

    return pass_on


def unbounded(stack: Sequence[Middleware], timeout: float | None) -> bool:
    """Tell whether nothing bounds an attempt that could be retried: no clock of the agent, no total of `Timeout`."""
    bounded = any(getattr(layer, "total", None) is not None for layer in stack)
    return timeout is None and not bounded
