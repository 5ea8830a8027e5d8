"""What a run within an agent has from the run around it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inputs import Item
    from .outcome import Outcome
    from .supervisor import Supervisor


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """What a run within an agent has from the run around it.

    Args:
        supervisor: of the agent.
        places: of the whole run.
        deadline: loop time; None: no bound.
        outcomes: that the instances of a fan-out see; {} for an ensemble, which sees its input and its own only.
        items: of the instances of a fan-out, by name.
        path: names of the ensembles that it runs within.
        parallel: False when one agent at a time is at work there: then it is so here.
    """

    supervisor: Supervisor
    places: asyncio.Semaphore | None
    deadline: float | None
    outcomes: Mapping[str, Outcome]
    items: Mapping[str, Item]
    path: tuple[str, ...]
    parallel: bool
