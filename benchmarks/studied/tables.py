"""Write the study's results as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from .claims import Claim, goals, seeds
from .results import Results
from .variants import SAYS


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def machine(results: Results) -> str:
    data = results.data
    rounds = ", ".join(f"{count} ({name})" for name, count in data["rounds"].items())
    return (
        f"{data['date']}, Python {data['python']}, {data['cores']} cores, load average {data['load']:.1f} before, "
        f"{data['minutes']:.0f} minutes. Medians; rounds: {rounds}."
    )


def claims(made: Sequence[Claim]) -> str:
    return table(("claim", "measured", "verdict"), [(c.says, c.measured, c.verdict) for c in made])


def variants(results: Results) -> str:
    return table(("variant", "is"), [(name, SAYS[name]) for name in results.variants])


def speedups(results: Results, latency: str) -> str:
    """The expected sequential time over the measured one."""
    rows = _rows(results, lambda agents, variant: _shown(results.speedup(latency, agents, variant), "{:.2f}"))
    possible = ["*possible*", *(_shown(results.possible(latency, agents), "{:.2f}") for agents in results.sizes)]
    return table(_head(results), [possible, *rows])


def times(results: Results, latency: str) -> str:
    return table(
        _head(results),
        _rows(results, lambda agents, variant: _shown(results.seconds(latency, agents, variant), "{:.3f}")),
    )


def overheads(results: Results, latency: str) -> str:
    return table(
        _head(results), _rows(results, lambda agents, variant: _shown(results.over(latency, agents, variant), "{:.1f}"))
    )


def cpu(results: Results, latency: str) -> str:
    def shown(agents: int, variant: str) -> str:
        share = results.share(latency, agents, variant)
        each = results.cpu(latency, agents, variant)
        return "" if share is None or each is None else f"{100 * share:.1f} % ({each:.2f})"

    return table(_head(results), _rows(results, shown))


def peaks(results: Results, latency: str) -> str:
    return table(
        _head(results), _rows(results, lambda agents, variant: _shown(results.peak(latency, agents, variant), "{}"))
    )


def memory(results: Results) -> str:
    sizes = sorted({row["agents"] for row in results.data["memory"]})
    rows: list[list[str]] = []
    for variant in results.variants:
        row = [variant]
        for agents in sizes:
            found = results.memory(agents, variant)
            row.append(
                ""
                if found is None
                else f"{found['grown']:.0f} ({found['grown'] / found['before']:.2%})".replace("%", " %")
            )
        held = results.memory(sizes[0], variant) if sizes else None
        row.append("" if held is None else f"{held['before'] / 1024:.0f}")
        for agents in sizes:
            found = results.memory(agents, variant)
            row.append("" if found is None else f"{found['traced']:.0f}")
        rows.append(row)
    head = [
        "variant",
        *(f"KiB more, {agents} agents" for agents in sizes),
        "MiB before",
        *(f"KiB of objects, {agents} agents" for agents in sizes),
    ]
    return table(head, rows)


def pooled(results: Results) -> str:
    rows = [(row["variant"], *map(str, row["opened"])) for row in results.data["pooled"]]
    return table(("variant", "opened by the first run", "by the second"), rows)


def uneven(results: Results) -> str:
    rows: list[list[str]] = []
    for row in results.data["uneven"]:
        path = row["critical path"]
        ready, phases = statistics.median(row["ready"]), statistics.median(row["phases"])
        rows.append(
            [
                row["graph"],
                f"{row['sequential']:.3f}",
                f"{row['bound of phases']:.3f}",
                f"{path:.3f}",
                f"{phases:.3f}",
                f"{ready:.3f}",
                f"{phases / path:.3f}",
                f"{ready / path:.3f}",
            ]
        )
    head = (
        "graph",
        "one by one",
        "slowest of each phase",
        "critical path",
        "`phases`",
        "`ready`",
        "`phases` over the path",
        "`ready` over the path",
    )
    return table(head, rows)


def parts(results: Results) -> dict[str, str]:
    """The parts of a page, by the name in its marks."""
    return {
        "machine": machine(results),
        "claims": claims(seeds(results)),
        "goals": claims(goals(results)),
        "variants": variants(results),
        "speed-up": "\n\n".join(f"Answers: {name}\n\n{speedups(results, name)}" for name in results.latencies),
        "memory": memory(results),
        "uneven": uneven(results),
    }


def page(results: Results) -> str:
    """All figures, as a page of their own."""
    made = ["# The study: all figures", "`make study` writes this page. " + machine(results), variants(results)]
    made += ["## Claims", claims(seeds(results)), "## Goals", claims(goals(results))]
    for title, say, shown in _SECTIONS:
        made += [f"## {title}", say]
        for latency in results.latencies:
            made += [f"Answers: {latency}", shown(results, latency)]
    made += ["## Memory", _MEMORY, memory(results)]
    made += ["## Connections", _POOLED.format(results.data["pooled"][0]["agents"]), pooled(results)]
    made += ["## Unequal graphs", "Seconds.", uneven(results)]
    return "\n\n".join(made) + "\n"


_MEMORY = (
    "What a process of its own holds more at the highest point of a run than before it (resident memory, the kernel's "
    "high-water mark), in brackets in relation to before. Objects: the same as tracemalloc counts it, Python's alone."
)
_POOLED = "Connections that two runs of {} agents open, one run after the other; one connection is open before."
_SECTIONS: tuple[tuple[str, str, Callable[[Results, str], str]], ...] = (
    ("Speed-up", "The expected sequential time (the sum of all latencies) over the measured time.", speedups),
    ("Time", "Seconds.", times),
    (
        "Overhead",
        "Milliseconds beyond the slowest answer; for sequential beyond the sum of all.",
        overheads,
    ),
    ("CPU", "CPU time over wall time; in brackets milliseconds of CPU for each agent.", cpu),
    ("Connections at once", "The most that the server saw.", peaks),
)


def _head(results: Results) -> list[str]:
    return ["variant \\ agents", *map(str, results.sizes)]


def _rows(results: Results, shown: Callable[[int, str], str]) -> list[list[str]]:
    return [[variant, *(shown(agents, variant) for agents in results.sizes)] for variant in results.variants]


def _shown(figure: float | None, form: str) -> str:
    return "" if figure is None else form.format(figure)
