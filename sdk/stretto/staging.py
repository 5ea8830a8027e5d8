"""Make an ensemble ready to be run, with all that run within it: everything is checked before the first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from . import stack as layers
from .errors import ConfigError
from .prompt import COMPOSERS
from .references import References
from .settings import Settings
from .stage import Path, Stage, deepest, every
from .substitute import substitutes

if TYPE_CHECKING:
    from .agent import Agent
    from .call import Kind, Target
    from .contract import Next
    from .ensemble import Ensemble
    from .routing import Routing
    from .script import Script

_NESTED = "max_ensemble_depth"
MOST_NESTED = 50  # whatever `max_ensemble_depth` says: each level is a stack of coroutines


class Inherited(NamedTuple):
    """What an ensemble has from the one around it.

    Attributes:
        settings: of which the clocks of phases and runs stay there.
        routing: with its prices.
    """

    settings: Settings
    routing: Routing


@dataclass(slots=True, eq=False)
class Staging:
    """What the ensembles of one run have in common.

    Args:
        routing: providers, addresses, keys, prices.
        settings: of the runner.
        environ: the environment.
        allow_scripts: whether scripts may be started; "known": those of ensembles that are known before the run.
        planning: nothing will be run: no key needs to be there, and no leave for scripts.
    """

    routing: Routing
    settings: Settings
    environ: Mapping[str, str]
    allow_scripts: bool | Literal["known"] = False
    planning: bool = False
    _staged: dict[Any, Stage] = field(default_factory=dict[Any, "Stage"])
    _priced: dict[Any, Routing] = field(default_factory=dict[Any, "Routing"])
    _kept: list[Any] = field(default_factory=list[Any])  # what ids in `_staged` stand for
    _references: References = field(default_factory=References)
    _most_nested: int = MOST_NESTED
    _choosing: bool = False

    def stage(self, ensemble: Ensemble, base: layers.Stack, path: Path = (), around: Inherited | None = None) -> Stage:
        """Make an ensemble ready; it is made once, wherever it stands.

        Args:
            ensemble: what is to be run.
            base: the layers that its own are laid over.
            path: names of the ensembles that it runs within.
            around: what it has from the nearest of them; None: it is the run's own.

        Raises:
            ConfigError: for whatever is wrong in it, or in what runs within.
        """
        settings = self.settings.over(inherited(ensemble.settings, None if around is None else around.settings))
        if around is None:
            self._most_nested = min(settings.max_ensemble_depth, MOST_NESTED)
        here = Inherited(settings, self._prices(ensemble, self.routing if around is None else around.routing))
        key = (id(ensemble), id(base), settings, id(here.routing))
        known = self._staged.get(key)
        self._check_depth((*path, *((ensemble.name,) if known is None else deepest(known))))
        if known is None:
            try:
                known = self._staged[key] = self._made(ensemble, base, (*path, ensemble.name), here)
            except ConfigError as error:
                raise _in_file(error, ensemble.source) from None
            self._kept += (ensemble, base)
        return known

    def _prices(self, ensemble: Ensemble, routing: Routing) -> Routing:
        key = (id(routing), frozenset(ensemble.prices.items()))
        if key not in self._priced:
            self._priced[key] = routing.within(ensemble.prices)
        return self._priced[key]

    def _made(self, ensemble: Ensemble, base: layers.Stack, path: Path, here: Inherited) -> Stage:
        plan, settings = ensemble.plan(), here.settings
        if ensemble.schedule == "ready" and settings.phase_timeout is not None and len(path) == 1:
            raise ConfigError("phase_timeout needs schedule='phases': with 'ready' a phase has no end of its own")
        over = layers.merge(base, ensemble.middleware) if ensemble.middleware else base
        stacks = {a.name: layers.merge(over, a.middleware) if a.middleware else over for a in ensemble.agents}
        inner: dict[str, Stage] = {}
        for agent, child in _children(ensemble):
            inner[agent.name] = self._inner(agent, self._found(agent, child, ensemble), stacks[agent.name], path, here)
        needed = not self.planning
        return Stage(
            ensemble=ensemble,
            agents=ensemble.agents,
            plan=plan,
            settings=settings,
            composer=COMPOSERS[ensemble.composer] if isinstance(ensemble.composer, str) else ensemble.composer,
            fail_fast=ensemble.on_failure == "fail_fast",
            stacks=stacks,
            pipelines=_pipelines(ensemble.agents, stacks),
            endpoints={a.name: self.routing.agent_endpoint(a, key_needed=needed) for a in ensemble.agents if a.model},
            targets={a.name: self._targets(a) for a in ensemble.agents if a.fallback},
            scripts={a.name: self._script(a, ensemble) for a in ensemble.agents if a.script is not None},
            composites=frozenset(a.name for a in ensemble.agents if a.composite),
            routing=here.routing,
            inner=inner,
            chosen=partial(self._chosen, ensemble, stacks, here),
            environ=self.environ,
            height=max((1 + stage.height for stage in inner.values()), default=0),
        )

    def _inner(self, agent: Agent, child: Ensemble, base: layers.Stack, path: Path, here: Inherited) -> Stage:
        try:
            return self.stage(child, base, path, here)
        except ConfigError as error:
            raise (_of_agent(error, agent.name, agent.kind) if error.key == _NESTED else error) from None

    def _check_depth(self, path: Path) -> None:
        most = self._most_nested
        if len(path) - 1 > most:
            shown = " > ".join(path if len(path) < 12 else (*path[:6], "...", *path[-5:]))
            message = f"ensembles are nested more than {most} deep ({shown}): see max_ensemble_depth"
            raise ConfigError(message, key=_NESTED)

    def _found(self, agent: Agent, child: Ensemble | str, ensemble: Ensemble) -> Ensemble:
        if not isinstance(child, str):
            return child
        try:
            return self._references.find(child, ensemble)
        except ConfigError as error:
            raise _of_agent(error, agent.name, agent.kind) from None

    def _targets(self, agent: Agent) -> tuple[Target, ...]:
        try:
            return tuple(self.routing.target(one, key_needed=not self.planning) for one in substitutes(agent.fallback))
        except ConfigError as error:
            message = f"fallback: {error.message}"
            raise ConfigError(message, agent=agent.name, key="fallback", nearest=error.nearest) from None

    def _script(self, agent: Agent, ensemble: Ensemble) -> Script:
        if not (self.allow_scripts or self.planning):
            message = "scripts are not allowed: Runner(allow_scripts=True), on the command line --allow-scripts"
            raise ConfigError(message, agent=agent.name, key="script")
        if self.allow_scripts == "known" and self._choosing:
            message = "leave was given before this ensemble was chosen: --allow-scripts gives it to all"
            raise ConfigError(message, agent=agent.name, key="script")
        from .script import find_script  # with what it needs, for those who have scripts

        assert agent.script is not None
        return find_script(
            agent.script,
            agent=agent.name,
            source=ensemble.source,
            strictness=ensemble.strictness,
            told_of_others=bool(agent.depends_on) and agent.fan_out is None,  # as `Given.told_of_others` will say
        )

    async def _chosen(
        self, ensemble: Ensemble, stacks: Mapping[str, layers.Stack], here: Inherited, agent: str, name: str, path: Path
    ) -> Stage:
        """Make the ensemble ready that an agent has chosen while the run goes on.

        Raises:
            ConfigError: as of `stage`.
        """
        try:
            found = await self._references.found(name, ensemble)
        except ConfigError as error:
            raise _of_agent(error, agent, "dispatch") from None
        self._choosing = True
        try:
            stage = self.stage(found, stacks[agent], path, here)
        finally:
            self._choosing = False
        return replace(stage, held=self.held(stage))

    def held(self, stage: Stage) -> list[Any]:
        """Give the layers and providers of a stage and of all within it, each once, layers first."""
        return _each_once([*_layers(stage), *self.providers(stage)])

    def providers(self, stage: Stage) -> list[Any]:
        """Give the providers of a stage and of all within it, each once."""
        stages = every(stage)
        models = dict.fromkeys(self.routing.model(a) for one in stages for a in one.agents if a.model)
        models.update(dict.fromkeys(t.model for one in stages for some in one.targets.values() for t in some))
        for layer in _layers(stage):
            models.update(dict.fromkeys(getattr(layer, "models", ()) or ()))
        return _each_once([self.routing.provider(model) for model in models])


def _layers(stage: Stage) -> list[Any]:
    stacks = {id(stack): stack for one in every(stage) for stack in one.stacks.values()}.values()
    return _each_once([layer for stack in stacks for layer in stack])


def _each_once(things: list[Any]) -> list[Any]:
    return list({id(thing): thing for thing in things}.values())


def inherited(own: Settings | None, outer: Settings | None) -> Settings | None:
    """Lay an ensemble's settings over those around it, of which the clocks of phases and of the run stay there."""
    if outer is None:
        return own
    clocks = ("phase_timeout", "run_timeout")
    passed = {name: getattr(outer, name) for name in outer.given if name not in clocks}
    rest = Settings(**passed)
    return rest if own is None else own.over(rest)


