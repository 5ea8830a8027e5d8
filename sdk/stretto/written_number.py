"""Take a number out of a file, also one that is written as a text."""

from __future__ import annotations

from typing import Any


def number(value: Any, *, whole: bool) -> int | float | None:
    """Give a number, also one that is written as a text; None when it is none, or not whole."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    if not isinstance(value, (int, float)) or (isinstance(value, float) and not abs(value) < 2**63):
        return None
    if whole:
        return int(value) if value == int(value) else None
    return value
