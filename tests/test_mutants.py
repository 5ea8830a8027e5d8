"""Each planted fault can still be planted: `make mutants` does so, and this says at once where one has come loose."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("patch", sorted((ROOT / "tests" / "mutants").glob("*.patch")), ids=lambda patch: patch.stem)
def test_a_planted_fault_fits_the_code(patch: Path) -> None:
    command = ["git", "apply", "--check", "--recount", str(patch)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"make it anew: {done.stderr}"
