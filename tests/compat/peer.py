"""llm-orc as the other side: its environment is made once, and its runs are observed on the loopback server.

Nothing of it is opened or copied. `python -m compat.peer` in `tests` writes what it does into `observed.json`; the
usual tests compare stretto with that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compat.answering import Answering, answering
from compat.case import Case
from compat.observation import Observation, observation
from compat.project import written

RELEASE = "llm-orchestra==0.25.2"
RECORD = Path(__file__).with_name("observed.json")
SECONDS = 900


def environment() -> Path:
    """Give the interpreter of an environment that holds the release; made on the first call of all."""
    folder = Path(tempfile.gettempdir()) / f"stretto-peer-{RELEASE.partition('==')[2]}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=SECONDS)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", RELEASE], check=True, timeout=SECONDS)
        ready.touch()
    return python


def observed(cases: Iterable[Case], server: Answering, folder: Path) -> dict[str, Observation]:
    """Run cases with llm-orc, all in one process."""
    cases, jobs = list(cases), []
    for number, case in enumerate(cases):
        place = f"peer-{number}"
        at = written(case, server.serve(case, place), folder / place)
        jobs.append({"name": place, "project": str(at.project), "home": str(at.home), "input": case.input})
    kept = ("PATH", "LANG", "TMPDIR", "SYSTEMROOT")  # and no key of any provider
    done = subprocess.run(
        [str(environment()), str(Path(__file__).with_name("peer_process.py"))],
        input=json.dumps(jobs),
        env={name: os.environ[name] for name in kept if name in os.environ},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return {
        case.name: _observation(case, answers[job["name"]], server.requests[job["name"]])
        for case, job in zip(cases, jobs, strict=True)
    }


def _observation(case: Case, answer: dict[str, Any], requests: list[dict[str, Any]]) -> Observation:
    if "result" not in answer:  # refused, or ended by an exception: no result either way
        return {"accepted": False}
    result = answer["result"]
    measured = result["metadata"]["adaptive_resource_management"].get("phase_metrics", [])
    return observation(case, result, [phase["agent_names"] for phase in measured], requests)


def recorded() -> dict[str, Observation]:
    """Give what was observed of each case, by name."""
    read: dict[str, Observation] = json.loads(RECORD.read_text())
    return read


def main() -> None:
    from compat.corpus import CASES

    with answering() as server, tempfile.TemporaryDirectory() as folder:
        found = observed(CASES, server, Path(folder))
    lines = (f"{json.dumps(name)}: {json.dumps(what, sort_keys=True)}" for name, what in found.items())
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(found)} cases")


if __name__ == "__main__":
    main()
