"""The main job: five agents on a small real model, then fifteen simulated ones, one by one and at once.

Needs no key and no network. Run it with `make demo`, or `python examples/demo.py`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from stretto import Agent, Ensemble, Runner, Settings

ANNOUNCE = Path(__file__).with_name("announce.yaml")
AGENTS = 15
LATENCY = "300ms"


def announce() -> int:
    """Run the announcement through the command line, as a user would."""
    print("Five agents on the embedded model. It is the smallest that writes sentences (135 million parameters), so")
    print("that it fits everywhere: look at how the agents work together, not at how well it writes.\n", flush=True)
    return subprocess.run([sys.executable, "-m", "stretto", "run", str(ANNOUNCE), "-v"], check=False).returncode


def compare() -> bool:
    """Run the same fifteen agents one by one and at once, and print both times."""
    ensemble = Ensemble(
        "fifteen",
        model=f"simulated/latency-{LATENCY}+echo",
        agents=[Agent(f"reviewer-{number}") for number in range(1, AGENTS + 1)],
    )
    seconds: dict[bool, float] = {}
    for parallel in (False, True):
        runner = Runner(settings=Settings(enable_parallel_execution=parallel))
        started = time.perf_counter()
        run = runner.run_sync(ensemble, "def f(): ...")
        seconds[parallel] = time.perf_counter() - started
        if not run.ok:
            return False
    print(f"\n{AGENTS} simulated agents of {LATENCY}, one by one (the rollback switch): {seconds[False]:5.2f} s")
    print(f"{AGENTS} simulated agents of {LATENCY}, at once:                         {seconds[True]:5.2f} s")
    print(f"that is {seconds[False] / seconds[True]:.1f} times faster")
    return True


if __name__ == "__main__":
    code = announce()
    raise SystemExit(code or (0 if compare() else 1))
