"""Read `performance.yaml`: settings and prices that stand beside an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .settings import SECTIONS, Settings, settings_from
from .usage import Price
from .yaml_text import Items, Place, Section, excerpt, kind_of, read_yaml

NAME = "performance.yaml"
MOST_ERRORS = 100  # that are said together


@dataclass(frozen=True, slots=True)
class Performance:
    """What the file says.

    Args:
        settings: those that it gives.
        prices: USD per million tokens by model pattern.
    """

    settings: Settings
    prices: Mapping[str, Price]


def read_performance(path: str | Path) -> Performance:
    """Read a file.

    Raises:
        ConfigError: with file, line and column; several together.
    """
    file, section = str(path), read_yaml(path)
    errors: list[ConfigError] = []
    at = section.keys_at.get("prices", section.place)
    prices = read_prices(section.pop("prices"), at, file, errors) if "prices" in section else {}
    settings = read_settings(section, file, errors, in_sections=True)
    raise_all(errors)
    return Performance(settings, prices)


def read_settings(section: Section, file: str, errors: list[ConfigError], *, in_sections: bool = False) -> Settings:
    """Read settings, flat or under `execution:` and `concurrency:`; what is wrong is added to `errors`."""
    settings, seen = Settings(), dict[str, Place]()

    def read(key: str, value: Any, place: Place) -> None:
        nonlocal settings
        if key in seen:
            errors.append(_wrong(f"{key} is given twice: first in line {seen[key].line}", file, place, key))
            return
        seen[key] = place
        try:
            if isinstance(value, (Section, Items)):
                message = f"{key} must be a single value, got {kind_of(value)}"
                raise ConfigError(message, key=key)  # not by Settings: it would repeat what it holds
            settings = settings_from({key: value}).over(settings)
        except ConfigError as error:
            errors.append(error.at(file=file, line=place.line, column=place.column))

    for key, value in section.items():
        place = section.keys_at[key]
        if key.startswith("x-"):
            continue
        if not (in_sections and key in SECTIONS):
            read(key, value, place)
        elif not isinstance(value, Section):
            errors.append(_wrong(f"{key} must hold settings, got {kind_of(value)}", file, place, key))
        else:
            for name, inner in value.items():
                if name in SECTIONS[key]:
                    read(name, inner, value.keys_at[name])
                elif not name.startswith("x-"):
                    errors.append(_misplaced(name, key, file, value.keys_at[name]))
    return settings


def _misplaced(name: str, section: str, file: str, place: Place) -> ConfigError:
    where = next((other for other, names in SECTIONS.items() if name in names), None)
    cure = f": it belongs under {where}" if where is not None else ""
    nearest = None if where is not None else next(iter(get_close_matches(name, SECTIONS[section], 1)), None)
    return _wrong(f"{excerpt(name)} is not a setting of {section}{cure}", file, place, name, nearest)


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
    """Raise what was found, together, in file order.

    Raises:
        ConfigError: the only error, or one that holds all.
    """
    if not errors:
        return
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
