"""The boundary: every request passes it, is sent at most once, kept in the ledger, and its errors hold no key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from stretto import Agent, Attempt, Call, Delta, Inputs, Next, Outcome, Record, Reply, Runner, Secret, ToolCall
from stretto.boundary import send
from stretto.errors import AuthenticationFailed, CallError, ConfigError, ProviderUnavailable, RateLimited
from stretto.middleware import Retry, Timeout
from stretto.secret import HIDDEN
from stretto.testing import Answers, Stack, a_call
from stretto.usage import Price, Usage
from watched import an_ensemble, clock, virtually

KEY = "abcd-efgh-1234"


class Sends:
    """A provider made of one function of the call."""

    def __init__(self, answer: Callable[[Call], Awaitable[Reply]]) -> None:
        self.answer = answer

    async def __call__(self, call: Call) -> Reply:
        return await self.answer(call)


async def hangs(call: Call) -> Reply:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def outcome_of(provider: Next, *layers: Any, stream: bool = False, **options: Any) -> Outcome:
    """Run one agent on a provider, with a key."""

    async def main() -> Outcome:
        agent = Agent("a", model="p/m", api_key=KEY, timeout=5)
        runner = Runner(middleware=layers, providers={"p": provider}, **options)
        return (await runner.run(agent, "hello", stream=stream))["a"]

    return virtually(main())


def raises(error: BaseException) -> Next:
    async def provider(call: Call) -> Reply:
        raise error

    return provider


# Sent at most once


def test_a_request_that_is_sent_twice_is_a_runtime_error() -> None:
    async def main() -> None:
        stack, call = Stack(), a_call()
        await stack(call)
        with pytest.raises(RuntimeError, match=r"send another one with call.again\(\)"):
            await stack(call)
        assert len(call.record.attempts) == 1

    virtually(main())


def test_a_request_changed_with_with_is_still_the_same_request() -> None:
    async def main() -> None:
        stack, call = Stack(), a_call()
        await stack(call)
        with pytest.raises(RuntimeError):
            await stack(call.with_(messages=()))

    virtually(main())


def test_a_request_that_failed_may_not_be_sent_again_either() -> None:
    async def main() -> None:
        stack, call = Stack(provider=Answers(ProviderUnavailable("cut"), "late")), a_call()
        with pytest.raises(ProviderUnavailable):
            await stack(call)
        with pytest.raises(RuntimeError):
            await stack(call)

    virtually(main())


def test_again_is_another_request_of_the_same_call() -> None:
    async def main() -> None:
        stack, call = Stack(), a_call()
        await stack(call)
        other = call.again()
        await stack(other)
        assert [attempt.number for attempt in call.record.attempts] == [1, 2]
        assert call.record.attempts == [call.attempt, other.attempt]

    virtually(main())


def test_apart_is_another_call_that_counts_for_nobody() -> None:
    async def main() -> None:
        stack, call = Stack(), a_call(stream=True, deadline=100.0)
        shadow = call.apart()
        await stack(call)
        await stack(shadow)
        assert call.record.attempts == [call.attempt]
        assert shadow.record.attempts == [shadow.attempt]
        assert (shadow.attempt.number, shadow.emit, shadow.deadline) == (1, None, None)

    virtually(main())


def test_shadow_traffic_is_not_in_the_outcome() -> None:
    shadows: list[Record] = []

    async def shadowing(call: Call, call_next: Next) -> Reply:
        shadow = call.apart(model="simulated/echo")
        shadows.append(shadow.record)
        await call_next(shadow)
        return await call_next(call)

    outcome = outcome_of(Answers("real"), shadowing)
    assert [attempt.model for attempt in outcome.attempts] == ["p/m"]
    assert [attempt.model for attempt in shadows[0].attempts] == ["simulated/echo"]


def test_a_call_that_no_runner_made_is_told_so() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="made without a runner"):
            await send(a_call())

    virtually(main())


def test_a_layer_that_sends_to_a_model_that_nobody_knows_fails_before_anything_is_sent() -> None:
    async def elsewhere(call: Call, call_next: Next) -> Reply:
        return await call_next(call.with_(model="nowhere/m"))

    outcome = outcome_of(Answers("never"), elsewhere)
    assert isinstance(outcome.error, ConfigError)
    assert outcome.attempts == ()


# The ledger


def test_an_answered_request_is_closed_with_usage_and_cost() -> None:
    provider = Answers(1.5, Reply("x", usage=Usage(3, 4), cost=0.5))
    (attempt,) = outcome_of(provider).attempts
    assert (attempt.number, attempt.model, attempt.error, attempt.cancelled) == (1, "p/m", None, False)
    assert (attempt.usage, attempt.cost) == (Usage(3, 4), 0.5)
    assert attempt.started is not None
    assert attempt.ended is not None
    assert attempt.ended - attempt.started == pytest.approx(1.5)


def test_usage_that_only_the_attempt_was_told_is_the_replys_too() -> None:
    async def provider(call: Call) -> Reply:
        call.attempt.usage = Usage(7, 8)
        return Reply("x", cost=0.0)

    outcome = outcome_of(provider)
    assert outcome.reply is not None
    assert outcome.reply.usage == outcome.usage == Usage(7, 8)


def test_a_reply_without_usage_has_an_empty_one_in_the_ledger_and_an_unknown_cost() -> None:
    outcome = outcome_of(Answers(Reply("x")))
    assert (outcome.attempts[0].usage, outcome.cost) == (Usage(), None)


def test_the_callers_price_makes_the_cost() -> None:
    outcome = outcome_of(Answers(Reply("x", usage=Usage(2, 3), cost=9.0)), prices={"p/*": Price(1e6, 2e6)})
    assert outcome.cost == 8
    assert outcome.reply is not None
    assert outcome.reply.cost == 8


def test_a_request_that_was_answered_with_an_error_status_has_used_nothing() -> None:
    outcome = outcome_of(raises(RateLimited("slow down", status=429, retry_after=3)))
    (attempt,) = outcome.attempts
    assert (attempt.usage, attempt.cost, attempt.retry_after) == (Usage(), 0.0, 3)
    assert attempt.error is outcome.error
    assert (outcome.usage, outcome.cost) == (Usage(), 0.0)


@pytest.mark.parametrize("error", [ProviderUnavailable("cut"), CallError("garbage", status=200), OSError("reset")])
def test_a_request_that_was_cut_off_keeps_its_estimate(error: Exception) -> None:
    outcome = outcome_of(raises(error))
    (attempt,) = outcome.attempts
    assert (attempt.usage, attempt.cost) == (None, None)
    assert outcome.usage == Usage(6, 500, estimated=True)
    assert outcome.cost is None


def test_the_estimate_of_a_request_that_was_cut_off_has_a_price_where_that_is_known() -> None:
    outcome = outcome_of(raises(ProviderUnavailable("cut")), prices={"p/m": Price(1e6, 1e6)})
    assert outcome.cost == 506


def test_usage_that_was_known_before_the_cut_counts() -> None:
    async def provider(call: Call) -> Reply:
        call.attempt.usage = Usage(7, 8)
        raise ProviderUnavailable("cut")

    outcome = outcome_of(provider, prices={"p/m": Price(1e6, 1e6)})
    assert (outcome.usage, outcome.cost) == (Usage(7, 8), 15)


def test_usage_of_a_strange_kind_counts_as_unknown() -> None:
    async def provider(call: Call) -> Reply:
        call.attempt.usage = {"tokens": 3}  # type: ignore[assignment]
        raise ProviderUnavailable("cut")

    assert outcome_of(provider).usage == Usage(6, 500, estimated=True)


def test_a_cancelled_request_says_so() -> None:
    outcome = outcome_of(hangs)
    (attempt,) = outcome.attempts
    assert outcome.status == "timed_out"
    assert (attempt.cancelled, attempt.error, attempt.usage) == (True, None, None)
    assert attempt.ended == pytest.approx(outcome.ended)


def test_a_clock_that_wrote_its_error_before_it_cancelled_is_the_attempts_error() -> None:
    (attempt,) = outcome_of(hangs, Timeout(1)).attempts
    assert type(attempt.error).__name__ == "CallTimeout"
    assert not attempt.cancelled


def test_what_refuses_before_sending_leaves_no_attempt() -> None:
    async def refuses(call: Call, call_next: Next) -> Reply:
        raise RateLimited("refused", call=call)

    outcome = outcome_of(Answers("never"), refuses, Retry())
    assert outcome.attempts == ()
    assert isinstance(outcome.error, RateLimited)


def test_the_clock_of_the_agent_starts_with_its_first_request() -> None:
    async def waits(call: Call, call_next: Next) -> Reply:
        with call.record.waiting("slot"):
            await asyncio.sleep(50)
        left.append(call.remaining())
        return await call_next(call)

    async def provider(call: Call) -> Reply:
        await asyncio.sleep(1)
        left.append(call.remaining())
        return Reply("x", cost=0.0)

    left: list[float] = []
    assert outcome_of(provider, waits).ok
    assert left == pytest.approx([5, 4])


def test_listeners_of_a_request_hear_when_it_goes_out() -> None:
    heard: list[float] = []

    async def listens(call: Call, call_next: Next) -> Reply:
        call.attempt.on_sent(lambda: heard.append(clock()))
        await asyncio.sleep(2)
        reply = await call_next(call)
        call.attempt.on_sent(lambda: heard.append(clock()))
        return reply

    outcome_of(Answers(1.0, "x"), listens)
    assert heard == pytest.approx([2, 3])


def test_hedges_are_counted_in_the_order_of_sending() -> None:
    async def hedges(call: Call, call_next: Next) -> Reply:
        first, second = asyncio.ensure_future(call_next(call)), asyncio.ensure_future(call_next(call.again(hedge=True)))
        reply = await second
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        return reply

    async def provider(call: Call) -> Reply:
        return await hangs(call) if call.attempt.number == 1 else Reply("second", usage=Usage(1, 1), cost=0.0)

    outcome = outcome_of(provider, hedges)
    assert outcome.output == "second"
    assert [(a.number, a.hedge, a.cancelled) for a in outcome.attempts] == [(1, False, True), (2, True, False)]


# Errors, and keys in them


class Echoes:
    """A gateway's client, whose error holds everything that it knew."""

    async def __call__(self, call: Call) -> Reply:
        assert call.endpoint.api_key is not None
        key = call.endpoint.api_key.reveal()
        try:
            raise OSError(f"inner {key}")
        except OSError as inner:
            error = AuthenticationFailed(f"bad key {key}", status=401, request_id=f"r-{key}", reason=f"see {key}")
            error.add_note(f"sent Bearer {key}")
            error.body = f"{{'key': '{key}'}}"  # type: ignore[attr-defined]
            raise error from inner


