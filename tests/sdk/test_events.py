"""Events: in order, joined for slow readers, from the start for late ones."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from stretto import Agent, Call, Delta, Inputs, Reply, Run, Runner, Settings
from stretto.errors import ProviderFailed, ProviderUnavailable
from stretto.events import (
    AgentDelta,
    AgentFinished,
    AgentRetrying,
    AgentStarted,
    AgentWaiting,
    Event,
    RunFinished,
    RunStarted,
)
from stretto.middleware import ConcurrencyLimit, Retry
from stretto.reply import ToolCall
from stretto.usage import Usage
from watched import an_ensemble, fails, hang, kinds, says, virtually


async def all_of(run: Run) -> list[Any]:
    return [event async for event in run.events()]


def events_of(*agents: Agent, layers: Any = (), stream: bool = True, **options: Any) -> list[Any]:
    of_ensemble = {key: options.pop(key) for key in ("schedule", "on_failure") if key in options}
    providers = options.pop("providers", None)

    async def main() -> list[Any]:
        runner = Runner(middleware=layers, providers=providers, settings=Settings(**options))
        return await all_of(runner.start(an_ensemble(*agents, **of_ensemble), "one two", stream=stream))

    return virtually(main())


def told(events: list[Any]) -> list[str]:
    """What happened, with whom or where."""
    return [f"{e.type} {getattr(e, 'agent', getattr(e, 'phase', ''))}".strip() for e in events]


def test_the_events_of_a_run_come_in_order() -> None:
    events = events_of(Agent("a", model="simulated/echo"), Agent("b", function=says("b"), depends_on=["a"]))
    assert told(events) == [
        "run_started",
        "phase_started 0",
        "agent_started a",
        "agent_delta a",
        "agent_delta a",
        "agent_finished a",
        "phase_finished 0",
        "phase_started 1",
        "agent_started b",
        "agent_delta b",
        "agent_finished b",
        "phase_finished 1",
        "run_finished",
    ]
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert len({event.run_id for event in events}) == 1


def test_the_first_event_names_ensemble_phases_and_warnings() -> None:
    first = events_of(
        Agent("a", function=says("x"), prompt="blind"),
        Agent("b", function=says("x"), depends_on=["a"]),
        default_timeout=None,
    )[0]
    assert isinstance(first, RunStarted)
    assert first.ensemble == "e"
    assert first.phases == (("a",), ("b",))
    assert "shows neither" in first.warnings[0]
    assert "nothing bounds" in first.warnings[1]


def test_with_ready_a_phase_begins_with_its_first_agent_and_ends_with_its_last() -> None:
    events = events_of(
        Agent("a", function=says("x", 1)),
        Agent("slow", function=says("x", 5)),
        Agent("b", function=says("x", 1), depends_on=["a"]),
        schedule="ready",
        stream=False,
    )
    assert told(events) == [
        "run_started",
        "phase_started 0",
        "agent_started a",
        "agent_started slow",
        "agent_finished a",
        "phase_started 1",
        "agent_started b",
        "agent_finished b",
        "phase_finished 1",
        "agent_finished slow",
        "phase_finished 0",
        "run_finished",
    ]


def test_a_skipped_agent_has_an_end_and_no_beginning() -> None:
    events = events_of(Agent("a", function=fails(ValueError("no"))), Agent("b", function=says("x"), depends_on=["a"]))
    assert [text for text in told(events) if text.endswith(" b")] == ["agent_finished b"]


def test_waiting_for_a_place_is_told_before_the_beginning() -> None:
    events = events_of(*(Agent(n, function=says("x", 1)) for n in "ab"), max_concurrent_agents=1, stream=False)
    of_b = [event for event in events if getattr(event, "agent", "") == "b"]
    assert kinds(of_b) == ["agent_waiting", "agent_started", "agent_finished"]
    assert isinstance(of_b[0], AgentWaiting)
    assert (of_b[0].cause, of_b[0].key, of_b[0].seconds) == ("queue", None, None)


def test_waiting_for_a_slot_names_what_is_waited_for() -> None:
    events = events_of(*(Agent(n, model="simulated/latency-1s") for n in "ab"), layers=[ConcurrencyLimit(1)])
    (wait,) = [event for event in events if isinstance(event, AgentWaiting)]
    assert (wait.agent, wait.cause, wait.key) == ("b", "slot", "simulated/latency-1s")


def test_a_retry_is_told_with_its_error_and_its_wait() -> None:
    events = events_of(Agent("a", model="simulated/fail-500-1+retry-after-2s"), layers=[Retry(backoff=0.001)])
    (retry,) = [event for event in events if isinstance(event, AgentRetrying)]
    assert (retry.attempt, retry.wait, retry.phase) == (1, pytest.approx(2), 0)
    assert isinstance(retry.error, ProviderFailed)
    assert not [event for event in events if isinstance(event, AgentWaiting)]


def test_a_cancelled_run_tells_every_end() -> None:
    async def main() -> None:
        run = Runner(middleware=[]).start(
            an_ensemble(Agent("a", function=hang), Agent("b", function=hang, depends_on=["a"])), "x"
        )
        await asyncio.sleep(1)
        run.cancel()
        events = await all_of(run)
        ends = [(event.agent, event.outcome.status) for event in events if isinstance(event, AgentFinished)]
        assert ends == [("a", "cancelled"), ("b", "skipped")]
        assert (events[0].type, events[-1].type) == ("run_started", "run_finished")

    virtually(main())


def test_a_run_that_is_cancelled_before_it_begins_has_a_first_and_a_last_event() -> None:
    async def main() -> None:
        run = Runner(middleware=[]).start(an_ensemble(Agent("a", function=hang)), "x")
        run.cancel()
        assert kinds(await all_of(run)) == ["run_started", "agent_finished", "run_finished"]

    virtually(main())


# Pieces


def typing(text: str, pause: float) -> Any:
    async def provider(call: Call) -> Reply:
        assert call.emit is not None
        for letter in text:
            await asyncio.sleep(pause)
            await call.emit(Delta(text=letter))
        return Reply(text, usage=Usage(), cost=0.0)

    return provider


def pieces(events: list[Any]) -> list[str]:
    return [event.delta.text for event in events if isinstance(event, AgentDelta)]


def test_a_reader_that_keeps_up_gets_every_piece() -> None:
    events = events_of(Agent("a", model="p/p"), providers={"p": typing("abc", 1)})
    assert pieces(events) == ["a", "b", "c"]


def test_a_slow_reader_gets_what_it_has_not_read_in_one_piece_and_slows_nobody() -> None:
    async def main() -> None:
        run = Runner(middleware=[], providers={"p": typing("abcdefgh", 1)}).start(Agent("a", model="p/p"), "x")
        slow: list[str] = []
        async for event in run.events():
            if isinstance(event, AgentDelta):
                slow.append(event.delta.text or "")
                await asyncio.sleep(3.5)
        assert "".join(slow) == "abcdefgh"
        assert slow == ["a", "bcd", "efg", "h"]
        assert run.ended is not None
        assert run.ended - run.started == pytest.approx(8)

    virtually(main())


def test_a_late_reader_gets_everything_from_the_start() -> None:
    async def main() -> None:
        run = Runner(middleware=[], providers={"p": typing("abc", 1)}).start(Agent("a", model="p/p"), "x")
        early = await all_of(run)
        late = await all_of(run)
        assert pieces(late) == ["abc"]
        assert [kind for kind in kinds(early) if kind != "agent_delta"] == [
            kind for kind in kinds(late) if kind != "agent_delta"
        ]

    virtually(main())


def test_a_reader_that_joins_in_the_middle_misses_nothing_and_reads_nothing_twice() -> None:
    async def main() -> None:
        run = Runner(middleware=[], providers={"p": typing("abcd", 1)}).start(Agent("a", model="p/p"), "x")
        await asyncio.sleep(2.5)
        assert pieces(await all_of(run)) == ["ab", "c", "d"]

    virtually(main())


def test_any_number_of_readers_read_alone() -> None:
    async def main() -> None:
        run = Runner(middleware=[], providers={"p": typing("abc", 1)}).start(Agent("a", model="p/p"), "x")
        one, other = await asyncio.gather(all_of(run), all_of(run))
        assert one == other
        assert pieces(one) == ["a", "b", "c"]

    virtually(main())


def test_a_reader_that_stops_reading_ends_alone() -> None:
    async def main() -> None:
        run = Runner(middleware=[], providers={"p": typing("abc", 1)}).start(Agent("a", model="p/p"), "x")
        reader = run.events()
        assert (await anext(reader)).type == "run_started"
        await reader.aclose()
        assert [event async for event in reader] == []
        assert (await run).ok

    virtually(main())


def test_cancelling_a_reader_cancels_nothing() -> None:
    async def main() -> None:
        run = Runner(middleware=[], providers={"p": typing("abc", 1)}).start(Agent("a", model="p/p"), "x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await all_of(run)
        assert (await run).ok

    virtually(main())


def test_two_agents_that_stream_at_once_interleave() -> None:
    events = events_of(
        Agent("a", model="p/p"), Agent("b", model="q/q"), providers={"p": typing("ab", 2), "q": typing("xy", 2.5)}
    )
    assert [(event.agent, event.delta.text) for event in events if isinstance(event, AgentDelta)] == [
        ("a", "a"),
        ("b", "x"),
        ("a", "b"),
        ("b", "y"),
    ]


def test_text_reasoning_and_tool_calls_are_not_joined_with_each_other() -> None:
    async def provider(call: Call) -> Reply:
        assert call.emit is not None
        for delta in (
            Delta(reasoning="h"),
            Delta(reasoning="m"),
            Delta(text="a"),
            Delta(text="b"),
            Delta(tool_call=ToolCall("1", "f", "{", 0)),
            Delta(tool_call=ToolCall("", "", "}", 0)),
            Delta(tool_call=ToolCall("2", "g", "", 1)),
            Delta(usage=Usage(1, 1)),
        ):
            await call.emit(delta)
        calls = (ToolCall("1", "f", "{}", 0), ToolCall("2", "g", "", 1))
        return Reply("ab", "hm", calls, usage=Usage(1, 1), cost=0.0)

    events = events_of(Agent("a", model="p/p"), providers={"p": provider})
    assert [event.delta for event in events if isinstance(event, AgentDelta)] == [
        Delta(reasoning="hm"),
        Delta(text="ab"),
        Delta(tool_call=ToolCall("1", "f", "{}", 0)),
        Delta(tool_call=ToolCall("2", "g", "", 1)),
        Delta(usage=Usage(1, 1)),
    ]


def test_a_restart_stands_between_the_pieces_that_it_parts() -> None:
    tries: list[int] = []

    async def provider(call: Call) -> Reply:
        tries.append(1)
        assert call.emit is not None
        await call.emit(Delta(text="ab"))
        if len(tries) == 1:
            raise ProviderUnavailable("cut")
        return Reply("ab", usage=Usage(), cost=0.0)

    events = events_of(Agent("a", model="p/p"), layers=[Retry(restart_streams=True)], providers={"p": provider})
    assert told(events)[3:7] == ["agent_delta a", "agent_retrying a", "agent_delta a", "agent_delta a"]
    assert [event.delta for event in events if isinstance(event, AgentDelta)] == [
        Delta(text="ab"),
        Delta(restart=True),
        Delta(text="ab"),
    ]


def test_a_function_that_streams_nothing_is_one_piece() -> None:
    events = events_of(Agent("a", function=says("whole")))
    assert pieces(events) == ["whole"]


# As plain data


def test_every_event_is_plain_data() -> None:
    events = events_of(
        Agent("a", model="simulated/fail-500-1+echo"),
        Agent("b", model="simulated/latency-1s"),
        Agent("c", function=fails(ValueError("no"))),
        layers=[Retry(), ConcurrencyLimit(1, scope="all")],
    )
    data = [json.loads(json.dumps(event.to_dict())) for event in events]
    assert [entry["type"] for entry in data] == kinds(events)
    by_type = {entry["type"]: entry for entry in data}
    assert by_type["agent_delta"]["delta"] == {"text": "two"}
    assert by_type["agent_retrying"]["error"]["type"] == "ProviderFailed"
    assert by_type["agent_waiting"]["cause"] == "slot"
    assert by_type["run_finished"]["run"]["status"] == "completed_with_errors"
    assert by_type["agent_finished"]["outcome"]["agent"]
    assert by_type["run_started"]["phases"] == [["a", "b", "c"]]
    assert all(entry["run_id"] and entry["time"] > 0 for entry in data)


def test_usage_and_tool_calls_are_plain_data_too() -> None:
    usage = AgentDelta(time=1.0, run_id="r", phase=0, agent="a", delta=Delta(usage=Usage(1, 2)))
    assert usage.to_dict()["delta"]["usage"]["output_tokens"] == 2
    call = AgentDelta(time=1.0, run_id="r", phase=0, agent="a", delta=Delta(tool_call=ToolCall("1", "f", "{}")))
    assert call.to_dict()["delta"] == {"tool_call": {"id": "1", "name": "f", "arguments": "{}", "index": 0}}


def test_events_are_frozen_and_typed() -> None:
    event = AgentStarted(time=1.0, run_id="r", phase=0, agent="a")
    assert isinstance(event, Event)
    with pytest.raises(AttributeError):
        event.agent = "b"  # type: ignore[misc]
    assert AgentStarted.type == "agent_started"
    assert RunFinished.type == "run_finished"


def test_a_run_keeps_texts_and_not_one_object_a_piece() -> None:
    async def main() -> None:
        async def chatty(inputs: Inputs) -> str:
            return "x"

        async def provider(call: Call) -> Reply:
            assert call.emit is not None
            for _ in range(5000):
                await call.emit(Delta(text="x"))
            return Reply("x" * 5000, usage=Usage(), cost=0.0)

        run = Runner(middleware=[], providers={"p": provider}).start(Agent("a", model="p/p"), "x")
        await run
        assert len(run._drive.desk.log._entries) < 10
        assert len(run["a"].text) == 5000

    virtually(main())
