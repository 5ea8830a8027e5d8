"""Print figures beside their bars: a table, or `--json`; with `--strict` a bar that is missed fails the process."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        what: was measured.
        figure: in `unit`.
        unit: for example "us".
        bar: the most that it may be. None: for information.
    """

    what: str
    figure: float
    unit: str
    bar: float | None = None

    @property
    def missed(self) -> bool:
        return self.bar is not None and self.figure > self.bar


def report(title: str, measure: Callable[[], list[Row]]) -> None:
    """Measure and print; the process ends with 1 when `--strict` was given and a bar was missed."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bar is missed")
    asked = parser.parse_args()
    rows = measure()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    if asked.json:
        print(json.dumps({"title": title, "machine": machine, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        _table(f"{title} ({machine})", rows)
    sys.exit(1 if asked.strict and any(row.missed for row in rows) else 0)


def _table(title: str, rows: list[Row]) -> None:
    print(title)
    wide = max(len(row.what) for row in rows)
    for row in rows:
        bar = "" if row.bar is None else f"  bar {row.bar:g} {row.unit}{'  MISSED' if row.missed else ''}"
        print(f"  {row.what:<{wide}}  {row.figure:>9.3f} {row.unit:<3}{bar}")
