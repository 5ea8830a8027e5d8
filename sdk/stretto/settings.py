"""The settings of a run, and which of two given ones wins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypedDict, Unpack

from .errors import ConfigError
from .shapes import told


class _Given(TypedDict, total=False):
    default_timeout: float | None
    phase_timeout: float | None
    run_timeout: float | None
    max_ensemble_depth: int
    max_concurrent_agents: int
    enable_parallel_execution: bool
    cancel_grace: float
    tune_gc: bool


_DEFAULTS: dict[str, Any] = {
    "default_timeout": 60,
    "phase_timeout": None,
    "run_timeout": None,
    "max_ensemble_depth": 5,
    "max_concurrent_agents": 100,
    "enable_parallel_execution": True,
    "cancel_grace": 1,
    "tune_gc": False,
}
_CLOCKS = ("default_timeout", "phase_timeout", "run_timeout")
# The sections in which a file may write a setting; at its top level it may as well.
SECTIONS = {
    "execution": {
        "default_timeout",
        "phase_timeout",
        "run_timeout",
        "max_ensemble_depth",
        "cancel_grace",
        "tune_gc",
        "enable_parallel_execution",
    },
    "concurrency": {"max_concurrent_agents", "enable_parallel_execution"},
}


class Settings:
    """How a run is made. A field that is left out is unset; a given one wins, also when it equals the default.

    Args:
        default_timeout: seconds above 0 for an agent that names none; default 60. None: no bound.
        phase_timeout: seconds above 0 for each phase; default None, no bound.
        run_timeout: seconds above 0 for the run; default None, no bound.
        max_ensemble_depth: ensembles nested below the run's own, 1 or more; default 5. More than 50 is as 50.
        max_concurrent_agents: agents at work at once in one run, 0 or more; 0: no limit; default 100.
        enable_parallel_execution: False runs one agent at a time, in file order within phases; default True.
        cancel_grace: seconds, 0 or more, that a stopped agent has to end before it is abandoned; default 1.
        tune_gc: freeze the garbage collector's old objects and raise its thresholds while a run lasts; default False.

    Attributes:
        given: the names of the fields that were given.

    Raises:
        ConfigError: at construction, names the field, its bound and the value.
    """

    __slots__ = (*_DEFAULTS, "given")

    default_timeout: float | None
    phase_timeout: float | None
    run_timeout: float | None
    max_ensemble_depth: int
    max_concurrent_agents: int
    enable_parallel_execution: bool
    cancel_grace: float
    tune_gc: bool
    given: frozenset[str]

    def __init__(self, **given: Unpack[_Given]) -> None:
        for name, value in given.items():
            _check(name, value)
        for name, default in _DEFAULTS.items():
            object.__setattr__(self, name, given.get(name, default))
        object.__setattr__(self, "given", frozenset(given))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Settings are frozen: make new ones to change {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Settings are frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.to_dict() == other.to_dict() and self.given == other.given

    def __hash__(self) -> int:
        return hash((*self.to_dict().values(), self.given))

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in _DEFAULTS if name in self.given)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _settings, ({name: getattr(self, name) for name in self.given},)

    def over(self, other: Settings | None) -> Settings:
        """Lay these settings over `other`: what is given here wins."""
        if other is None or not other.given:
            return self
        names = self.given | other.given
        return _settings({name: getattr(self if name in self.given else other, name) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """Give every field with the value that counts."""
        return {name: getattr(self, name) for name in _DEFAULTS}

    @classmethod
    def from_file(cls, path: str) -> Settings:
        """Read a `performance.yaml`: flat names, or under `execution:` and `concurrency:`.

        Raises:
            ConfigError: with file, line and column.
        """
        from .performance import read_performance  # the YAML reader loads where it is first needed

        return read_performance(path).settings


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Make settings of names that came from a file.

    Raises:
        ConfigError: for an unknown name, with the nearest valid one.
    """
    for name in values:
        if name not in _DEFAULTS:
            nearest = next(iter(get_close_matches(str(name), list(_DEFAULTS), 1)), None)
            raise ConfigError(f"{name!r} is not a setting", key=str(name), nearest=nearest)
    return _settings(dict(values))


def _settings(values: dict[str, Any]) -> Settings:
    return Settings(**values)


def _check(name: str, value: Any) -> None:
    if name not in _DEFAULTS:
        nearest = next(iter(get_close_matches(name, list(_DEFAULTS), 1)), None)
        raise ConfigError(f"{name!r} is not a setting", key=name, nearest=nearest)
    if name in _CLOCKS:
        check_seconds(f"Settings.{name}", value)
    elif name == "cancel_grace" and not (_number(value) and 0 <= value < math.inf):
        raise ConfigError(f"Settings.{name} must be seconds, 0 or more, got {value!r}", key=name)
    elif name == "max_ensemble_depth" and not (isinstance(value, int) and _number(value) and value >= 1):
        raise ConfigError(f"Settings.{name} must be a whole number, 1 or more, got {value!r}", key=name)
    elif name == "max_concurrent_agents" and not (isinstance(value, int) and _number(value) and value >= 0):
        raise ConfigError(f"Settings.{name} must be a whole number, 0 or more (0: no limit), got {value!r}", key=name)
    elif isinstance(_DEFAULTS[name], bool) and not isinstance(value, bool):
        raise ConfigError(f"Settings.{name} must be true or false, got {value!r}", key=name)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


MOST_SECONDS = 1e9  # thirty years; beyond some number the clocks of event loops overflow


def check_seconds(what: str, value: Any, *, agent: str | None = None) -> None:
    """Refuse a clock that is not None and not seconds above 0 (NaN and inf included), up to thirty years.

    Raises:
        ConfigError: names `what`, the bound and the value.
    """
    if value is None or (_number(value) and 0 < value <= MOST_SECONDS):
        return
    too_many = _number(value) and MOST_SECONDS < value < math.inf
    bound = f"up to {MOST_SECONDS:.0f}" if too_many else "above 0"
    message = f"{what} must be seconds {bound}, got {told(value)}"
    raise ConfigError(message, agent=agent, key=what.rpartition(".")[2])
