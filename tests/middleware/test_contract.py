"""Every layer that stretto ships keeps the contract, as it comes and with its bounds set."""

from collections.abc import Callable

import pytest

import stretto.middleware as face
from stretto import Middleware
from stretto.middleware import ConcurrencyLimit, Fallback, RateLimit, Retry, Timeout, Trace
from stretto.testing import assert_middleware_contract

LAYERS: dict[str, Callable[[], Middleware]] = {
    "Trace()": Trace,
    "Fallback()": Fallback,
    "Fallback(of one)": lambda: Fallback("simulated/other"),
    "Fallback(of two, restart_streams=True)": lambda: Fallback(["simulated/b", "simulated/c"], restart_streams=True),
    "Retry()": Retry,
    "Retry(5, restart_streams=True)": lambda: Retry(5, restart_streams=True),
    "Retry(3, throttle=None)": lambda: Retry(3, throttle=None),
    "ConcurrencyLimit()": ConcurrencyLimit,
    "ConcurrencyLimit(1)": lambda: ConcurrencyLimit(1),
    "ConcurrencyLimit(2)": lambda: ConcurrencyLimit(2),
    "RateLimit()": RateLimit,
    "RateLimit(requests=5, per=10)": lambda: RateLimit(requests=5, per=10),
    "RateLimit(requests=600)": lambda: RateLimit(requests=600),
    "Timeout()": Timeout,
    "Timeout(5, first_token=2, idle=1)": lambda: Timeout(5, first_token=2, idle=1),
    "Timeout(0.002)": lambda: Timeout(0.002),  # it strikes in the middle
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_shipped_layer_keeps_the_contract(name: str) -> None:
    assert_middleware_contract(LAYERS[name])


@pytest.mark.parametrize(
    "layer", [Trace(), Fallback("simulated/b"), Retry(), ConcurrencyLimit(2), RateLimit(requests=5), Timeout(5)]
)
def test_one_object_keeps_it_from_one_scenario_to_the_next(layer: Middleware) -> None:
    assert_middleware_contract(layer)


def test_every_shipped_layer_is_tried() -> None:
    layers = {name for name in face.__all__ if callable(getattr(getattr(face, name), "__call__", None))}  # noqa: B004
    assert {type(make()).__name__ for make in LAYERS.values()} == layers - {"RetryThrottle"}