def every_text_of(error: BaseException) -> str:
    return " ".join(map(str, (error, repr(error), error.args, vars(error))))


def test_a_key_that_a_provider_echoes_is_in_no_text_of_the_error() -> None:
    outcome = outcome_of(Echoes())
    error = outcome.error
    assert isinstance(error, AuthenticationFailed)
    assert KEY not in every_text_of(error) + outcome.reason + str(outcome.to_dict())
    assert error.message == f"bad key {HIDDEN}"
    assert HIDDEN in error.__notes__[0]
    assert (error.status, error.agent, error.provider, error.attempt) == (401, "a", "p", 1)


def test_a_key_that_a_provider_echoes_is_in_no_field_of_the_reply() -> None:
    async def echoes(call: Call) -> Reply:
        tools = (ToolCall(f"id {KEY}", f"name {KEY}", f"arguments {KEY}"),)
        texts = {"model": KEY, "response_id": KEY, "finish_reason": KEY, "headers": {"x": KEY}}
        return Reply(KEY, KEY, tools, **texts)

    outcome = outcome_of(echoes)
    assert outcome.status == "ok"
    assert KEY not in str(outcome.to_dict())


def test_the_foreign_cause_and_context_of_a_providers_error_are_gone() -> None:
    error = outcome_of(Echoes()).error
    assert error is not None
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("text", ["key sk-abcdefgh123", "Bearer abcdefgh123"])
def test_what_looks_like_a_key_is_taken_out_too(text: str) -> None:
    error = outcome_of(raises(CallError(text))).error
    assert error is not None
    assert "abcdefgh123" not in every_text_of(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(f"no {KEY}"), f"ValueError: no {HIDDEN}"),
        (KeyError(), "KeyError"),
        (ExceptionGroup("two", [ValueError("x")]), "ExceptionGroup: two (1 sub-exception)"),
        (SystemExit(f"bye {KEY}"), f"SystemExit: bye {HIDDEN}"),
    ],
)
def test_any_other_exception_of_a_provider_becomes_a_call_error_that_is_not_retried(
    error: BaseException, text: str
) -> None:
    outcome = outcome_of(raises(error), Retry())
    assert type(outcome.error) is CallError
    assert outcome.error.message == text
    assert not outcome.error.retryable
    assert len(outcome.attempts) == 1
    assert outcome.error.__context__ is None


