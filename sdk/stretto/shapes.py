"""Tell the shapes of JSON data apart, so that type checkers know what they look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Tell whether a value is a mapping."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Tell whether a value is a sequence, and not a text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
