"""The spans of nested runs: a workflow below the agent that runs it, instances of a fan-out below theirs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from opentelemetry.trace import StatusCode

from nesting import check, child, echo
from spans import Spans, recording
from stretto import Agent, Call, Ensemble, Inputs, Reply, Run, Runner, Settings, default_stack
from stretto.loop import Loop
from stretto.testing import virtual_time
from stretto.usage import Usage
from watched import an_ensemble, fails, hang, says


async def answers(call: Call) -> Reply:
    await asyncio.sleep(1)
    return Reply(call.messages[-1]["content"], usage=Usage(10, 5))


def recorded(*agents: Agent, input: Any = "x", **options: Any) -> tuple[Run, Spans]:
    runner = Runner(
        middleware=options.pop("middleware", []),
        providers={"t": answers},
        capture_content=options.pop("capture_content", None),
    )
    with recording() as spans:
        run = virtual_time(runner.run(an_ensemble(*agents, **options.pop("ensemble", {})), input, **options))
    check(run)
    return run, spans


def below(*path: str) -> str:
    return " > ".join(("invoke_workflow e", "phase 0", *path))


@pytest.mark.parametrize("schedule", ["phases", "ready"])
def test_a_child_is_a_workflow_below_its_agent(schedule: Any) -> None:
    pair = child(Agent("a", model="t/m"), Agent("b", model="t/m", depends_on=["a"]), name="pair", schedule=schedule)
    _, spans = recorded(Agent("c", ensemble=pair))
    top = ("invoke_agent c", "invoke_workflow pair")
    assert spans.paths() == sorted(
        [
            "invoke_workflow e",
            "invoke_workflow e > phase 0",
            below("invoke_agent c"),
            below(*top),
            below(*top, "phase 0"),
            below(*top, "phase 1"),
            below(*top, "phase 0", "invoke_agent a"),
            below(*top, "phase 0", "invoke_agent a", "attempt 1"),
            below(*top, "phase 1", "invoke_agent b"),
            below(*top, "phase 1", "invoke_agent b", "attempt 1"),
        ]
    )
    assert len({span.context.trace_id for span in spans.all}) == 1


def test_instances_of_a_fan_out_stand_below_their_agent_without_a_phase() -> None:
    _, spans = recorded(Agent("f", fan_out="${input}", model="t/m"), input=[1, 2])
    assert spans.paths() == sorted(
        [
            "invoke_workflow e",
            "invoke_workflow e > phase 0",
            below("invoke_agent f"),
            *(below("invoke_agent f", f"invoke_agent f[{n}]") for n in (0, 1)),
            *(below("invoke_agent f", f"invoke_agent f[{n}]", "attempt 1") for n in (0, 1)),
        ]
    )


def test_each_round_of_a_loop_is_a_workflow_below_it() -> None:
    _, spans = recorded(Agent("l", loop=Loop(child(Agent("a", function=echo), name="body"), 2)))
    assert spans.paths().count(below("invoke_agent l", "invoke_workflow body")) == 2
    first, second = spans.named("invoke_workflow body")
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time <= second.start_time


def test_a_child_of_each_item_has_its_workflow_below_its_instance() -> None:
    leaf = child(Agent("a", function=echo), name="leaf")
    _, spans = recorded(Agent("f", fan_out="${input}", ensemble=leaf), input=[1, 2])
    for n in (0, 1):
        path = below("invoke_agent f", f"invoke_agent f[{n}]", "invoke_workflow leaf", "phase 0", "invoke_agent a")
        assert spans.paths().count(path) == 1


def test_the_layers_stack_keeps_the_tree() -> None:
    leaf = child(Agent("a", model="t/m"), name="leaf")
    _, spans = recorded(Agent("c", ensemble=leaf), middleware=default_stack())
    path = ("invoke_agent c", "invoke_workflow leaf", "phase 0", "invoke_agent a", "chat m", "attempt 1")
    assert below(*path) in spans.paths()


def test_tokens_are_counted_once() -> None:
    pair = child(Agent("a", model="t/m"), Agent("b", model="t/m", depends_on=["a"]))
    run, spans = recorded(
        Agent("c", ensemble=pair),
        Agent("f", fan_out="${input}", model="t/m"),
        input=[1, 2],
        middleware=default_stack(),
    )
    assert run.usage.input_tokens == 40
    assert spans.sum("gen_ai.usage.input_tokens") == 40


def test_what_a_function_within_records_stands_below_its_agent() -> None:
    async def traced(inputs: Inputs) -> str:
        with trace.get_tracer("mine").start_as_current_span("my work"):
            return "x"

    _, spans = recorded(Agent("c", ensemble=child(Agent("a", function=traced), name="leaf")))
    assert spans.path(spans.one("my work")).endswith("invoke_workflow leaf > phase 0 > invoke_agent a > my work")


def test_a_child_that_fails_is_marked_at_each_level() -> None:
    leaf = child(Agent("a", function=fails(ValueError("no"))), name="leaf")
    _, spans = recorded(Agent("c", ensemble=leaf))
    for name in ("invoke_agent a", "invoke_agent c"):
        span = spans.one(name)
        assert span.status.status_code is StatusCode.ERROR
        assert dict(span.attributes or {})["error.type"] == "ValueError"


def test_spans_within_name_the_run_and_their_agent() -> None:
    run, spans = recorded(Agent("c", ensemble=child(Agent("a", function=echo))), metadata={"tenant": "t"})
    for name in ("c", "a"):
        attributes = dict(spans.one(f"invoke_agent {name}").attributes or {})
        assert attributes["gen_ai.agent.name"] == name
        assert run.run_id in attributes.values()
        assert attributes["stretto.metadata.tenant"] == "t"


def test_content_is_captured_only_when_asked_for() -> None:
    leaf = child(Agent("a", function=says("the answer")))
    agents = [Agent("c", ensemble=leaf), Agent("f", fan_out="${input}", ensemble=leaf)]
    _, spans = recorded(*agents, input=["the question"])
    assert "the answer" not in spans.text()
    assert "the question" not in spans.text()
    _, spans = recorded(*agents, input=["the question"], capture_content=True)
    for name in ("invoke_agent c", "invoke_agent f[0]"):
        attributes = dict(spans.one(name).attributes or {})
        assert "the question" in str(attributes["input.value"])
        assert "the answer" in str(attributes["output.value"])


def test_all_spans_end_when_a_nested_run_is_cut_off() -> None:
    deep = child(Agent("d", ensemble=child(Agent("a", function=hang), Agent("b", function=echo, depends_on=["a"]))))
    loop = Loop(child(Agent("a", function=hang), name="body"), 3)
    agents = [Agent("c", ensemble=deep), Agent("l", loop=loop), Agent("f", fan_out="${input}", function=hang)]
    run, spans = recorded(*agents, input=[1, 2], timeout=3)
    assert run.status == "timed_out"
    names = [span.name for span in spans.all]
    for name in ("c", "d", "a", "l", "f", "f[0]", "f[1]"):
        assert f"invoke_agent {name}" in names
    assert names.count("invoke_workflow child") == 2
    assert all(span.end_time is not None for span in spans.all)
    for span in spans.all:
        parent = spans.parent(span)
        assert parent is None or (span.end_time or 0) <= (parent.end_time or 0) + 1_000_000


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0)])
def test_a_run_that_is_not_sampled_leaves_no_trace_of_what_is_nested(sampler: Any) -> None:
    leaf = child(Agent("a", model="t/m"), name="leaf")
    agents = [Agent("c", ensemble=leaf), Agent("f", fan_out="${input}", ensemble=leaf), Agent("l", loop=Loop(leaf, 2))]
    with recording(sampler) as spans:
        runner = Runner(middleware=default_stack(), providers={"t": answers})
        run = virtual_time(runner.run(Ensemble("e", agents), [1, 2]))
    assert run.ok
    assert spans.all == []


def test_without_an_sdk_nothing_of_a_nested_run_stays_in_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)  # a test before may have set one up
    seen: list[bool] = []

    async def looks(inputs: Inputs) -> str:
        seen.append(trace.get_current_span().get_span_context().is_valid)
        return "x"

    async def main() -> Run:
        before = dict(context.get_current())
        leaf = child(Agent("a", function=looks), name="leaf")
        agents = [Agent("c", ensemble=leaf), Agent("f", fan_out="${input}", ensemble=leaf)]
        run = await Runner(middleware=[]).run(Ensemble("e", agents), [1, 2])
        assert dict(context.get_current()) == before
        return run

    assert virtual_time(main()).ok
    assert seen == [False, False, False]


def test_a_span_of_the_caller_is_the_root_of_everything_nested() -> None:
    async def main() -> Run:
        with trace.get_tracer("mine").start_as_current_span("request"):
            return await Runner(middleware=[]).run(
                Ensemble("e", [Agent("c", ensemble=child(Agent("a", function=echo), name="leaf"))]), "x"
            )

    with recording() as spans:
        virtual_time(main())
    assert all(path.startswith("request") for path in spans.paths())
    assert trace.get_current_span().get_span_context().is_valid is False


def test_one_at_a_time_keeps_the_tree() -> None:
    leaf = child(Agent("a", function=echo), name="leaf")
    agents = [Agent("c", ensemble=leaf), Agent("f", fan_out="${input}", ensemble=leaf)]
    _, parallel = recorded(*agents, input=[1, 2])
    serial = {"settings": Settings(enable_parallel_execution=False)}
    _, one_by_one = recorded(*agents, input=[1, 2], ensemble=serial)
    assert one_by_one.paths() == parallel.paths()