def test_an_exception_whose_text_cannot_be_made_is_named_by_its_class() -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise RuntimeError(KEY)

    error = outcome_of(raises(Unreadable())).error
    assert isinstance(error, CallError)
    assert error.message == "Unreadable"


def test_an_exception_of_a_layer_stays_as_it_is() -> None:
    mine = ValueError("mine sk-abcdefgh123")
    mine.__cause__ = OSError("why")

    async def breaks(call: Call, call_next: Next) -> Reply:
        await call_next(call)
        raise mine

    error = outcome_of(Answers("x"), breaks).error
    assert error is mine
    assert (str(mine), str(mine.__cause__)) == ("mine sk-abcdefgh123", "why")


def test_a_call_error_of_a_function_loses_keys_and_gets_its_place() -> None:
    mine = RateLimited("of sk-abcdefgh123")

    async def function(inputs: Inputs) -> str:
        raise mine

    async def main() -> None:
        outcome = (await Runner(middleware=[]).run(Agent("f", function=function), "x"))["f"]
        assert outcome.error is mine
        assert (mine.message, mine.agent, mine.model, mine.attempt) == ("of [redacted]", "f", None, 1)

    virtually(main())


def test_the_runs_own_keys_are_taken_out_of_the_models_text_and_nothing_else() -> None:
    outcome = outcome_of(Answers(Reply(f"{KEY} sk-abcdefgh123", reasoning=f"hm {KEY}", cost=0.0)), stream=True)
    assert outcome.output == f"{HIDDEN} sk-abcdefgh123"
    assert outcome.reply is not None
    assert outcome.reply.reasoning == f"hm {HIDDEN}"


