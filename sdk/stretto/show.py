"""Show runs and plans to people: progress as it comes, and a summary at the end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .events import (
    AgentDelta,
    AgentFinished,
    AgentRetrying,
    AgentStarted,
    AgentWaiting,
    Event,
    PhaseStarted,
    RunStarted,
)
from .key_shapes import clean
from .outcome import Outcome, within
from .terminal import STEERING, visible

if TYPE_CHECKING:
    from rich.console import Console

    from .run import Run

_MARKS = {"ok": "✓", "failed": "✗", "timed_out": "⧖", "cancelled": "⊘", "skipped": "–"}  # noqa: RUF001
_COLOURS = {"ok": "green", "failed": "red", "timed_out": "red", "cancelled": "yellow", "skipped": "dim"}
LINE = 80  # characters of a text that is being written before it is broken
LONG_NAME = 24  # characters, in a table on a terminal
PIPED_WIDTH = 10_000  # so that no line is broken


def console(*, stderr: bool) -> Console:
    """Give stderr or stdout as a console: styled on a terminal, plain under NO_COLOR, TERM=dumb and when piped."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    styled = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Console(
        stderr=stderr,
        force_terminal=styled,  # FORCE_COLOR would style what is piped, NO_COLOR would leave bold and dim
        width=None if terminal else PIPED_WIDTH,
        markup=False,  # what models and files say is no markup, and no emoji code
        emoji=False,
        highlight=False,
    )


class Progress:
    """Print what happens, a line each; with `pieces` also the texts, line by line, each with its agent's name.

    Args:
        to: where.
        pieces: whether texts are shown while they are being written.
    """

    def __init__(self, to: Console, *, pieces: bool) -> None:
        self._to = to
        self._pieces = pieces
        self._open: dict[str, str] = {}
        self._phases: tuple[tuple[str, ...], ...] = ()

    def show(self, event: Event) -> None:
        """Print one event, when it is worth a line."""
        if isinstance(event, RunStarted):
            self._phases = event.phases
            for warning in event.warnings:
                self._say(f"warning: {warning}", "yellow")
        elif isinstance(event, PhaseStarted):
            names = ", ".join(self._phases[event.phase][:8])
            more = len(self._phases[event.phase]) - 8
            self._say(f"phase {event.phase}: {names}" + (f" and {more} more" if more > 0 else ""), "bold")
        elif isinstance(event, AgentRetrying):
            wait = "" if event.wait is None else f", again in {event.wait:.1f} s"
            self._say(f"  {event.agent}: request {event.attempt} failed{wait}: {_short(event.error)}", "yellow")
        elif isinstance(event, AgentWaiting) and event.seconds is not None and event.seconds >= 1:
            self._say(f"  {event.agent}: waits {event.seconds:.1f} s ({event.cause})", "dim")
        elif isinstance(event, AgentDelta) and self._pieces:
            self._piece(event)
        elif isinstance(event, AgentStarted) and self._pieces:
            self._say(f"  {event.agent} begins", "dim")
        elif isinstance(event, AgentFinished):
            self._flush(event.agent)
            self._finished(event.outcome)

    def _say(self, text: str, style: str = "") -> None:
        self._to.print(one_line(text), style=style or None)

    def _piece(self, event: AgentDelta) -> None:
        if event.delta.restart:
            self._open.pop(event.agent, None)
            self._say(f"  {event.agent} begins anew", "yellow")
        text = self._open.get(event.agent, "") + (event.delta.text or "")
        *lines, rest = text.split("\n")
        while len(rest) > LINE and " " in rest[:LINE]:  # a long paragraph is shown while it is being written
            line, _, after = rest[:LINE].rpartition(" ")
            lines.append(line)
            rest = after + rest[LINE:]
        self._open[event.agent] = rest
        for line in lines:
            self._line(event.agent, line)

    def _flush(self, agent: str) -> None:
        rest = self._open.pop(agent, "")
        if rest.strip():
            self._line(agent, rest)

    def _line(self, agent: str, line: str) -> None:
        if line.strip():
            self._say(f"  {agent} | {line}", "cyan")

    def _finished(self, outcome: Outcome) -> None:
        seconds = outcome.ended - outcome.started
        text = f"  {_MARKS[outcome.status]} {outcome.agent} {outcome.status} {seconds:.2f} s"
        if outcome.reason:
            text += f": {outcome.reason}"
        self._say(text, _COLOURS[outcome.status])


