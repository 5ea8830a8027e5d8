"""Load an ensemble from a YAML file; everything that is wrong with it is said together, with its place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from .agent import AGENT_KEYS, Agent
from .agent_rules import NAME_LENGTH
from .ensemble import Ensemble
from .errors import ConfigError
from .performance import NAME as PERFORMANCE
from .performance import Performance, raise_all, read_performance, read_settings
from .routing import entry_points
from .secret import Redactor
from .settings import Settings
from .stack import ORDER, names, shipped_layer
from .yaml_text import Items, Place, Section, excerpt, kind_of, read_yaml

Strictness = Literal["compat", "strict"]
LONG_MESSAGE = 600  # characters

TOP_KEYS = (
    "stretto",
    "name",
    "description",
    "model",
    "defaults",
    "default_input",
    "schedule",
    "on_failure",
    "composer",
    "settings",
    "middleware",
    "agents",
)
# `function` is code, `api_key` would be a secret in a file: both come from Python only.
FILE_KEYS = tuple(key for key in AGENT_KEYS if key not in ("function", "api_key"))
_ONLY_PYTHON = {
    "function": "a function comes from Python: Agent(..., function=...)",
    "api_key": "a key does not belong into a file: name the variable that holds it with api_key_env",
}
_UNSHARED = ("name", "depends_on")  # of an agent's keys, what `defaults` cannot hold
_VERSION = 1
_REDACTOR = Redactor()  # knows no key, but what one looks like

# What each key holds, in a file. A key that is missing here holds whatever its class accepts.
_TEXTS = (
    *("name", "description", "model", "schedule", "on_failure", "composer"),
    *("system_prompt", "prompt", "on_dependency_failure", "when", "base_url", "api_key_env"),
)
_SHAPES: Mapping[str, tuple[type, str]] = {
    "agents": (Items, "a list: write `- name: ...` for each"),
    "depends_on": (Items, "a list of names"),
    "middleware": (Items, "a list of layers"),
    "defaults": (Section, "a mapping"),
    "settings": (Section, "a mapping"),
    "params": (Section, "a mapping"),
}


def load(path: str | Path, *, strictness: Strictness | None = None) -> Ensemble:
    """Load an ensemble, and the `performance.yaml` beside it.

    Args:
        path: of a YAML file, UTF-8, at most 1 MB.
        strictness: "strict": unknown keys are errors; "compat": an unknown key at the top is a warning.
            None: strict for a file with `stretto: 1` at its top.

    Raises:
        ConfigError: with file, line, column, agent, key and the nearest valid key; `errors` holds all of them when
            there are several.
    """
    if strictness not in (None, "compat", "strict"):
        raise ConfigError(f"strictness must be 'compat' or 'strict', got {strictness!r}", key="strictness")
    try:
        loader = _Loader(str(path), read_yaml(path), strictness)
        return loader.ensemble(loader.performance(Path(path)))
    except ConfigError as error:
        raise _sayable(error) from None


def located(error: ConfigError, path: str | Path) -> ConfigError:
    """Give an error that came from an ensemble of a file its place in that file."""
    return _sayable(_located(error, str(path), read_yaml(path)))


def _located(error: ConfigError, file: str, section: Section) -> ConfigError:
    own, key = _of_agent(section, error.agent), error.key
    defaults = section.get("defaults")
    if own is not section and key not in own and isinstance(defaults, Section) and key in defaults:
        own = defaults  # the agent has it from there
    place = _place(own, key)
    return error.at(file=file, line=place.line, column=place.column)


def _of_agent(section: Section, name: str | None) -> Section:
    """Find the section of an agent; the whole file for no agent, or one that it does not name."""
    agents = section.get("agents")
    named = [one for one in agents if isinstance(one, Section) and one.get("name") == name] if agents and name else []
    return named[-1] if named else section


def _place(section: Section, key: str | None) -> Place:
    """Find the place of a key such as `params.seed`, or of the last part of it that is there."""
    place, inner = section.place, section
    for part in (key or "").split("."):
        if part not in inner:
            break
        place = inner.keys_at[part]
        if not isinstance(inner[part], Section):
            break
        inner = inner[part]
    return place


def _sayable(error: ConfigError) -> ConfigError:
    """Take out what looks like a key, and shorten what would fill the screen."""
    message = _REDACTOR.error_text(error.message)
    return ConfigError(
        message if len(message) <= LONG_MESSAGE else f"{message[:LONG_MESSAGE]}...",
        file=error.file,
        line=error.line,
        column=error.column,
        agent=None if error.agent is None else error.agent[:NAME_LENGTH],
        key=None if error.key is None else _REDACTOR.error_text(error.key),
        nearest=error.nearest,
        errors=tuple(map(_sayable, error.errors)),
    )


class _Loader:
    """One file: its sections become arguments, what is wrong is collected."""

    def __init__(self, file: str, section: Section, strictness: Strictness | None) -> None:
        self._errors: list[ConfigError] = []
        self._file = file
        self._section = section
        self._strict = strictness == "strict" or (strictness is None and "stretto" in section)
        self._notes: list[str] = []

    def performance(self, path: Path) -> Performance:
        """Read the file of settings beside the ensemble, where there is one."""
        beside = path.parent / PERFORMANCE
        if beside.is_file() and beside.resolve() != path.resolve():
            try:
                return read_performance(beside)
            except ConfigError as error:
                self._errors.extend(error.errors or (error,))
        return Performance(Settings(), {})

    def ensemble(self, performance: Performance) -> Ensemble:
        section = self._section
        given = self._top()
        agents = self._agents(section["agents"]) if "agents" in given else []
        given["defaults"] = self._keywords(given["defaults"], None, shared=True) if "defaults" in given else None
        given["middleware"] = self._layers(section, None) if "middleware" in given else ()
        settings = Settings()
        if "settings" in given:
            settings = read_settings(given["settings"], self._file, self._errors)
        raise_all(self._errors)
        given.update(agents=agents, settings=settings.over(performance.settings), prices=performance.prices)
        try:
            made = Ensemble(**given, notes=tuple(self._notes))
            made.plan()
        except ConfigError as error:
            raise _located(error, self._file, section) from None
        return made

    def _wrong(self, message: str, place: Place, key: str | None, agent: str | None = None, **more: Any) -> None:
        at: dict[str, Any] = {"file": self._file, "line": place.line, "column": place.column}
        self._errors.append(ConfigError(message, key=key, agent=agent, **at, **more))

    def _top(self) -> dict[str, Any]:
        """Check the keys at the top, and give those of an ensemble that have a value."""
        section, given = self._section, dict[str, Any]()
        for key, value in section.items():
            if key.startswith("x-"):
                continue
            if key not in TOP_KEYS:
                self._unknown_at_top(key)
            elif key == "stretto":
                if isinstance(value, bool) or value != _VERSION:
                    message = f"stretto must be {_VERSION}, the only version of the format, got {kind_of(value)}"
                    self._wrong(message, section.keys_at[key], key)
            elif self._fits(section, key, None):
                given[key] = value
                if key not in _SHAPES:
                    self._try(partial(_trial_ensemble, **{key: value}), section, key, None)
        for key, what in (("name", "a name"), ("agents", "agents: a list, `- name: ...` for each")):
            if key not in section:
                self._wrong(f"the ensemble needs {what}", section.place, key)
        return given

    def _unknown_at_top(self, key: str) -> None:
        nearest = next(iter(get_close_matches(key, TOP_KEYS, 1, 0.75)), None)
        place = self._section.keys_at[key]
        if key in _ONLY_PYTHON:
            self._wrong(f"{key}: {_ONLY_PYTHON[key]}", place, key)
        elif self._strict or nearest is not None:
            self._wrong(f"{excerpt(key)} is not a key of an ensemble", place, key, nearest=nearest)
        else:
            self._notes.append(f"{self._file}:{place.line}: the key {excerpt(key)} is ignored")

    def _fits(self, section: Section, key: str, agent: str | None) -> bool:
        """Tell whether a value has the shape of its key, and is there: an empty text key is as one left out."""
        value = section[key]
        kind, what = _SHAPES.get(key, (None, ""))
        message = None
        if kind is not None:
            if not isinstance(value, kind) or (key == "agents" and not value):
                cure = f", such as [{value}]" if key == "depends_on" and isinstance(value, str) else ""
                message = f"{key} must be {what}{cure}, got {kind_of(value)}"
                if value is None:
                    message += ": leave the key out, or give it content"
        elif key in _TEXTS and not isinstance(value, str) and (value is not None or key == "name"):
            quote = ": quote it" if isinstance(value, (bool, int, float)) else ""
            message = f"{key} must be a text, got {kind_of(value)}{quote}"
        elif key != "default_input" and isinstance(value, (Section, Items)):
            message = f"{key} must be a single value, got {kind_of(value)}"
        if message is not None:
            self._wrong(message, section.keys_at[key], key, agent)
        return message is None and value is not None

    def _try(self, make: Callable[[], object], section: Section, key: str, agent: str | None) -> None:
        """Let a key's own class check it alone, so that several errors are said together."""
        try:
            make()
        except ConfigError as error:
            place = _place(section, error.key if (error.key or "").startswith(key) else key)
            self._wrong(error.message, place, error.key, agent, nearest=error.nearest)

    def _agents(self, items: Items) -> list[Agent]:
        made: list[Agent] = []
        for section, place in zip(items, items.items_at, strict=True):
            if not isinstance(section, Section):
                message = f"an agent must be a mapping with a name, got {kind_of(section)}"
                self._wrong(message, place, "agents")
                continue
            name = section.get("name")
            label = name if isinstance(name, str) else None
            if "name" not in section:
                self._wrong("the agent needs a name", place, "name")
            before = len(self._errors)
            given = self._keywords(section, label)
            if "name" in given and len(self._errors) == before:
                made.append(Agent(**given))
        return made

    def _keywords(self, section: Section, agent: str | None, *, shared: bool = False) -> dict[str, Any]:
        """Check the keys of an agent or of `defaults`, and give those that have a value."""
        what = "defaults" if shared else "an agent"
        keys = tuple(key for key in FILE_KEYS if not (shared and key in _UNSHARED))
        given: dict[str, Any] = {}
        for key, value in section.items():
            if key.startswith("x-"):
                continue
            if key in _ONLY_PYTHON:
                self._wrong(f"{key}: {_ONLY_PYTHON[key]}", section.keys_at[key], key, agent)
            elif key not in keys:
                nearest = next(iter(get_close_matches(key, keys, 1)), None)
                message = f"{excerpt(key)} is not a key of {what}"
                self._wrong(message, section.keys_at[key], key, agent, nearest=nearest)
            elif self._fits(section, key, agent):
                given[key] = self._layers(section, agent) if key == "middleware" else value
                if key != "middleware":
                    self._try(partial(_trial_agent, **{key: value}), section, key, agent)
        return given

    def _layers(self, section: Section, agent: str | None) -> list[Any]:
        value = section["middleware"]
        made = [self._layer(item, at, agent) for item, at in zip(value, value.items_at, strict=True)]
        made = [layer for layer in made if layer is not None]
        self._try(partial(names, made), section, "middleware", agent)
        return made

    def _layer(self, item: Any, place: Place, agent: str | None) -> Any:
        name, given = next(iter(item.items())) if isinstance(item, Section) and len(item) == 1 else (item, None)
        given = Section(place) if given is None else given
        if not isinstance(name, str) or not isinstance(given, Section):
            message = "a layer must be a name, or a name with its keywords: `- retry: {attempts: 5}`"
            return self._wrong(message, place, "middleware", agent)
        try:
            return made_layer(name, given)
        except ConfigError as error:
            at = given.keys_at.get(error.key or "", place)
            return self._wrong(error.message, at, "middleware", agent, nearest=error.nearest)


