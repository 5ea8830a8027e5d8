"""The command line as a process of its own: signals, pipes, terminals, and what it imports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loopback import Loopback
from stretto.routing import services

TOP = "stretto: 1\nname: e\n"
ECHO = TOP + "model: simulated/echo\nagents: [{name: a}]\n"
HANGS = TOP + "agents:\n  - {name: a, model: simulated/echo}\n  - {name: b, model: simulated/hang, depends_on: [a]}\n"
PATIENCE = 20  # seconds, after which a process counts as one that hangs
HOSTILE = "\x1b[31mred\x9b \u202egnp \x07 é"
ESCAPED = "\\x1b[31mred\\x9b \\u202egnp \\x07 é"
STRETTO = (sys.executable, "-m", "stretto")


def environ(**given: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "TERM": "xterm", "PYTHONUTF8": "1", "PYTHONWARNINGS": "error", **given}


def a_file(folder: Path, text: str) -> str:
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def finished(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": environ(), **options}
    if "input" in given:
        del given["stdin"]
    return subprocess.run(
        [*STRETTO, *args], capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE, check=False, **given
    )


def started(*command: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ(**env),
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read stderr until a line holds `text`."""
    assert process.stderr is not None
    before = time.monotonic()
    for line in process.stderr:
        if text in line:
            return
        assert time.monotonic() - before < PATIENCE
    raise AssertionError(f"it ended without {text!r}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, err


def on_terminal(*args: str, typed: str = "", **env: str) -> str:
    """Run with stdout and stderr on one terminal, and give all that it was sent; `typed` makes it stdin as well."""
    ours, theirs = pty.openpty()
    stdin = theirs if typed else subprocess.DEVNULL
    with subprocess.Popen([*STRETTO, *args], stdin=stdin, stdout=theirs, stderr=theirs, env=environ(**env)) as one:
        os.close(theirs)
        os.write(ours, typed.encode())
        data, until = b"", time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while time.monotonic() < until and select.select([ours], [], [], PATIENCE)[0]:
                piece = os.read(ours, 65536)
                if not piece:
                    break
                data += piece
        os.close(ours)
        one.wait(PATIENCE)
    return data.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("typed", "started_it"), [("y\n", True), ("n\n", False)])
def test_on_a_terminal_it_is_asked_once_whether_scripts_may_start(tmp_path: Path, typed: str, started_it: bool) -> None:
    (tmp_path / "a.py").write_text("print('the script ' + 'ran')\n")
    text = TOP + "agents: [{name: a, script: a.py}, {name: b, script: a.py}]\n"
    shown = on_terminal("run", a_file(tmp_path, text), "x", typed=typed)
    assert shown.count("starts what is listed above. Start it? [y/N]:") == 1
    assert ("the script ran" in shown) is started_it
    assert ("scripts are not allowed" in shown) is not started_it


def test_leave_is_given_to_what_was_shown_and_not_to_what_is_chosen_later(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text("print('shown ' + 'ran')\n")
    (tmp_path / "hidden.py").write_text("print('hidden ' + 'ran')\n")
    (tmp_path / "other.yaml").write_text("stretto: 1\nname: other\nagents: [{name: x, script: hidden.py}]\n")
    text = TOP + "agents: [{name: a, script: shown.py}, {name: b, dispatch: '${input}', depends_on: [a]}]\n"
    shown = on_terminal("run", a_file(tmp_path, text), "other", "--format", "json", typed="y\n")
    assert "shown ran" in shown
    assert "hidden ran" not in shown
    assert "leave was given before this ensemble was chosen" in shown


# Signals.


# A terminal's signals may be ignored where tests run.
AS_ON_A_TERMINAL = """
import signal, sys
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
from stretto.cli import main
main(sys.argv[1:])
"""
FROM_A_TERMINAL = (sys.executable, "-c", AS_ON_A_TERMINAL)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGQUIT, 143)],
)
def test_the_first_signal_ends_the_run_and_prints_what_there_is(tmp_path: Path, number: int, code: int) -> None:
    process = started(*FROM_A_TERMINAL, "run", a_file(tmp_path, HANGS), "hello", "--format", "json")
    wait_for(process, "phase 1")
    before = time.monotonic()
    process.send_signal(number)
    status, out, err = ended(process)
    assert status == code
    data = json.loads(out)
    assert (data["status"], data["outcomes"]["a"]["output"]) == ("cancelled", "hello")
    assert data["outcomes"]["b"]["status"] == "cancelled"
    assert "cancelled: 1 of 2 agents ok" in err
    assert "Traceback" not in err
    assert time.monotonic() - before < 5


