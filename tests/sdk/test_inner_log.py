"""The events of what runs within an agent: to the run around it they are one agent's work."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from nesting import AtWork, child, echo
from stretto import Agent, Call, Delta, Ensemble, Inputs, Reply, Run, Runner, StrettoError, ToolCall
from stretto.errors import ProviderUnavailable
from stretto.events import AgentDelta, AgentFinished, Event
from stretto.loop import Loop
from stretto.middleware import Retry
from watched import an_ensemble, fails, kinds, says, virtually


def pieces_of(*pieces: str, last: str | None = None, after: float = 0.0) -> Any:
    """A provider that streams pieces; the reply is all of them, or `last`."""

    async def streams(call: Call) -> Reply:
        for piece in pieces:
            await asyncio.sleep(after)
            if call.emit is not None:
                await call.emit(Delta(text=piece))
        return Reply("".join(pieces) if last is None else last)

    return streams


def read(*agents: Agent, provider: Any = None, stream: bool = True, **options: Any) -> tuple[Run, list[Event]]:
    async def main() -> tuple[Run, list[Event]]:
        providers = {"t": provider or pieces_of("one ", "two ", "three")}
        runner = Runner(middleware=options.pop("middleware", []), providers=providers)
        run = runner.start(an_ensemble(*agents, **options), [1, 2], stream=stream)
        return run, [event async for event in run.events()]

    return virtually(main())


def texts(events: list[Event], agent: str) -> str:
    """What was emitted for an agent, with `<>` for a restart."""
    deltas = [event.delta for event in events if isinstance(event, AgentDelta) and event.agent == agent]
    return "".join("<>" if delta.restart else delta.text or "" for delta in deltas)


def everything() -> list[Agent]:
    pair = child(Agent("a", model="t/m"), Agent("b", model="t/m", depends_on=["a"]))
    return [
        Agent("c", ensemble=child(Agent("p", ensemble=pair), name="outer")),
        Agent("l", loop=Loop(pair, 2)),
        Agent("f", fan_out="${input}", ensemble=pair),
        Agent("m", fan_out="${input}", model="t/m"),
        Agent("last", function=echo, depends_on=["c"]),
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_each_agent_of_the_run_begins_and_ends_once_and_nobody_else(stream: bool) -> None:
    _, events = read(*everything(), stream=stream)
    found = Counter((event.type, getattr(event, "agent", None)) for event in events)
    for name in ("c", "l", "f", "m", "last"):
        assert found["agent_started", name] == found["agent_finished", name] == 1
    assert {getattr(event, "agent", "c") for event in events} == {"c", "l", "f", "m", "last"}
    assert found["run_started", None] == found["run_finished", None] == 1
    assert found["phase_started", None] == found["phase_finished", None] == 2


def test_an_agent_s_last_event_is_its_outcome() -> None:
    _, events = read(*everything())
    for name in ("c", "l", "f", "m", "last"):
        mine = [event for event in events if getattr(event, "agent", None) == name]
        assert (mine[0].type, mine[-1].type) == ("agent_started", "agent_finished")


def test_the_pieces_of_the_terminal_agent_are_those_of_the_agent_around_it() -> None:
    run, events = read(Agent("c", ensemble=child(Agent("a", model="t/other"), Agent("b", model="t/m"))))
    assert texts(events, "c") == "one two three"
    assert run["c"].text == "one two three"


def test_the_pieces_come_as_they_are_made() -> None:
    provider = pieces_of("one ", "two", after=1)
    _, events = read(Agent("c", ensemble=child(Agent("a", model="t/m"))), provider=provider)
    times = [event.time for event in events if event.type == "agent_delta"]
    assert times[1] - times[0] == pytest.approx(1)


def test_pieces_pass_through_any_number_of_levels() -> None:
    level = child(Agent("a", model="t/m"))
    for number in range(4):
        level = child(Agent("a", ensemble=level), name=f"level {number}")
    _, events = read(Agent("c", ensemble=level))
    assert texts(events, "c") == "one two three"


def test_pieces_of_agents_that_others_depend_on_are_not_passed_on() -> None:
    line = child(Agent("a", model="t/m"), Agent("b", function=says("the end"), depends_on=["a"]))
    _, events = read(Agent("c", ensemble=line))
    assert texts(events, "c") == "the end"


@pytest.mark.parametrize(
    "agent",
    [
        Agent("x", loop=Loop(child(Agent("a", model="t/m")), 2)),
        Agent("x", fan_out="${input}", model="t/m"),
        Agent("x", fan_out="${input}", ensemble=child(Agent("a", model="t/m"))),
        Agent("x", ensemble=child(Agent("l", loop=Loop(child(Agent("a", model="t/m")), 2)), name="outer")),
    ],
    ids=["loop", "fan-out", "fan-out of ensembles", "loop in an ensemble"],
)
def test_loops_and_fan_outs_emit_no_pieces(agent: Agent) -> None:
    run, events = read(agent)
    assert texts(events, "x") == ""
    assert run["x"].ok


def test_without_a_stream_there_are_no_pieces() -> None:
    _, events = read(Agent("c", ensemble=child(Agent("a", model="t/m"))), stream=False)
    assert texts(events, "c") == ""


def test_the_text_of_a_terminal_agent_that_runs_others_can_be_read_in_pieces() -> None:
    async def main() -> list[str]:
        runner = Runner(middleware=[], providers={"t": pieces_of("one ", "two ", "three", after=1)})
        inner = child(Agent("a", ensemble=child(Agent("b", model="t/m"))), name="outer")
        run = runner.start(an_ensemble(Agent("c", ensemble=inner)), "x")
        return [piece async for piece in run.text()]

    assert virtually(main()) == ["one ", "two ", "three"]


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        (Agent("x", loop=Loop(child(Agent("a", model="t/m")), 2)), "piece"),
        (Agent("x", fan_out="${input}", model="t/m"), '["piece", "piece"]'),
    ],
)
def test_the_text_of_a_loop_or_a_fan_out_comes_in_one_piece_at_its_end(agent: Agent, text: str) -> None:
    async def main() -> list[str]:
        runner = Runner(middleware=[], providers={"t": pieces_of("pie", "ce")})
        return [piece async for piece in runner.start(an_ensemble(agent), [1, 2]).text()]

    assert virtually(main()) == [text]


def test_a_restart_within_is_one_around() -> None:
    _, events = read(
        Agent("c", ensemble=child(Agent("a", model="t/m"))), provider=pieces_of("wrong ", "way", last="right")
    )
    assert texts(events, "c") == "wrong way<>right"


def test_what_a_reply_has_more_than_its_pieces_is_passed_on() -> None:
    _, events = read(Agent("c", ensemble=child(Agent("a", model="t/m"))), provider=pieces_of("one", last="one two"))
    assert texts(events, "c") == "one two"


def test_when_the_last_terminal_agent_fails_the_text_of_the_other_takes_its_place() -> None:
    async def breaks(call: Call) -> Reply:
        if call.emit is not None:
            await call.emit(Delta(text="half"))
        raise ProviderUnavailable("down")

    two = child(Agent("a", function=says("whole")), Agent("b", model="t/m"))
    run, events = read(Agent("c", ensemble=two), provider=breaks)
    assert texts(events, "c") == "half<>whole"
    assert run["c"].text == "whole"


def test_reading_the_text_says_that_it_began_anew() -> None:
    async def main() -> None:
        runner = Runner(middleware=[], providers={"t": pieces_of("wrong", last="right", after=1)})
        run = runner.start(an_ensemble(Agent("c", ensemble=child(Agent("a", model="t/m")))), "x")
        with pytest.raises(StrettoError, match="began its text anew"):
            async for _ in run.text():
                pass
        await run

    virtually(main())


def test_reasoning_and_tool_calls_are_passed_on_too() -> None:
    async def thinks(call: Call) -> Reply:
        return Reply("so", reasoning="hm", tool_calls=(ToolCall("1", "look", "{}"),))

    _, events = read(Agent("c", ensemble=child(Agent("a", model="t/m"))), provider=thinks)
    deltas = [event.delta for event in events if isinstance(event, AgentDelta)]
    assert [(d.reasoning, d.text, d.tool_call and d.tool_call.name) for d in deltas] == [
        ("hm", None, None),
        (None, "so", None),
        (None, None, "look"),
    ]


def test_retries_within_are_seen_in_the_outcome_alone() -> None:
    sent: list[int] = []

    async def flaky(call: Call) -> Reply:
        sent.append(1)
        if len(sent) < 3:
            raise ProviderUnavailable("down")
        return Reply("up")

    run, events = read(Agent("c", ensemble=child(Agent("a", model="t/m"))), provider=flaky, middleware=[Retry(5)])
    assert "agent_retrying" not in kinds(events)
    (inner,) = run["c"].children
    assert len(inner.attempts) == 3
    assert [wait.cause for wait in inner.waits] == ["backoff", "backoff"]


def test_a_failed_child_s_events_end_with_its_outcome() -> None:
    run, events = read(Agent("c", ensemble=child(Agent("a", function=fails(ValueError("no"))))))
    (finished,) = [event for event in events if isinstance(event, AgentFinished)]
    assert finished.outcome is run["c"]
    assert finished.to_dict()["outcome"]["children"][0]["status"] == "failed"


def test_many_pieces_of_many_children_stay_apart() -> None:
    async def says_who(call: Call) -> Reply:
        for n in range(50):
            await asyncio.sleep(0.01)
            if call.emit is not None:
                await call.emit(Delta(text=f"{call.messages[-1]['content']}{n} "))
        return Reply("".join(f"{call.messages[-1]['content']}{n} " for n in range(50)))

    leaf = child(Agent("a", model="t/m"))
    agents = [Agent(f"c{n}", ensemble=leaf, prompt=str(n)) for n in range(10)]
    run, events = read(*agents, provider=says_who)
    for n in range(10):
        assert texts(events, f"c{n}") == run[f"c{n}"].text


def test_a_run_keeps_no_event_of_what_is_within() -> None:
    at_work = AtWork()
    big = child(*(at_work(f"a{n}") for n in range(200)))
    run, events = read(Agent("c", ensemble=big), Agent("f", fan_out="${input}", ensemble=big))
    assert Counter(kinds(events))["agent_delta"] == 1  # what the last of the 200 says
    assert len(events) == 9
    assert run.ok


def test_an_ensemble_without_terminal_pieces_may_be_the_whole_run() -> None:
    async def main() -> list[str]:
        ensemble = Ensemble("e", [Agent("c", ensemble=child(Agent("a", function=quiet)))])
        run = Runner(middleware=[]).start(ensemble, "x")
        return [piece async for piece in run.text()]

    async def quiet(inputs: Inputs) -> None:
        return None

    assert virtually(main()) == []
