"""Test agents, layers and providers without a network and without waiting.

`virtual_time` runs a coroutine on a loop whose clock jumps: an hour of back-off takes milliseconds, in a deterministic
order. `a_call` makes a call, `Answers` is a provider that says what it is told, `Stack` puts layers over a provider
with the boundary between them. `assert_middleware_contract` and `assert_provider_contract` hold a layer or a provider
to everything that stretto promises of it.
"""

from __future__ import annotations

from .bench import Answers, CallForTests, Stack, a_call
from .middleware_contract import assert_middleware_contract
from .provider_contract import assert_provider_contract
from .virtual_loop import VirtualLoop, WaitsForEver, virtual_time

__all__ = [
    "Answers",
    "CallForTests",
    "Stack",
    "VirtualLoop",
    "WaitsForEver",
    "a_call",
    "assert_middleware_contract",
    "assert_provider_contract",
    "virtual_time",
]