def test_ctrl_c_prints_the_partial_text(tmp_path: Path) -> None:
    text = TOP + "model: simulated/stall-3+tokens-9\nagents: [{name: a}]\n"
    process = started(*STRETTO, "run", a_file(tmp_path, text), "x", "--format", "jsonl")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if sum(event["type"] == "agent_delta" for event in lines) == 3:
            break
    process.send_signal(signal.SIGINT)
    status, out, _ = ended(process)
    assert status == 130
    last = json.loads(out.splitlines()[-1])
    assert last["type"] == "run_finished"
    assert len(last["run"]["outcomes"]["a"]["text"].split()) == 3


STUBBORN = """
import asyncio, sys
from stretto.providers.simulated import Simulated

async def stubborn(self, call):
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("swallowed", file=sys.stderr, flush=True)

Simulated.__call__ = stubborn
from stretto.cli import main
main(["run", sys.argv[1], "x"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_kills(tmp_path: Path, number: int) -> None:
    process = started(sys.executable, "-c", STUBBORN, a_file(tmp_path, ECHO + "settings: {cancel_grace: 60}\n"))
    wait_for(process, "phase 0")
    process.send_signal(signal.SIGINT)
    wait_for(process, "swallowed")
    process.send_signal(number)
    assert ended(process)[0] == -number


def test_a_hangup_that_is_ignored_stays_so(tmp_path: Path) -> None:
    text = TOP + "agents: [{name: a, model: simulated/latency-300ms+echo}]\n"
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from stretto.cli import main; import sys; "
    process = started(sys.executable, "-c", code + "main(sys.argv[1:])", "run", a_file(tmp_path, text), "fine")
    wait_for(process, "phase 0")
    process.send_signal(signal.SIGHUP)
    assert ended(process)[:2] == (0, "fine\n")


def pids_in(path: Path, number: int) -> list[int]:
    until = time.monotonic() + PATIENCE
    while not path.exists() or len(path.read_text().split()) < number:
        assert time.monotonic() < until
        time.sleep(0.005)
    return [int(pid) for pid in path.read_text().split()]


def is_gone(pid: int) -> bool:
    until = time.monotonic() + PATIENCE / 4
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_takes_the_scripts_along(tmp_path: Path, number: int) -> None:
    (tmp_path / "a.sh").write_text("sleep 30 & setsid sleep 30 & echo $$ $(jobs -p) > pids; wait\n")
    file = a_file(tmp_path, TOP + "agents: [{name: a, script: a.sh}]\n")
    process = started(*FROM_A_TERMINAL, "run", file, "x", "--allow-scripts")
    pids = pids_in(tmp_path / "pids", 3)
    process.send_signal(number)
    assert ended(process)[0] == (130 if number == signal.SIGINT else 143)
    assert [is_gone(pid) for pid in pids] == [True] * 3


PATIENT = """
from stretto import script_process
script_process.TERMINATION = 60
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_second_signal_kills_the_scripts_as_well(tmp_path: Path, number: int) -> None:
    ignores = "trap 'touch termed' TERM\nsetsid sleep 30 & echo $$ $! > pids\nwhile :; do sleep 0.01; done\n"
    (tmp_path / "a.sh").write_text(ignores)
    file = a_file(tmp_path, TOP + "settings: {cancel_grace: 60}\nagents: [{name: a, script: a.sh}]\n")
    process = started(sys.executable, "-c", PATIENT + AS_ON_A_TERMINAL, "run", file, "x", "--allow-scripts")
    pids = pids_in(tmp_path / "pids", 2)
    process.send_signal(signal.SIGINT)
    until = time.monotonic() + PATIENCE
    while not (tmp_path / "termed").exists():
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(number)
    assert ended(process)[0] == -number
    assert [is_gone(pid) for pid in pids] == [True, True]


