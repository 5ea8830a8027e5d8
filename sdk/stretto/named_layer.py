"""Make the layers that a file names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from .errors import ConfigError
from .findings import Findings, nearest
from .routing import entry_points
from .stack import ORDER, names, shipped_layer
from .yaml_text import Place, Section, excerpt, kind_of


def read_layers(section: Section, findings: Findings, agent: str | None) -> list[Any]:
    """Make the layers under `middleware`; what is wrong is added to the findings."""
    value, made = section["middleware"], list[Any]()
    for item, at in zip(value, value.items_at, strict=True):
        layer = None if findings.full else _layer(item, at, findings, agent)
        if layer is not None:
            made.append(layer)
    try:
        names(made)
    except ConfigError as error:
        findings.refused(error, section, "middleware", agent)
    return made


def _layer(item: Any, place: Place, findings: Findings, agent: str | None) -> Any:
    name, given = next(iter(item.items())) if isinstance(item, Section) and len(item) == 1 else (item, None)
    given = Section(place) if given is None else given
    if not isinstance(name, str) or not isinstance(given, Section):
        message = "a layer must be a name, or a name with its keywords: `- retry: {attempts: 5}`"
        return findings.wrong(message, place, "middleware", agent)
    try:
        return made_layer(name, given)
    except ConfigError as error:
        at = given.keys_at.get(error.key or "", next(iter(given.keys_at.values())) if len(given) == 1 else place)
        return findings.wrong(error.message, at, "middleware", agent, near=error.nearest)


def made_layer(name: str, given: Mapping[str, Any]) -> Any:
    """Make a layer by the name that files use: one of stretto's, or one of an entry point.

    Raises:
        ConfigError: for an unknown name or keyword, with the nearest one, and for a value that the layer refuses.
    """
    known = _shipped()
    points = entry_points("stretto.middleware", ORDER)
    if name not in known and name not in points:
        raise ConfigError(f"no layer is named {excerpt(name)}", nearest=nearest(name, [*known, *points]))
    try:
        kind = shipped_layer(name) if name in known else points[name].load()
        keywords = inspect.signature(kind).parameters
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # of another distribution
        raise ConfigError(f"the layer {name} cannot be loaded: {error}") from None
    for keyword, value in given.items():
        if keyword not in keywords:
            message = f"the layer {name} has no keyword {excerpt(keyword)}: {', '.join(keywords)}"
            raise ConfigError(message, key=keyword, nearest=nearest(keyword, keywords))
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


@cache
def _shipped() -> tuple[str, ...]:
    return tuple(place for place in ORDER if find_spec(f"stretto.middleware.{place}") is not None)
