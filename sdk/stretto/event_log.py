"""Keep what happened, for any number of readers, each from the start.

A run keeps the texts, not one object a piece: the pieces that an agent emits one after the other are one `Segment`.
A reader that is slow gets what it has not read yet in one piece; it never slows the run.
"""

from __future__ import annotations

import asyncio
import io
from collections import deque
from typing import NamedTuple
from weakref import WeakSet

from .clock import now
from .events import AgentDelta, AgentEvent, Event
from .reply import Delta, ToolCall


class _Kind(NamedTuple):
    field: str  # "text", "reasoning" or "tool_call"
    call: int  # the index of the tool call


class Segment:
    """What one agent emitted without anything else of it in between."""

    __slots__ = ("agent", "buffer", "head", "kind", "length", "phase", "time")

    def __init__(self, phase: int, agent: str, kind: _Kind, head: ToolCall | None) -> None:
        self.phase = phase
        self.agent = agent
        self.kind = kind
        self.head = head
        self.buffer = io.StringIO()
        self.length = 0
        self.time = 0.0

    def write(self, piece: str) -> None:
        self.buffer.seek(self.length)
        self.length += self.buffer.write(piece)
        self.time = now()

    def delta(self, start: int) -> Delta:
        """Give what came from character `start` on."""
        self.buffer.seek(start)
        piece = self.buffer.read()
        if self.kind.field == "text":
            return Delta(text=piece)
        if self.kind.field == "reasoning":
            return Delta(reasoning=piece)
        assert self.head is not None
        return Delta(tool_call=ToolCall(self.head.id, self.head.name, piece, self.kind.call))


class EventLog:
    """All events of a run, in order, and its readers."""

    __slots__ = ("__weakref__", "_entries", "_open", "_readers", "closed", "run_id")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.closed = False
        self._entries: list[Event | Segment] = []
        self._open: dict[str, Segment] = {}
        self._readers: WeakSet[EventReader] = WeakSet()

    def add(self, event: Event) -> None:
        """Add an event; nothing is added once the log is closed."""
        if self.closed:
            return
        if isinstance(event, AgentEvent):
            self._open.pop(event.agent, None)
        self._entries.append(event)
        if self._readers:  # iterating over a WeakSet costs more than all the rest
            for reader in self._readers:
                reader.put(event)

    def piece(self, phase: int, agent: str, delta: Delta) -> None:
        """Add a piece of an agent's reply."""
        call = delta.tool_call
        if delta.text is not None:
            kind, text = _Kind("text", 0), delta.text
        elif delta.reasoning is not None:
            kind, text = _Kind("reasoning", 0), delta.reasoning
        elif call is not None:
            kind, text = _Kind("tool_call", call.index), call.arguments
        else:
            self.add(AgentDelta(time=now(), run_id=self.run_id, phase=phase, agent=agent, delta=delta))
            return
        if self.closed:
            return
        segment = self._open.get(agent)
        if segment is None or segment.kind != kind:
            segment = self._open[agent] = Segment(phase, agent, kind, call)
            self._entries.append(segment)
        segment.write(text)
        for reader in self._readers:
            reader.put(segment)

    def close(self) -> None:
        """End it: readers stop when they have read everything."""
        self.closed = True
        self._open.clear()
        for reader in self._readers:
            reader.wake()

    def reader(self) -> EventReader:
        """Give a new reader, which begins at the first event."""
        reader = EventReader(self, self._entries)
        self._readers.add(reader)
        return reader

    def forget(self, reader: EventReader) -> None:
        """Tell a reader nothing any more."""
        self._readers.discard(reader)


class EventReader:
    """An asynchronous iterator over the events of a run, from the first to the last."""

    __slots__ = ("__weakref__", "_log", "_queue", "_read", "_wake", "_waiting")

    def __init__(self, log: EventLog, entries: list[Event | Segment]) -> None:
        self._log = log
        self._queue: deque[Event | Segment] = deque(entries)
        self._waiting = {id(entry) for entry in entries if isinstance(entry, Segment)}
        self._read: dict[int, int] = {}
        self._wake = asyncio.Event()

    def put(self, entry: Event | Segment) -> None:
        """Queue an event, or a segment that has grown (once, however often it grows)."""
        if isinstance(entry, Segment):
            if id(entry) in self._waiting:
                return
            self._waiting.add(id(entry))
        self._queue.append(entry)
        self._wake.set()

    def wake(self) -> None:
        """Let it see that the log is closed."""
        self._wake.set()

    def __aiter__(self) -> EventReader:
        return self

    async def __anext__(self) -> Event:
        while True:
            while self._queue:
                entry = self._queue.popleft()
                if isinstance(entry, Event):
                    return entry
                event = self._unread(entry)
                if event is not None:
                    return event
            if self._log.closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def _unread(self, segment: Segment) -> AgentDelta | None:
        self._waiting.discard(id(segment))
        start = self._read.get(id(segment), 0)
        if start == segment.length and start:
            return None
        self._read[id(segment)] = segment.length
        return AgentDelta(
            time=segment.time,
            run_id=self._log.run_id,
            phase=segment.phase,
            agent=segment.agent,
            delta=segment.delta(start),
        )

    async def aclose(self) -> None:
        """Stop reading; the run goes on."""
        self._log.forget(self)
        self._queue.clear()
        self._log = EventLog(self._log.run_id)
        self._log.closed = True
        self._wake.set()
