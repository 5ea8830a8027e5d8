"""Keep the ledger of a call: every request that was sent, every wait.

The boundary stamps the `Attempt`s, layers write waits through `Record.waiting`; nobody else keeps count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from .clock import now
from .usage import Usage, added

if TYPE_CHECKING:
    from types import TracebackType

Cause = Literal["queue", "slot", "quota", "pause", "backoff"]


class Wait(NamedTuple):
    """One wait of an agent.

    Attributes:
        cause: "queue" (a place in the run), "slot", "quota", "pause" or "backoff".
        key: what was waited for, for example a limit key as text; None when there is nothing to name.
        started: seconds since the epoch.
        seconds: how long it took.
    """

    cause: Cause
    key: str | None
    started: float
    seconds: float


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class Attempt:
    """One request, sent at most once.

    Attributes:
        number: from 1, counted within the logical call; 0 until sent.
        model: "provider/model" that it was sent to; "" until sent.
        started, ended: seconds since the epoch; None until sent, until closed.
        first_piece: seconds since the epoch of the first piece of a stream, else None.
        headers: of the response, lower-case names, from the first byte on.
        emitted: a piece of it has reached `emit`.
        error: what ended it, else None.
        reason: the error's text, without keys.
        cancelled: it was cut off by a cancel.
        hedge: it was sent as a hedge.
        usage, cost: tokens and USD; both None when it was cut off.
        retry_after: seconds that the server asked to wait, else None.
    """

    number: int = 0
    model: str = ""
    started: float | None = None
    ended: float | None = None
    first_piece: float | None = None
    headers: Mapping[str, str] | None = None
    emitted: bool = False
    error: BaseException | None = None
    reason: str = ""
    cancelled: bool = False
    hedge: bool = False
    usage: Usage | None = None
    cost: float | None = None
    retry_after: float | None = None
    # What was expected of a request that was cut off: tokens, and USD where the price is known.
    estimate: tuple[Usage, float | None] | None = None
    _on_sent: list[Callable[[], object]] | None = None

    def on_sent(self, f: Callable[[], object]) -> None:
        """Call `f` when the request goes out; at once when it has."""
        if self.started is not None:
            f()
        elif self._on_sent is None:
            self._on_sent = [f]
        else:
            self._on_sent.append(f)

    def sent(self, number: int, model: str) -> None:
        """Stamp it as sent now. The boundary calls this.

        Raises:
            RuntimeError: when it has been sent before: another request needs `call.again()`.
        """
        if self.started is not None:
            raise RuntimeError("this request was sent already: send another one with call.again()")
        self.number = number
        self.model = model
        self.started = now()
        if self._on_sent is not None:
            listeners, self._on_sent = self._on_sent, None
            for f in listeners:
                f()

    def __repr__(self) -> str:
        times = f"started={self.started} ended={self.ended}"
        return f"<Attempt {self.number} of {self.model!r} {times} error={self.error!r}>"


Told = Callable[[Cause, "str | None", "float | None", "BaseException | None"], None]


@dataclass(slots=True, eq=False)
class Record:
    """The ledger of one logical call: all its requests and waits.

    Attributes:
        attempts: those that were sent, in the order of sending.
        waits: those that have ended, in the order of ending.
        told: called when a wait begins, with cause, key, seconds and error; None: nobody wants to know.
    """

    attempts: list[Attempt] = field(default_factory=list[Attempt])
    waits: list[Wait] = field(default_factory=list[Wait])
    told: Told | None = field(default=None, repr=False)

    @property
    def usage(self) -> Usage:
        """Tokens of all requests; one that was cut off counts with its estimate (`usage.estimated`)."""
        known = [a.usage if a.usage is not None else a.estimate[0] if a.estimate else None for a in self.attempts]
        parts = [usage for usage in known if usage is not None]
        return sum(parts[1:], parts[0]) if parts else Usage()

    @property
    def cost(self) -> float | None:
        """USD of all requests; None when that of one is unknown, and cannot be estimated either."""
        return added([a.cost if a.estimate is None else a.estimate[1] for a in self.attempts])

    def waiting(
        self,
        cause: Cause,
        seconds: float | None = None,
        *,
        key: str | None = None,
        error: BaseException | None = None,
    ) -> Waiting:
        """Say that the call waits: `with call.record.waiting("slot"): await ...`.

        Args:
            cause: "queue", "slot", "quota", "pause" or "backoff".
            seconds: how long it is expected to take, when that is known.
            key: what it waits for.
            error: what made a further request necessary: the event is then `agent_retrying`.
        """
        if self.told is not None:
            self.told(cause, key, seconds, error)
        return Waiting(self, cause, key)


class Waiting:
    """The context that `Record.waiting` gives: its time becomes a `Wait` when it is left."""

    __slots__ = ("_cause", "_key", "_record", "_started")

    def __init__(self, record: Record, cause: Cause, key: str | None) -> None:
        self._record = record
        self._cause: Cause = cause
        self._key = key
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = now()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._record.waits.append(Wait(self._cause, self._key, self._started, now() - self._started))
