"""The study measures, says which claims do not hold, and writes; the check for regressions tells slow from noise."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
MATPLOTLIB = ROOT / ".venv-study" / "bin" / "python"
PLOTS = {"speed-up.svg", "overhead.svg", "cpu.svg", "uneven.svg"}


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def study(*arguments: str) -> None:
    command = [sys.executable, str(BENCHMARKS / "study.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.server  # its own, in another process: a study takes twenty seconds
def test_a_quick_study_measures_every_variant_and_writes_json_tables_and_the_page(tmp_path: Path) -> None:
    from studied.variants import VARIANTS

    page = "# Tuning\n\n<!-- study: goals -->\nold\n<!-- study ends -->\n\nKept.\n"
    (tmp_path / "tuning.md").write_text(page)
    study("--quick", "--into", str(tmp_path))

    found = json.loads((tmp_path / "study" / "results.json").read_text())
    measured = {(cell["latency"], cell["agents"], cell["variant"]) for cell in found["cells"] if cell["seconds"]}
    assert measured == {(latency, n, name) for latency in found["rounds"] for n in (1, 5, 15) for name in VARIANTS}
    for cell in found["cells"]:
        most = 1 if cell["variant"] == "sequential" else cell["agents"]
        assert 1 <= cell["peak"][0] <= most
    again = {row["variant"]: row["opened"][1] for row in found["pooled"]}
    assert again.keys() == VARIANTS.keys()
    assert (again["async"], again["stretto"]) == (0, 0)
    assert [row["graph"] for row in found["uneven"]] == ["2 x 2 cross", "6 agents", "12 agents", "24 agents"]
    assert "## Claims" in (tmp_path / "study" / "results.md").read_text()
    tuning = (tmp_path / "tuning.md").read_text()
    assert "| the default stack on `OpenAICompatible`: at least 4.8 times at 5 agents |" in tuning
    assert "\nold\n" not in tuning
    assert tuning.endswith("\n<!-- study ends -->\n\nKept.\n")


@pytest.mark.skipif(not MATPLOTLIB.exists(), reason="`make study` installs matplotlib")
def test_the_plots_are_the_same_text_for_the_same_figures(tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        folder = tmp_path / name / "study"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(figures()))
        study("--render", "--into", str(tmp_path / name), "--matplotlib", str(MATPLOTLIB))
        drawn.append({file.name: file.read_text() for file in folder.glob("*.svg")})
    assert drawn[0].keys() == PLOTS
    assert drawn[0] == drawn[1]
    for text in drawn[0].values():
        assert "<text" in text
        assert "<dc:date>" not in text


def test_the_tables_and_the_page_in_docs_are_those_of_the_figures_in_docs() -> None:
    from studied.pages import filled
    from studied.results import Results
    from studied.tables import page, parts

    docs = ROOT / "docs"
    found = json.loads((docs / "study" / "results.json").read_text())
    assert not found["quick"]
    assert (docs / "study" / "results.md").read_text() == page(Results(found))
    tuning = (docs / "tuning.md").read_text()
    assert tuning == filled(tuning, parts(Results(found)))
    assert {file.name for file in (docs / "study").glob("*.svg")} == PLOTS


def test_claims_hold_when_the_figures_bear_them_out() -> None:
    assert verdicts(figures()) == {True}


@pytest.mark.parametrize(
    ("variant", "agents", "seconds", "claim"),
    [
        ("sequential", 15, 4.53, "sequential: 99.7 to 99.9 % of the expected time, or nearer (300 ms)"),
        ("async", 5, 0.51, "async parallel: 3 times faster at 5 agents"),
        ("async", 15, 0.46, "async parallel: 10 times faster at 15 agents"),
        ("threads", 15, 0.2990, "threads: comparable, slightly slower than async (by 10 % at most)"),
        ("threads", 15, 0.37, "threads: comparable, slightly slower than async (by 10 % at most)"),
        ("hybrid", 5, 0.29, "hybrid: no better than async (not quicker by 0.5 %)"),
        ("async", 1, 0.31, "async parallel: no slower with one agent (within 1 % of one call)"),
        ("stretto", 5, 0.313, "the default stack on `OpenAICompatible`: at least 4.8 times at 5 agents"),
        ("stretto", 15, 0.322, "the default stack on `OpenAICompatible`: at least 14 times at 15 agents"),
        ("stretto", 1, 0.304, "the default stack on `OpenAICompatible`: a single agent within 1 % of the bare call"),
    ],
)
def test_a_claim_that_does_not_hold_is_said_so(variant: str, agents: int, seconds: float, claim: str) -> None:
    found = figures()
    cell = next(cell for cell in found["cells"] if (cell["variant"], cell["agents"]) == (variant, agents))
    cell["seconds"] = [seconds] * 3
    assert claim in false_claims(found)


@pytest.mark.parametrize(("grown", "false"), [(190, 0), (200, 1), (600, 2)])
def test_memory_is_held_against_what_one_after_the_other_takes(grown: int, false: int) -> None:
    found = figures()
    row = next(row for row in found["memory"] if (row["variant"], row["agents"]) == ("async", 15))
    row["grown"] = grown
    assert len(false_claims(found)) == false


def test_a_second_run_that_opens_connections_and_a_schedule_that_is_late_are_said_so() -> None:
    found = figures()
    found["pooled"][1]["opened"] = [14, 3]
    found["uneven"][0]["ready"] = [1.32, 1.33, 1.34]
    assert false_claims(found) == [
        "connections are pooled",
        'unequal graphs: `schedule="ready"` within 5 % of the critical path',
    ]


def test_a_claim_without_figures_is_not_measured() -> None:
    found = figures()
    found["cells"] = [cell for cell in found["cells"] if cell["agents"] != 15]
    assert None in verdicts(found)
    assert False not in verdicts(found)


def test_ratios_inside_of_the_band_pass_and_slow_ones_fail_when_they_stay_slow() -> None:
    import regression

    rows = {name: {"says": name, **regression.band([1.5, 1.52, 1.48], 0.2)} for name in ("wire", "stack")}
    assert rows["wire"]["limit"] == 1.8

    assert compared(rows, [{"wire": 1.79, "stack": 1.2}])
    assert not compared(rows, [{"wire": 1.5, "stack": 1.9}, {"stack": 1.85}, {"stack": 2.4}])
    assert compared(rows, [{"wire": 1.9, "stack": 1.9}, {"wire": 1.9, "stack": 1.6}, {"wire": 1.7}])
    assert not compared(rows, [{"wire": float("nan"), "stack": 1.5}, *[{"wire": float("nan")}] * 2])


def test_the_band_is_as_wide_as_repetition_finds_it_and_no_baseline_is_made_of_noise() -> None:
    import regression

    assert regression.band([2.0, 2.2, 1.9], 0.2)["limit"] == pytest.approx(2.0 + 4 * 0.2)
    with pytest.raises(ValueError, match="too noisy"):
        regression.band([2.0, 2.4, 1.9], 0.2)


def test_the_baseline_on_record_holds_ratios_and_their_bands() -> None:
    import regression

    rows = json.loads((BENCHMARKS / "baseline.json").read_text())["rows"]
    assert rows.keys() == {"wire", "stack", "wide", "makespan", "ready"}
    for row in rows.values():
        assert 1.0 < row["ratio"] < row["limit"] <= row["ratio"] * (1 + regression.WIDEST)


def compared(rows: Mapping[str, Any], rounds: Sequence[Mapping[str, float]]) -> bool:
    import regression

    left = iter(rounds)

    async def measure(names: Sequence[str]) -> Mapping[str, float]:
        found = next(left)
        assert set(names) == set(found)
        return found

    return asyncio.run(regression.compare(rows, measure))


def verdicts(found: Mapping[str, Any]) -> set[bool | None]:
    return {claim.holds for claim in made(found)}


def false_claims(found: Mapping[str, Any]) -> list[str]:
    return [claim.says for claim in made(found) if claim.holds is False]


def made(found: Mapping[str, Any]) -> list[Any]:
    from studied.claims import goals, seeds
    from studied.results import Results

    return [*seeds(Results(found)), *goals(Results(found))]


def figures() -> dict[str, Any]:
    """Figures that nobody has measured, and that bear out every claim."""
    from studied.variants import VARIANTS

    took = {"sequential": 0.3003, "async": 0.3001, "threads": 0.3004, "hybrid": 0.3002}
    cells = [
        {
            "latency": latency,
            "agents": agents,
            "variant": name,
            "expected": [0.3 * agents] * 3,
            "slowest": [0.3] * 3,
            "seconds": [took.get(name, 0.3010) * (agents if name == "sequential" else 1)] * 3,
            "cpu": [0.001 * agents] * 3,
            "peak": [1 if name == "sequential" else agents] * 3,
            "rounds": [0, 1, 2],
        }
        for latency in ("300 ms", "long-tailed")
        for agents in (1, 3, 5, 15)
        for name in VARIANTS
    ]
    return {
        "date": "2000-01-01",
        "python": "3.11.0",
        "cores": 2,
        "load": 0.0,
        "quick": False,
        "minutes": 0.0,
        "rounds": {"300 ms": 3, "long-tailed": 3},
        "drawn": ["long-tailed"],
        "cells": cells,
        "pooled": [{"variant": name, "agents": 15, "opened": [14, 0]} for name in VARIANTS],
        "memory": [
            {
                "variant": name,
                "agents": 15,
                "before": 40_000,
                "grown": 4 if name == "sequential" else 100,
                "traced": 300,
            }
            for name in VARIANTS
        ],
        "uneven": [
            {
                "graph": "2 x 2 cross",
                "sequential": 2.5,
                "bound of phases": 2.0,
                "critical path": 1.25,
                "phases": [2.01, 2.01, 2.02],
                "ready": [1.26, 1.26, 1.27],
            }
        ],
    }
