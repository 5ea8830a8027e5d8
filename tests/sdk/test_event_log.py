"""What happened, for any number of readers, each from the start; pieces are joined for the slow ones."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref

from stretto.event_log import EventLog, EventReader
from stretto.events import AgentDelta, AgentStarted, Event, PhaseFinished, PhaseStarted
from stretto.reply import Delta, ToolCall
from stretto.testing import virtual_time
from stretto.usage import Usage


def started(agent: str = "a") -> AgentStarted:
    return AgentStarted(time=0.0, run_id="r", phase=0, agent=agent)


def phase(number: int = 0) -> PhaseStarted:
    return PhaseStarted(time=0.0, run_id="r", phase=number)


def text(log: EventLog, piece: str, agent: str = "a") -> None:
    log.piece(0, agent, Delta(text=piece))


async def rest(reader: EventReader) -> list[Event]:
    return [event async for event in reader]


def shown(events: list[Event]) -> list[str]:
    """Write events shortly: `a:text` for a piece, the type for the others."""
    return [f"{e.agent}:{e.delta.text}" if isinstance(e, AgentDelta) and e.delta.text else e.type for e in events]


async def test_a_reader_gets_every_event_in_order() -> None:
    log = EventLog("r")
    events = [phase(), started("a"), started("b"), PhaseFinished(time=1.0, run_id="r", phase=0)]
    reader = log.reader()
    for event in events:
        log.add(event)
    log.close()
    assert await rest(reader) == events


async def test_a_reader_that_comes_late_reads_from_the_start() -> None:
    log = EventLog("r")
    log.add(phase())
    text(log, "hello ")
    text(log, "world")
    early, late = log.reader(), log.reader()
    log.close()
    after = log.reader()
    expected = ["phase_started", "a:hello world"]
    assert [shown(await rest(reader)) for reader in (early, late, after)] == [expected] * 3


async def test_a_reader_that_keeps_up_gets_each_piece() -> None:
    log = EventLog("r")
    reader, got = log.reader(), list[str]()
    for piece in ("one ", "two ", "three"):
        text(log, piece)
        event = await anext(reader)
        assert isinstance(event, AgentDelta)
        got.append(event.delta.text or "")
    assert got == ["one ", "two ", "three"]


async def test_a_slow_reader_gets_what_it_has_not_read_in_one_piece() -> None:
    log = EventLog("r")
    reader = log.reader()
    text(log, "one ")
    assert shown([await anext(reader)]) == ["a:one "]
    for piece in ("two ", "three ", "four"):
        text(log, piece)
    assert shown([await anext(reader)]) == ["a:two three four"]
    log.close()
    assert await rest(reader) == []


async def test_readers_of_different_speed_do_not_disturb_each_other() -> None:
    log = EventLog("r")
    fast, slow = log.reader(), log.reader()
    seen = []
    for piece in "abcdef":
        text(log, piece)
        seen.append(await anext(fast))
    log.close()
    assert shown(seen) == [f"a:{piece}" for piece in "abcdef"]
    assert shown(await rest(slow)) == ["a:abcdef"]


async def test_two_agents_that_stream_at_once_interleave() -> None:
    log = EventLog("r")
    reader, seen = log.reader(), list[Event]()
    for piece in ("1", "2"):
        for agent in ("a", "b"):
            text(log, piece, agent)
            seen.append(await anext(reader))
    assert shown(seen) == ["a:1", "b:1", "a:2", "b:2"]


async def test_pieces_of_two_agents_are_joined_each_for_itself() -> None:
    log = EventLog("r")
    reader = log.reader()
    for piece in ("1", "2", "3"):
        text(log, piece, "a")
        text(log, piece, "b")
    log.close()
    assert shown(await rest(reader)) == ["a:123", "b:123"]


async def test_an_event_of_the_agent_is_not_overtaken_by_its_pieces() -> None:
    log = EventLog("r")
    reader = log.reader()
    text(log, "before")
    log.add(started("a"))
    text(log, "after")
    log.close()
    assert shown(await rest(reader)) == ["a:before", "agent_started", "a:after"]


async def test_an_event_of_another_agent_does_not_divide_a_text() -> None:
    log = EventLog("r")
    reader = log.reader()
    text(log, "before ")
    log.add(started("b"))
    text(log, "after")
    log.close()
    assert shown(await rest(reader)) == ["a:before after", "agent_started"]


async def test_text_reasoning_and_tool_calls_stay_apart() -> None:
    log = EventLog("r")
    reader = log.reader()
    deltas = [
        Delta(reasoning="so "),
        Delta(reasoning="then"),
        Delta(text="an"),
        Delta(text="swer"),
        Delta(tool_call=ToolCall("id-1", "f", '{"x":')),
        Delta(tool_call=ToolCall("", "", "1}")),
        Delta(tool_call=ToolCall("id-2", "g", "{}", 1)),
        Delta(reasoning="more"),
    ]
    for delta in deltas:
        log.piece(2, "a", delta)
    log.close()
    events = await rest(reader)
    assert all(
        isinstance(event, AgentDelta) and (event.phase, event.agent, event.run_id) == (2, "a", "r") for event in events
    )
    assert [event.delta for event in events if isinstance(event, AgentDelta)] == [
        Delta(reasoning="so then"),
        Delta(text="answer"),
        Delta(tool_call=ToolCall("id-1", "f", '{"x":1}')),
        Delta(tool_call=ToolCall("id-2", "g", "{}", 1)),
        Delta(reasoning="more"),
    ]


async def test_a_tool_call_without_arguments_is_told() -> None:
    log = EventLog("r")
    reader = log.reader()
    log.piece(0, "a", Delta(tool_call=ToolCall("id-1", "f")))
    log.close()
    (event,) = await rest(reader)
    assert isinstance(event, AgentDelta)
    assert event.delta == Delta(tool_call=ToolCall("id-1", "f", ""))


async def test_an_empty_piece_is_not_told_to_who_has_read_the_others() -> None:
    log = EventLog("r")
    reader = log.reader()
    text(log, "x")
    assert shown([await anext(reader)]) == ["a:x"]
    text(log, "")
    log.close()
    assert await rest(reader) == []


async def test_a_restart_divides_what_is_void_from_what_counts() -> None:
    log = EventLog("r")
    reader = log.reader()
    text(log, "void")
    log.piece(0, "a", Delta(restart=True))
    text(log, "counts")
    log.close()
    deltas = [event.delta for event in await rest(reader) if isinstance(event, AgentDelta)]
    assert deltas == [Delta(text="void"), Delta(restart=True), Delta(text="counts")]


async def test_usage_is_an_event_of_its_own() -> None:
    log = EventLog("r")
    reader = log.reader()
    log.piece(0, "a", Delta(usage=Usage(1, 2)))
    log.close()
    (event,) = await rest(reader)
    assert isinstance(event, AgentDelta)
    assert event.delta.usage == Usage(1, 2)


async def test_texts_come_out_as_they_went_in() -> None:
    log = EventLog("r")
    pieces = ["a\r\n", "b\r", "\nc\n", "größer 🎵", "\x00", "\ud83d"]
    reader = log.reader()
    seen = ""
    for number, piece in enumerate(pieces):
        text(log, piece)
        if number % 2:
            event = await anext(reader)
            assert isinstance(event, AgentDelta)
            seen += event.delta.text or ""
    assert seen == "".join(pieces)


async def test_nothing_is_added_once_it_is_closed() -> None:
    log = EventLog("r")
    log.add(phase())
    log.close()
    log.add(phase(1))
    text(log, "late")
    log.piece(0, "a", Delta(restart=True))
    assert shown(await rest(log.reader())) == ["phase_started"]


def test_a_waiting_reader_wakes_for_an_event_and_for_the_end() -> None:
    async def main() -> None:
        log = EventLog("r")
        reading = asyncio.create_task(rest(log.reader()))
        await asyncio.sleep(1)
        log.add(phase())
        await asyncio.sleep(1)
        text(log, "x")
        await asyncio.sleep(1)
        log.close()
        assert shown(await reading) == ["phase_started", "a:x"]

    virtual_time(main())


def test_a_piece_has_the_time_at_which_it_came() -> None:
    async def main() -> None:
        log = EventLog("r")
        reader = log.reader()
        text(log, "one")
        first = await anext(reader)
        await asyncio.sleep(7)
        text(log, "two")
        assert round((await anext(reader)).time - first.time, 3) == 7

    virtual_time(main())


async def test_a_cancelled_reader_loses_no_event() -> None:
    log = EventLog("r")
    reader = log.reader()
    waiting = asyncio.create_task(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    log.add(phase())
    log.close()
    assert shown(await rest(reader)) == ["phase_started"]
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()


async def test_a_closed_reader_is_told_nothing_any_more() -> None:
    log = EventLog("r")
    reader, other = log.reader(), log.reader()
    log.add(phase())
    await reader.aclose()
    log.add(phase(1))
    text(log, "x")
    assert await rest(reader) == []
    log.close()
    assert len(await rest(other)) == 3


async def test_a_reader_that_waits_ends_when_it_is_closed() -> None:
    reader = EventLog("r").reader()
    waiting = asyncio.create_task(rest(reader))
    await asyncio.sleep(0)
    await reader.aclose()
    assert await waiting == []


async def test_a_forgotten_reader_is_freed() -> None:
    log = EventLog("r")
    reader = weakref.ref(log.reader())
    gc.collect()
    assert reader() is None


def grown(log: EventLog, pieces: int) -> int:
    """Give the bytes that a log grows by with so many pieces of one text."""
    text(log, "x")
    tracemalloc.start()
    try:
        for _ in range(pieces):
            text(log, "word ")
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


async def test_a_run_keeps_the_texts_and_not_one_object_a_piece() -> None:
    assert grown(EventLog("r"), 10_000) < 10_000 * 5 * 4 * 1.5  # up to 4 bytes a character, and room to grow


async def test_a_reader_that_never_reads_costs_nothing_a_piece() -> None:
    log = EventLog("r")
    reader = log.reader()
    assert grown(log, 10_000) < grown(EventLog("r"), 10_000) + 10_000  # a pointer a piece would be eight times that
    log.close()
    (event,) = await rest(reader)
    assert isinstance(event, AgentDelta)
    assert len(event.delta.text or "") == 1 + 10_000 * 5
