"""One value for each event loop, forgotten with it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from stretto.per_loop import PerLoop


class Thing:
    """What belongs to a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


async def test_a_loop_has_one_value() -> None:
    things = PerLoop(Thing)
    assert things.get() is things.get()
    assert things.known() is things.get()


async def test_nothing_is_made_before_it_is_needed() -> None:
    things = PerLoop(Thing)
    assert things.known() is None
    things.get()
    assert things.known() is not None


def test_two_loops_have_two_values() -> None:
    things = PerLoop(Thing)

    async def main() -> Thing:
        assert things.known() is None
        assert things.get().loop is asyncio.get_running_loop()
        return things.get()

    assert asyncio.run(main()) is not asyncio.run(main())


def test_loops_that_take_turns_keep_their_values() -> None:
    things = PerLoop(Thing)

    async def get() -> Thing:
        return things.get()

    with asyncio.Runner() as one, asyncio.Runner() as other:
        first, second = one.run(get()), other.run(get())
        assert first is not second
        assert (one.run(get()), other.run(get())) == (first, second)


def test_loops_in_threads_have_their_own_values() -> None:
    things, found = PerLoop(Thing), list[bool]()

    async def main() -> None:
        for _ in range(20):
            found.append(things.get().loop is asyncio.get_running_loop())
            await asyncio.sleep(0)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 80


def test_without_a_running_loop_there_is_no_value() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        PerLoop(Thing).get()


def test_a_value_that_refers_to_its_loop_does_not_keep_it_for_ever() -> None:
    things, loops = PerLoop(Thing), list[weakref.ref[asyncio.AbstractEventLoop]]()

    async def main() -> None:
        things.get()
        loops.append(weakref.ref(asyncio.get_running_loop()))

    for _ in range(5):
        asyncio.run(main())
    gc.collect()
    assert [loop() is None for loop in loops] == [True, True, True, True, False]


def test_a_value_goes_with_its_loop() -> None:
    values, kept = PerLoop(lambda: {1}), list[weakref.ref[set[int]]]()

    class Kept(set[int]):
        pass

    values = PerLoop(Kept)

    async def main() -> None:
        kept.append(weakref.ref(values.get()))

    asyncio.run(main())
    gc.collect()
    assert kept[0]() is None
