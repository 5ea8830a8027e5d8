"""Load an ensemble from a YAML file; everything that is wrong with it is said together, with its place."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from .agent import AGENT_KEYS, Agent
from .ensemble import Ensemble
from .errors import ConfigError
from .performance import NAME as PERFORMANCE
from .performance import Performance, raise_all, read_performance, read_settings
from .routing import entry_points
from .settings import Settings
from .stack import ORDER, shipped_layer
from .yaml_text import Items, Place, Section, read_yaml

Strictness = Literal["compat", "strict"]

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
_VERSION = 1


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
    file = str(path)
    if strictness not in (None, "compat", "strict"):
        raise ConfigError(f"strictness must be 'compat' or 'strict', got {strictness!r}", key="strictness")
    section = read_yaml(path)
    loader = _Loader(file, section, strictness)
    beside = Path(path).parent / PERFORMANCE
    performance = Performance(Settings(), {})
    if beside.is_file() and beside.resolve() != Path(path).resolve():
        try:
            performance = read_performance(beside)
        except ConfigError as error:
            loader.errors.extend(error.errors or (error,))
    return loader.ensemble(performance)


class _Loader:
    """One file: its sections become arguments, what is wrong is collected."""

    def __init__(self, file: str, section: Section, strictness: Strictness | None) -> None:
        self.errors: list[ConfigError] = []
        self._file = file
        self._section = section
        self._strict = strictness == "strict" or (strictness is None and "stretto" in section)
        self._notes: list[str] = []

    def ensemble(self, performance: Performance) -> Ensemble:
        section = self._section
        self._check_top()
        agents = self._agents()
        given = {
            key: section[key]
            for key in ("description", "model", "default_input", "schedule", "on_failure", "composer")
            if section.get(key) is not None
        }
        for key in ("name", "description", "model", "composer"):
            self._expect_text(section, key)
        given["defaults"] = self._defaults()
        given["middleware"] = self._layers(section, "middleware", None) or ()
        settings = self._settings()
        raise_all(self.errors)
        try:
            made = Ensemble(
                section["name"],
                agents,
                settings=settings.over(performance.settings),
                prices=performance.prices,
                notes=tuple(self._notes),
                **given,
            )
            made.plan()
        except ConfigError as error:
            raise self._placed(error) from None
        return made

    def _wrong(self, message: str, place: Place, *, agent: str | None = None, key: str | None = None, **more: Any) -> None:
        self.errors.append(
            ConfigError(
                message,
                file=self._file,
                line=place.line,
                column=place.column,
                agent=agent,
                key=key,
                **more,
            )
        )

    def _check_top(self) -> None:
        section = self._section
        for key in section:
            if key in TOP_KEYS or key.startswith("x-"):
                continue
            nearest = next(iter(get_close_matches(key, TOP_KEYS, 1, 0.75)), None)
            place = section.keys_at[key]
            if self._strict or nearest is not None:
                self._wrong(f"{key!r} is not a key of an ensemble", place, key=key, nearest=nearest)
            else:
                self._notes.append(f"{self._file}:{place.line}: the key {key!r} is ignored")
        if section.get("stretto", _VERSION) != _VERSION or isinstance(section.get("stretto"), bool):
            message = f"stretto must be {_VERSION}, the only version of the format, got {section['stretto']!r}"
            self._wrong(message, section.keys_at["stretto"], key="stretto")
        if "name" not in section:
            self._wrong("the ensemble needs a name", section.place, key="name")

    def _expect_text(self, section: Section, key: str, agent: str | None = None) -> None:
        value = section.get(key)
        if key not in section or isinstance(value, str):
            return
        quote = ": quote it" if isinstance(value, (bool, int, float)) else ""
        self._wrong(f"{key} must be a text, got {value!r}{quote}", section.keys_at[key], agent=agent, key=key)

    def _settings(self) -> Settings:
        value = self._section.get("settings")
        if "settings" not in self._section:
            return Settings()
        if not isinstance(value, Section):
            self._wrong("settings has no content, or is no mapping", self._section.keys_at["settings"], key="settings")
            return Settings()
        return read_settings(value, self._file, self.errors)

    def _defaults(self) -> Mapping[str, Any] | None:
        if "defaults" not in self._section:
            return None
        value, place = self._section["defaults"], self._section.keys_at["defaults"]
        if not isinstance(value, Section):
            self._wrong("defaults has no content, or is no mapping", place, key="defaults")
            return None
        keys = [key for key in FILE_KEYS if key not in ("name", "depends_on")]
        self._check_keys(value, keys, "defaults", None)
        given = {key: value[key] for key in value if key in keys and key != "middleware"}
        layers = self._layers(value, "middleware", None)
        return given if layers is None else {**given, "middleware": layers}

    def _check_keys(self, section: Section, allowed: Iterable[str], what: str, agent: str | None) -> None:
        known = list(allowed)
        for key in section:
            if key in known or key.startswith("x-"):
                continue
            if key in _ONLY_PYTHON:
                self._wrong(f"{key}: {_ONLY_PYTHON[key]}", section.keys_at[key], agent=agent, key=key)
                continue
            nearest = next(iter(get_close_matches(key, known, 1)), None)
            message = f"{key!r} is not a key of {what}"
            self._wrong(message, section.keys_at[key], agent=agent, key=key, nearest=nearest)

    def _agents(self) -> list[Agent]:
        value = self._section.get("agents")
        if "agents" not in self._section:
            self._wrong("the ensemble needs agents: a list", self._section.place, key="agents")
            return []
        place = self._section.keys_at["agents"]
        if not isinstance(value, Items) or not value:
            what = "has no content" if not value else "must be a list"
            self._wrong(f"agents {what}: write `- name: ...` for each", place, key="agents")
            return []
        made = (self._agent(item, at) for item, at in zip(value, value.items_at, strict=True))
        return [agent for agent in made if agent is not None]

    def _agent(self, section: Any, place: Place) -> Agent | None:
        if not isinstance(section, Section):
            self._wrong("an agent must be a mapping with a name", place, key="agents")
            return None
        before = len(self.errors)
        name = section.get("name")
        label = name if isinstance(name, str) else None
        if "name" not in section:
            self._wrong("the agent needs a name", place, key="name")
        self._expect_text(section, "name", label)
        self._expect_text(section, "model", label)
        self._check_keys(section, FILE_KEYS, "an agent", label)
        for key, kind, what in (("depends_on", Items, "a list of names"), ("params", Section, "a mapping")):
            value = section.get(key)
            if key in section and not isinstance(value, kind):
                cure = f": write [{value}]" if key == "depends_on" and isinstance(value, str) else f", got {value!r}"
                self._wrong(f"{key} must be {what}{cure}", section.keys_at[key], agent=label, key=key)
        layers = self._layers(section, "middleware", label)
        if len(self.errors) > before:
            return None
        given = {key: section[key] for key in section if key in FILE_KEYS and key not in ("name", "middleware")}
        for key, value in given.items():  # one by one, so that several errors of an agent are said together
            try:
                Agent(section["name"], **{key: value})
            except ConfigError as error:
                self.errors.append(self._placed(error, section))
        if len(self.errors) > before:
            return None
        return Agent(section["name"], **given, middleware=layers)

    def _layers(self, section: Section, key: str, agent: str | None) -> list[Any] | None:
        if key not in section:
            return None
        value, place = section[key], section.keys_at[key]
        if not isinstance(value, Items):
            self._wrong(f"{key} must be a list of layers", place, agent=agent, key=key)
            return None
        made = [self._layer(item, at, agent) for item, at in zip(value, value.items_at, strict=True)]
        return [layer for layer in made if layer is not None]

    def _layer(self, item: Any, place: Place, agent: str | None) -> Any:
        if isinstance(item, Section) and len(item) == 1:
            name, given = next(iter(item.items()))
        else:
            name, given = item, {}
        given = {} if given is None else given
        if not isinstance(name, str) or not isinstance(given, Mapping):
            message = "a layer must be a name, or a name with its keywords: `- retry: {attempts: 5}`"
            return self._wrong(message, place, agent=agent, key="middleware")
        try:
            kind = layer_named(name)
            _check_keywords(name, kind, given)
            return kind(**given)
        except ConfigError as error:
            self.errors.append(error.at(file=self._file, line=place.line, column=place.column, agent=agent))
        except (TypeError, ValueError) as error:
            self._wrong(f"{name}: {error}", place, agent=agent, key="middleware")
        return None

    def _placed(self, error: ConfigError, section: Section | None = None) -> ConfigError:
        return _at(error, self._file, self._section if section is None else section)


def located(error: ConfigError, path: str | Path) -> ConfigError:
    """Give an error that came from an ensemble of a file its place in that file."""
    return _at(error, str(path), read_yaml(path))


def _at(error: ConfigError, file: str, section: Any) -> ConfigError:
    """Give an error the place of its key: in the agent that it names, in an agent's own section, or at the top."""
    if error.agent is not None and "agents" in section:
        agents = section["agents"] if isinstance(section["agents"], Items) else ()
        named = [one for one in agents if isinstance(one, Section) and one.get("name") == error.agent]
        section = named[-1] if named else section
    place = section.place
    for key in (error.key or "").split("."):
        if not isinstance(section, Section) or key not in section:
            break
        place, section = section.keys_at[key], section[key]
    return error.at(file=file, line=place.line, column=place.column)


def layer_named(name: str) -> Any:
    """Find a layer's class by the name that files use: one of stretto's, or one of an entry point.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    known = [place for place in ORDER if _exists(place)]
    if name in known:
        return shipped_layer(name)
    points = entry_points("stretto.middleware", tuple(ORDER))
    if name in points:
        return points[name].load()
    nearest = next(iter(get_close_matches(name, [*known, *points], 1)), None)
    raise ConfigError(f"no layer is named {name!r}", key="middleware", nearest=nearest)


def _exists(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(f"stretto.middleware.{name}") is not None


def _check_keywords(name: str, kind: Any, given: Mapping[str, Any]) -> None:
    keywords = list(inspect.signature(kind).parameters)
    for keyword in given:
        if keyword not in keywords:
            nearest = next(iter(get_close_matches(keyword, keywords, 1)), None)
            message = f"the layer {name} has no {keyword!r}: {', '.join(keywords)}"
            raise ConfigError(message, key="middleware", nearest=nearest)
