"""Divide agents into phases by what they depend on. Pure: nothing is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from . import marks
from .errors import ConfigError

if TYPE_CHECKING:
    from .agent import Agent


@dataclass(frozen=True, slots=True)
class Plan:
    """The phases of an ensemble.

    Args:
        phases: one list of names per phase, agents in file order.
        dependencies: for each agent the names that it waits for: `depends_on`, and what its `when`, `fan_out` and
            `dispatch` refer to.
        warnings: what runs, but probably not as meant.
    """

    phases: list[list[str]]
    dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    warnings: tuple[str, ...] = ()

    def phase_of(self) -> dict[str, int]:
        """Give the phase of each agent, from 0."""
        return {name: number for number, phase in enumerate(self.phases) for name in phase}


class Ancestors:
    """The direct and indirect dependencies of every agent, as bits: of ten thousand agents sets would take too much.

    Args:
        plan: of an ensemble.
    """

    __slots__ = ("_bits", "_places")

    def __init__(self, plan: Plan) -> None:
        names = (name for phase in plan.phases for name in phase)  # each after those that it waits for
        self._places = place = {name: number for number, name in enumerate(names)}
        self._bits: dict[str, int] = {}
        for name in place:
            bits = 0
            for dependency in plan.dependencies[name]:
                bits |= self._bits[dependency] | 1 << place[dependency]
            self._bits[name] = bits

    def of(self, name: str) -> Before:
        """Give the dependencies of one agent."""
        return Before(self._places, self._bits[name])


class Before(Collection[str]):
    """The names of the agents that one waits for, directly or indirectly."""

    __slots__ = ("_bits", "_places")

    def __init__(self, places: Mapping[str, int], bits: int) -> None:
        self._places = places
        self._bits = bits

    def __contains__(self, name: object) -> bool:
        place = self._places.get(name) if isinstance(name, str) else None
        return place is not None and bool(self._bits >> place & 1)

    def __iter__(self) -> Iterator[str]:
        return (name for name, place in self._places.items() if self._bits >> place & 1)

    def __len__(self) -> int:
        return self._bits.bit_count()


class Readiness:
    """Tell which agents may start, as others end.

    Args:
        dependencies: for each agent the names that it waits for.
    """

    __slots__ = ("_after", "_left")

    def __init__(self, dependencies: Mapping[str, tuple[str, ...]]) -> None:
        self._left = {name: len(before) for name, before in dependencies.items()}
        self._after: dict[str, list[str]] = {name: [] for name in dependencies}
        for name, before in dependencies.items():
            for dependency in before:
                self._after[dependency].append(name)

    def first(self) -> list[str]:
        """Give those that wait for nobody."""
        return [name for name, count in self._left.items() if not count]

    def after(self, ended: Sequence[str]) -> list[str]:
        """Give those for whom the last dependency is among these, each of which is told once."""
        ready: list[str] = []
        for name in ended:
            for dependant in self._after[name]:
                self._left[dependant] -= 1
                if not self._left[dependant]:
                    ready.append(dependant)
        return ready


def plan(agents: Sequence[Agent], warnings: tuple[str, ...] = (), *, compat: bool = False) -> Plan:
    """Divide agents into phases by dependency level, in file order within a phase.

    Args:
        agents: in file order.
        warnings: for the plan.
        compat: a `when` may name what is no agent: its agent is skipped, as in llm-orc.

    Raises:
        ConfigError: names a duplicate, an unknown dependency (with the nearest name), an agent that depends on
            itself, or a cycle along its path.
    """
    names = [agent.name for agent in agents]
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"{count} agents are named {name!r}: names must differ", agent=name, key="name")
    known = frozenset(names)
    edges = {agent.name: _edges(agent, known, names, compat) for agent in agents}
    level: dict[str, int] = {}
    waiting = {name: len(before) for name, before in edges.items()}
    after: dict[str, list[str]] = {name: [] for name in names}
    for name, before in edges.items():
        for dependency in before:
            after[dependency].append(name)
    ready = [name for name in names if not waiting[name]]
    for name in ready:  # grows while it is read
        level[name] = 1 + max((level[dependency] for dependency in edges[name]), default=-1)
        for dependant in after[name]:
            waiting[dependant] -= 1
            if not waiting[dependant]:
                ready.append(dependant)
    if len(level) < len(names):
        raise _cycle([name for name in names if name not in level], edges)
    phases: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=-1))]
    for name in names:
        phases[level[name]].append(name)
    return Plan(phases, edges, warnings)


def _edges(agent: Agent, known: frozenset[str], names: Sequence[str], compat: bool) -> tuple[str, ...]:
    edges = dict.fromkeys(agent.depends_on)
    for key, mark in _references(agent):
        try:
            name, _ = mark.resolve(known)
            if name == marks.DEPENDENCIES:
                raise KeyError(name)
        except KeyError:
            if compat and key == "when":
                continue
            nearest = next(iter(get_close_matches(mark.text.partition(".")[0], names, 1)), None)
            message = f"${{{mark.text}}} in {key} names no agent"
            raise ConfigError(message, agent=agent.name, key=key, nearest=nearest) from None
        if name != marks.INPUT:
            edges[name] = None
    for name in edges:
        if name == agent.name:
            raise ConfigError("it depends on itself", agent=agent.name, key="depends_on")
        if name not in known:
            nearest = next(iter(get_close_matches(name, names, 1)), None)
            message = f"depends_on names {name!r}, which is no agent of this ensemble"
            raise ConfigError(message, agent=agent.name, key="depends_on", nearest=nearest)
    return tuple(edges)


def _references(agent: Agent) -> list[tuple[str, marks.Mark]]:
    """Give the marks, with their keys, of what an agent needs to know before it begins."""
    found: list[tuple[str, marks.Mark]] = []
    if agent.when is not None:
        found.append(("when", marks.guard(agent.when, agent=agent.name).mark))
    for key in ("fan_out", "dispatch"):
        text: str | None = getattr(agent, key)
        if text is not None:
            within = (marks.ITEM, marks.INDEX) if key == "dispatch" and agent.fan_out is not None else ()
            found.extend((key, part) for part in marks.marks_in(marks.read(text)) if part.head not in within)
    return found


def _cycle(left: list[str], edges: Mapping[str, tuple[str, ...]]) -> ConfigError:
    # What is left over has a dependency that is left over too: walking along them must come back.
    among = set(left)
    path: dict[str, int] = {}
    name = left[0]
    while name not in path:
        path[name] = len(path)
        name = next(dependency for dependency in edges[name] if dependency in among)
    ring = [*list(path)[path[name] :], name]
    shown = ring if len(ring) <= 12 else [*ring[:6], "...", *ring[-5:]]
    message = f"these agents wait for each other: {' -> '.join(shown)}"
    if len(ring) > 12:
        message += f" ({len(ring) - 1} agents)"
    return ConfigError(message, agent=name, key="depends_on")
