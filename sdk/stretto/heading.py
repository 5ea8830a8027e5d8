"""Read the beginning of an ensemble's file: enough to list it, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .plain_file import read_bytes
from .yaml_text import MOST_BYTES, MOST_DEPTH

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it
_AGENTS = re.compile(r"^agents[ \t]*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands at the top of a file.

    Args:
        name: the text under `name:`. None: there is none, or it was not reached.
        is_ensemble: whether there is a key `agents:`.
    """

    name: str | None
    is_ensemble: bool


def heading(file: Path) -> Heading:
    """Read a file up to its name and its agents; never raises, whatever the file is."""
    name, is_ensemble = None, False
    try:
        text = read_bytes(file, MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        return Heading(None, False)
    try:
        for key, value in _pairs(yaml.parse(text, Loader=_LOADER)):
            is_ensemble = is_ensemble or key == "agents"
            name = value if key == "name" else name
            if name is not None and is_ensemble:
                break
    except yaml.YAMLError:
        is_ensemble = is_ensemble or _AGENTS.search(text) is not None
    return Heading(name, is_ensemble)


def _pairs(events: Iterator[Any]) -> Iterator[tuple[str | None, str | None]]:
    """Give the keys at the top as they come, each with its value where that is a text; None is whatever is no text."""
    depth, key, at_value = 0, None, False
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            if (depth == 0 and not isinstance(event, yaml.MappingStartEvent)) or depth == MOST_DEPTH:
                return
            if depth == 1 and at_value:
                yield key, None  # before what it holds is read
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            if depth == 1:
                key, at_value = None, not at_value
        elif depth == 1 and isinstance(event, yaml.NodeEvent):
            text = event.value if isinstance(event, yaml.ScalarEvent) else None
            if at_value:
                yield key, text
            key, at_value = text, not at_value
        elif isinstance(event, yaml.DocumentEndEvent):
            return
