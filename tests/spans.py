"""Record spans in memory, and leave no tracer provider behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler


class Spans:
    """What was recorded so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> list[ReadableSpan]:
        """All that have ended, in the order of their start."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, start: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name.startswith(start)]

    def one(self, start: str) -> ReadableSpan:
        (span,) = self.named(start)
        return span

    def parent(self, span: ReadableSpan) -> ReadableSpan | None:
        if span.parent is None:
            return None
        return next(other for other in self.all if other.context.span_id == span.parent.span_id)

    def path(self, span: ReadableSpan) -> str:
        """The names from the root down to `span`."""
        above = self.parent(span)
        return span.name if above is None else f"{self.path(above)} > {span.name}"

    def paths(self) -> list[str]:
        return sorted(self.path(span) for span in self.all)

    def sum(self, attribute: str) -> Any:
        return sum((span.attributes or {}).get(attribute, 0) for span in self.all)  # type: ignore[misc]

    def text(self) -> str:
        """Everything that would leave the process."""
        return "\n".join(span.to_json() for span in self.all)


@contextmanager
def recording(sampler: Sampler | None = None) -> Iterator[Spans]:
    """Set a tracer provider up for the block, and take it away again."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider  # set_tracer_provider works once in a process
    try:
        yield Spans(exporter)
    finally:
        trace._TRACER_PROVIDER = before
        provider.shutdown()
