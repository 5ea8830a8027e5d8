"""The study: one call after the other, and many at once, by seven variants over loopback HTTP.

Writes into `docs/`: `study/results.json`, `study/results.md`, plots, and the marked parts of `tuning.md`. `--quick`
takes a few small cells with short answers, in half a minute, and writes into `build/`; such figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uneven
from studied import latencies, measure, memory
from studied.pages import filled
from studied.results import Results
from studied.serving import BENCHMARKS, answering
from studied.tables import page, parts
from studied.variants import VARIANTS, prepared

SIZES = (1, 3, 5, 10, 15, 50, 200)
QUICK_SIZES = (1, 5, 15)
DOCS = BENCHMARKS.parent / "docs"
QUICK = BENCHMARKS.parent / "build" / "quick-study"


def measured(*, quick: bool) -> dict[str, Any]:
    """Measure everything."""
    prepared()
    taken = latencies.QUICK if quick else latencies.FULL
    sizes = QUICK_SIZES if quick else SIZES
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "quick": quick,
        "rounds": {latency.name: latency.rounds for latency in taken},
        "drawn": [latency.name for latency in taken if latency.seconds is None],
    }
    started = time.monotonic()
    with answering() as server:
        found["cells"] = measure.in_turns(server, taken, sizes, 0.02 if quick else measure.REST)
        found["pooled"] = measure.pooled(server, *((5, 0.1) if quick else (15, 0.3)))
        found["uneven"] = uneven.in_turns(server, 1 if quick else uneven.ROUNDS, 0.05 if quick else 1.0)
        if quick:
            found["memory"] = memory.in_turns(server, ("sequential", "async", "stretto"), (15,), 0.05, 1)
        else:
            found["memory"] = memory.in_turns(server, list(VARIANTS), (5, 15, 200), 0.3, 3)
    found["minutes"] = round((time.monotonic() - started) / 60, 1)
    return found


def write(found: dict[str, Any], into: Path, matplotlib: str | None) -> None:
    """Write all files."""
    folder = into / "study"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    file.write_text(packed(found))
    results = Results(found)
    (folder / "results.md").write_text(page(results))
    tuning = into / "tuning.md"
    if tuning.exists():
        tuning.write_text(filled(tuning.read_text(), parts(results)))
    if matplotlib is not None:
        subprocess.run([matplotlib, "-m", "studied.plots", str(file), str(folder)], cwd=BENCHMARKS, check=True)
    print(f"{found['minutes']} minutes; see {folder}")


def packed(found: dict[str, Any]) -> str:
    """Give JSON with a line for each row of figures, so that two studies can be compared."""
    parts = []
    for key, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            parts.append(f"{json.dumps(key)}: [\n  {rows}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="The study: sequential, parallel, threads, hybrid, stretto")
    parser.add_argument("--quick", action="store_true", help="a few small cells, to see that everything works")
    parser.add_argument("--into", type=Path, help=f"a folder, instead of docs/ (--quick: {QUICK.name} in build/)")
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: write tables and plots of what there is"
    )
    parser.add_argument(
        "--matplotlib", metavar="PYTHON", help="an interpreter that has matplotlib; without it no plots"
    )
    asked = parser.parse_args()
    into: Path = (asked.into or (QUICK if asked.quick else DOCS)).absolute()
    before = into / "study" / "results.json"
    found = json.loads(before.read_text()) if asked.render else measured(quick=asked.quick)
    write(found, into, None if asked.matplotlib is None else str(Path(asked.matplotlib).absolute()))


if __name__ == "__main__":
    sys.exit(main())
