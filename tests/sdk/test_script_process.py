"""Processes of scripts, real ones: fed, read and bounded; and nobody of them is left."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stretto import script_kin, script_pipes, script_process, script_session
from stretto.script_pipes import ERRORS, OUTPUT
from stretto.script_process import Ended, Process
from watched import virtually, watched

T = TypeVar("T")
ENVIRONMENT = {b"PATH": os.environb.get(b"PATH", os.defpath.encode())}
SOON = 5.0  # seconds; for what takes milliseconds
_numbers = count(1)


def shell(text: str, stdin: bytes = b"") -> Process:
    return Process(("bash", "-c", text), "/", ENVIRONMENT, stdin)


def python(text: str, stdin: bytes = b"") -> Process:
    return Process((sys.executable, "-Sc", text), "/", ENVIRONMENT, stdin)


def ran(process: Process) -> Ended:
    return run(process.run())


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(watched(main))


class Sleep:
    """A `sleep` that can be told from all others, by its length."""

    def __init__(self) -> None:
        self.seconds = f"30.{os.getpid()}{next(_numbers)}"
        self.command = f"sleep {self.seconds}"

    def alive(self) -> list[int]:
        found: list[int] = []
        for name in os.listdir("/proc"):
            with suppress(OSError):
                words = Path("/proc", name, "cmdline").read_bytes().split(b"\0") if name.isdecimal() else []
                if words[:2] == [b"sleep", self.seconds.encode()]:
                    found.append(int(name))
        return found

    def is_dead(self) -> bool:
        return soon(lambda: not self.alive())

    async def begins(self, number: int = 1) -> None:
        until = time.monotonic() + SOON
        while len(self.alive()) < number:
            assert time.monotonic() < until
            await asyncio.sleep(0.005)


@pytest.fixture
def sleep() -> Iterator[Sleep]:
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system does not list its processes in /proc")
    made = Sleep()
    yield made
    left = made.alive()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + SOON
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def held() -> tuple[int, int, int]:
    """What this program holds: descriptors, threads, and children that nobody has reaped."""
    descriptors = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    zombies = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            zombies += state == "Z" and int(parent) == os.getpid()
    return descriptors, threading.active_count(), zombies


async def cancelled(process: Process, sleep: Sleep, number: int = 1) -> float:
    """Cancel it once it sleeps, and give how long that took."""
    task = asyncio.create_task(process.run())
    await sleep.begins(number)
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - begun


def test_a_process_is_fed_and_read() -> None:
    assert ran(shell("cat; echo oh >&2; exit 3", b"hello")) == Ended(3, b"hello", b"oh\n")


def test_it_has_the_folder_and_the_environment_that_it_was_given(tmp_path: Path) -> None:
    process = Process(("env",), str(tmp_path), {**ENVIRONMENT, b"X": b"\xff"}, b"")
    lines = ran(process).output.splitlines()
    assert sorted(bytes(line.split(b"=")[0]) for line in lines) == [b"PATH", b"STRETTO_SCRIPT", b"X"]
    assert ran(Process(("pwd",), str(tmp_path), ENVIRONMENT, b"")).output.decode().strip() == str(tmp_path)


def test_a_large_input_and_a_large_output_do_not_wait_for_each_other() -> None:
    assert ran(shell("cat", b"x" * 10_000_000)).output == b"x" * 10_000_000


@pytest.mark.parametrize(
    "text",
    ["echo fine", "exec <&-; echo fine", "head -c 10 >/dev/null; echo fine", "echo fine; exec <&-; : {1..99}"],
)
def test_an_input_that_is_not_read_is_no_error(text: str) -> None:
    assert ran(shell(text, b"x" * 10_000_000)) == Ended(0, b"fine\n")


def test_one_that_writes_before_it_reads_gets_its_input() -> None:
    text = "import sys; sys.stdout.write('y' * 5_000_000); sys.stdout.flush(); print(len(sys.stdin.read()))"
    assert ran(python(text, b"x" * 5_000_000)).output.endswith(b"y5000000\n")


def test_one_that_closes_its_output_is_waited_for() -> None:
    assert ran(shell("exec >&- 2>&-; cat >/dev/null; sleep 0.05; exit 7", b"x")) == Ended(7)


def test_one_that_writes_too_much_is_killed(sleep: Sleep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_pipes, "OUTPUT", 100_000)
    ended = ran(shell(f"{sleep.command} & yes"))
    assert ended.too_much
    assert ended.status == -signal.SIGKILL
    assert ended.output == b"y\n" * 50_000
    assert sleep.is_dead()


def test_as_much_as_is_allowed_is_not_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_pipes, "OUTPUT", 100_000)
    ended = ran(python("print('x' * 99_999)"))
    assert (len(ended.output), ended.too_much, ended.status) == (100_000, False, 0)
    assert OUTPUT == 32 * 2**20


def test_of_the_errors_the_end_is_kept() -> None:
    ended = ran(python("import sys; sys.stderr.write('x' * 500_000 + 'end'); print('fine')"))
    assert ended.status == 0
    assert ended.output == b"fine\n"
    assert len(ended.errors) == ERRORS
    assert ended.errors.endswith(b"xend")


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ran(Process(("/nowhere/at/all",), "/", ENVIRONMENT, b""))
    with pytest.raises(FileNotFoundError) as caught:
        ran(Process(("true",), str(tmp_path / "gone"), ENVIRONMENT, b""))
    assert str(caught.value.filename).endswith("gone")
    with pytest.raises(OSError) as refused:
        ran(Process(("bash", "-c", ": " + "x" * 200_000), "/", ENVIRONMENT, b""))
    assert refused.value.errno == errno.E2BIG
    with pytest.raises(ValueError, match="null byte"):
        ran(Process(("bash", "-c", "a\0b"), "/", ENVIRONMENT, b""))


def test_a_signal_is_its_status() -> None:
    assert ran(shell("kill -9 $$")).status == -9


def test_a_cancel_kills_children_and_grandchildren(sleep: Sleep) -> None:
    nested = f"bash -c '{sleep.command} & {sleep.command}' & {sleep.command} | cat; wait"
    assert run(cancelled(shell(nested), sleep, 3)) < 2
    assert sleep.is_dead()


def test_a_cancel_kills_those_in_a_process_group_of_their_own(sleep: Sleep) -> None:
    assert run(cancelled(shell(f"set -m; {sleep.command} & timeout 60 {sleep.command}; wait"), sleep, 2)) < 2
    assert sleep.is_dead()


def test_one_that_may_clean_up_does_so(sleep: Sleep, tmp_path: Path) -> None:
    text = f"trap 'echo cleaned > {tmp_path}/note; exit' TERM; {sleep.command} & wait"
    assert run(cancelled(shell(text), sleep)) < 2
    assert (tmp_path / "note").read_text() == "cleaned\n"
    assert sleep.is_dead()


def test_one_that_does_not_want_to_end_is_killed(sleep: Sleep) -> None:
    took = run(cancelled(shell(f"trap '' TERM; {sleep.command}; {sleep.command}"), sleep))
    assert script_process.TERMINATION <= took < 2
    assert sleep.is_dead()


def test_one_that_is_stopped_is_killed(sleep: Sleep) -> None:
    async def main() -> None:
        task = asyncio.create_task(shell(f"{sleep.command} & sleep 0.02; kill -STOP $! $$").run())
        await sleep.begins()
        state = Path("/proc", str(sleep.alive()[0]), "stat")
        while state.read_text().split()[2] != "T":
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert sleep.is_dead()


def test_a_second_cancel_does_not_wait_for_the_process(sleep: Sleep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_process, "TERMINATION", 30.0)

    async def main() -> None:
        task = asyncio.create_task(shell(f"trap '' TERM; {sleep.command}; {sleep.command}").run())
        await sleep.begins()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())
    assert sleep.is_dead()


def test_a_timeout_around_it_is_a_timeout(sleep: Sleep) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.03):
            await shell(f"{sleep.command} & {sleep.command}").run()

    with pytest.raises(TimeoutError):
        run(main())
    assert sleep.is_dead()


def test_a_cancel_while_it_is_being_started_leaves_nothing(sleep: Sleep) -> None:
    async def main() -> None:
        for number in range(40):
            task = asyncio.create_task(shell(f"{sleep.command} & {sleep.command}").run())
            await asyncio.sleep(number % 8 / 2000)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())
    assert sleep.is_dead()


def test_a_cancel_before_its_first_step_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_process, "Session", None)

    async def main() -> None:
        process = shell("true")
        begun = threading.Event()
        monkeypatch.setattr(process.__class__, "_whole", lambda self, tell: (begun.wait(SOON), whole(self, tell)))
        task = asyncio.create_task(process.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        begun.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    whole = Process._whole
    run(main())


def test_a_coroutine_that_is_thrown_away_leaves_nothing(sleep: Sleep) -> None:
    before = held()

    async def main() -> None:
        running = shell(f"{sleep.command} & {sleep.command}").run()
        running.send(None)
        await sleep.begins(2)
        running.close()
        assert sleep.is_dead()

    run(main())
    assert soon(lambda: held() == before)


def test_a_loop_that_is_closed_early_leaves_nothing(sleep: Sleep) -> None:
    before = held()
    loop = asyncio.new_event_loop()
    running = shell(f"{sleep.command}").run()

    async def main() -> None:
        running.send(None)
        await sleep.begins()

    loop.run_until_complete(main())
    loop.close()
    running.close()
    assert sleep.is_dead()
    assert soon(lambda: held() == before)


def test_what_is_left_behind_in_the_background_is_killed(sleep: Sleep) -> None:
    begun = time.monotonic()
    assert ran(shell(f"{sleep.command} & echo done")) == Ended(0, b"done\n")
    assert time.monotonic() - begun < 2
    assert sleep.is_dead()


def test_what_is_left_behind_without_a_pipe_is_killed_at_once(sleep: Sleep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_process, "LINGER", SOON)
    begun = time.monotonic()
    ended = ran(shell(f"set -m; {sleep.command} >/dev/null 2>&1 </dev/null & echo done"))
    assert time.monotonic() - begun < 2
    assert ended.output == b"done\n"
    assert sleep.is_dead()


def test_what_is_left_behind_may_finish_its_line() -> None:
    assert ran(shell("exec > >(sleep 0.03; cat); echo logged")).output == b"logged\n"


# Ways to leave the session of a script.
ORPHAN = (
    "import os, sys; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0);"
    "os.execvp('sleep', ['sleep', sys.argv[1]])"
)


def leaving(way: str, sleep: Sleep) -> str:
    return {
        "setsid": f"setsid {sleep.command}",
        "twice": f'{sys.executable} -Sc "{ORPHAN}" {sleep.seconds}',
        "renamed": f"exec -a other setsid {sleep.command}",
    }[way]


@pytest.mark.parametrize("way", ["setsid", "twice", "renamed"])
def test_one_that_has_left_the_session_does_not_survive_the_script(sleep: Sleep, way: str) -> None:
    begun = time.monotonic()
    assert ran(shell(f"({leaving(way, sleep)}) >/dev/null 2>&1 </dev/null & sleep 0.03; echo done")).output == b"done\n"
    assert sleep.is_dead()
    assert ran(shell(f"{leaving(way, sleep)} & sleep 0.03; echo done; exit 3")) == Ended(3, b"done\n")
    assert time.monotonic() - begun < 2
    assert sleep.is_dead()


def test_one_that_is_leaving_the_session_at_its_end_does_not_survive_the_script(sleep: Sleep) -> None:
    for _ in range(40):
        assert ran(shell(f"setsid {sleep.command} >/dev/null 2>&1 </dev/null & echo done")).output == b"done\n"
    assert sleep.is_dead()


def test_one_in_the_middle_of_its_exec_is_looked_at_again(sleep: Sleep, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: str) -> bytes | None:
        if path.endswith("environ") and path not in seen:
            seen.add(path)
            return b""  # as for a moment in its exec
        return as_it_is(path)

    seen, as_it_is = set[str](), script_kin._read
    monkeypatch.setattr(script_kin, "_read", read)
    assert ran(shell(f"setsid {sleep.command} & sleep 0.03")).status == 0
    assert sleep.is_dead()


def test_a_later_process_of_the_same_number_is_spared() -> None:
    with subprocess.Popen(["sleep", "30"]) as process:
        born = script_kin.born(process.pid)
        script_kin.Kin(process.pid, born - 1).kill()
        assert process.poll() is None
        script_kin.Kin(process.pid, born).kill()
        assert process.wait(SOON) == -signal.SIGKILL


@pytest.mark.parametrize("way", ["setsid", "twice", "renamed"])
def test_a_cancel_kills_those_in_a_session_of_their_own(sleep: Sleep, way: str) -> None:
    assert run(cancelled(shell(f"{leaving(way, sleep)} & wait; {sleep.command}"), sleep, 1)) < 2
    assert sleep.is_dead()


def test_a_cancel_kills_one_that_has_left_with_nothing_but_its_parent(sleep: Sleep) -> None:
    assert run(cancelled(shell(f"env -i setsid {sleep.command} & wait"), sleep)) < 2
    assert sleep.is_dead()


def test_one_that_wrote_too_much_takes_those_along_who_left(sleep: Sleep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_pipes, "OUTPUT", 100_000)
    assert ran(shell(f"env -i setsid {sleep.command} & sleep 0.03; yes")).too_much
    assert sleep.is_dead()


def test_who_is_no_kin_of_the_script_is_spared(sleep: Sleep, tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    script = shell(f"setsid sleep 10 & touch {begun}; until [ -e {go_on} ]; do sleep 0.01; done")
    thread = threading.Thread(target=ran, args=(script,))
    thread.start()
    assert soon(begun.exists)
    strangers = [
        subprocess.Popen(["sleep", sleep.seconds], env=env, start_new_session=own)
        for env in (None, {}, {"STRETTO_SCRIPT": "another"})
        for own in (True, False)
    ]
    go_on.touch()
    thread.join()
    left = [stranger.poll() for stranger in strangers]
    for stranger in strangers:
        stranger.kill()
        stranger.wait()
    assert left == [None] * 6


def test_a_script_within_a_script_has_the_marks_of_both() -> None:
    text = "import os; print(os.environ['STRETTO_SCRIPT'])"
    process = Process((sys.executable, "-Sc", text), "/", {**ENVIRONMENT, b"STRETTO_SCRIPT": b"outer"}, b"")
    outer, inner = ran(process).output.split()
    assert outer == b"outer"
    assert len(inner) == 16


def test_all_can_be_killed_at_once_from_a_handler_of_a_signal(sleep: Sleep) -> None:
    def handler(*_: object) -> None:
        assert script_process.any_living()
        script_process.kill_all()

    async def main() -> None:
        tasks = [asyncio.create_task(shell(f"setsid {sleep.command} & {sleep.command}").run()) for _ in range(3)]
        await sleep.begins(6)
        signal.raise_signal(signal.SIGUSR1)
        assert [ended.status for ended in await asyncio.gather(*tasks)] == [-signal.SIGKILL] * 3

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        run(main())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sleep.is_dead()
    assert not script_process.any_living()


def test_one_that_has_started_nothing_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(*_: object) -> set[script_kin.Kin]:
        searches.append(1)
        return set()

    searches: list[int] = []
    monkeypatch.setattr(script_session, "kin", searched)
    for alone, expected in ((True, []), (False, [1])):
        monkeypatch.setattr(script_session, "alone", lambda pid, alone=alone: alone)
        assert ran(Process(("true",), "/", ENVIRONMENT, b"")).status == 0
        assert searches == expected


def test_only_the_youngest_process_is_known_to_have_started_none() -> None:
    if not Path("/proc/loadavg").exists():
        pytest.skip("this system does not tell which process is the youngest")
    for _ in range(100):  # others start some as well
        with subprocess.Popen(["sleep", "30"]) as young:
            known = script_kin.alone(young.pid)
            with subprocess.Popen(["true"]):
                assert not script_kin.alone(young.pid)
            young.kill()
        if known:
            return
    pytest.fail("a child was never the youngest")


def test_two_hundred_leave_no_descriptor_no_thread_and_no_zombie() -> None:
    before = held()

    async def main() -> None:
        places = asyncio.Semaphore(16)

        async def one(number: int) -> None:
            async with places:
                assert await shell(f"cat; exit {number}", b"x").run() == Ended(number, b"x")

        await asyncio.gather(*(one(number) for number in range(200)))

    run(main())
    assert soon(lambda: held() == before)


def test_many_at_once_hold_the_loop_up_for_moments_only() -> None:
    pauses: list[float] = []

    async def main() -> None:
        async def look() -> None:
            while True:
                begun = time.monotonic()
                await asyncio.sleep(0.001)
                pauses.append(time.monotonic() - begun)

        looking = asyncio.create_task(look())
        places = asyncio.Semaphore(16)

        async def one() -> None:
            async with places:
                await Process(("sleep", "0.05"), "/", ENVIRONMENT, b"").run()

        await asyncio.gather(*(one() for _ in range(64)))
        looking.cancel()
        await asyncio.wait((looking,))

    begun = time.monotonic()
    run(main())
    assert time.monotonic() - begun < 64 * 0.05 / 2  # in a row they would take more than 3.2 s
    assert sorted(pauses)[len(pauses) // 2] < 0.02


def test_it_runs_in_the_loop_of_any_thread(sleep: Sleep) -> None:
    results: list[Any] = []

    def body() -> None:
        results.append(ran(shell("echo fine")).output)
        results.append(run(cancelled(shell(sleep.command), sleep)))

    async def main() -> None:
        thread = threading.Thread(target=body)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.005)

    run(main())
    assert results[0] == b"fine\n"
    assert results[1] < 2
    assert sleep.is_dead()


@pytest.mark.parametrize("missing", [("pidfd_open",), ("pidfd_open", "waitid")])
def test_it_works_where_the_system_tells_less(
    sleep: Sleep, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    for name in missing:
        monkeypatch.delattr(os, name, raising=False)
    assert ran(shell("cat; exit 3", b"x")) == Ended(3, b"x")
    assert ran(shell(f"{sleep.command} & echo done")).output == b"done\n"
    assert run(cancelled(shell(sleep.command), sleep)) < 2
    assert sleep.is_dead()


def test_virtual_time_waits_for_it(sleep: Sleep) -> None:
    assert virtually(shell("sleep 0.03; echo fine").run()).output == b"fine\n"
    assert virtually(cancelled(shell(f"trap '' TERM; {sleep.command}; {sleep.command}"), sleep)) < 2
    assert sleep.is_dead()


@pytest.mark.parametrize("missing", [(), ("pidfd_open",)])
def test_a_status_that_something_else_took_away_is_not_known(
    monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    for name in missing:
        monkeypatch.delattr(os, name, raising=False)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert ran(shell("exit 3")).status is None
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_thread_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        ran(shell("true"))


def test_a_mistake_of_ours_kills_the_process_and_is_raised(sleep: Sleep, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, pipe: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(script_pipes.Pipes, "_read", broken)
    with pytest.raises(ZeroDivisionError):
        ran(shell(f"{sleep.command} & echo x; wait"))
    assert sleep.is_dead()


def test_a_script_does_not_outlive_a_program_whose_threads_die_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("echo $$ > pid\nsleep 60\n")
    (tmp_path / "p.py").write_text(
        "import threading, time\nfrom pathlib import Path\nfrom stretto import Agent, Ensemble, Runner\n"
        "work = Ensemble('e', [Agent('a', script='a.sh')], source='e.yaml')\n"
        "run = lambda: Runner(allow_scripts=True).run_sync(work, 'x')\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "while not (Path('pid').exists() and Path('pid').read_text().strip()):\n    time.sleep(0.005)\n"
    )
    subprocess.run([sys.executable, "p.py"], cwd=tmp_path, check=True, timeout=30, capture_output=True)
    pid, until = int((tmp_path / "pid").read_text()), time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.005)
    assert not Path(f"/proc/{pid}").exists()
