"""The work of a script agent, from its call to its reply, through the layers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stretto import Agent, Call, Ensemble, Inputs, Next, Outcome, Reply, Runner
from stretto.errors import CallTimeout, ScriptFailed
from stretto.middleware import Retry, Timeout
from stretto.script import Script, find_script
from stretto.script_input import Given
from stretto.script_work import ScriptWork
from stretto.testing import Stack, a_call

DRAFT = Outcome(agent="draft", phase=0, status="ok", value="the draft", text="the draft")
PATH = os.environ.get("PATH", os.defpath)
ECHO = "import sys; print(sys.stdin.read())"


def work(
    folder: Path,
    text: str,
    *,
    name: str = "x.py",
    compat: bool = False,
    data: Any = "hello",
    results: Mapping[str, Outcome] | None = None,
    environ: Mapping[str, str] | None = None,
    **agent: Any,
) -> ScriptWork:
    """The work of an agent whose script says `text`; with `name=""` that is shell text."""
    if name:
        (folder / name).write_text(text)
    worker = Agent("worker", script=name or text, depends_on=tuple(results or ()), **agent)
    strictness: Any = "compat" if compat else "strict"
    script = find_script(
        name or text,
        agent="worker",
        source=str(folder / "e.yaml"),
        strictness=strictness,
        told_of_others=bool(results),
    )
    inputs = Inputs("hello", data, results or {}, agent="worker")
    return ScriptWork(script, Given(worker, inputs, data, strictness), {"PATH": PATH, **(environ or {})})


async def replied(work: Callable[[Call], Awaitable[Reply]], *layers: Any, text: str = "hello") -> Reply:
    messages = ({"role": "user", "content": text},)
    return await Stack(*layers)(a_call(kind="script", model="", work=work, messages=messages))


async def failure(work: ScriptWork, *layers: Any) -> ScriptFailed:
    with pytest.raises(ScriptFailed) as caught:
        await replied(work, *layers)
    return caught.value


async def test_a_script_gets_json_and_gives_json(tmp_path: Path) -> None:
    reply = await replied(work(tmp_path, ECHO, data={"a": 1}, parameters={"n": 2}, results={"draft": DRAFT}))
    assert reply.raw == {
        "input": {"a": 1},
        "parameters": {"n": 2},
        "dependencies": {"draft": {"status": "ok", "output": "the draft", "text": "the draft", "reason": ""}},
    }
    assert (json.loads(reply.text), reply.route, reply.cost) == (reply.raw, "script", 0.0)


async def test_a_script_may_give_text(tmp_path: Path) -> None:
    assert (await replied(work(tmp_path, "echo one; echo two", name="x.sh"))).raw == "one\ntwo"


async def test_a_program_runs_by_its_first_line(tmp_path: Path) -> None:
    made = work(tmp_path, "#!/bin/sh\necho $0", name="x.sh")
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\npwd")
    tool.chmod(0o755)
    script = find_script("tool", agent="worker", source=str(tmp_path / "e.yaml"), strictness="strict")
    assert (await replied(ScriptWork(script, made._given, {"PATH": PATH}))).text == str(tmp_path)


async def test_shell_text_of_llm_orc_is_run_with_all_that_it_is_told(tmp_path: Path) -> None:
    text = "cat; echo; echo $INPUT_TEXT $AGENT_PARAMETERS; echo $INPUT_DATA; [ a = a ] && pwd"
    made = work(tmp_path, text, name="", compat=True, results={"draft": DRAFT}, parameters={"n": 2})
    first, second, third, folder = (await replied(made)).text.splitlines()
    assert json.loads(first)["parameters"] == {"n": 2}
    assert json.loads(first)["dependencies"]["draft"]["response"] == "the draft"
    assert (second, third, folder) == ('hello {"n": 2}', first, str(tmp_path))


async def test_shell_text_ends_at_the_first_error_unless_its_agent_gets_results(tmp_path: Path) -> None:
    text = 'echo "${BASH_VERSION:+bash}$1"; false | true; false; echo on'
    assert (await replied(work(tmp_path, text, name="", compat=True, results={"draft": DRAFT}))).text.endswith("on")
    for wrong in ("false; echo on", "false | true; echo on", 'echo "$NOWHERE"; echo on'):
        assert "on" not in (await failure(work(tmp_path, wrong, name="", compat=True))).message
    assert (await replied(work(tmp_path, "[[ a == a ]] && echo yes", name="", compat=True))).raw["output"] == "yes"


async def test_what_a_plan_shows_is_what_is_run(tmp_path: Path) -> None:
    text = r"tr '\0' '\n' < /proc/$$/cmdline; :"
    agents = [
        Agent("first", script=text),
        Agent("second", script=text, depends_on=["first"]),
        Agent("each", script=text, depends_on=["list"], fan_out="${list}"),
        Agent("list", script="echo '[1]'"),
    ]
    ensemble = Ensemble("e", agents, strictness="compat", source=str(tmp_path / "e.yaml"))
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system does not tell how a process was started")
    async with Runner(allow_scripts=True) as runner:
        shown = {one["name"]: one["script"] for one in runner.describe(ensemble)["agents"]}
        run = await runner.run(ensemble, "hello")
    assert shown["first"] == shown["each"] != shown["second"]
    assert run["first"].value["output"].split("\n") == shown["first"]
    assert run["each"].value[0]["output"].split("\n") == shown["each"]
    assert run["second"].text.split("\n") == shown["second"]


async def test_an_input_too_large_for_a_variable_is_in_standard_input(tmp_path: Path) -> None:
    names = "{'INPUT_DATA', 'INPUT_TEXT', 'AGENT_PARAMETERS'}"
    text = f"import os, sys; print(len(sys.stdin.read()), sorted({names} & set(os.environ)))"
    made = work(tmp_path, text, compat=True, data="x" * 1_000_000)
    length, names = (await replied(made)).raw["output"].split(" ", 1)
    assert int(length) > 1_000_000
    assert names == "['AGENT_PARAMETERS']"


async def test_an_input_with_nul_arrives(tmp_path: Path) -> None:
    made = work(tmp_path, "import json, sys; print(json.load(sys.stdin)['input'].encode())", compat=True, data="a\0b")
    assert (await replied(made)).raw["output"] == r"b'a\x00b'"


async def test_no_variable_comes_along_but_those_that_are_named(tmp_path: Path) -> None:
    text = "import json, os; print(json.dumps(sorted(set(os.environ) - {'LC_CTYPE', '__CF_USER_TEXT_ENCODING'})))"
    marks = ["STRETTO_SCRIPT"]
    environ = {"HOME": "/home/me", "OPENAI_API_KEY": "sk-secret", "REGION": "eu"}
    assert (await replied(work(tmp_path, text, environ=environ))).raw == ["HOME", "PATH", *marks]
    assert (await replied(work(tmp_path, text, environ=environ, env=["REGION"]))).raw == [
        "HOME",
        "PATH",
        "REGION",
        *marks,
    ]


async def test_a_text_that_a_layer_has_changed_is_the_input(tmp_path: Path) -> None:
    async def masks(call: Call, call_next: Next) -> Reply:
        text = call.messages[-1]["content"].replace("hello", "****")
        return await call_next(call.with_(messages=({"role": "user", "content": text},)))

    masks.kinds = ("script",)  # type: ignore[attr-defined]
    assert (await replied(work(tmp_path, ECHO), masks)).raw["input"] == "****"
    assert (await replied(work(tmp_path, ECHO, data={"a": 1}))).raw["input"] == {"a": 1}


async def test_a_failure_names_its_agent_and_is_not_tried_again(tmp_path: Path) -> None:
    made = work(tmp_path, "echo run >> runs; echo broken >&2; exit 3", name="x.sh")
    error = await failure(made, Retry(3, backoff=0.001))
    assert str(error) == "agent 'worker', attempt 1: exit status 3: broken".replace("worker", "tester")
    assert error.__context__ is None
    assert (tmp_path / "runs").read_text() == "run\n"


async def test_no_secret_that_it_was_given_is_repeated(tmp_path: Path) -> None:
    text = "echo $TOKEN sk-abcdefghijkl $HOME >&2; exit 1"
    made = work(tmp_path, text, name="x.sh", env=["TOKEN"], environ={"TOKEN": "tok-12345678", "HOME": "/home/myself"})
    error: Any = await failure(made)
    assert error.message == "exit status 1: [redacted] [redacted] /home/myself"
    assert error.stderr == "[redacted] [redacted] /home/myself"


async def test_no_part_of_a_secret_remains_where_an_error_is_cut(tmp_path: Path) -> None:
    for text, field, kept in (
        ("printf %s $TOKEN >&2; head -c 1995 /dev/zero | tr '\\0' x >&2; exit 1", "stderr", 1995),
        ("printf %s $TOKEN; head -c 195 /dev/zero | tr '\\0' x; exit 1", "message", 195),
    ):
        error: Any = await failure(
            work(tmp_path, text, name="x.sh", env=["TOKEN"], environ={"TOKEN": "tok-0123456789abcdef"})
        )
        assert getattr(error, field).endswith("...cted]" + "x" * kept)
        assert "def" not in str(error.to_dict())


async def test_what_a_script_says_of_its_failure_repeats_no_secret_that_it_was_given(tmp_path: Path) -> None:
    token = 'p\u00e4ss-"word"'
    data = {"success": False, "data": {token: [{"x" + token: 1}, token]}}
    made = work(
        tmp_path,
        f"print({json.dumps(data)!r})",
        compat=True,
        env=["TOKEN"],
        environ={"TOKEN": token},
    )
    error: Any = await failure(made)
    assert error.payload == {"data": {"[redacted]": [{"x[redacted]": 1}, "[redacted]"]}}
    assert json.loads(error.message) == {"success": False, **error.payload}


async def test_a_failure_that_is_told_too_deeply_fails_its_agent_alone(tmp_path: Path) -> None:
    for depth in (300, 600, 900):
        text = f"print('{{\"success\": false, \"data\": ' + '[' * {depth} + ']' * {depth} + '}}')"
        ensemble = Ensemble("e", [Agent("a", script="x.py")], strictness="compat", source=str(tmp_path / "e.yaml"))
        (tmp_path / "x.py").write_text(text)
        async with Runner(allow_scripts=True) as runner:
            outcome = (await runner.run(ensemble, "hello"))["a"]
        if not outcome.ok:  # what is too deep to be read at all is a text
            assert isinstance(outcome.error, ScriptFailed)
            assert outcome.error.message.startswith(('{"success": false', "what it says of its failure is nested"))


async def test_a_key_of_the_run_that_a_script_prints_reaches_nobody(tmp_path: Path) -> None:
    key = "abcd-efgh-1234"
    (tmp_path / "x.py").write_text(f"import json; print(json.dumps({{'{key}': ['{key}']}}))")
    (tmp_path / "y.py").write_text(f"print('[' * 600 + '\"{key}\"' + ']' * 600)")
    agents = [
        Agent("a", script="x.py"),
        Agent("deep", script="y.py"),
        Agent("b", model="simulated/echo", api_key=key, depends_on=["a", "deep"]),
    ]
    ensemble = Ensemble("e", agents, source=str(tmp_path / "e.yaml"))
    async with Runner(allow_scripts=True) as runner:
        run = await runner.run(ensemble, "hello")
    assert run["a"].value == {"[redacted]": ["[redacted]"]}
    assert run["deep"].ok
    assert run["b"].ok
    assert key not in json.dumps(run.to_dict())


async def test_a_script_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    made = work(tmp_path, "", name="x.sh")
    for argv, why in {
        ("/nowhere/at/all",): "No such file or directory (/nowhere/at/all)",
        ("bash", "-c", "x" * 200_000): "Argument list too long (bash); shell text belongs in a file",
        ("bash", "-c", "a\0b"): "embedded null byte",
    }.items():
        error = await failure(ScriptWork(Script(argv, tmp_path), made._given, {"PATH": PATH}))
        assert error.message == f"it cannot be started: {why}"
        assert error.__context__ is None


async def test_a_file_that_is_no_program_says_the_cure(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("echo hi")
    tool.chmod(0o755)
    made = work(tmp_path, "", name="x.sh")
    error = await failure(ScriptWork(Script((str(tool),), tmp_path), made._given, {"PATH": PATH}))
    assert "has no #! line" in error.message


async def test_a_script_that_was_not_found_fails_without_a_process(tmp_path: Path) -> None:
    made = work(tmp_path, "missing.py", name="", compat=True)
    assert (await failure(made)).message.startswith("script 'missing.py' was not found in ")


async def test_a_timeout_ends_the_script_and_all_that_it_has_started(tmp_path: Path) -> None:
    own_group = "set -m; sleep 10 & echo $! >> pids; set +m"
    own_session = "setsid sleep 10 & echo $! >> pids"
    made = work(tmp_path, f"sleep 10 & echo $! > pids; {own_group}; {own_session}; wait", name="x.sh")
    with pytest.raises(CallTimeout):
        await replied(made, Retry(1), Timeout(0.5))
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    try:
        assert len(pids) == 3
        assert [await is_gone(pid) for pid in pids] == [True, True, True]
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":  # who should reap it does not
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_python_scripts_run_in_the_running_python(tmp_path: Path) -> None:
    reply = await replied(work(tmp_path, "import sys; print(sys.executable); sys.exit(0)"))
    assert reply.raw == sys.executable


async def test_a_call_without_messages_has_its_own_input(tmp_path: Path) -> None:
    made = work(tmp_path, ECHO)
    call = replace(a_call(kind="script", model=""), messages=())
    assert (await made(call)).raw["input"] == "hello"
