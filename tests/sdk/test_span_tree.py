"""The trace of a run as a tree."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from stretto import Agent, Ensemble, Runner
from stretto.span_tree import SpanTree, collect


@pytest.fixture
def tree() -> SpanTree:
    return SpanTree()


@pytest.fixture
def tracer(tree: SpanTree) -> trace.Tracer:
    provider = TracerProvider()
    provider.add_span_processor(tree)
    return provider.get_tracer("test")


@pytest.fixture
def no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start with OpenTelemetry as it is in a fresh process."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())


def a_span(
    tracer: trace.Tracer, name: str, parent: trace.Span | None, start: int, end: int, **attributes: object
) -> trace.Span:
    context = trace.set_span_in_context(parent) if parent is not None else None
    given = {key.replace("__", "."): value for key, value in attributes.items()}
    span = tracer.start_span(name, context, attributes=given, start_time=start * 10**6)  # type: ignore[arg-type]
    span.end(end * 10**6)
    return span


def test_nothing_is_drawn_of_nothing(tree: SpanTree) -> None:
    assert list(tree.lines()) == []


def test_children_stand_below_their_parent_in_the_order_of_their_start(tree: SpanTree, tracer: trace.Tracer) -> None:
    root = a_span(tracer, "run", None, 0, 2000)
    late = a_span(tracer, "late", root, 500, 900)
    early = a_span(tracer, "early", root, 100, 1100)
    a_span(tracer, "below early", early, 200, 300)
    a_span(tracer, "below late", late, 600, 700)
    assert list(tree.lines()) == [
        "run  2.00 s",
        "├─ early  1.00 s",
        "│  └─ below early  0.10 s",
        "└─ late  0.40 s",
        "   └─ below late  0.10 s",
    ]


def test_a_line_tells_status_tokens_waits_and_error(tree: SpanTree, tracer: trace.Tracer) -> None:
    a_span(
        tracer,
        "chat m",
        None,
        0,
        1000,
        error__type="RateLimited",
        stretto__wait__backoff=1.234,
        gen_ai__usage__input_tokens=3,
        gen_ai__usage__output_tokens=4,
        stretto__status="failed",
        other="not shown",
    )
    assert list(tree.lines()) == ["chat m  1.00 s, failed, 3 tokens in, 4 out, back-off 1.23 s, error RateLimited"]


def test_a_span_whose_parent_is_elsewhere_is_a_root(tree: SpanTree, tracer: trace.Tracer) -> None:
    elsewhere = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1)))
    a_span(tracer, "of a caller", elsewhere, 0, 1000)
    assert list(tree.lines()) == ["of a caller  1.00 s"]


def test_a_name_cannot_steer_the_terminal(tree: SpanTree, tracer: trace.Tracer) -> None:
    a_span(tracer, "chat \x1b[2J", None, 0, 1000)
    assert list(tree.lines()) == ["chat \\x1b[2J  1.00 s"]


@pytest.mark.usefixtures("no_provider")
async def test_a_run_is_drawn_from_the_run_to_the_attempts() -> None:
    tree = collect()
    ensemble = Ensemble("e", [Agent("a"), Agent("b", depends_on=["a"])], model="simulated/echo")
    async with Runner() as runner:
        await runner.run(ensemble, "one two")
    names = [line.partition("  0.")[0] for line in tree.lines()]
    assert names == [
        "invoke_workflow e",
        "├─ phase 0",
        "│  └─ invoke_agent a",
        "│     └─ chat echo",
        "│        └─ attempt 1",
        "└─ phase 1",
        "   └─ invoke_agent b",
        "      └─ chat echo",
        "         └─ attempt 1",
    ]


@pytest.mark.usefixtures("no_provider")
def test_a_provider_that_is_there_already_is_added_to() -> None:
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    tree = collect()
    assert trace.get_tracer_provider() is provider
    with trace.get_tracer("x").start_as_current_span("mine"):
        pass
    assert [line.partition("  ")[0] for line in tree.lines()] == ["mine"]
