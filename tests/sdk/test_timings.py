"""Where an agent's time went: disjoint seconds that add up to its wall time."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from stretto.attempt import Attempt, Cause, Wait
from stretto.timings import Timings, timings

T = 1_700_000_000.0  # as seconds since the epoch are: their rounding is part of the test


def wait(cause: Cause, started: float, ended: float) -> Wait:
    return Wait(cause, None, T + started, ended - started)


def attempt(started: float | None, ended: float | None, first_piece: float | None = None) -> Attempt:
    made = Attempt()
    made.started = None if started is None else T + started
    made.ended = None if ended is None else T + ended
    made.first_piece = None if first_piece is None else T + first_piece
    return made


def divided(ended: float, waits: list[Wait], attempts: list[Attempt]) -> dict[str, float]:
    found = timings(T, T + ended, waits, attempts)
    assert found.total == pytest.approx(ended, abs=1e-6)
    return {name: round(getattr(found, name), 6) for name in Timings.__slots__ if getattr(found, name) > 1e-6}


def test_without_waits_and_requests_all_time_is_its_own() -> None:
    assert divided(3, [], []) == {"own": 3}


def test_no_time_at_all_is_no_time() -> None:
    assert timings(T, T, [], []) == Timings()


@pytest.mark.parametrize(
    ("cause", "field"),
    [("queue", "queue"), ("slot", "queue"), ("quota", "limit"), ("pause", "limit"), ("backoff", "backoff")],
)
def test_a_wait_counts_under_its_cause(cause: Cause, field: str) -> None:
    assert divided(3, [wait(cause, 1, 3)], []) == {field: 2, "own": 1}


def test_a_request_counts_as_the_provider_s() -> None:
    assert divided(5, [], [attempt(1, 4)]) == {"provider": 3, "own": 2}


def test_a_stream_has_a_first_token() -> None:
    assert divided(5, [], [attempt(1, 4, first_piece=1.5)]) == {"first_token": 0.5, "provider": 2.5, "own": 2}


def test_a_request_that_was_not_sent_counts_nothing() -> None:
    assert divided(5, [], [attempt(None, None)]) == {"own": 5}
    assert divided(5, [wait("slot", 1, 3)], [attempt(None, None)]) == {"queue": 2, "own": 3}


def test_a_request_that_is_still_out_counts_to_the_end() -> None:
    assert divided(5, [], [attempt(2, None)]) == {"provider": 3, "own": 2}


def test_one_after_the_other_they_add_up() -> None:
    waits = [wait("queue", 0, 1), wait("slot", 1, 2), wait("quota", 2, 4), wait("backoff", 7, 8)]
    attempts = [attempt(4, 7), attempt(8, 10, first_piece=9)]
    assert divided(11, waits, attempts) == {
        "queue": 2,
        "limit": 2,
        "backoff": 1,
        "first_token": 1,
        "provider": 4,
        "own": 1,
    }


@pytest.mark.parametrize(
    "one",
    [
        attempt(1, 4),
        attempt(1, 4, first_piece=2),
        attempt(-3, 4, first_piece=-1),
        attempt(-3, 4, first_piece=2),
        attempt(1, 20, first_piece=15),
        attempt(12, 20),
        attempt(-4, -2),
        attempt(3, None),
        attempt(None, None),
    ],
)
def test_one_request_alone_is_divided_as_among_others(one: Attempt) -> None:
    assert divided(10, [], [one]) == divided(10, [], [one, attempt(None, None)])


def test_where_a_wait_and_a_request_overlap_the_provider_wins() -> None:
    assert divided(10, [wait("quota", 0, 10)], [attempt(3, 5)]) == {"limit": 8, "provider": 2}


def test_where_a_wait_and_a_first_token_overlap_the_request_wins() -> None:
    assert divided(10, [wait("slot", 0, 10)], [attempt(3, 5, first_piece=5)]) == {"queue": 8, "first_token": 2}


def test_where_waits_overlap_the_one_begun_last_wins() -> None:
    assert divided(10, [wait("queue", 0, 10), wait("quota", 4, 6)], []) == {"queue": 8, "limit": 2}
    assert divided(10, [wait("quota", 4, 8), wait("backoff", 6, 10)], []) == {"limit": 2, "backoff": 4, "own": 4}


def test_a_hedge_beside_a_request_counts_once() -> None:
    assert divided(10, [], [attempt(0, 8), attempt(4, 10)]) == {"provider": 10}


def test_an_answering_request_wins_over_one_that_waits_for_its_first_token() -> None:
    assert divided(10, [], [attempt(0, 10, first_piece=10), attempt(2, 4)]) == {"first_token": 8, "provider": 2}


def test_what_lies_outside_of_the_agent_s_time_is_cut_off() -> None:
    assert divided(10, [wait("queue", -5, 2)], [attempt(8, 20)]) == {"queue": 2, "provider": 2, "own": 6}
    assert divided(10, [wait("queue", -5, -2), wait("slot", 11, 12)], []) == {"own": 10}


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_is_disjoint_and_adds_up(seed: int) -> None:
    dice = random.Random(seed)
    causes: list[Cause] = ["queue", "slot", "quota", "pause", "backoff"]
    waits, attempts = [], []
    for _ in range(12):
        started = dice.uniform(-2, 20)
        ended = started + dice.expovariate(0.5)
        if dice.random() < 0.5:
            waits.append(wait(dice.choice(causes), started, ended))
        else:
            first = dice.uniform(started, ended) if dice.random() < 0.5 else None
            attempts.append(attempt(started, ended, first))
    found = timings(T, T + 15, waits, attempts)
    assert found.total == pytest.approx(15, abs=1e-4)
    assert min(getattr(found, name) for name in Timings.__slots__) >= 0


RANKS = {"provider": 2, "first_token": 1}


def slowly(ended: float, waits: list[Wait], attempts: list[Attempt]) -> dict[str, float]:
    """The same, looked at between every two edges: what wins is the request, else the wait begun last."""
    fields = {"queue": "queue", "slot": "queue", "quota": "limit", "pause": "limit", "backoff": "backoff"}
    spans = [(w.started - T, w.started - T + w.seconds, fields[w.cause]) for w in waits]
    for one in attempts:
        if one.started is not None:
            started, end = one.started - T, ended if one.ended is None else one.ended - T
            first = started if one.first_piece is None else one.first_piece - T
            spans += [(started, first, "first_token"), (first, end, "provider")]
    spans = [(max(a, 0.0), min(b, ended), field) for a, b, field in spans if min(b, ended) > max(a, 0.0)]
    edges = sorted({edge for a, b, _ in spans for edge in (a, b)})
    sums = dict.fromkeys(("queue", "limit", "backoff", "first_token", "provider"), 0.0)
    for left, right in pairwise(edges):
        there = [(RANKS.get(field, 0), a, field) for a, b, field in spans if a <= left and b >= right]
        if there:
            sums[max(there, key=lambda found: found[:2])[2]] += right - left
    return sums


@pytest.mark.parametrize("seed", range(40))
def test_what_overlaps_is_divided_as_if_looked_at_moment_by_moment(seed: int) -> None:
    dice = random.Random(seed)
    causes: list[Cause] = ["queue", "slot", "quota", "pause", "backoff"]
    waits, attempts = [], []
    for number in range(dice.choice([2, 10, 60])):
        started = dice.uniform(0, 20) + number * 1e-3  # no two begin at once: then either may win
        ended = started + dice.expovariate(0.3)
        if dice.random() < 0.5:
            waits.append(wait(dice.choice(causes), started, ended))
        else:
            first = dice.uniform(started, ended) if dice.random() < 0.5 else None
            attempts.append(attempt(started, None if dice.random() < 0.1 else ended, first))
    found, expected = timings(T, T + 15, waits, attempts), slowly(15, waits, attempts)
    for name, seconds in expected.items():
        assert getattr(found, name) == pytest.approx(seconds, abs=1e-4), name


def test_ten_thousand_requests_at_once_are_divided_quickly() -> None:
    attempts = [attempt(n * 1e-3, 20 + n * 1e-3, first_piece=n * 1e-3 + 5) for n in range(10_000)]
    waits = [wait("queue", 0, n * 1e-3) for n in range(1, 10_000)]
    started = time.process_time()
    found = timings(T, T + 30, waits, attempts)
    assert time.process_time() - started < 2
    assert found.first_token == pytest.approx(5, abs=1e-3)
    assert found.provider == pytest.approx(25, abs=1e-3)
