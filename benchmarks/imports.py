"""What it costs to import stretto: CPU time over a bare interpreter that has imported asyncio.

Each figure is a process of its own; what is compared is started in turns.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

from shared.bars import Row, report

ROUNDS = 11
BARE = "import asyncio"
STARTED = (
    "import asyncio; from stretto import Runner, Agent, Ensemble, default_stack; import stretto.middleware as m; "
    "[getattr(m, name) for name in m.__all__]; Runner()"
)


def cpu(*arguments: str) -> float:
    """Seconds of CPU, user and system, of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> list[Row]:
    programs = {
        "bare": ("-c", BARE),
        "import": ("-c", f"{BARE}; import stretto"),
        "started": ("-c", STARTED),
        "help": ("-m", "stretto", "--help"),
    }
    for arguments in programs.values():
        cpu(*arguments)  # writes the bytecode
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, arguments in programs.items():
            found[name].append(cpu(*arguments))
    over = {
        name: statistics.median(one - bare for one, bare in zip(times, found["bare"], strict=True))
        for name, times in found.items()
    }
    return [
        Row("import stretto, over asyncio", over["import"], "s", 0.02),
        Row("Runner() and every layer touched, over asyncio", over["started"], "s", 0.1),
        Row("stretto --help, the whole process", statistics.median(found["help"]), "s", 0.2),
        Row("  Python with asyncio alone", statistics.median(found["bare"]), "s"),
    ]


def main() -> None:
    report("Imports: CPU time", measure)


if __name__ == "__main__":
    main()
