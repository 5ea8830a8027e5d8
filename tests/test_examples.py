"""The examples are complete programs: each is run."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_demo_runs_five_agents_on_the_embedded_model_and_fifteen_simulated_ones() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "completed: 5 of 5 agents ok" in done.stderr
    assert "└─ phase 2" in done.stderr
    assert "times faster" in done.stdout


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".yaml")} == {"demo.py", "announce.yaml"}
