"""Run ensembles of LLM agents: phases in parallel, every call through composable async middleware.

The names resolve on first use, so that `import stretto` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import Agent
    from .attempt import Attempt, Record
    from .call import Call
    from .contract import Middleware, Next
    from .ensemble import Ensemble
    from .errors import CallError, ConfigError, StrettoError
    from .inputs import Inputs
    from .loading import load
    from .outcome import Outcome
    from .plan import Plan
    from .reply import Delta, Reply, ToolCall
    from .run import Run
    from .runner import Runner
    from .secret import Secret
    from .settings import Settings
    from .stack import default_stack
    from .timings import Timings
    from .usage import Usage

__all__ = [
    "Agent",
    "Attempt",
    "Call",
    "CallError",
    "ConfigError",
    "Delta",
    "Ensemble",
    "Inputs",
    "Middleware",
    "Next",
    "Outcome",
    "Plan",
    "Record",
    "Reply",
    "Run",
    "Runner",
    "Secret",
    "Settings",
    "StrettoError",
    "Timings",
    "ToolCall",
    "Usage",
    "default_stack",
    "load",
]

_HOME = {
    "Agent": "agent",
    "Attempt": "attempt",
    "Call": "call",
    "CallError": "errors",
    "ConfigError": "errors",
    "Delta": "reply",
    "Ensemble": "ensemble",
    "Inputs": "inputs",
    "Middleware": "contract",
    "Next": "contract",
    "Outcome": "outcome",
    "Plan": "plan",
    "Record": "attempt",
    "Reply": "reply",
    "Run": "run",
    "Runner": "runner",
    "Secret": "secret",
    "Settings": "settings",
    "StrettoError": "errors",
    "Timings": "timings",
    "ToolCall": "reply",
    "Usage": "usage",
    "default_stack": "stack",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("stretto")
    if name not in _HOME:
        raise AttributeError(f"module 'stretto' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
