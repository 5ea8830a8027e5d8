"""Collect the spans of a run in this process, and draw them as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from .terminal import visible

# What is worth a place in a line: attribute, and how it is written.
_SHOWN = (
    ("stretto.status", "{}"),
    ("gen_ai.usage.input_tokens", "{} tokens in"),
    ("gen_ai.usage.output_tokens", "{} out"),
    ("stretto.wait.queue", "queue {:.2f} s"),
    ("stretto.wait.slot", "slot {:.2f} s"),
    ("stretto.wait.quota", "quota {:.2f} s"),
    ("stretto.wait.pause", "pause {:.2f} s"),
    ("stretto.wait.backoff", "back-off {:.2f} s"),
    ("error.type", "error {}"),
)


class SpanTree(SpanProcessor):
    """A span processor that keeps what has ended."""

    def __init__(self) -> None:
        self._ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span."""
        self._ended.append(span)

    def lines(self) -> Iterator[str]:
        """Draw the tree: a line a span, children in the order of their start."""
        below: dict[int | None, list[ReadableSpan]] = {}
        known = {span.context.span_id for span in self._ended if span.context is not None}
        for span in sorted(self._ended, key=lambda span: span.start_time or 0):
            parent = span.parent.span_id if span.parent is not None else None
            below.setdefault(parent if parent in known else None, []).append(span)
        for root in below.get(None, []):
            yield _line(root)
            yield from _drawn(root, below, "")


def _drawn(span: ReadableSpan, below: dict[int | None, list[ReadableSpan]], indent: str) -> Iterator[str]:
    children = below.get(span.context.span_id, []) if span.context is not None else []
    for child in children:
        last = child is children[-1]
        yield f"{indent}{'└─ ' if last else '├─ '}{_line(child)}"
        yield from _drawn(child, below, indent + ("   " if last else "│  "))


def _line(span: ReadableSpan) -> str:
    seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    attributes: Any = span.attributes or {}
    told = [form.format(attributes[name]) for name, form in _SHOWN if name in attributes]
    return visible(", ".join([f"{span.name}  {seconds:.2f} s", *told]))  # names come from files, errors from services


def collect() -> SpanTree:
    """Set up a tracer provider that collects, or add to the one that is there."""
    tree = SpanTree()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(tree)
    return tree
