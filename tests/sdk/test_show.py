"""What people see of runs and plans."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from stretto import Agent, Delta, Ensemble, Reply, Run, Runner, Usage, default_stack
from stretto.call import Call
from stretto.errors import RateLimited
from stretto.events import AgentDelta, AgentRetrying, AgentWaiting, Event, PhaseStarted, RunStarted
from stretto.middleware import Retry
from stretto.show import LONG_NAME, PIPED_WIDTH, Progress, console, json_text, money, one_line, show_plan, summary

WHERE = {"time": 0.0, "run_id": "r", "phase": 0, "agent": "a"}
HOSTILE = "[/b] :smile: [link=file:///]x[/link]"


class Terminal(io.StringIO):
    """A stream that says of itself that it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*events: Event, pieces: bool = True) -> list[str]:
    file = io.StringIO()
    progress = Progress(Console(file=file, width=200, markup=False, emoji=False), pieces=pieces)
    for event in events:
        progress.show(event)
    return file.getvalue().splitlines()


def a_piece(text: str | None = None, *, restart: bool = False) -> AgentDelta:
    return AgentDelta(**WHERE, delta=Delta(restart=True) if restart else Delta(text=text))


async def run_of(ensemble: Ensemble, text: str = "hello", **options: Any) -> tuple[Run, list[Event]]:
    async with Runner(**options) as runner:
        live = runner.start(ensemble, text)
        events = [event async for event in live.events()]
        await live
    return live, events


