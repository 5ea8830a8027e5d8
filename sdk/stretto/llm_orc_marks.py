"""Translate llm-orc's guards, and texts in which `${` is no mark, to stretto's own language of marks."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from . import marks
from .errors import ConfigError
from .yaml_text import LONG_NUMBER, excerpt

_REFERENCE = re.compile(r"\s*\$\{([^{}]+)\}\s*(==.*)?", re.DOTALL)
_ODD = re.compile(r"[\[\]\"'()]")  # llm-orc reads no reference with one of these in it
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_LONG_MARK = 1000  # characters; no name and no path is as long
_MARK = re.compile(r"(\$?)\$\{([^{}]*)(\}?)")


class Read(NamedTuple):
    """What a guard is here.

    Args:
        text: in stretto's words; None: it always holds.
        warning: what is other than it seems; "" for nothing.
    """

    text: str | None
    warning: str = ""


def guard(text: str, names: Collection[str]) -> Read:
    """Translate a guard of a compat file; what is none at all is left as it is, and refused where it is checked.

    Args:
        text: what the file says.
        names: of the agents, or of what else its mark may begin with.
    """
    if "${" not in text:
        return Read(text)
    match = _REFERENCE.fullmatch(text)
    odd = match is not None and _ODD.search(match[1]) is not None and not names_one(match[1], names)
    if match is not None and not odd:
        return Read(text if match[2] is None else _compared(text, match[1], match[2][2:].strip()))
    if not odd and _native(text) is not None:
        return Read(text, f"llm-orc does not read {excerpt(text)} and lets it always hold: here it is a condition")
    cure = "write ${agent.field} == value"
    return Read(None, f"{excerpt(text)} is no condition that llm-orc reads, so it always holds: {cure}")


def names_one(inside: str, names: Collection[str]) -> bool:
    """Tell whether what stands in a mark begins with one of the names, or with `input` or `dependencies`."""
    if len(inside) > _LONG_MARK:
        return False
    try:
        marks.Mark(inside).resolve(names)
    except KeyError:
        return False
    return True


def _native(text: str) -> marks.Guard | None:
    try:
        return marks.guard(text, agent=None)
    except ConfigError:
        return None


def _compared(text: str, inside: str, literal: str) -> str:
    """Give a comparison with a literal that is read as llm-orc reads it: several words are one text."""
    value: Any = literal
    if len(literal) > 1 and literal[0] == literal[-1] and literal[0] in "\"'":
        value = literal[1:-1]
    elif literal in ("true", "false"):
        value = literal == "true"
    elif len(literal) <= LONG_NUMBER and _NUMBER.fullmatch(literal):
        value = float(literal) if "." in literal else int(literal)
    native = _native(text)
    same = native is not None and type(native.literal) is type(value) and native.literal == value
    if native is not None and native.operator == "==" and same:
        return text
    return f"${{{inside}}} == {json.dumps(value, ensure_ascii=False)}"


def of_body(text: str) -> str:
    """Translate marks that are fields of a loop's body, `${field}`, to `${body.field}`."""

    def named(match: re.Match[str]) -> str:
        inside = match[2].strip()
        if match[1] or not match[3] or not inside or inside == marks.BODY or inside.startswith(f"{marks.BODY}."):
            return match[0]
        return f"${{{marks.BODY}.{inside}}}"

    return _MARK.sub(named, text)


def literal(text: str, names: Collection[str]) -> str:
    """Give a text in which only marks that name something are marks: llm-orc fills none in.

    Args:
        text: a system prompt.
        names: of the agents that a mark may show.
    """

    def kept(match: re.Match[str]) -> str:
        if match[1]:
            return match[0]
        shown = match[2].strip()
        return match[0] if match[3] and shown and names_one(shown, names) else f"${match[0]}"

    return _MARK.sub(kept, text) if "${" in text else text
