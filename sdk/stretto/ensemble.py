"""An ensemble: agents, what they have in common, and how they are scheduled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from . import marks
from .agent import AGENT_KEYS, Agent
from .agent_rules import KINDS, ONLY_FOR, listed
from .contract import check_layer
from .errors import ConfigError
from .inputs import check_input
from .loop import Loop
from .plan import Ancestors, Before, Plan, plan
from .prompt import COMPOSERS, Composer
from .settings import Settings
from .shapes import is_mapping, told
from .substitute import Substitute, substitutes

if TYPE_CHECKING:
    from .contract import Middleware
    from .run import Run
    from .usage import Price


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Agents that work together.

    Args:
        name: not empty.
        agents: at least one; their unset keys are taken from `defaults`, their model from `model`.
        description: for people.
        model: "provider/model" of the agents that name none.
        defaults: any keys of an agent but `name` and `depends_on`; `params` are merged key by key.
        default_input: used when a run is given none.
        schedule: "phases": a phase starts when the one before has ended; "ready": an agent starts when its own
            dependencies have ended.
        on_failure: "continue", or "fail_fast": the first failure ends the run.
        composer: "llm_orc", "plain", or a function of `Inputs` that gives the text of agents without a prompt.
        middleware: layers laid over the runner's.
        settings: laid under the runner's.
        prices: USD per million tokens by model pattern; laid under the runner's.
        strictness: "strict"; "compat": guards, loops and scripts work as in llm-orc, where that differs.
        source: the file that it comes from; ensembles and scripts are looked for beside it. None: the working folder.
        notes: what a loader translated or ignored, with file and line.

    Raises:
        ConfigError: at construction; names the key, its bound and the value.
    """

    name: str
    agents: Sequence[Agent]
    _: KW_ONLY
    description: str = ""
    model: str | None = None
    defaults: Mapping[str, Any] | None = None
    default_input: Any = None
    schedule: Literal["phases", "ready"] = "phases"
    on_failure: Literal["continue", "fail_fast"] = "continue"
    composer: str | Composer = "llm_orc"
    middleware: Sequence[Middleware] = ()
    settings: Settings | None = None
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType[str, "Price"]({}))
    strictness: Literal["strict", "compat"] = "strict"
    source: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name: Any = self.name
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"an ensemble's name must be a text that is not empty, got {self.name!r}", key="name")
        agents = listed("agents", self.agents, "Agent")
        if not agents and self.strictness != "compat":
            raise ConfigError(f"the ensemble {self.name!r} has no agents: give it at least one", key="agents")
        for agent in agents:
            if not isinstance(agent, Agent):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"agents must be a list of Agent, got {type(agent).__name__} in it", key="agents")
        _choice("schedule", self.schedule, ("phases", "ready"))
        _choice("on_failure", self.on_failure, ("continue", "fail_fast"))
        _choice("strictness", self.strictness, ("strict", "compat"))
        _of_kind("description", self.description, str)
        _of_kind("model", self.model, str, type(None))
        _of_kind("settings", self.settings, Settings, type(None))
        if not callable(self.composer):
            _choice("composer", self.composer, tuple(COMPOSERS))
        if self.schedule == "ready" and self.settings is not None and self.settings.phase_timeout is not None:
            raise ConfigError("phase_timeout needs schedule='phases': with 'ready' a phase has no end of its own")
        check_input(self.default_input)
        if not is_mapping(self.prices):
            raise ConfigError(f"prices must be a mapping, got {told(self.prices)}", key="prices")
        object.__setattr__(self, "notes", tuple(map(str, listed("notes", self.notes, "texts"))))
        defaults = _checked_defaults(self.defaults)
        object.__setattr__(self, "agents", tuple(_completed(agent, defaults, self.model) for agent in agents))
        object.__setattr__(self, "middleware", listed("middleware", self.middleware, "layers"))
        for layer in self.middleware:
            check_layer(layer)

    def plan(self) -> Plan:
        """Divide the agents into phases; nothing is called.

        Raises:
            ConfigError: names a duplicate, an unknown dependency, a cycle along its path, or a mark that names
                neither the input nor a dependency.
        """
        made = plan(self.agents, self.warnings, compat=self.strictness == "compat")
        _check_marks(self.agents, made)
        return made

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was translated or ignored, and what runs but probably not as meant."""
        blind = filter(None, map(blindness, self.agents))
        return (*self.notes, *(one for one in blind if not any(note.endswith(one) for note in self.notes)))

    @property
    def digest(self) -> str:
        """SHA-256 of what the ensemble asks for, hexadecimal: equal for equal ensembles, on every machine."""
        return _digest(self, {})

    def run_sync(self, input: Any = None, **options: Any) -> Run:
        """Run it with a runner of its own, and wait; the options are those of `Runner.run`.

        Raises:
            ConfigError: before any call.
        """
        from .runner import Runner  # outward, and only when called

        return Runner().run_sync(self, input, **options)


def _of_kind(key: str, value: Any, *kinds: type) -> None:
    if not isinstance(value, kinds):
        names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ConfigError(f"{key} must be of type {names}, got {value!r}", key=key)


def _choice(key: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        nearest = next(iter(get_close_matches(str(value), choices, 1)), None)
        message = f"{key} must be one of {', '.join(choices)}, got {value!r}"
        raise ConfigError(message, key=key, nearest=nearest)


def _checked_defaults(defaults: Any) -> dict[str, Any]:
    if defaults is not None and not is_mapping(defaults):
        raise ConfigError(f"defaults must be a mapping, got {type(defaults).__name__}", key="defaults")
    given: dict[str, Any] = dict(defaults or {})
    for key in given:
        if key not in AGENT_KEYS or key in ("name", "depends_on"):
            nearest = next(iter(get_close_matches(str(key), AGENT_KEYS, 1)), None)
            raise ConfigError(f"defaults.{key} is not a key that agents can share", key=str(key), nearest=nearest)
    try:
        Agent("defaults", **given)
    except ConfigError as error:
        raise ConfigError(f"defaults: {error.message}", key=error.key, nearest=error.nearest) from None
    return given


def _completed(agent: Agent, defaults: Mapping[str, Any], model: str | None) -> Agent:
    changes = {key: value for key, value in defaults.items() if getattr(agent, key) is None}
    if agent.on_dependency_failure is None:
        changes.setdefault("on_dependency_failure", "skip")
    kind = next((kind for kind in KINDS if getattr(agent, kind) is not None), None)
    if kind is not None:
        changes = {key: value for key, value in changes.items() if key not in KINDS}
    else:
        kind = next((kind for kind in KINDS if kind in changes), None)
    if kind not in (None, "model"):
        changes = {key: value for key, value in changes.items() if key not in ONLY_FOR["model"]}
    if kind != "script":
        changes = {key: value for key, value in changes.items() if key not in ONLY_FOR["script"]}
    if kind is None:
        if model is None:
            message = f"it has no work: give it one of {', '.join(KINDS)}, or the ensemble a model"
            raise ConfigError(message, agent=agent.name, key="model")
        changes["model"] = model
    if "params" in defaults and agent.params is not None:
        changes["params"] = {**defaults["params"], **agent.params}
    return replace(agent, **changes) if changes else agent


def _check_marks(agents: Sequence[Agent], made: Plan) -> None:
    ancestors = cache(partial(Ancestors, made))  # costly, and seldom needed
    for agent in agents:
        bound = (marks.ITEM, marks.INDEX) if agent.fan_out is not None else ()
        for key in ("system_prompt", "prompt"):
            text = getattr(agent, key)
            if isinstance(text, str) and "${" in text:
                parts = marks.read(text, agent=agent.name, key=key)
                direct = made.dependencies[agent.name]
                every = partial(_before, agent.name, ancestors)
                marks.check(parts, direct, every, made.dependencies, agent=agent.name, key=key, bound=bound)


def _before(name: str, ancestors: Callable[[], Ancestors]) -> Before:
    return ancestors().of(name)


def blindness(agent: Agent) -> str | None:
    """Say what nobody will see of an agent, or what it will not see; None when all is seen."""
    if agent.name in marks.RESERVED:
        return f"agent {agent.name!r}: no mark can show its result, ${{{agent.name}}} stands for something else"
    if isinstance(agent.prompt, str) and not marks.marks_in(marks.read(agent.prompt)):
        return f"agent {agent.name!r}: its prompt shows neither ${{input}} nor a result, so it never sees them"
    return None


def _digest(ensemble: Ensemble, known: dict[int, str]) -> str:
    """Make each digest once, however often an ensemble is named within: that doubles with each level."""
    if id(ensemble) not in known:
        shape: dict[str, Any] = {
            "name": ensemble.name,
            "schedule": ensemble.schedule,
            "on_failure": ensemble.on_failure,
            "composer": ensemble.composer if isinstance(ensemble.composer, str) else _code_name(ensemble.composer),
            "agents": [_shape(agent, known) for agent in ensemble.agents],
        }
        if ensemble.strictness == "compat":  # its guards and scripts work in another way
            shape["strictness"] = ensemble.strictness
        text = json.dumps(shape, sort_keys=True, ensure_ascii=False, default=str)
        known[id(ensemble)] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return known[id(ensemble)]


def _shape(agent: Agent, known: dict[int, str]) -> dict[str, Any]:
    hidden = ("api_key", "middleware")
    shape = {key: getattr(agent, key) for key in AGENT_KEYS if key not in hidden}
    for key in _LATER_KEYS:  # a digest from before these keys were there stays what it was
        if shape[key] is None:
            del shape[key]
    if isinstance(agent.ensemble, Ensemble):
        shape["ensemble"] = _digest(agent.ensemble, known)
    if isinstance(agent.loop, Loop):
        body = agent.loop.body
        body = _digest(body, known) if isinstance(body, Ensemble) else body
        shape["loop"] = asdict(replace(agent.loop, body=body))
    if agent.fallback is not None:
        shape["fallback"] = list(map(_plain_substitute, substitutes(agent.fallback)))
    if agent.parameters is not None:
        shape["parameters"] = dict(agent.parameters)
    for key in ("function", "prompt"):
        if callable(shape[key]):
            shape[key] = _code_name(shape[key])
    shape["params"] = None if agent.params is None else dict(agent.params)
    return shape


_LATER_KEYS = ("script", "ensemble", "loop", "dispatch", "fan_out", "fallback", "parameters", "env")


def _plain_substitute(substitute: Substitute) -> dict[str, Any]:
    params = None if substitute.params is None else dict(substitute.params)
    return {f.name: getattr(substitute, f.name) for f in fields(Substitute)} | {"params": params}


def _code_name(function: Any) -> str:
    if is_dataclass(function):  # what it is made of counts, too
        return f"{type(function).__module__}:{function!r}"
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
