"""Say whom a limit, a breaker or a budget counts together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal

from .errors import ConfigError

if TYPE_CHECKING:
    from .call import Call

Scope = Literal["key", "run", "all"] | Callable[["Call"], Hashable]


def check_scope(scope: Any, what: str) -> None:
    """Refuse what is neither "key", "run" or "all" nor a function of the call.

    Raises:
        ConfigError: names `what` and the value.
    """
    if scope not in ("key", "run", "all") and not callable(scope):
        raise ConfigError(
            f"{what}.scope must be 'key', 'run', 'all' or a function of the call, got {scope!r}", key="scope"
        )


def scope_of(scope: Scope, call: Call) -> Hashable:
    """Give whom `call` is counted with: its limit key, its run, everybody, or what the function says."""
    if scope == "key":
        return call.limit_key
    if scope == "run":
        return call.run_id
    return None if scope == "all" else scope(call)
