"""Plant one fault at a time, and expect the tests to find it.

Each `*.patch` beside this file is one fault. Its first lines say what is wrong and which tests must turn red:

    fault: a cancel is swallowed
    tests: tests/sdk/test_run.py -k "cancel"

`python tests/mutants/run.py` plants all; names of patches plant those. The work tree is not touched.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIED = ("sdk", "middleware", "providers", "tests", "examples", "pyproject.toml", "README.md")
SECONDS = 120


def main(names: list[str]) -> int:
    patches = sorted(HERE.glob("*.patch"))
    if names:
        patches = [patch for patch in patches if patch.stem in names]
    survived = []
    for patch in patches:
        text = patch.read_text()
        fault = re.search(r"^fault: (.+)$", text, re.MULTILINE)
        tests = re.search(r"^tests: (.+)$", text, re.MULTILINE)
        if fault is None or tests is None:
            print(f"{patch.name}: says no fault or no tests")
            return 2
        verdict = planted(patch, shlex.split(tests[1]))
        print(f"{verdict:9} {patch.stem}: {fault[1]}", flush=True)
        if verdict != "found":
            survived.append(patch.stem)
    print(f"{len(patches) - len(survived)} of {len(patches)} planted faults were found")
    return 1 if survived or not patches else 0


def planted(patch: Path, tests: list[str]) -> str:
    """Give "found" when the tests are green without the fault and red with it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tree / name)
        if run(tree, tests) != 0:
            return "red before"
        applied = subprocess.run(["git", "apply", "--recount", str(patch)], cwd=tree, capture_output=True, text=True)
        if applied.returncode:
            return "no patch"
        code = run(tree, tests)
    # 1: tests failed. Anything else (no tests, a broken import) is no finding; a hang is one.
    return "found" if code in (1, -1) else "SURVIVED" if code == 0 else f"exit {code}"


def run(tree: Path, tests: list[str]) -> int:
    environment = {**os.environ, "PYTHONPATH": str(tree / "sdk"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return -1
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