async def summary_of(ensemble: Ensemble, **options: Any) -> list[str]:
    live, _ = await run_of(ensemble, **options)
    file = io.StringIO()
    summary(live, Console(file=file, width=PIPED_WIDTH, markup=False, emoji=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]


# The console.


def terminal(monkeypatch: pytest.MonkeyPatch, **environ: str) -> Terminal:
    stream = Terminal()
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def test_a_terminal_is_styled(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    console(stderr=True).print("x", style="bold red")
    assert "\x1b[" in stream.getvalue()


def test_an_empty_no_color_is_as_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch, NO_COLOR="")
    console(stderr=True).print("x", style="red")
    assert "\x1b[" in stream.getvalue()


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_styles_gets_no_escape_sequence(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    stream = terminal(monkeypatch, **environ)
    console(stderr=True).print("x", style="bold red")
    assert stream.getvalue() == "x\n"


@pytest.mark.parametrize("force", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_pipe_gets_no_escape_sequence_even_when_colour_is_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], force: str
) -> None:
    monkeypatch.setenv(force, "1")
    console(stderr=True).print("x", style="bold red")
    assert capsys.readouterr().err == "x\n"


def test_a_line_is_not_broken_when_it_is_piped(capsys: pytest.CaptureFixture[str]) -> None:
    console(stderr=False).print("word " * 500)
    assert capsys.readouterr().out.count("\n") == 1


def test_what_looks_like_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console(stderr=True).print(HOSTILE)
    assert capsys.readouterr().err == f"{HOSTILE}\n"


# Progress.


def test_a_phase_is_a_line_with_its_agents() -> None:
    started = RunStarted(time=0, run_id="r", ensemble="e", phases=(("a", "b"), ("c",)), warnings=())
    assert shown(started, PhaseStarted(time=0, run_id="r", phase=0)) == ["phase 0: a, b"]


def test_a_large_phase_is_shortened() -> None:
    names = tuple(f"a{n}" for n in range(20))
    started = RunStarted(time=0, run_id="r", ensemble="e", phases=(names,))
    line = shown(started, PhaseStarted(time=0, run_id="r", phase=0))
    assert line == ["phase 0: a0, a1, a2, a3, a4, a5, a6, a7 and 12 more"]


def test_warnings_come_first() -> None:
    started = RunStarted(time=0, run_id="r", ensemble="e", phases=(("a",),), warnings=("odd", "strange"))
    assert shown(started) == ["warning: odd", "warning: strange"]


def test_a_retry_says_why_and_when() -> None:
    event = AgentRetrying(**WHERE, attempt=1, error=RateLimited("slow down"), wait=1.25)
    assert shown(event) == ["  a: request 1 failed, again in 1.2 s: slow down"]


def test_a_retry_with_a_foreign_error_says_its_text_or_its_type() -> None:
    told = AgentRetrying(**WHERE, attempt=2, error=OSError("gone"), wait=None)
    silent = AgentRetrying(**WHERE, attempt=2, error=OSError(), wait=None)
    assert shown(told, silent) == ["  a: request 2 failed: gone", "  a: request 2 failed: OSError"]


def test_only_a_long_wait_is_worth_a_line() -> None:
    long = AgentWaiting(**WHERE, cause="quota", seconds=2.0)
    assert shown(AgentWaiting(**WHERE, cause="slot"), AgentWaiting(**WHERE, cause="quota", seconds=0.5), long) == [
        "  a: waits 2.0 s (quota)"
    ]


def test_pieces_are_shown_line_by_line() -> None:
    assert shown(a_piece("one "), a_piece("two\nthr"), a_piece("ee\n\n"), a_piece("four")) == [
        "  a | one two",
        "  a | three",
    ]


def test_pieces_are_not_shown_without_being_asked_for() -> None:
    assert shown(a_piece("one\ntwo\n"), pieces=False) == []


def test_a_restart_drops_the_open_line() -> None:
    assert shown(a_piece("wrong"), a_piece(restart=True), a_piece("right\n")) == ["  a begins anew", "  a | right"]


def test_what_a_model_writes_is_neither_markup_nor_control() -> None:
    assert shown(a_piece(f"{HOSTILE}\x1b[2J\u202e\n")) == [f"  a | {HOSTILE}\\x1b[2J\\u202e"]


def test_an_error_with_line_breaks_stays_one_line() -> None:
    event = AgentRetrying(**WHERE, attempt=1, error=RateLimited("x\n  ✓ a ok"), wait=None)
    assert shown(event) == ["  a: request 1 failed: x\\n  ✓ a ok"]


async def test_a_run_is_told_from_its_first_phase_to_its_last_agent() -> None:
    _, events = await run_of(Ensemble("e", [Agent("a"), Agent("b", depends_on=["a"])], model="simulated/echo"))
    lines = [line.rpartition(" 0.")[0] or line for line in shown(*events, pieces=False)]
    assert lines == ["phase 0: a", "  ✓ a ok", "phase 1: b", "  ✓ b ok"]


async def test_the_rest_of_a_text_comes_before_the_end_of_its_agent() -> None:
    _, events = await run_of(Ensemble("e", [Agent("a")], model="simulated/echo"), "no line end")
    lines = [line.rpartition(" 0.")[0] or line for line in shown(*events)]
    assert lines == ["phase 0: a", "  a begins", "  a | no line end", "  ✓ a ok"]


async def test_a_failure_says_its_reason() -> None:
    retries = default_stack(retry=Retry(1))
    _, events = await run_of(Ensemble("e", [Agent("a")], model="simulated/fail-401"), middleware=retries)
    last = shown(*events)[-1]
    assert last.startswith("  ✗ a failed 0.")
    assert "401" in last


# The summary.


async def test_the_summary_has_a_line_for_each_agent_in_the_order_of_phases() -> None:
    agents = [Agent("after", depends_on=["quick"]), Agent("quick"), Agent("slow", model="simulated/latency-20ms")]
    lines = await summary_of(Ensemble("e", agents, model="simulated/echo", schedule="ready"))
    assert [line.split()[0] for line in lines] == ["agent", "quick", "slow", "after", "completed:"]
    assert lines[1].split() == ["quick", "0", "0.00", "0.00", "1", "1", "1", "0", "ok"]
    assert lines[-1].startswith("completed: 3 of 3 agents ok in 0.0")
    assert lines[-1].endswith(" out, 0 USD")


async def test_an_unknown_cost_is_a_question_mark() -> None:
    async def provider(call: Call) -> Reply:
        return Reply("x", usage=Usage(1, 1))

    lines = await summary_of(Ensemble("e", [Agent("a")], model="mine/x"), providers={"mine": provider})
    assert lines[1].split()[-2] == "?"
    assert lines[-1].endswith("? USD")


async def test_a_name_that_looks_like_markup_does_not_break_the_table() -> None:
    lines = await summary_of(Ensemble("e", [Agent(HOSTILE)], model="simulated/echo"))
    assert lines[1].startswith(HOSTILE)


async def test_a_long_name_is_cut_on_a_terminal_only() -> None:
    name = "n" * 60
    live, _ = await run_of(Ensemble("e", [Agent(name)], model="simulated/echo"))
    wide, narrow = io.StringIO(), io.StringIO()
    summary(live, Console(file=wide, width=PIPED_WIDTH))
    summary(live, Console(file=narrow, width=200))
    assert name in wide.getvalue()
    assert "n" * (LONG_NAME - 1) + "…" in narrow.getvalue()


@pytest.mark.parametrize(("cost", "text"), [(None, "?"), (0, "0"), (0.0, "0"), (0.12345, "0.1235"), (12.0, "12.0000")])
def test_money_is_short(cost: float | None, text: str) -> None:
    assert money(cost) == text


# The plan.


def plan_lines(ensemble: Ensemble) -> list[str]:
    file = io.StringIO()
    show_plan(Runner().describe(ensemble), Console(file=file, width=300, markup=False, emoji=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_plan_shows_phases_agents_layers_and_settings() -> None:
    lines = plan_lines(Ensemble("e", [Agent("a"), Agent("b", depends_on=["a"])], model="simulated/echo"))
    assert lines[0] == "e: 2 phases, schedule phases"
    assert [line.split() for line in lines[2:4]] == [
        ["0", "a", "simulated/echo", "this", "process"],
        ["1", "b", "simulated/echo", "a", "this", "process"],
    ]
    assert lines[4] == "layers: trace, fallback, retry, concurrency_limit, rate_limit, timeout"
    assert lines[5].startswith("settings: default_timeout 60, max_ensemble_depth 5, max_concurrent_agents 100")


def test_a_plan_of_one_phase_says_so() -> None:
    assert plan_lines(Ensemble("e", [Agent("a")], model="simulated/echo"))[0] == "e: 1 phase, schedule phases"


def test_a_function_is_shown_as_such() -> None:
    assert "function" in plan_lines(Ensemble("e", [Agent("a", function=lambda inputs: "x")]))[2]


def test_a_plan_shows_what_runs_within_an_agent_below_it() -> None:
    child = Ensemble("child", [Agent("x"), Agent("y", depends_on=["x"])], model="simulated/echo")
    agents = [
        Agent("list", function=lambda inputs: [1]),
        Agent("each", fan_out="${list}", model="simulated/echo", fallback=["simulated/a", "simulated/b"]),
        Agent("review", ensemble=child),
        Agent("again", loop={"body": child, "max_iterations": 2}),
        Agent("chosen", dispatch="${list.name}"),
    ]
    lines = [line.split("  ") for line in plan_lines(Ensemble("e", agents))]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines[2:11]]
    assert cells[1][2:4] == [
        "simulated/echo else simulated/a else simulated/b, for each of ${list}",
        "list",
    ]
    assert cells[2][1:3] == ["review", "ensemble child"]
    assert [cell[:2] for cell in cells[3:5]] == [["0", "x"], ["1", "y"]]
    assert cells[5][2] == "loop child"
    assert cells[8][1:3] == ["chosen", "dispatch ${list.name}"]


def test_nothing_of_a_file_can_steer_the_terminal_of_a_plan() -> None:
    lines = plan_lines(
        Ensemble("e\x1b[2J\nfake", [Agent(HOSTILE)], model="simulated/\x1b[31m", middleware=[Retry(name="r\u202e")])
    )
    text = "\n".join(lines)
    assert not {"\x1b", "\u202e"} & set(text)
    assert lines[0] == "e\\x1b[2J\\nfake: 1 phase, schedule phases"
    assert HOSTILE in text


def test_one_line_is_one_line() -> None:
    assert one_line("a\r\nb\nc\x1b") == "a\\nb\\nc\\x1b"


# JSON.


def test_json_keeps_what_it_is_given() -> None:
    data = {"text": "äöü 漢字 \x1b[31m \x9b \u202e \u2028 \n \ud800", "number": 1.5, "none": None}
    assert json.loads(json_text(data)) == data


def test_json_cannot_steer_a_terminal() -> None:
    text = json_text("\x1b\x7f\x9b\u202e", indent=None)
    assert text == '"\\u001b\\u007f\\u009b\\u202e"'


def test_json_in_one_line_has_no_line_break() -> None:
    assert "\n" not in json_text({"a": "x\ny", "b": [1, 2]}, indent=None)


def test_what_json_cannot_hold_is_shown_as_text() -> None:
    assert json_text(OSError("gone"), indent=None) == '"gone"'


def test_a_long_paragraph_is_shown_while_it_is_being_written() -> None:
    lines = shown(*(a_piece(f"word{number:02d} ") for number in range(30)))
    assert lines[0] == "  a | " + " ".join(f"word{number:02d}" for number in range(11))
    assert len(lines) == 2
