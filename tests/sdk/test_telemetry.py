"""The spans of a run: the tree, the right parents, tokens counted once, no key, nothing without an SDK."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import StatusCode

from spans import Spans, recording
from stretto import Agent, Ensemble, Inputs, Runner, Settings, default_stack, telemetry
from stretto.call import Call
from stretto.contract import Next
from stretto.middleware import Retry
from stretto.reply import Reply
from stretto.testing import Answers, virtual_time


def recorded(ensemble: Ensemble, runner: Runner | None = None, **fields: Any) -> tuple[Any, Spans]:
    with recording() as spans:
        run = virtual_time((runner or Runner()).run(ensemble, "one two three", **fields))
    return run, spans


def three_agents(**fields: Any) -> Ensemble:
    return Ensemble(
        "trio",
        [
            Agent("a", model="simulated/latency-100ms"),
            Agent("b", model="simulated/latency-300ms"),
            Agent("c", model="simulated/echo", depends_on=["a", "b"]),
        ],
        **fields,
    )


@pytest.mark.parametrize("schedule", ["phases", "ready"])
def test_a_run_is_a_tree_of_workflow_phase_agent_chat_and_attempt(schedule: Any) -> None:
    _, spans = recorded(three_agents(schedule=schedule))
    root = "invoke_workflow trio"
    assert spans.paths() == sorted(
        [
            root,
            f"{root} > phase 0",
            f"{root} > phase 1",
            *(
                f"{root} > phase {phase} > invoke_agent {agent}{below}"
                for phase, agent, model in ((0, "a", "latency-100ms"), (0, "b", "latency-300ms"), (1, "c", "echo"))
                for below in ("", f" > chat {model}", f" > chat {model} > attempt 1")
            ),
        ]
    )
    assert len({span.context.trace_id for span in spans.all}) == 1


def test_the_rollback_switch_keeps_the_tree() -> None:
    _, parallel = recorded(three_agents())
    _, serial = recorded(three_agents(), Runner(settings=Settings(enable_parallel_execution=False)))
    assert serial.paths() == parallel.paths()


def test_each_span_has_its_kind() -> None:
    _, spans = recorded(three_agents())
    kinds = Counter(
        (span.name.partition(" ")[0], (span.attributes or {})["openinference.span.kind"]) for span in spans.all
    )
    assert kinds == {
        ("invoke_workflow", "CHAIN"): 1,
        ("phase", "CHAIN"): 2,
        ("invoke_agent", "AGENT"): 3,
        ("chat", "LLM"): 3,
        ("attempt", "CHAIN"): 3,
    }


def test_parents_are_right_in_parallel_branches_with_retries() -> None:
    agents = [Agent(f"n{n}", model=f"simulated/fail-503-{n % 3}+latency-{10 + n % 7}ms") for n in range(40)]
    agents.append(Agent("last", model="simulated/echo", depends_on=[agent.name for agent in agents]))
    run, spans = recorded(Ensemble("many", agents), Runner(middleware=default_stack(retry=Retry(3, throttle=None))))
    assert run.status == "completed"
    paths = spans.paths()
    for n, agent in enumerate(agents[:40]):
        above = f"invoke_workflow many > phase 0 > invoke_agent {agent.name}"
        chat = f"{above} > chat {telemetry.bare_model(agent.model or '')}"
        below = [path for path in paths if path.startswith(f"{above} >")]
        assert below == [chat, *(f"{chat} > attempt {k + 1}" for k in range(n % 3 + 1))]


@pytest.mark.parametrize("stream", [True, False])
def test_tokens_stand_on_chat_spans_only_and_add_up_to_the_runs(stream: bool) -> None:
    agents = [Agent(f"n{n}", model=f"simulated/fail-503-{n % 3}+tokens-{n + 1}") for n in range(9)]
    agents += [Agent("cut", model="simulated/cut-1"), Agent("wrong", model="simulated/fail-400")]
    run, spans = recorded(Ensemble("some", agents), stream=stream)
    assert spans.sum("gen_ai.usage.input_tokens") == run.usage.input_tokens
    assert spans.sum("gen_ai.usage.output_tokens") == run.usage.output_tokens > 45
    having = {
        span.name.partition(" ")[0] for span in spans.all if any("usage" in name for name in span.attributes or {})
    }
    assert having == {"chat"}


def test_the_cost_of_a_run_is_that_of_its_chat_spans() -> None:
    from stretto.usage import Price

    runner = Runner(prices={"simulated/*": Price(100.0, 200.0)})
    run, spans = recorded(three_agents(), runner)
    assert sum((s.attributes or {})["stretto.cost_usd"] for s in spans.named("chat")) == pytest.approx(run.cost)  # type: ignore[misc]
    assert run.cost > 0


def test_a_failed_agent_is_an_error_with_its_status_and_reason() -> None:
    run, spans = recorded(Ensemble("e", [Agent("bad", model="simulated/fail-401"), Agent("good", model="simulated/x")]))
    bad, good = spans.one("invoke_agent bad"), spans.one("invoke_agent good")
    assert (bad.status.status_code, good.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    attributes = bad.attributes or {}
    assert (attributes["stretto.status"], attributes["error.type"]) == ("failed", "401")
    assert attributes["stretto.reason"] == run["bad"].reason
    assert (spans.one("invoke_workflow").attributes or {})["stretto.status"] == "completed_with_errors"


def test_a_skipped_agent_has_a_span_that_says_why_and_nothing_below_it() -> None:
    ensemble = Ensemble(
        "e", [Agent("bad", model="simulated/fail-401"), Agent("after", model="simulated/x", depends_on=["bad"])]
    )
    _, spans = recorded(ensemble)
    span = spans.one("invoke_agent after")
    attributes = span.attributes or {}
    assert attributes["stretto.status"] == "skipped"
    assert "no dependency succeeded" in str(attributes["stretto.reason"])
    assert not [other for other in spans.all if spans.parent(other) is span]


def test_an_agent_that_runs_out_of_time_is_timed_out_in_its_span() -> None:
    _, spans = recorded(Ensemble("e", [Agent("slow", model="simulated/hang", timeout=5)]))
    attributes = spans.one("invoke_agent slow").attributes or {}
    assert (attributes["stretto.status"], attributes["error.type"]) == ("timed_out", "DeadlineExceeded")


def test_a_run_that_runs_out_of_time_ends_every_span() -> None:
    _, spans = recorded(three_agents(), timeout=0.2)
    assert (spans.one("invoke_workflow").attributes or {})["stretto.status"] == "timed_out"
    assert {span.name.partition(" ")[0] for span in spans.all} >= {"invoke_workflow", "phase", "invoke_agent", "chat"}
    assert [(s.attributes or {})["stretto.status"] for s in spans.named("invoke_agent")] == [
        "ok",
        "timed_out",
        "skipped",
    ]


def test_a_cancelled_run_ends_every_span() -> None:
    async def main() -> None:
        run = Runner().start(three_agents(), "go")
        await asyncio.sleep(0.2)
        run.cancel()
        await run.wait()

    with recording() as spans:
        virtual_time(main())
    assert (spans.one("invoke_workflow").attributes or {})["stretto.status"] == "cancelled"
    assert len(spans.named("attempt")) == 2


def test_scalar_metadata_and_the_conversation_stand_on_run_and_agents() -> None:
    metadata = {"tenant": "t1", "conversation_id": 7, "n": 3, "deep": {"not": "this"}}
    _, spans = recorded(three_agents(), metadata=metadata)
    for span in [spans.one("invoke_workflow"), *spans.named("invoke_agent")]:
        attributes = span.attributes or {}
        assert (attributes["stretto.metadata.tenant"], attributes["stretto.metadata.n"]) == ("t1", 3)
        assert attributes["gen_ai.conversation.id"] == "7"
        assert "stretto.metadata.deep" not in attributes


def test_the_run_span_names_run_ensemble_and_digest() -> None:
    ensemble = three_agents()
    run, spans = recorded(ensemble)
    attributes = spans.one("invoke_workflow").attributes or {}
    assert attributes["stretto.run.id"] == run.run_id
    assert attributes["stretto.ensemble.digest"] == ensemble.digest
    assert attributes["gen_ai.operation.name"] == "invoke_workflow"


@pytest.mark.parametrize(
    ("argument", "variable", "captured"),
    [
        (None, None, False),
        (None, "true", True),
        (None, "false", False),
        (True, None, True),
        (False, "true", False),
    ],
)
def test_content_is_captured_only_where_a_switch_asks_for_it(
    argument: bool | None, variable: str | None, captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    monkeypatch.setenv(name, variable) if variable is not None else monkeypatch.delenv(name, raising=False)
    _, spans = recorded(three_agents(), Runner(capture_content=argument))
    assert ("one two three" in spans.text()) is captured
    chats = [span.attributes or {} for span in spans.named("chat")]
    assert all(("input.value" in chat, "output.value" in chat) == (captured, captured) for chat in chats)


def test_no_key_stands_in_any_span(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "correct-horse-battery-staple"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    async def echoing(call: Call) -> Reply:
        raise PermissionError(f"401 for {call.endpoint.api_key.reveal() if call.endpoint.api_key else ''}")

    def function(inputs: Inputs) -> str:
        raise PermissionError(f"refused: {key}, Bearer abcdefghijkl")

    agents = [
        Agent("llm", model="openai/gpt-5"),
        Agent("function", function=function),
        Agent("given", model="openai/gpt-5", api_key="another-long-key", base_url="http://127.0.0.1:1/v1"),
    ]
    runner = Runner(providers={"openai": echoing}, capture_content=True)
    run, spans = recorded(Ensemble("e", agents), runner)
    assert [outcome.status for outcome in run.failed] == ["failed"] * 3
    for text in (key, "another-long-key", "abcdefghijkl"):
        assert text not in spans.text()


def test_a_users_span_sits_where_it_was_opened() -> None:
    async def mine(call: Call, call_next: Next) -> Reply:
        with trace.get_tracer("mine").start_as_current_span(f"mine {call.agent}"):
            await asyncio.sleep(0.01)
            return await call_next(call)

    async def work(inputs: Inputs) -> str:
        with trace.get_tracer("mine").start_as_current_span("in the function"):
            return "ok"

    def plain(inputs: Inputs) -> str:
        with trace.get_tracer("mine").start_as_current_span("in the thread"):
            return "ok"

    agents = [Agent("a", model="simulated/x"), Agent("f", function=work), Agent("p", function=plain)]
    with recording() as spans:

        async def main() -> None:
            with trace.get_tracer("mine").start_as_current_span("request"):
                await Runner(middleware=default_stack(mine)).run(Ensemble("e", agents), "go")

        virtual_time(main())
    above = "request > invoke_workflow e > phase 0 > invoke_agent"
    assert spans.path(spans.one("attempt")) == f"{above} a > chat x > mine a > attempt 1"
    assert spans.path(spans.one("in the function")) == f"{above} f > in the function"
    assert spans.path(spans.one("in the thread")) == f"{above} p > in the thread"


def test_a_run_that_is_sampled_out_has_no_span_at_all() -> None:
    seen: list[bool] = []

    async def provider(call: Call) -> Reply:
        with trace.get_tracer("http").start_as_current_span("POST"):
            seen.append(trace.get_current_span().get_span_context().is_valid)
        return Reply("ok")

    with recording(ParentBased(ALWAYS_OFF)) as spans:
        virtual_time(Runner(providers={"simulated": provider}).run(three_agents(), "go"))
    assert (spans.all, seen) == ([], [True] * 3)


def test_of_sampled_runs_each_has_all_its_spans_or_none() -> None:
    async def main() -> None:
        runner = Runner()
        for _ in range(60):
            await runner.run(three_agents(), "go")

    with recording(ParentBased(TraceIdRatioBased(0.3))) as spans:
        virtual_time(main())
    sizes = Counter(span.context.trace_id for span in spans.all)
    assert 3 <= len(sizes) <= 40
    assert set(sizes.values()) == {12}
    assert {span.name for span in spans.all if span.parent is None} == {"invoke_workflow trio"}


def test_without_trace_the_runners_spans_and_the_attempts_remain() -> None:
    _, spans = recorded(three_agents(), Runner(middleware=[]))
    assert "invoke_workflow trio > phase 0 > invoke_agent a > attempt 1" in spans.paths()
    assert spans.named("chat") == []


def test_without_a_tracer_provider_there_is_no_span_and_no_context() -> None:
    contexts: list[Any] = []

    async def provider(call: Call) -> Reply:
        contexts.append(trace.get_current_span())
        return Reply("ok")

    run = virtual_time(Runner(providers={"simulated": provider}).run(three_agents(), "go"))
    assert run.ok
    assert contexts == [trace.INVALID_SPAN] * 3


def test_every_attribute_is_something_that_opentelemetry_takes() -> None:
    _, spans = recorded(three_agents(), metadata={"x": 1.5, "ok": True})
    for span in spans.all:
        for name, value in json.loads(span.to_json())["attributes"].items():
            assert isinstance(value, (str, bool, int, float, list)), name


def test_content_that_is_no_text_is_written_as_json() -> None:
    assert telemetry.content("as it is") == "as it is"
    assert telemetry.content([{"a": "é"}]) == '[{"a": "é"}]'


def test_answers_from_a_provider_without_usage_count_nothing() -> None:
    runner = Runner(providers={"simulated": Answers(Reply("ok"))})
    run, spans = recorded(three_agents(), runner)
    assert (spans.sum("gen_ai.usage.input_tokens"), run.usage.input_tokens) == (0, 0)
    assert not any("stretto.cost_usd" in (span.attributes or {}) for span in spans.all)


def test_captured_content_is_on_the_spans_of_run_and_agents_as_well() -> None:
    _, spans = recorded(three_agents(), Runner(capture_content=True))
    for name in ("invoke_workflow", "invoke_agent a", "chat"):
        span = spans.named(name)[0]
        assert span.attributes is not None
        assert "one two three" in str(span.attributes["input.value"])
        assert span.attributes["output.value"]
