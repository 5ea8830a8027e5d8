"""Draw the study's results. `python -m studied.plots results.json FOLDER`, by an interpreter that has matplotlib.

The files are text that is the same for the same figures. Grey text on no ground can be read on light and dark pages.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .results import Results

GREY = "#858585"
STYLE: dict[str, Any] = {
    "svg.hashsalt": "stretto",
    "svg.fonttype": "none",  # text stays text: small, and in the reader's own font
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
# Of middling lightness, and to be told apart without colours by their marks.
LINES: dict[str, dict[str, Any]] = {
    "sequential": {"color": GREY, "marker": "s"},
    "async": {"color": "#2f8fd8", "marker": "o"},
    "threads": {"color": "#b8860b", "marker": "^"},
    "hybrid": {"color": "#c05fa5", "marker": "v"},
    "stretto, no layers": {"color": "#3fa36c", "marker": "d", "linestyle": "--"},
    "stretto": {"color": "#e0532f", "marker": "D"},
    "stretto, litellm": {"color": "#9a7be0", "marker": "x"},
}


def draw(results: Results, folder: Path) -> None:
    """Write all plots."""
    with mpl.rc_context(STYLE):
        _save(_speedup(results), folder / "speed-up.svg")
        _save(_overhead(results), folder / "overhead.svg")
        _save(_cpu(results), folder / "cpu.svg")
        _save(_uneven(results), folder / "uneven.svg")


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)
    text = re.sub(r"[ \t]+$", "", file.read_text(), flags=re.MULTILINE)
    file.write_text(text)


def _speedup(results: Results) -> Any:
    figure, panels = plt.subplots(1, len(results.latencies), figsize=(9, 3.4), sharey=True, squeeze=False)
    for panel, latency in zip(panels[0], results.latencies, strict=True):
        possible = [results.possible(latency, agents) for agents in results.sizes]
        panel.plot(results.sizes, possible, color=GREY, linestyle=":", label="possible")
        _lines(panel, results, lambda agents, name, latency=latency: results.speedup(latency, agents, name))
        _agents(panel, results)
        panel.set_yscale("log")
        _plain(panel.yaxis, (1, 3, 5, 10, 15, 50, 200))
        panel.set_title(f"answers: {latency}")
    panels[0][0].set_ylabel("times faster than one by one")
    _legend(figure, panels[0][0], below=0.0)
    figure.tight_layout()
    return figure


def _overhead(results: Results) -> Any:
    latencies = results.fixed
    figure, panels = plt.subplots(1, len(latencies), figsize=(9, 3.4), sharey=True, squeeze=False)
    for panel, latency in zip(panels[0], latencies, strict=True):
        _lines(
            panel,
            results,
            lambda agents, name, latency=latency: results.over(latency, agents, name),
            without=("sequential",),
        )
        _agents(panel, results)
        panel.set_yscale("log")
        _plain(panel.yaxis, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
        panel.set_title(f"answers: {latency}")
    panels[0][0].set_ylabel("ms beyond the slowest answer")
    _legend(figure, panels[0][0], below=0.0)
    figure.tight_layout()
    return figure


def _cpu(results: Results) -> Any:
    figure, panel = plt.subplots(figsize=(6.5, 3.4))
    latency = results.latencies[0]
    _lines(panel, results, lambda agents, name: results.cpu(latency, agents, name))
    _agents(panel, results)
    panel.set_yscale("log")
    _plain(panel.yaxis, (0.2, 0.5, 1, 2, 5, 10))
    panel.set_ylabel("ms of CPU an agent")
    panel.set_title(f"answers: {latency}")
    _legend(figure, panel, below=0.0)
    figure.tight_layout()
    return figure


def _uneven(results: Results) -> Any:
    rows = results.data["uneven"]
    bars: tuple[tuple[str, str, Callable[[Any], float]], ...] = (
        ("one by one", GREY, lambda row: row["sequential"]),
        ("phases", "#2f8fd8", lambda row: statistics.median(row["phases"])),
        ("ready", "#e0532f", lambda row: statistics.median(row["ready"])),
    )
    figure, panel = plt.subplots(figsize=(6.5, 3.2))
    wide = 0.26
    for number, (name, color, figure_of) in enumerate(bars):
        places = [place + (number - 1) * wide for place in range(len(rows))]
        heights = [figure_of(row) / row["critical path"] for row in rows]
        panel.bar(places, heights, wide * 0.92, color=color, label=name)
        for place, height in zip(places, heights, strict=True):
            panel.annotate(
                f"{height:.2f}", (place, height), (0, 2), textcoords="offset points", ha="center", fontsize=8
            )
    panel.axhline(1.0, color=GREY, linestyle=":", label="critical path")
    panel.set_xticks(range(len(rows)), [row["graph"] for row in rows])
    panel.grid(visible=False, axis="x")
    panel.set_ylabel("time over the critical path")
    _legend(figure, panel, below=0.0)
    figure.tight_layout()
    return figure


def _lines(
    panel: Any, results: Results, figure: Callable[[int, str], float | None], without: tuple[str, ...] = ()
) -> None:
    for name in results.variants:
        if name in without:
            continue
        points = [(agents, value) for agents in results.sizes if (value := figure(agents, name)) is not None]
        panel.plot([x for x, _ in points], [y for _, y in points], label=name, **LINES[name])


def _agents(panel: Any, results: Results) -> None:
    panel.set_xscale("log")
    _plain(panel.xaxis, tuple(results.sizes))
    panel.set_xlabel("agents")


def _plain(axis: Any, ticks: tuple[float, ...]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(figure: Any, panel: Any, below: float) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, below), ncol=4, fontsize=9)


if __name__ == "__main__":
    draw(Results(json.loads(Path(sys.argv[1]).read_text())), Path(sys.argv[2]))
