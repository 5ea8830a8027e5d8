"""Tell the shapes of JSON data apart, so that type checkers know what they look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

LONG_VALUE = 80  # characters of a value that a message repeats


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Tell whether a value is a mapping."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Tell whether a value is a sequence, and not a text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def told(value: object) -> str:
    """Give a value as a message may repeat it: what a mapping or a list holds stays out, it may be a secret."""
    if is_mapping(value):
        return "a mapping"
    if is_list(value) or isinstance(value, (set, frozenset)):
        return "a list"
    text = repr(value)
    return text if len(text) <= LONG_VALUE else f"{text[: LONG_VALUE - 4]}...{text[-1]}"
