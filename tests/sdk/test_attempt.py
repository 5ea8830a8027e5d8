"""The ledger of a call: requests sent, waits, and what they add up to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from stretto.attempt import Attempt, Record, Wait
from stretto.errors import Overloaded
from stretto.testing import virtual_time
from stretto.usage import Usage


def sent(record: Record, usage: Usage | None = None, cost: float | None = None, estimate: Any = None) -> Attempt:
    attempt = Attempt()
    attempt.usage, attempt.cost, attempt.estimate = usage, cost, estimate
    record.attempts.append(attempt)
    return attempt


async def test_an_attempt_that_was_not_sent_has_no_number_and_no_time() -> None:
    attempt = Attempt()
    assert (attempt.number, attempt.model, attempt.started, attempt.ended) == (0, "", None, None)
    assert (attempt.headers, attempt.emitted, attempt.error, attempt.cancelled) == (None, False, None, False)
    assert (attempt.hedge, attempt.usage, attempt.cost, attempt.retry_after) == (False, None, None, None)


def test_sending_stamps_number_model_and_time() -> None:
    async def main() -> None:
        first, second = Attempt(), Attempt(hedge=True)
        first.sent(1, "simulated/echo")
        await asyncio.sleep(5)
        second.sent(2, "simulated/other")
        assert (first.number, first.model) == (1, "simulated/echo")
        assert (second.number, second.model, second.hedge) == (2, "simulated/other", True)
        assert first.started is not None
        assert second.started == pytest.approx(first.started + 5)

    virtual_time(main())


async def test_an_attempt_cannot_be_sent_twice() -> None:
    attempt = Attempt()
    attempt.sent(1, "a/b")
    with pytest.raises(RuntimeError, match=r"sent already.*call\.again\(\)"):
        attempt.sent(2, "a/b")
    assert attempt.number == 1


async def test_listeners_are_called_in_order_when_it_goes_out() -> None:
    attempt, heard = Attempt(), list[str]()
    attempt.on_sent(lambda: heard.append("first"))
    attempt.on_sent(lambda: heard.append("second"))
    assert heard == []
    attempt.sent(1, "a/b")
    assert heard == ["first", "second"]


async def test_a_listener_finds_the_attempt_stamped() -> None:
    attempt, seen = Attempt(), list[tuple[int, bool]]()
    attempt.on_sent(lambda: seen.append((attempt.number, attempt.started is not None)))
    attempt.sent(3, "a/b")
    assert seen == [(3, True)]


async def test_a_listener_that_comes_late_is_called_at_once() -> None:
    attempt, heard = Attempt(), list[str]()
    attempt.sent(1, "a/b")
    attempt.on_sent(lambda: heard.append("late"))
    assert heard == ["late"]


async def test_the_text_of_an_attempt_says_what_became_of_it() -> None:
    attempt = Attempt()
    attempt.sent(2, "a/b")
    attempt.error = Overloaded("busy")
    assert "Attempt 2 of 'a/b'" in repr(attempt)
    assert "busy" in repr(attempt)


def test_a_record_adds_its_attempts_up() -> None:
    record = Record()
    sent(record, Usage(10, 5), 0.25)
    sent(record, Usage(1, 1), 0.5)
    assert record.usage == Usage(11, 6)
    assert record.cost == 0.75


def test_a_record_without_attempts_has_cost_nothing() -> None:
    assert (Record().usage, Record().cost) == (Usage(), 0.0)


def test_a_request_that_was_cut_off_counts_with_its_estimate() -> None:
    record = Record()
    sent(record, Usage(10, 5), 0.25)
    cut = sent(record, estimate=(Usage(7, 500, estimated=True), 0.5))
    assert (cut.usage, cut.cost) == (None, None)
    assert record.usage == Usage(17, 505, estimated=True)
    assert record.cost == 0.75


def test_a_request_that_was_cut_off_without_a_price_makes_the_cost_unknown() -> None:
    record = Record()
    sent(record, Usage(10, 5), 0.25)
    sent(record, estimate=(Usage(7, 500, estimated=True), None))
    assert record.cost is None


def test_a_request_of_unknown_price_makes_the_cost_unknown() -> None:
    record = Record()
    sent(record, Usage(10, 5), None)
    assert (record.usage, record.cost) == (Usage(10, 5), None)


def test_a_wait_is_written_when_it_ends() -> None:
    async def main() -> None:
        record = Record()
        with record.waiting("slot", key="openai/gpt"):
            await asyncio.sleep(3)
            assert record.waits == []
        (wait,) = record.waits
        assert (wait.cause, wait.key) == ("slot", "openai/gpt")
        assert wait.seconds == pytest.approx(3)

    virtual_time(main())


def test_waits_stand_in_the_order_of_ending() -> None:
    async def main() -> None:
        record = Record()
        with record.waiting("queue"):
            with record.waiting("quota"):
                await asyncio.sleep(1)
            await asyncio.sleep(1)
        assert [wait.cause for wait in record.waits] == ["quota", "queue"]
        assert record.waits[0].started == pytest.approx(record.waits[1].started)

    virtual_time(main())


def test_a_wait_that_is_cancelled_is_written_too() -> None:
    async def main() -> None:
        record = Record()
        async with asyncio.timeout(2) as clock:
            with suppress(asyncio.CancelledError), record.waiting("backoff"):
                await asyncio.sleep(60)
        assert clock.expired()
        (wait,) = record.waits
        assert wait.cause == "backoff"
        assert wait.seconds == pytest.approx(2)

    virtual_time(main())


async def test_a_wait_is_told_before_it_begins() -> None:
    told: list[object] = []
    record = Record(told=lambda *what: told.append(what))
    error = Overloaded("busy")
    with record.waiting("backoff", 1.5, key="k", error=error):
        assert told == [("backoff", "k", 1.5, error)]


async def test_only_the_cause_is_needed_to_wait() -> None:
    told: list[object] = []
    with Record(told=lambda *what: told.append(what)).waiting("pause"):
        pass
    assert told == [("pause", None, None, None)]


def test_a_wait_is_plain_data() -> None:
    assert Wait("slot", None, 1.0, 2.0)._asdict() == {"cause": "slot", "key": None, "started": 1.0, "seconds": 2.0}
