"""Take the events of what runs within an agent: to the run around it they are one agent's work.

The pieces of an ensemble's last terminal agent are the agent's own pieces; everything else is seen in the outcome's
children. A loop passes on none: each round would void those before.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .event_log import EventLog
from .events import Event
from .reply import Delta

if TYPE_CHECKING:
    from .supervisor import Supervisor


class InnerLog(EventLog):
    """The log of a run within an agent.

    Args:
        log: of the run around it.
        supervisor: of the agent.

    Attributes:
        only: the agent whose pieces are passed on; None: nobody's.
    """

    __slots__ = ("_log", "_seen", "_supervisor", "only")

    def __init__(self, log: EventLog, supervisor: Supervisor) -> None:
        super().__init__(log.run_id)
        self._log = log
        self._supervisor = supervisor
        self._seen: io.StringIO | None = None
        self.only: str | None = None

    def add(self, event: Event) -> None:
        """Keep nothing: the outcome says it all in the end."""

    def piece(self, phase: int, agent: str, delta: Delta) -> None:
        """Pass a piece on, when it is of the agent whose text will be the result."""
        if agent != self.only or self._supervisor.over:
            return
        if self._seen is None:
            self._seen = io.StringIO()
            self._supervisor.seen = self._seen.getvalue
        if delta.restart:
            self._seen.seek(0)
            self._seen.truncate()
        elif delta.text is not None:
            self._seen.write(delta.text)
        self._pass_on(delta)

    def complete(self, text: str) -> None:
        """Pass on what the result has and was not seen; where they differ the result wins after a restart."""
        if self._seen is None:
            return
        seen = self._seen.getvalue()
        if not text.startswith(seen):
            self._pass_on(Delta(restart=True))
            seen = ""
        if len(text) > len(seen):
            self._pass_on(Delta(text=text[len(seen) :]))

    def _pass_on(self, delta: Delta) -> None:
        self._log.piece(self._supervisor.phase, self._supervisor.agent.name, delta)


def complete(log: EventLog, text: str) -> None:
    """Tell the log of a run within an agent what the agent's text is."""
    if isinstance(log, InnerLog):
        log.complete(text)
