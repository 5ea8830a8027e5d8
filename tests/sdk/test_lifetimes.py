"""Layers and providers are opened once a loop, and closed by the last who uses them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stretto.lifetimes import Lifetimes


class Thing:
    """Something with a lifetime that says what becomes of it."""

    def __init__(self, *, opening: BaseException | None = None, closing: BaseException | None = None) -> None:
        self.events: list[str] = []
        self.opening, self.closing = opening, closing
        self.gate: asyncio.Event | None = None  # what opening and closing wait for

    async def _step(self, what: str, error: BaseException | None) -> None:
        self.events.append(what)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if error is not None:
            raise error
        self.events.append(f"{what} done")

    async def __aenter__(self) -> Thing:
        error, self.opening = self.opening, None  # it fails once
        await self._step("open", error)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._step("close", self.closing)


OPENED, CLOSED = ["open", "open done"], ["close", "close done"]


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_thing_is_opened_and_closed() -> None:
    lifetimes, thing = Lifetimes(), Thing()
    assert await lifetimes.open([thing]) == [thing]
    assert thing.events == OPENED
    await lifetimes.close([thing])
    assert thing.events == OPENED + CLOSED


async def test_things_without_a_lifetime_need_not_be_closed() -> None:
    async def function(call: object, call_next: object) -> None: ...

    assert await Lifetimes().open([function, object(), 3]) == []


async def test_the_first_opens_and_the_last_closes() -> None:
    lifetimes, thing = Lifetimes(), Thing()
    await lifetimes.open([thing])
    await lifetimes.open([thing])
    await lifetimes.close([thing])
    assert thing.events == OPENED
    await lifetimes.close([thing])
    assert thing.events == OPENED + CLOSED


async def test_a_thing_that_was_closed_is_opened_anew() -> None:
    lifetimes, thing = Lifetimes(), Thing()
    for _ in range(2):
        await lifetimes.close(await lifetimes.open([thing]))
    assert thing.events == (OPENED + CLOSED) * 2


async def test_many_at_once_open_a_thing_once() -> None:
    lifetimes, thing = Lifetimes(), Thing()
    await asyncio.gather(*(lifetimes.open([thing]) for _ in range(20)))
    assert thing.events == OPENED
    await asyncio.gather(*(lifetimes.close([thing]) for _ in range(20)))
    assert thing.events == OPENED + CLOSED


async def test_whoever_comes_while_it_is_opened_waits_until_it_is_open() -> None:
    lifetimes, thing = Lifetimes(), Thing()
    thing.gate = asyncio.Event()
    first = asyncio.create_task(lifetimes.open([thing]))
    second = asyncio.create_task(lifetimes.open([thing]))
    await turns()
    assert not second.done()
    thing.gate.set()
    await asyncio.gather(first, second)
    assert thing.events == OPENED


async def test_whoever_comes_while_it_is_closed_opens_it_again_afterwards() -> None:
    lifetimes, thing = Lifetimes(), Thing()
    await lifetimes.open([thing])
    thing.gate = asyncio.Event()
    closing = asyncio.create_task(lifetimes.close([thing]))
    await turns()
    opening = asyncio.create_task(lifetimes.open([thing]))
    await turns()
    assert thing.events == [*OPENED, "close"]
    thing.gate.set()
    await asyncio.gather(closing, opening)
    assert thing.events == OPENED + CLOSED + OPENED
    await lifetimes.close([thing])
    assert thing.events == (OPENED + CLOSED) * 2


async def test_a_thing_whose_opening_fails_is_not_closed() -> None:
    lifetimes, thing = Lifetimes(), Thing(opening=OSError("no"))
    with pytest.raises(OSError, match="no"):
        await lifetimes.open([thing])
    assert thing.events == ["open"]


async def test_what_was_opened_before_a_failure_is_closed() -> None:
    lifetimes, first, second, third = Lifetimes(), Thing(), Thing(opening=OSError("no")), Thing()
    with pytest.raises(OSError, match="no"):
        await lifetimes.open([first, second, third])
    assert (first.events, second.events, third.events) == (OPENED + CLOSED, ["open"], [])


async def test_a_failure_to_open_can_be_tried_again() -> None:
    lifetimes, thing = Lifetimes(), Thing(opening=OSError("no"))
    with pytest.raises(OSError, match="no"):
        await lifetimes.open([thing])
    await lifetimes.close(await lifetimes.open([thing]))
    assert thing.events == ["open", *OPENED, *CLOSED]


async def test_whoever_waits_for_an_opening_that_fails_tries_himself() -> None:
    lifetimes, thing = Lifetimes(), Thing(opening=OSError("no"))
    thing.gate = asyncio.Event()
    first = asyncio.create_task(lifetimes.open([thing]))
    second = asyncio.create_task(lifetimes.open([thing]))
    await turns()
    thing.gate.set()
    with pytest.raises(OSError, match="no"):
        await first
    assert await second == [thing]
    await lifetimes.close([thing])
    assert thing.events == ["open", *OPENED, *CLOSED]


async def test_a_cancelled_opening_leaves_nothing_open() -> None:
    lifetimes, first, second = Lifetimes(), Thing(), Thing()
    second.gate = asyncio.Event()
    opening = asyncio.create_task(lifetimes.open([first, second]))
    await turns()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert first.events == OPENED + CLOSED
    second.gate.set()
    await lifetimes.close(await lifetimes.open([second]))
    assert second.events == ["open", *OPENED, *CLOSED]


async def test_a_failure_to_close_is_logged_and_the_others_are_closed(caplog: pytest.LogCaptureFixture) -> None:
    lifetimes, first, second = Lifetimes(), Thing(closing=OSError("stuck")), Thing()
    held = await lifetimes.open([first, second])
    with caplog.at_level(logging.ERROR, logger="stretto"):
        await lifetimes.close(held)
    assert caplog.messages == ["closing Thing failed: OSError"]
    assert second.events == OPENED + CLOSED


async def test_a_cancel_while_one_is_closed_leaves_no_other_open() -> None:
    lifetimes, first, second = Lifetimes(), Thing(), Thing()
    held = await lifetimes.open([first, second])
    first.gate = asyncio.Event()
    closing = asyncio.create_task(lifetimes.close(held))
    await turns()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert second.events == OPENED + CLOSED


async def test_a_cancelled_wait_for_a_closing_does_not_lose_who_opens_next() -> None:
    lifetimes, thing = Lifetimes(), Thing()
    await lifetimes.open([thing])
    gate = thing.gate = asyncio.Event()

    async def open_next() -> None:
        await gate.wait()
        await asyncio.sleep(0)  # now it is closed, and the one that was cancelled has not heard of it yet
        await lifetimes.open([thing])

    closing = asyncio.create_task(lifetimes.close([thing]))
    await turns()
    waiting, opening = asyncio.create_task(lifetimes.open([thing])), asyncio.create_task(open_next())
    await turns()
    waiting.cancel()
    await turns()
    gate.set()
    _, cancelled, _ = await asyncio.gather(closing, waiting, opening, return_exceptions=True)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert thing.events == OPENED + CLOSED + OPENED
    await lifetimes.close([thing])
    assert thing.events == (OPENED + CLOSED) * 2


async def test_closing_what_was_never_opened_does_nothing() -> None:
    thing = Thing()
    await Lifetimes().close([thing])
    assert thing.events == []


def test_each_loop_opens_for_itself() -> None:
    lifetimes, thing = Lifetimes(), Thing()

    async def main() -> None:
        await lifetimes.close(await lifetimes.open([thing]))

    asyncio.run(main())
    asyncio.run(main())
    assert thing.events == (OPENED + CLOSED) * 2


def test_a_loop_that_closed_nothing_does_not_trouble_the_next() -> None:
    lifetimes, thing = Lifetimes(), Thing()

    async def main() -> None:
        await lifetimes.open([thing])

    asyncio.run(main())
    asyncio.run(main())
    assert thing.events == OPENED * 2