def test_ctrl_c_while_the_input_is_read_ends_with_130(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = started(*STRETTO, "run", a_file(tmp_path, ECHO), f"@{fifo}", PYTHONWARNINGS="default")
    with open(fifo, "wb"):  # opens when the other side does
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    assert (status, out) == (130, "")
    assert "Traceback" not in err


# Pipes.


def test_a_pipe_that_nobody_reads_is_warned_of(tmp_path: Path) -> None:
    result = finished("run", a_file(tmp_path, ECHO + "default_input: x\n"), input="piped")
    assert (result.returncode, result.stdout) == (0, "x\n")
    assert result.stderr.startswith("warning: stdin is a pipe and is not read: write - as INPUT to read it\n")


@pytest.mark.parametrize("args", [("-",), ("text",), ("--input", "a=-")])
def test_a_pipe_that_is_read_or_not_meant_is_not_warned_of(tmp_path: Path, args: tuple[str, ...]) -> None:
    result = finished("run", a_file(tmp_path, ECHO), *args, input="piped")
    assert result.stdout == ("text\n" if args == ("text",) else "piped\n")
    assert "warning" not in result.stderr


def test_a_closed_stdin_is_an_empty_input(tmp_path: Path) -> None:
    command = ["sh", "-c", f"{sys.executable} -m stretto run {a_file(tmp_path, ECHO)} - <&-"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environ(), check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_a_reader_that_goes_away_ends_the_run_quietly(tmp_path: Path) -> None:
    with started(*STRETTO, "run", a_file(tmp_path, HANGS), "x", "--format", "jsonl") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(PATIENCE) == 1


def test_output_that_the_locale_cannot_hold_is_written_as_utf_8(tmp_path: Path) -> None:
    env = environ(PYTHONUTF8="0", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONCOERCECLOCALE="0")
    result = finished("run", a_file(tmp_path, ECHO + "default_input: é漢\n"), env=env)
    assert (result.returncode, result.stdout) == (0, "é漢\n")


# Terminals.


def test_what_a_model_writes_is_escaped_on_a_terminal(tmp_path: Path) -> None:
    file = a_file(tmp_path, f"{ECHO}default_input: {json.dumps(HOSTILE)}\n")
    shown = on_terminal("run", file, "-v", NO_COLOR="1")
    assert f"  a | {ESCAPED}\n" in shown
    assert shown.endswith(f"{ESCAPED}\n")
    assert not {"\x1b", "\x9b", "\u202e", "\x07"} & set(shown)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_is_escaped_on_a_terminal_and_stays_json(tmp_path: Path, form: str) -> None:
    shown = on_terminal("run", a_file(tmp_path, ECHO + f"default_input: {json.dumps(HOSTILE)}\n"), "--format", form)
    assert not {"\x9b", "\u202e", "\x07"} & set(shown)
    if form == "jsonl":
        assert json.loads(shown.splitlines()[-1])["run"]["output"] == HOSTILE


def test_a_terminal_shows_styles(tmp_path: Path) -> None:
    assert "\x1b[" in on_terminal("run", a_file(tmp_path, ECHO), "x")


def test_no_color_leaves_no_escape_sequence_on_a_terminal(tmp_path: Path) -> None:
    for command in ("run", "plan"):
        assert "\x1b" not in on_terminal(command, a_file(tmp_path, ECHO), "x", NO_COLOR="1")


# What is imported.

IMPORTED = """
import sys
from stretto.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"litellm", "openai", "aiohttp", "httpx", "opentelemetry.sdk"} & set(sys.modules)
print("heavy:", *sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("args", [("--help",), ("run", "--help"), ("plan", "FILE", "x"), ("validate", "FILE")])
def test_nothing_heavy_is_imported_where_no_call_is_made(tmp_path: Path, args: tuple[str, ...]) -> None:
    file = a_file(tmp_path, ECHO.replace("simulated/echo", "openai/gpt-5"))
    command = [sys.executable, "-c", IMPORTED, *(file if arg == "FILE" else arg for arg in args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environ(), check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "heavy:"


def test_help_needs_neither_yaml_nor_rich() -> None:
    code = "import sys; from stretto.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(*({'yaml', 'rich', 'tenacity', 'stretto.runner'} & set(sys.modules)), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, env=environ(), check=False
    )
    assert (result.returncode, result.stderr) == (0, "\n")


def test_it_is_a_module_and_a_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("stretto")
    for command in (STRETTO, (str(script),)):
        result = subprocess.run(
            [*command, "run", a_file(tmp_path, ECHO), "x"],
            capture_output=True,
            timeout=PATIENCE,
            env=environ(),
            check=False,
        )
        assert (result.returncode, result.stdout) == (0, b"x\n")


# Keys: the wire itself.


async def test_a_downloaded_ensemble_sends_no_key_anywhere(tmp_path: Path) -> None:
    names = {name for service in services().values() for name in service.keys}
    keys = {name: f"value-of-{name}-0123456789" for name in names}
    async with Loopback() as server:
        text = (
            TOP
            + "middleware: [{retry: {attempts: 1}}]\nagents:\n"
            + "".join(
                f"  - {{name: {prefix}, model: {prefix}/m, base_url: '{server.url}'}}\n"
                for prefix in (
                    "openai",
                    "groq",
                    "mistral",
                    "deepseek",
                    "together_ai",
                    "hosted_vllm",
                    "openrouter",
                    "xai",
                )
            )
        )
        process = await asyncio.create_subprocess_exec(
            *(*STRETTO, "run", a_file(tmp_path, text), "hello"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**environ(PYTHONWARNINGS="default"), **keys, "NO_PROXY": "*"},
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        requests = list(server.requests)
    assert len(requests) >= 6, (out, err.decode())
    sent = b"\n".join(request.raw for request in requests) + out + err
    assert b"value-of-" not in sent