def test_a_short_key_is_not_looked_for() -> None:
    async def main() -> None:
        runner = Runner(middleware=[], providers={"p": Answers("a test")})
        run = await runner.run(Agent("a", model="p/m", api_key=Secret("test")), "x")
        assert run.output == "a test"

    virtually(main())


# Spans


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def test_each_request_has_a_span_under_its_agents(spans: InMemorySpanExporter) -> None:
    outcome_of(Answers(ProviderUnavailable("cut"), Reply("x", model="m-1", cost=0.0)), Retry(backoff=0.001))
    found = {span.name: span for span in spans.get_finished_spans()}
    first, second, agent = found["attempt 1"], found["attempt 2"], found["invoke_agent a"]
    assert first.parent is not None
    assert second.parent is not None
    assert first.parent.span_id == second.parent.span_id == agent.context.span_id
    assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert dict(first.attributes or {})["error.type"] == "ProviderUnavailable"
    assert dict(second.attributes or {})["gen_ai.response.model"] == "m-1"


def test_no_span_holds_a_key_that_a_provider_echoes(spans: InMemorySpanExporter) -> None:
    outcome_of(Echoes())
    assert {span.name for span in spans.get_finished_spans()} >= {"attempt 1", "invoke_agent a", "invoke_workflow a"}
    assert KEY not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_a_function_has_no_span_of_an_attempt(spans: InMemorySpanExporter) -> None:
    async def function(inputs: Inputs) -> str:
        return "x"

    async def main() -> None:
        await Runner(middleware=[]).run(Agent("f", function=function), "x")

    virtually(main())
    assert "attempt 1" not in {span.name for span in spans.get_finished_spans()}


# Streams


async def pieces_of(provider: Next, *layers: Any) -> list[Any]:
    run = Runner(middleware=layers, providers={"p": provider}).start(Agent("a", model="p/m", api_key=KEY), "hello")
    await run
    found: list[Any] = []
    async for event in run.events():
        if event.type == "agent_delta":
            delta = event.delta
            found.append("RESTART" if delta.restart else delta.text or delta.reasoning or delta)
    return found


def emits(*requests: list[str | Delta | BaseException], reply: str | None = None) -> Next:
    left = iter(requests)

    async def provider(call: Call) -> Reply:
        text = ""
        assert call.emit is not None
        for piece in next(left):
            if isinstance(piece, BaseException):
                raise piece
            await call.emit(piece if isinstance(piece, Delta) else Delta(text=piece))
            text += piece if isinstance(piece, str) else ""
        return Reply(text if reply is None else reply, usage=Usage(), cost=0.0)

    return provider


def test_a_second_request_says_restart_before_its_first_piece_when_the_first_had_emitted() -> None:
    async def main() -> None:
        provider = emits(["one ", ProviderUnavailable("cut")], ["two ", "three"])
        assert await pieces_of(provider, Retry(restart_streams=True)) == ["one ", "RESTART", "two three"]

    virtually(main())


def test_a_third_request_says_it_again() -> None:
    async def main() -> None:
        cut = ProviderUnavailable("cut")
        provider = emits(["one", cut], ["two", cut], ["three"])
        assert await pieces_of(provider, Retry(restart_streams=True)) == ["one", "RESTART", "two", "RESTART", "three"]

    virtually(main())


def test_a_second_request_after_one_without_a_piece_says_nothing() -> None:
    async def main() -> None:
        provider = emits([Delta(usage=Usage(1, 1)), ProviderUnavailable("cut")], ["two"])
        assert (await pieces_of(provider, Retry()))[1:] == ["two"]

    virtually(main())


