"""The work of one agent: its prompt, its call through the layers, its pieces, its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from stretto import Agent, Call, Delta, Inputs, Next, Outcome, Reply, Run, Runner, ToolCall, default_stack
from stretto.errors import BadResponse, ProviderUnavailable
from stretto.middleware import ConcurrencyLimit, RateLimit, Retry
from stretto.usage import Usage
from stretto.work import digest
from watched import an_ensemble, fails, says, virtually


def a_run(
    *agents: Agent, input: Any = "hello", layers: Sequence[Any] = (), stream: bool = False, **options: Any
) -> Run:
    ensemble = {key: options.pop(key) for key in ("composer", "defaults") if key in options}

    async def main() -> Run:
        return await Runner(middleware=layers, **options).run(an_ensemble(*agents, **ensemble), input, stream=stream)

    return virtually(main())


class Keeps:
    """A provider that keeps the calls."""

    def __init__(self, reply: Any = None) -> None:
        self.calls: list[Call] = []
        self.reply = Reply("answer", usage=Usage(1, 1), cost=0.0) if reply is None else reply

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        return self.reply  # type: ignore[no-any-return]


# The call


def test_a_call_says_whose_it_is() -> None:
    provider = Keeps()
    run = a_run(Agent("a", model="p/m", params={"temperature": 0}), providers={"p": provider})
    call = provider.calls[0]
    assert (call.agent, call.ensemble, call.run_id, call.kind, call.model) == ("a", "e", run.run_id, "llm", "p/m")
    assert call.messages == ({"role": "user", "content": "hello"},)
    assert call.params == {"temperature": 0}
    assert call.record.attempts == list(run["a"].attempts)
    assert call.work is None


def test_extra_headers_and_body_become_fields_of_the_call() -> None:
    provider = Keeps()
    params = {"seed": 1, "extra_headers": {"x-team": "t"}, "extra_body": {"top_k": 3}}
    a_run(Agent("a", model="p/m", params=params), providers={"p": provider})
    call = provider.calls[0]
    assert (call.params, call.extra_headers, call.extra_body) == ({"seed": 1}, {"x-team": "t"}, {"top_k": 3})


def test_the_system_prompt_comes_first_and_marks_are_filled_in() -> None:
    provider = Keeps()
    a_run(
        Agent("first", function=says("one")),
        Agent("a", model="p/m", system_prompt="You read ${input}.", prompt="Merge ${first}.", depends_on=["first"]),
        providers={"p": provider},
    )
    assert provider.calls[0].messages == (
        {"role": "system", "content": "You read hello."},
        {"role": "user", "content": "Merge one."},
    )


def test_a_chat_is_sent_as_it_is() -> None:
    provider = Keeps()
    chat = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "go"},
    ]
    a_run(Agent("a", model="p/m"), input=chat, providers={"p": provider})
    assert provider.calls[0].messages == tuple(chat)


def test_the_outcome_has_the_digest_of_the_messages() -> None:
    one, same, other = (a_run(Agent("a", model="simulated/echo"), input=text)["a"] for text in ("x", "x", "y"))
    assert one.prompt_digest == same.prompt_digest != other.prompt_digest
    assert one.prompt_digest == digest(({"role": "user", "content": "x"},))


def test_a_digest_is_made_of_parts_and_of_half_characters_too() -> None:
    assert digest(({"role": "user", "content": [{"type": "text", "text": "x"}]},)) != digest(({"role": "user"},))
    assert len(digest(({"role": "user", "content": "\udc80"},))) == 64


def test_a_prompt_function_that_fails_is_the_agents_failure_and_nothing_is_sent() -> None:
    def prompt(inputs: Inputs) -> str:
        raise KeyError("field")

    outcome = a_run(Agent("a", model="simulated/echo", prompt=prompt))["a"]
    assert isinstance(outcome.error, KeyError)
    assert outcome.attempts == ()


def test_the_composers_text_is_what_a_function_gets_too() -> None:
    async def shows(inputs: Inputs) -> Any:
        return [inputs.text, inputs.input, inputs.agent]

    run = a_run(
        Agent("first", function=says("one")),
        Agent("a", function=shows, depends_on=["first"]),
        composer=lambda inputs: f"{inputs.text}+{sorted(inputs.results)}",
    )
    assert run["a"].output == ["hello+['first']", "hello", "a"]


# Functions


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'),
        (3, "3"),
        (False, "false"),
        ([], "[]"),
        (None, ""),
        ("", ""),
    ],
)
def test_what_a_function_gives_is_the_output_and_as_text_what_dependants_see(value: Any, text: str) -> None:
    async def gives(inputs: Inputs) -> Any:
        return value

    outcome = a_run(Agent("a", function=gives))["a"]
    assert (outcome.output, outcome.text) == (value, text)
    assert outcome.messages == (({"role": "assistant", "content": text},) if text else ())


def test_what_json_does_not_know_is_shown_as_its_text() -> None:
    async def gives(inputs: Inputs) -> Any:
        return {"at": complex(1, 2)}

    outcome = a_run(Agent("a", function=gives))["a"]
    assert outcome.output == {"at": 1 + 2j}
    assert outcome.text == '{"at": "(1+2j)"}'


def test_a_reply_that_a_function_gives_is_taken_as_it_is() -> None:
    async def gives(inputs: Inputs) -> Any:
        return Reply("made", usage=Usage(3, 4))

    outcome = a_run(Agent("a", function=gives))["a"]
    assert (outcome.output, outcome.text, outcome.usage) == ("made", "made", Usage(3, 4))


def test_a_function_costs_nothing_and_is_one_attempt() -> None:
    outcome = a_run(Agent("a", function=says("x")))["a"]
    assert (outcome.cost, outcome.usage, len(outcome.attempts)) == (0.0, Usage(), 1)
    assert outcome.reply is not None
    assert outcome.reply.route == "function"


def test_functions_stand_beside_models() -> None:
    run = a_run(
        Agent("a", model="simulated/echo"),
        Agent("b", function=says("b")),
        Agent("c", model="simulated/echo", prompt="${a} ${b}", depends_on=["a", "b"]),
        layers=default_stack(),
    )
    assert run.output == "hello b"


def test_a_layer_that_changes_the_last_message_changes_what_the_function_gets() -> None:
    class Shouts:
        kinds = ("function",)

        async def __call__(self, call: Call, call_next: Next) -> Reply:
            message = {**call.messages[-1], "content": call.messages[-1]["content"].upper()}
            return await call_next(call.with_(messages=(*call.messages[:-1], message)))

    async def shows(inputs: Inputs) -> Any:
        return [inputs.text, inputs.input]

    assert a_run(Agent("a", function=shows), layers=[Shouts()]).output == ["HELLO", "hello"]


@pytest.mark.parametrize(
    ("last", "text"),
    [
        (
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {}}]},
            "look",
        ),
        ({"role": "assistant", "content": None}, ""),
    ],
)
def test_a_function_gets_the_text_of_a_chat_with_parts(last: Any, text: str) -> None:
    async def shows(inputs: Inputs) -> str:
        return f"<{inputs.text}>"

    assert a_run(Agent("a", function=shows), input=[last]).output == f"<{text}>"


def test_layers_see_functions_only_when_they_ask_for_their_kind() -> None:
    seen: list[str] = []

    async def models_only(call: Call, call_next: Next) -> Reply:
        seen.append(f"models {call.agent}")
        return await call_next(call)

    async def both(call: Call, call_next: Next) -> Reply:
        seen.append(f"both {call.agent}")
        return await call_next(call)

    both.kinds = ("llm", "function")  # type: ignore[attr-defined]
    a_run(Agent("f", function=says("x")), Agent("m", model="simulated/echo"), layers=[models_only, both])
    assert sorted(seen) == ["both f", "both m", "models m"]


def test_a_function_is_tried_again_on_an_error_that_says_so() -> None:
    errors = iter([ConnectionError("reset"), ConnectionError("reset")])

    async def flaky(inputs: Inputs) -> str:
        for error in errors:
            raise error
        return "third time"

    outcome = a_run(Agent("a", function=flaky), layers=[Retry()])["a"]
    assert outcome.output == "third time"
    assert [type(attempt.error) for attempt in outcome.attempts] == [ConnectionError, ConnectionError, type(None)]


# Replies


@pytest.mark.parametrize("rubbish", ["text", {"text": "x"}, ("a", "b")])
def test_a_provider_that_gives_no_reply_fails_its_agent_and_is_not_asked_again(rubbish: Any) -> None:
    provider = Keeps(rubbish)
    outcome = a_run(Agent("a", model="p/m"), providers={"p": provider}, layers=[Retry()])["a"]
    assert isinstance(outcome.error, BadResponse)
    assert f"gave a {type(rubbish).__name__} instead of a Reply" in outcome.reason
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    ("reply", "match"),
    [(Reply(None), "text of the provider's Reply is a NoneType"), (Reply("x", usage={"a": 1}), "usage .* is a dict")],  # type: ignore[arg-type]
)
def test_a_reply_with_fields_of_another_kind_fails_its_agent(reply: Reply, match: str) -> None:
    outcome = a_run(Agent("a", model="p/m"), providers={"p": Keeps(reply)})["a"]
    with pytest.raises(BadResponse, match=match):
        outcome.output  # noqa: B018


def test_a_layer_that_forgets_to_return_the_reply_is_told_so() -> None:
    async def forgets(call: Call, call_next: Next) -> Reply:
        await call_next(call)  # type: ignore[return]

    outcome = a_run(Agent("a", model="simulated/echo"), layers=[forgets])["a"]
    assert isinstance(outcome.error, TypeError)
    assert outcome.reason == "a layer gave a NoneType instead of a Reply: does it return what call_next gave?"


def test_a_layer_that_is_no_coroutine_function_fails_its_agent() -> None:
    def plain(call: Call, call_next: Next) -> Any:
        return Reply("at once")

    assert a_run(Agent("a", model="simulated/echo"), layers=[plain])["a"].status == "failed"


def test_the_message_of_a_reply_with_tool_calls_can_be_sent_again() -> None:
    provider = Keeps(Reply("", tool_calls=(ToolCall("1", "look", "{}"),), usage=Usage(), cost=0.0))
    outcome = a_run(Agent("a", model="p/m"), providers={"p": provider})["a"]
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert outcome.messages == ({"role": "assistant", "content": "", "tool_calls": [call]},)


# Streams


def test_partial_text_is_kept_when_the_stream_is_cut() -> None:
    outcome = a_run(Agent("a", model="simulated/cut-2"), input="one two three", stream=True)["a"]
    assert (outcome.status, outcome.text) == ("failed", "one two ")


def test_partial_text_is_that_of_the_last_request() -> None:
    async def cut(call: Call) -> Reply:
        assert call.emit is not None
        await call.emit(Delta(text=f"try {call.attempt.number}"))
        raise ProviderUnavailable("cut")

    outcome = a_run(
        Agent("a", model="p/m"), providers={"p": cut}, layers=[Retry(2, restart_streams=True)], stream=True
    )["a"]
    assert outcome.text == "try 2"


def test_an_agent_that_does_not_stream_has_no_partial_text() -> None:
    outcome = a_run(Agent("a", model="simulated/cut-2", stream=False), input="one two three", stream=True)["a"]
    assert outcome.text == ""


def test_usage_deltas_are_passed_on_and_no_text() -> None:
    async def streams(call: Call) -> Reply:
        assert call.emit is not None
        await call.emit(Delta(usage=Usage(1, 2)))
        await call.emit(Delta(tool_call=ToolCall("1", "f", "{", 0)))
        await call.emit(Delta(tool_call=ToolCall("", "", "}", 0)))
        return Reply("", tool_calls=(ToolCall("1", "f", "{}", 0),), usage=Usage(1, 2), cost=0.0)

    run = a_run(Agent("a", model="p/m"), providers={"p": streams}, stream=True)
    assert run["a"].text == ""
    assert run["a"].reply is not None
    assert len(run["a"].reply.tool_calls) == 1


# Timings


def adds_up(outcome: Outcome) -> None:
    wall = outcome.ended - outcome.started
    assert outcome.timings.total == pytest.approx(wall, abs=0.001)
    assert min(outcome.timings.own, outcome.timings.provider, outcome.timings.backoff) >= 0


def test_timings_add_up_over_retries() -> None:
    model = "simulated/latency-300ms+fail-503-2+retry-after-2s"
    outcome = a_run(Agent("a", model=model), layers=[Retry(backoff=0.001)])["a"]
    adds_up(outcome)
    assert outcome.ok
    assert outcome.timings.backoff == pytest.approx(4)
    assert outcome.timings.provider == pytest.approx(0.9)
    assert outcome.timings.own == pytest.approx(0, abs=0.001)


def test_timings_add_up_over_limits() -> None:
    agents = [Agent(f"a{n}", model="simulated/latency-1s") for n in range(4)]
    run = a_run(*agents, layers=[ConcurrencyLimit(2), RateLimit(requests=1, per=5)])
    for outcome in run.outcomes.values():
        adds_up(outcome)
        assert outcome.timings.provider == pytest.approx(1)
        assert outcome.timings.own == pytest.approx(0, abs=0.001)
    last = max(run.outcomes.values(), key=lambda outcome: outcome.ended)
    assert last.timings.queue > 0
    assert last.timings.limit > 0
    assert last.timings.queue + last.timings.limit == pytest.approx(15, abs=0.01)


def test_timings_add_up_over_streams() -> None:
    outcome = a_run(Agent("a", model="simulated/latency-2s+tokens-51"), stream=True)["a"]
    adds_up(outcome)
    assert outcome.timings.first_token == pytest.approx(2)
    assert outcome.timings.provider == pytest.approx(1)


def test_timings_of_an_agent_that_was_cut_off_add_up() -> None:
    outcome = a_run(Agent("a", model="simulated/latency-2s+stall-3+tokens-9", timeout=7), stream=True)["a"]
    adds_up(outcome)
    assert outcome.timings.first_token == pytest.approx(2)
    assert outcome.timings.provider == pytest.approx(5)


def test_timings_of_a_skipped_agent_are_nothing() -> None:
    run = a_run(Agent("a", function=fails(ValueError("no"), 3)), Agent("b", function=says("x"), depends_on=["a"]))
    assert run["b"].timings.total == pytest.approx(0)


def test_a_changed_reply_of_a_layer_is_the_outcomes() -> None:
    async def shouts(call: Call, call_next: Next) -> Reply:
        reply = await call_next(call)
        return replace(reply, text=reply.text.upper())

    outcome = a_run(Agent("a", model="simulated/echo"), layers=[shouts])["a"]
    assert (outcome.output, outcome.text, outcome.messages[0]["content"]) == ("HELLO",) * 3


def test_a_layer_may_answer_without_sending_anything() -> None:
    async def cached(call: Call, call_next: Next) -> Reply:
        return Reply("cached", cost=0.0, route="cache")

    outcome = a_run(Agent("a", model="simulated/fail-500"), layers=[cached], stream=True)["a"]
    assert (outcome.output, outcome.attempts, outcome.cost) == ("cached", (), 0.0)
