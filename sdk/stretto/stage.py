"""An ensemble that is ready to be run, with all that runs within it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import stack as layers
from .prompt import Composer
from .settings import Settings

if TYPE_CHECKING:
    from .agent import Agent
    from .call import Endpoint, Target
    from .contract import Next
    from .ensemble import Ensemble
    from .plan import Plan
    from .routing import Routing
    from .script import Script

Path = tuple[str, ...]  # names of ensembles, outermost first


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """An ensemble that is ready to be run.

    Args:
        ensemble: what is run.
        agents: its own, or the instances of a fan-out.
        plan: their phases.
        settings: merged.
        composer: of the ensemble.
        fail_fast: the first failure ends it.
        stacks: the layers of each agent.
        pipelines: the same down to the boundary, of agents that make calls.
        endpoints: of agents with a model.
        targets: the models that may stand in, of agents that have some.
        scripts: of agents that are scripts.
        composites: names of the agents that run others.
        routing: providers, addresses, keys, and the prices that count here.
        inner: of agents that run an ensemble known before the run.
        chosen: makes an ensemble ready that an agent has chosen by name, within the ensembles of a path.
        environ: the environment that scripts get their variables from.
        held: layers and providers that are opened with it, because nobody knew of them before.
        height: how deep the ensembles within it are nested.
    """

    ensemble: Ensemble
    agents: Sequence[Agent]
    plan: Plan
    settings: Settings
    composer: Composer
    fail_fast: bool
    stacks: Mapping[str, layers.Stack]
    pipelines: Mapping[str, Next]
    endpoints: Mapping[str, Endpoint]
    targets: Mapping[str, tuple[Target, ...]]
    scripts: Mapping[str, Script]
    composites: frozenset[str]
    routing: Routing
    inner: Mapping[str, Stage]
    chosen: Callable[[str, str, Path], Awaitable[Stage]]
    environ: Mapping[str, str]
    held: Sequence[Any] = ()
    height: int = 0


def every(stage: Stage) -> list[Stage]:
    """Give a stage and all within it, each once."""
    found = {id(stage): stage}
    left = [stage]
    while left:
        for one in left.pop().inner.values():
            if id(one) not in found:
                found[id(one)] = one
                left.append(one)
    return list(found.values())


def deepest(stage: Stage) -> Path:
    """Give the names of a stage and of what is nested deepest within it."""
    path = [stage.ensemble.name]
    while stage.inner:
        stage = max(stage.inner.values(), key=lambda inner: inner.height)
        path.append(stage.ensemble.name)
    return tuple(path)
