"""Count tokens and money."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request or of several added up.

    Args:
        input_tokens: all tokens of the prompt, cached ones included.
        output_tokens: all tokens of the answer, reasoning included.
        cached_tokens: of the input, those read from the provider's cache.
        cache_write_tokens: of the input, those written to the provider's cache.
        reasoning_tokens: of the output, those of the reasoning.
        estimated: a part of it is an estimate, since a request was cut off before its usage was known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens.

    Args:
        input: of the prompt, 0 or more.
        output: of the answer, 0 or more.
        cached: of the part of the prompt that was read from the provider's cache. None: as `input`.

    Raises:
        ConfigError: at construction, when one is below 0 or no number.
    """

    input: float
    output: float
    cached: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached"):
            value = getattr(self, name)
            if not (name == "cached" and value is None) and not 0 <= value < math.inf:
                raise ConfigError(f"Price.{name} must be USD, 0 or more, got {value!r}", key=name)

    def of(self, usage: Usage) -> float:
        """Give the price of `usage` in USD."""
        cached = self.input if self.cached is None else self.cached
        fresh = usage.input_tokens - usage.cached_tokens
        return (fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output) / 1e6


def added(costs: list[float | None]) -> float | None:
    """Add USD up; None when one of them is unknown."""
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