def _trial_agent(**given: Any) -> Agent:
    keywords: dict[str, Any] = {"name": "a", **given}
    return Agent(**keywords)


def _trial_ensemble(**given: Any) -> Ensemble:
    keywords: dict[str, Any] = {"name": "e", "agents": (Agent("a", model="a/b"),), **given}
    return Ensemble(**keywords)


def made_layer(name: str, given: Mapping[str, Any]) -> Any:
    """Make a layer by the name that files use: one of stretto's, or one of an entry point.

    Raises:
        ConfigError: for an unknown name or keyword, with the nearest one, and for a value that the layer refuses.
    """
    known = [place for place in ORDER if find_spec(f"stretto.middleware.{place}") is not None]
    points = entry_points("stretto.middleware", ORDER)
    if name not in known and name not in points:
        nearest = next(iter(get_close_matches(name, [*known, *points], 1)), None)
        raise ConfigError(f"no layer is named {excerpt(name)}", nearest=nearest)
    try:
        kind = shipped_layer(name) if name in known else points[name].load()
        keywords = inspect.signature(kind).parameters
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # of another distribution
        raise ConfigError(f"the layer {name} cannot be loaded: {error}") from None
    for keyword, value in given.items():
        if keyword not in keywords:
            nearest = next(iter(get_close_matches(keyword, list(keywords), 1)), None)
            message = f"the layer {name} has no keyword {excerpt(keyword)}: {', '.join(keywords)}"
            raise ConfigError(message, key=keyword, nearest=nearest)
        for kind_of_default, what in ((bool, "true or false"), (str, "a text")):
            default = keywords[keyword].default
            if isinstance(default, kind_of_default) and not isinstance(value, kind_of_default):
                raise ConfigError(f"{name}.{keyword} must be {what}, got {kind_of(value)}", key=keyword)
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{name}: {error}") from None
