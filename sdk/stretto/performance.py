"""Read `performance.yaml`: settings and prices that stand beside an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .settings import SECTIONS, Settings, settings_from
from .usage import Price
from .yaml_text import Place, Section, read_yaml

NAME = "performance.yaml"


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
    section = read_yaml(path)
    errors: list[ConfigError] = []
    prices = section.pop("prices", {})
    flat = read_settings(section, str(path), errors, in_sections=True)
    made = read_prices(prices, section.keys_at.get("prices", section.place), str(path), errors)
    raise_all(errors)
    return Performance(flat, made)


def read_settings(section: Section, file: str, errors: list[ConfigError], *, in_sections: bool = False) -> Settings:
    """Read settings, flat or under `execution:` and `concurrency:`; what is wrong is added to `errors`."""
    settings = Settings()
    for key, value in section.items():
        place = section.keys_at[key]
        if key.startswith("x-"):
            continue
        if in_sections and key in SECTIONS:
            if not isinstance(value, Section):
                errors.append(_wrong(f"{key} must hold settings, got {value!r}", file, place, key))
                continue
            misplaced = [name for name in value if name not in SECTIONS[key] and not name.startswith("x-")]
            for name in misplaced:
                where = next((other for other, names in SECTIONS.items() if name in names), None)
                cure = f": it belongs under {where}" if where is not None else ""
                errors.append(_wrong(f"{name!r} is not a setting of {key}{cure}", file, value.keys_at[name], name))
                del value[name]
            settings = settings.over(read_settings(value, file, errors))
            continue
        try:
            settings = settings_from({key: value}).over(settings)
        except ConfigError as error:
            errors.append(error.at(file=file, line=place.line, column=place.column))
    return settings


def read_prices(value: Any, place: Place, file: str, errors: list[ConfigError]) -> dict[str, Price]:
    """Read prices by model pattern; what is wrong is added to `errors`."""
    if not isinstance(value, Mapping):
        errors.append(_wrong("prices must map a model pattern to input, output and cached", file, place, "prices"))
        return {}
    prices: dict[str, Price] = {}
    for pattern, numbers in value.items():
        at = value.keys_at[pattern] if isinstance(value, Section) else place
        wrong = not isinstance(numbers, Mapping) or not {"input", "output"} <= set(numbers) <= {"input", "output", "cached"}
        if wrong or any(isinstance(n, bool) or not isinstance(n, (int, float)) or n < 0 for n in numbers.values()):
            message = f"the price of {pattern!r} must be input, output and, where known, cached: USD per million tokens"
            errors.append(_wrong(message, file, at, "prices"))
        else:
            prices[pattern] = Price(**{name: float(number) for name, number in numbers.items()})
    return prices


def _wrong(message: str, file: str, place: Place, key: str) -> ConfigError:
    return ConfigError(message, file=file, line=place.line, column=place.column, key=key)


def raise_all(errors: list[ConfigError]) -> None:
    """Raise what was found, together, in file order.

    Raises:
        ConfigError: the only error, or one that holds all.
    """
    if not errors:
        return
    errors.sort(key=lambda error: (error.line or 0, error.column or 0))
    if len(errors) == 1:
        raise errors[0]
    first = errors[0]
    raise ConfigError(
        f"{len(errors)} errors",
        file=first.file,
        line=first.line,
        column=first.column,
        agent=first.agent,
        key=first.key,
        nearest=first.nearest,
        errors=tuple(errors),
    )
