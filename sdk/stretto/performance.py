"""Read settings and prices: `performance.yaml`, and the section `performance:` of llm-orc's `config.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .findings import MOST_FOUND, MOST_NOTES, OF_KEYS, Suggestions, ignored
from .settings import SECTIONS, Settings, settings_from
from .usage import Price
from .yaml_text import Items, Place, Section, excerpt, kind_of, read_yaml

NAME = "performance.yaml"
MOST_ERRORS = 100  # that are said together
# llm-orc's keys that are kept without effect, by section ("": at the top), and what stands for them here.
WITHOUT_EFFECT: Mapping[str, Mapping[str, str]] = {
    "": {
        "streaming_enabled": "a run streams when it is started with stream=True, or shown with -v",
        "script_cache": "a script runs each time",
        "memory": "nothing is held back for lack of memory",
        "timeout_seconds": "execution.default_timeout bounds each agent",
    },
    "execution": {
        "streaming_enabled": "a run streams when it is started with stream=True, or shown with -v",
        "monitoring_enabled": "spans go to the OpenTelemetry tracer provider that the program sets up",
    },
    "concurrency": {
        "connection_pool": "connections are pooled without a bound, the layer concurrency_limit bounds the requests",
        "request_timeout": "the layer timeout and each agent's timeout bound a request, connect_timeout of a provider"
        " the connecting",
    },
}
_ELSEWHERE = {
    "limits": "limits cannot be read from this file yet: write them into the ensemble, such as"
    " middleware: [{rate_limit: {requests: 60}}]",
    "performance": "performance: is a section of config.yaml: write here what it holds, at the top",
}
_EMPTY = ": leave the key out, or give it content"
_ALL = frozenset[str]().union(*SECTIONS.values())
_PLAIN = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?|true|false", re.IGNORECASE)
_WHOLE = re.compile("[0-9]{1,18}")
_FROM_TEXT = ("default_timeout", "max_ensemble_depth")  # llm-orc takes a number that is written as a text
_COUNTS = ("max_concurrent_agents", "max_ensemble_depth")  # and one such as 2.0


@dataclass(frozen=True, slots=True)
class Performance:
    """What such files say.

    Args:
        settings: those that they give.
        prices: USD per million tokens by model pattern.
        notes: what in them has no effect, with file and line.
        doubts: of that, the keys that are nearly one that is known.
    """

    settings: Settings = field(default_factory=Settings)
    prices: Mapping[str, Price] = field(default_factory=dict[str, Price])
    notes: tuple[str, ...] = ()
    doubts: tuple[ConfigError, ...] = ()

    def over(self, other: Performance) -> Performance:
        """Lay this over `other`: what is given here wins, setting by setting and pattern by pattern."""
        prices = {**other.prices, **self.prices}
        notes, doubts = (*other.notes, *self.notes), (*other.doubts, *self.doubts)
        return Performance(self.settings.over(other.settings), prices, notes, doubts)


def read_performance(path: str | Path) -> Performance:
    """Read a `performance.yaml`.

    Raises:
        ConfigError: with file, line and column; several together.
    """
    file, section = str(path), read_yaml(path)
    errors: list[ConfigError] = []
    reading = _Reading(file, errors, forgiving=False)
    made = reading.performance(section)
    raise_all(errors)
    return made


def read_performance_section(config: Section, file: str, errors: list[ConfigError]) -> Performance:
    """Read the section `performance:` of a `config.yaml`; what is wrong is added to `errors`.

    It is llm-orc's file: what it ignores is ignored with a note, and a number that it takes in another form is one.
    """
    if "performance" not in config:
        return Performance()
    section = config["performance"]
    if not isinstance(section, Section):
        message = f"performance must hold settings, got {kind_of(section)}{_EMPTY if section is None else ''}"
        errors.append(_wrong(message, file, config.keys_at["performance"], "performance"))
        return Performance()
    return _Reading(file, errors, forgiving=True).performance(section)


def read_settings(section: Section, file: str, errors: list[ConfigError]) -> Settings:
    """Read settings by their flat names; what is wrong is added to `errors`."""
    reading = _Reading(file, errors, forgiving=False)
    for key, value in section.items():
        if not key.startswith("x-"):
            reading.setting(key, value, section.keys_at[key])
    return reading.settings


class _Reading:
    """One file: its settings are laid together, what is wrong or without effect is collected.

    Args:
        forgiving: whether what llm-orc ignores is ignored with a note.
    """

    def __init__(self, file: str, errors: list[ConfigError], *, forgiving: bool) -> None:
        self.settings = Settings()
        self._file = file
        self._errors = errors
        self._forgiving = forgiving
        self._seen: dict[str, Place] = {}
        self._notes: list[str] = []
        self._doubts: list[ConfigError] = []
        self._suggestions = Suggestions()
        self._idle: list[tuple[Place, str]] = []

    def performance(self, section: Section) -> Performance:
        prices: Mapping[str, Price] = {}
        for key, value in section.items():
            place = section.keys_at[key]
            if key == "prices":
                prices = read_prices(value, place, self._file, self._errors)
            elif key in SECTIONS:
                self._section(key, value, place)
            else:
                self._key(key, value, place, "")
        if self._idle:
            first = self._idle[0][0].line
            said = "; ".join(what if at.line == first else f"in line {at.line} {what}" for at, what in self._idle)
            self._notes.insert(0, f"{self._file}:{first}: kept without effect: {said}")
        return Performance(self.settings, prices, tuple(self._notes[:MOST_NOTES]), tuple(self._doubts[:MOST_FOUND]))

    def _section(self, name: str, value: Any, place: Place) -> None:
        if not isinstance(value, Section):
            message = f"{name} must hold settings, got {kind_of(value)}{_EMPTY if value is None else ''}"
            self._errors.append(_wrong(message, self._file, place, name))
            return
        for key, inner in value.items():
            self._key(key, inner, value.keys_at[key], name)

    def _key(self, key: str, value: Any, place: Place, section: str) -> None:
        """Read a key of a section, or at the top: `section` is empty."""
        idle = WITHOUT_EFFECT[section].get(key)
        if key.startswith("x-"):
            return
        if idle is not None:
            name = f"{section}.{key}" if section else key
            self._idle.append((place, f"{name} ({idle})"))
        elif key in (SECTIONS[section] if section else _ALL):
            self.setting(key, value, place)
        else:
            self._unknown(key, place, section)

    def _unknown(self, key: str, place: Place, section: str) -> None:
        names = SECTIONS[section] if section else {*_ALL, *SECTIONS, "prices"}
        where = next((other for other, known in SECTIONS.items() if key in known), None)
        nearest = None if where is not None else self._suggestions.nearest(key, sorted(names), OF_KEYS)
        message = f"{excerpt(key)} is not a setting{f' of {section}' if section else ''}"
        if where is not None:
            message += f": it belongs under {where}"
        elif not section and key in _ELSEWHERE:
            message, nearest = _ELSEWHERE[key], None
        wrong = _wrong(message, self._file, place, key, nearest)
        if not self._forgiving:
            self._errors.append(wrong)
            return
        self._notes.append(ignored(wrong))
        if nearest is not None:
            self._doubts.append(wrong)

    def setting(self, key: str, value: Any, place: Place) -> None:
        if key in self._seen:
            message = f"{key} is given twice: first in line {self._seen[key].line}"
            self._errors.append(_wrong(message, self._file, place, key))
            return
        self._seen[key] = place
        if key not in _ALL:
            near = self._suggestions.nearest(key, sorted(_ALL), OF_KEYS)
            self._errors.append(_wrong(f"{excerpt(key)} is not a setting", self._file, place, key, near))
            return
        try:
            if isinstance(value, (Section, Items)):
                message = f"{key} must be a single value, got {kind_of(value)}"
                raise ConfigError(message, key=key)  # not by Settings: it would repeat what it holds
            self.settings = settings_from({key: self._number(key, value, place)}).over(self.settings)
        except ConfigError as error:
            quoted = isinstance(value, str) and _PLAIN.fullmatch(value) is not None
            message = error.message.removeprefix("Settings.")  # which only Python knows
            message = f"{message}: write it without quotes" if quoted else message
            self._errors.append(_wrong(message, self._file, place, key, error.nearest))

    def _number(self, key: str, value: Any, place: Place) -> Any:
        """Give a number that llm-orc takes in another form as one."""
        if not self._forgiving:
            return value
        if key in _FROM_TEXT and isinstance(value, str) and _WHOLE.fullmatch(value):
            self._notes.append(f"{self._file}:{place.line}: {key}: the text {value!r} is read as a number")
            return int(value)
        return int(value) if key in _COUNTS and isinstance(value, float) and value.is_integer() else value


def read_prices(value: Any, place: Place, file: str, errors: list[ConfigError]) -> dict[str, Price]:
    """Read prices by model pattern; what is wrong is added to `errors`."""
    if not isinstance(value, Section):
        errors.append(_wrong("prices must map a model pattern to input, output and cached", file, place, "prices"))
        return {}
    prices: dict[str, Price] = {}
    for pattern, numbers in value.items():
        if _is_price(numbers):
            prices[pattern] = Price(**{name: float(number) for name, number in numbers.items()})
        else:
            message = f"the price of {excerpt(pattern)} must be input, output and, where known, cached, each 0 or more"
            errors.append(_wrong(f"{message}: USD per million tokens", file, value.keys_at[pattern], "prices"))
    return prices


def _is_price(value: Any) -> bool:
    if not isinstance(value, Section) or not {"input", "output"} <= set(value) <= {"input", "output", "cached"}:
        return False
    return all(isinstance(n, (int, float)) and not isinstance(n, bool) and n >= 0 for n in value.values())


def _wrong(message: str, file: str, place: Place, key: str, nearest: str | None = None) -> ConfigError:
    return ConfigError(message, file=file, line=place.line, column=place.column, key=key, nearest=nearest)


def raise_all(errors: list[ConfigError]) -> None:
    """Raise what was found, together, in file order; what two files heard of a third one is said once.

    Raises:
        ConfigError: the only error, or one that holds all.
    """
    if not errors:
        return
    said = {(one.file, one.line, one.column, one.agent, one.message): one for one in errors}
    errors = list(said.values())
    errors.sort(key=lambda error: (error.file or "", error.line or 0, error.column or 0))
    if len(errors) == 1:
        raise errors[0]
    first, count = errors[0], len(errors)
    if count > MOST_ERRORS:
        left = errors[MOST_ERRORS]
        message = f"and {count - MOST_ERRORS} more errors from here on"
        errors[MOST_ERRORS:] = [ConfigError(message, file=left.file, line=left.line, column=left.column)]
    raise ConfigError(
        f"{count} errors",
        file=first.file,
        line=first.line,
        column=first.column,
        agent=first.agent,
        key=first.key,
        nearest=first.nearest,
        errors=tuple(errors),
    )
