"""The layers that stretto ships, outermost first: Trace, Fallback, Retry, ConcurrencyLimit, RateLimit, Timeout.

The names resolve on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stretto.middleware.concurrency_limit import ConcurrencyLimit
    from stretto.middleware.fallback import Fallback
    from stretto.middleware.rate_limit import RateLimit
    from stretto.middleware.retry import Retry, RetryThrottle
    from stretto.middleware.timeout import Timeout
    from stretto.middleware.trace import Trace

__all__ = ["ConcurrencyLimit", "Fallback", "RateLimit", "Retry", "RetryThrottle", "Timeout", "Trace"]

_HOME = {
    "ConcurrencyLimit": "concurrency_limit",
    "Fallback": "fallback",
    "RateLimit": "rate_limit",
    "Retry": "retry",
    "RetryThrottle": "retry",
    "Timeout": "timeout",
    "Trace": "trace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'stretto.middleware' has no attribute {name!r}")
    return getattr(import_module(f"stretto.middleware.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