def test_usage_alone_is_no_first_piece() -> None:
    async def main() -> None:
        call = a_call(stream=True)
        await Stack(provider=emits([Delta(usage=Usage(1, 1))]))(call)
        assert not call.attempt.emitted
        assert call.attempt.first_piece is None

    virtually(main())


@pytest.mark.parametrize("piece", [Delta(text="x"), Delta(reasoning="x"), Delta(tool_call=ToolCall("1", "f"))])
def test_the_first_piece_marks_the_attempt(piece: Delta) -> None:
    async def provider(call: Call) -> Reply:
        await asyncio.sleep(2)
        assert call.emit is not None
        await call.emit(piece)
        return Reply("x")

    async def main() -> None:
        call = a_call(stream=True)
        await Stack(provider=provider)(call)
        assert call.attempt.emitted
        assert call.attempt.first_piece is not None
        assert call.attempt.started is not None
        assert call.attempt.first_piece - call.attempt.started == pytest.approx(2)
        assert call.pieces == [piece]

    virtually(main())


def test_a_late_piece_after_the_end_is_dropped() -> None:
    kept: list[Any] = []

    async def provider(call: Call) -> Reply:
        assert call.emit is not None
        kept.append(call.emit)
        await call.emit(Delta(text="in time"))
        return Reply("in time", cost=0.0)

    async def main() -> None:
        call = a_call(stream=True)
        await Stack(provider=provider)(call)
        await kept[0](Delta(text=" late"))
        assert call.pieces == [Delta(text="in time")]

    virtually(main())


def test_keys_are_taken_out_of_pieces() -> None:
    async def main() -> None:
        provider = emits([f"say {KEY}", Delta(reasoning=f"hm {KEY}")])
        assert (await pieces_of(provider))[:2] == [f"say {HIDDEN}", f"hm {HIDDEN}"]

    virtually(main())


def test_a_layer_that_edits_pieces_and_reply_alike_makes_no_restart() -> None:
    async def shouts(call: Call, call_next: Next) -> Reply:
        async def emit(delta: Delta) -> None:
            assert call.emit is not None
            await call.emit(Delta(text=(delta.text or "").upper()))

        reply = await call_next(call.with_(emit=emit))
        return Reply(reply.text.upper(), usage=reply.usage, cost=reply.cost)

    async def main() -> None:
        assert await pieces_of(emits(["one ", "two"]), shouts) == ["ONE TWO"]

    virtually(main())


def test_a_provider_does_not_stream_when_nobody_listens() -> None:
    seen: list[Any] = []

    async def provider(call: Call) -> Reply:
        seen.append(call.emit)
        return Reply("x", cost=0.0)

    outcome_of(provider, stream=False)
    assert seen == [None]


def test_two_streams_at_once_do_not_restart_each_other() -> None:
    async def main() -> None:
        run = Runner().start(an_ensemble(*(Agent(name, model="simulated/tokens-5") for name in "ab")), "x")
        await run
        restarts = [event async for event in only(run.events(), "agent_delta") if event.delta.restart]
        assert restarts == []

    virtually(main())


async def only(events: AsyncIterator[Any], kind: str) -> AsyncIterator[Any]:
    async for event in events:
        if event.type == kind:
            yield event


def test_an_attempt_that_was_never_sent_has_no_number() -> None:
    assert (Attempt().number, Attempt().started) == (0, None)


def test_what_is_reported_of_a_users_own_error_has_no_key_and_the_error_stays_as_it_is() -> None:
    mine = ValueError("with sk-abcdefgh123")

    def function(inputs: Inputs) -> str:
        raise mine

    async def main() -> None:
        run = await Runner(middleware=[]).run(Agent("f", function=function), "x")
        assert str(mine) == "with sk-abcdefgh123"
        assert run["f"].error is mine
        assert "sk-abcdefgh123" not in str(run.to_dict())
        assert run.to_dict()["outcomes"]["f"]["attempts"][0]["error"]["message"] == "ValueError: with [redacted]"

    virtually(main())


def test_a_call_error_of_a_layer_loses_keys_too() -> None:
    async def refuses(call: Call, call_next: Next) -> Reply:
        raise RateLimited("of sk-abcdefgh123", reason="Bearer abcdefghijk")

    async def main() -> None:
        run = await Runner(middleware=[refuses]).run(Agent("a", model="simulated/echo"), "x")
        assert "abcdefgh" not in f"{run['a'].error} {run['a'].reason} {run.to_dict()}"

    virtually(main())