def _children(ensemble: Ensemble) -> list[tuple[Agent, Ensemble | str]]:
    found: list[tuple[Agent, Ensemble | str]] = []
    for agent in ensemble.agents:
        if agent.ensemble is not None:
            found.append((agent, agent.ensemble))
        elif agent.loop is not None:
            loop: Any = agent.loop
            found.append((agent, loop.body))
    return found


def _in_file(error: ConfigError, source: str | None) -> ConfigError:
    """Give an error of an ensemble that comes from a file its place there."""
    if source is None or error.file is not None:
        return error
    from .loading import located  # outward, and only when something is wrong

    return located(error, source)


def _of_agent(error: ConfigError, agent: str, key: str) -> ConfigError:
    """Give an error the agent that it came from, unless it has a place of its own."""
    if error.agent is not None or error.file is not None:
        return error
    return ConfigError(error.message, agent=agent, key=key, nearest=error.nearest)


def _pipelines(agents: Sequence[Agent], stacks: Mapping[str, layers.Stack]) -> dict[str, Next]:
    made: dict[tuple[int, Kind], Next] = {}
    pipelines: dict[str, Next] = {}
    for agent in agents:
        kind: Kind
        if agent.model is not None:
            kind = "llm"
        elif agent.function is not None:
            kind = "function"
        elif agent.script is not None:
            kind = "script"
        else:
            continue
        stack = stacks[agent.name]
        key = (id(stack), kind)
        if key not in made:
            made[key] = layers.chain(stack, kind)
        pipelines[agent.name] = made[key]
    return pipelines