def one_line(text: str) -> str:
    """Give a text that is shown as one line: a line break in it would look like a line of ours."""
    return visible(text).replace("\n", "\\n")


def _short(error: BaseException) -> str:
    return getattr(error, "message", "") or str(error) or type(error).__name__


def summary(run: Run, to: Console) -> None:
    """Print the table of agents: phase, status, seconds, where they went, tokens, cost."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("agent", max_width=LONG_NAME if to.width < PIPED_WIDTH else None, no_wrap=True)
    for name in ("phase", "seconds", "waited", "tokens in", "out", "requests", "USD"):
        table.add_column(name, justify="right")
    table.add_column("status")
    for outcome in sorted(run.outcomes.values(), key=lambda outcome: outcome.phase):
        timings = outcome.timings
        table.add_row(
            visible(outcome.agent),
            str(outcome.phase),
            f"{outcome.ended - outcome.started:.2f}",
            f"{timings.queue + timings.limit + timings.backoff:.2f}",
            str(outcome.usage.input_tokens),
            str(outcome.usage.output_tokens),
            str(sum(len(one.attempts) for one in within([outcome]))),
            money(outcome.cost),
            outcome.status,
        )
    to.print(table)
    seconds = (run.ended or run.started) - run.started
    usage = run.usage
    to.print(
        f"{run.status}: {len(run.succeeded)} of {len(run.ensemble.agents)} agents ok in {seconds:.2f} s, "
        f"{usage.input_tokens} tokens in, {usage.output_tokens} out, {money(run.cost)} USD"
    )


def money(cost: float | None) -> str:
    """Give USD, or a question mark when it is unknown."""
    return "?" if cost is None else f"{cost:.4f}" if cost else "0"


def show_plan(described: Mapping[str, Any], to: Console) -> None:
    """Print what `Runner.describe` says: the agents with their phases, hosts and keys, the layers, the settings."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("phase", "agent", "work", "needs", "goes to", "key"):
        table.add_column(name, overflow="fold")
    for cells in _rows(described, ""):
        table.add_row(*map(one_line, cells))
    count = len(described["phases"])
    to.print(one_line(f"{described['ensemble']}: {count} phase{'s' * (count != 1)}, schedule {described['schedule']}"))
    to.print(table)
    to.print(one_line(f"layers: {', '.join(described['middleware'])}"))
    given = (f"{name} {value}" for name, value in described["settings"].items() if value is not None)
    to.print(f"settings: {', '.join(given)}")


def _rows(described: Mapping[str, Any], within: str) -> Iterator[tuple[str, ...]]:
    """Give the cells of each agent, and below it of those that run within it."""
    for agent in described["agents"]:
        needs = ", ".join(agent["depends_on"])
        phase = f"{within}{agent['phase']}"
        yield phase, f"{within}{agent['name']}", _work(agent), needs, agent["host"] or "", agent["key"] or ""
        if agent["ensemble"] is not None:
            yield from _rows(agent["ensemble"], f"{within}  ")


def _work(agent: Mapping[str, Any]) -> str:
    kind = agent["kind"]
    if agent["model"] is not None:
        what = " else ".join((agent["model"], *agent["fallback"]))
    elif agent["script"] is not None:
        what = f"script {clean(' '.join(agent['script']))}"  # shell text of a file may hold a key
    elif agent["ensemble"] is not None:
        what = f"{kind} {agent['ensemble']['ensemble']}"
    else:
        what = f"{kind} {agent['dispatch'] or ''}".rstrip()
    return f"{what}, for each of {agent['fan_out']}" if agent["fan_out"] else what


def json_text(data: Any, *, indent: int | None = 2) -> str:
    """Give data as JSON text that cannot steer a terminal."""
    text = json.dumps(data, ensure_ascii=False, indent=indent, default=str)
    return STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
