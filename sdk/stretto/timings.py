"""Say where an agent's time went: disjoint seconds that add up to its wall time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from .attempt import Attempt, Wait

_RANK = {"provider": -2, "first_token": -1}
_FIELD = {"queue": "queue", "slot": "queue", "quota": "limit", "pause": "limit", "backoff": "backoff"}


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, disjoint, adding up to the agent's wall time; 0.0 where one does not apply.

    Args:
        queue: waiting for a place in the run or for a slot.
        limit: waiting for a quota, or for a pause to end.
        backoff: waiting between two attempts.
        first_token: of streams, from sending to the first piece.
        provider: the rest of the time while a request is out.
        own: all else.
    """

    queue: float = 0.0
    limit: float = 0.0
    backoff: float = 0.0
    first_token: float = 0.0
    provider: float = 0.0
    own: float = 0.0

    @property
    def total(self) -> float:
        """The agent's wall time."""
        return self.queue + self.limit + self.backoff + self.first_token + self.provider + self.own


class _Span(NamedTuple):
    started: float
    ended: float
    field: str


def timings(started: float, ended: float, waits: Sequence[Wait], attempts: Sequence[Attempt]) -> Timings:
    """Divide the time from `started` to `ended` (seconds since the epoch).

    Where branches overlap, an open request wins, else the wait begun last.
    """
    if len(attempts) == 1 and not waits:
        return _of_one(started, ended, attempts[0])
    spans = [_Span(wait.started, wait.started + wait.seconds, _FIELD[wait.cause]) for wait in waits]
    for attempt in attempts:
        if attempt.started is None:
            continue
        end = ended if attempt.ended is None else attempt.ended
        first = attempt.started if attempt.first_piece is None else attempt.first_piece
        spans.append(_Span(attempt.started, first, "first_token"))
        spans.append(_Span(first, end, "provider"))
    clipped = sorted(_Span(max(s.started, started), min(s.ended, ended), s.field) for s in spans)
    clipped = [s for s in clipped if s.ended > s.started]
    sums: dict[str, float] = {"queue": 0.0, "limit": 0.0, "backoff": 0.0, "first_token": 0.0, "provider": 0.0}
    if all(one.ended <= other.started for one, other in pairwise(clipped)):
        for span in clipped:
            sums[span.field] += span.ended - span.started
    else:
        _sweep(clipped, sums)
    return Timings(**sums, own=max(0.0, ended - started - sum(sums.values())))


def _of_one(started: float, ended: float, attempt: Attempt) -> Timings:
    """The same for the usual case, one request without a wait: a third of the price."""
    if attempt.started is None:
        return Timings(own=max(0.0, ended - started))
    begin = min(max(attempt.started, started), ended)
    end = ended if attempt.ended is None else min(max(attempt.ended, begin), ended)
    first = begin if attempt.first_piece is None else min(max(attempt.first_piece, begin), end)
    return Timings(first_token=first - begin, provider=end - first, own=max(0.0, begin - started + ended - end))


def _sweep(spans: list[_Span], sums: dict[str, float]) -> None:
    """Walk along the edges of spans that are sorted by their start: of a fan-out there are thousands."""
    edges = sorted({edge for span in spans for edge in (span.started, span.ended)})
    begun = 0
    active: list[tuple[int, float, float, str]] = []  # the winner is the first; the others stay until they are that
    for left, right in pairwise(edges):
        while begun < len(spans) and spans[begun].started <= left:
            span = spans[begun]
            heappush(active, (_RANK.get(span.field, 0), -span.started, span.ended, span.field))
            begun += 1
        while active and active[0][2] <= left:
            heappop(active)
        if active:
            sums[active[0][3]] += right - left
