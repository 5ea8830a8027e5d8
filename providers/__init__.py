"""The providers that stretto ships, one file each; found by the part of a model's name before the slash.

The names resolve on first use, so that none imports what another needs. `wire` is their common ground.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stretto.providers import wire
    from stretto.providers.litellm import LiteLLM
    from stretto.providers.local import Local
    from stretto.providers.openai_compatible import OpenAICompatible
    from stretto.providers.simulated import Simulated

__all__ = ["LiteLLM", "Local", "OpenAICompatible", "Simulated", "wire"]

_HOME = {
    "LiteLLM": "litellm",
    "Local": "local",
    "OpenAICompatible": "openai_compatible",
    "Simulated": "simulated",
}


def __getattr__(name: str) -> Any:
    if name == "wire":
        return import_module("stretto.providers.wire")
    if name not in _HOME:
        raise AttributeError(f"module 'stretto.providers' has no attribute {name!r}")
    return getattr(import_module(f"stretto.providers.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
