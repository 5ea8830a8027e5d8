"""Tokens and money add up."""

from __future__ import annotations

import math

import pytest

from stretto.errors import ConfigError
from stretto.usage import Price, Usage, added


def test_usages_add_up_field_by_field() -> None:
    assert Usage(11, 22, 33, 44, 55) == Usage(1, 2, 3, 4, 5) + Usage(10, 20, 30, 40, 50)


def test_a_sum_with_an_estimate_is_estimated() -> None:
    assert (Usage(1, 1) + Usage(1, 1, estimated=True)).estimated
    assert (Usage(1, 1, estimated=True) + Usage(1, 1)).estimated
    assert not (Usage(1, 1) + Usage(1, 1)).estimated


def test_a_sum_over_nothing_is_nothing() -> None:
    assert Usage() == sum([], Usage())


def test_total_tokens_counts_cached_and_reasoning_tokens_once() -> None:
    assert Usage(10, 5, cached_tokens=8, reasoning_tokens=4).total_tokens == 15


def test_a_price_is_per_million_tokens() -> None:
    assert Price(2.0, 8.0).of(Usage(500_000, 250_000)) == pytest.approx(3.0)


def test_cached_tokens_have_their_own_price() -> None:
    assert Price(2.0, 8.0, cached=0.5).of(Usage(1_000_000, 0, cached_tokens=400_000)) == pytest.approx(1.4)


def test_cached_tokens_cost_as_input_where_they_have_no_price() -> None:
    assert Price(2.0, 8.0).of(Usage(1_000_000, 0, cached_tokens=400_000)) == pytest.approx(2.0)


def test_cached_tokens_may_be_free() -> None:
    assert Price(2.0, 8.0, cached=0.0).of(Usage(1_000_000, 0, cached_tokens=1_000_000)) == 0.0


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
@pytest.mark.parametrize("field", ["input", "output", "cached"])
def test_a_price_below_zero_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"Price\.{field} must be USD, 0 or more, got {value}"):
        Price(**{"input": 1, "output": 1, field: value})


def test_costs_add_up() -> None:
    assert added([0.25, 0.5]) == 0.75
    assert added([]) == 0.0


def test_one_unknown_cost_makes_the_sum_unknown() -> None:
    assert added([0.25, None, 0.5]) is None
