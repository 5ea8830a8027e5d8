"""One language of marks for prompts, guards and the keys that pick data: `${input}`, `${agent}`, `${agent.field}`,
`${dependencies}`; in a fan-out `${item}` and `${index}`, in a loop `${body}`.

A text is read once into parts; `$${` is a literal `${`. What is filled in is plain text and is not read again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .errors import ConfigError
from .shapes import is_list, is_mapping, told

INPUT = "input"
DEPENDENCIES = "dependencies"
RESERVED = (INPUT, DEPENDENCIES)
ITEM, INDEX, BODY = "item", "index", "body"

# Characters, beyond which reading them would take time that grows with the square: no name of an agent is as long.
LONG_MARK = 1000
LONG_INDEX = 19  # digits

_MARK = re.compile(r"(\$?)\$\{([^{}]*)(\}?)")


@dataclass(frozen=True, slots=True)
class Mark:
    """One `${...}`, not yet resolved.

    Args:
        text: what stands between the braces.
    """

    text: str

    def resolve(self, names: Collection[str]) -> tuple[str, tuple[str, ...]]:
        """Give the name and the path of fields; the longest name wins, since names may hold dots.

        Args:
            names: of agents; `input` and `dependencies` are always known.

        Raises:
            KeyError: when no name fits.
        """
        head = self.text.strip()
        rest: list[str] = []
        while head not in RESERVED and head not in names:
            head, dot, field = head.rpartition(".")
            if not dot:
                raise KeyError(self.text)
            rest.append(field)
        return head, tuple(reversed(rest))

    @property
    def head(self) -> str:
        """What stands before the first dot."""
        return self.text.strip().partition(".")[0]


Parts = tuple[str | Mark, ...]


def read(text: str, *, agent: str | None = None, key: str | None = None) -> Parts:
    """Read a text into literal texts and marks.

    Raises:
        ConfigError: for a mark that is empty or not closed.
    """
    parts: list[str | Mark] = []
    done = 0
    for match in _MARK.finditer(text):
        parts.append(text[done : match.start()])
        done = match.end()
        if match[1]:
            parts.append(match[0][1:])
        elif len(match[2]) > LONG_MARK:
            message = f"a mark of {len(match[2])} characters in {key or 'the text'} is too long: {match[0][:40]!r}..."
            raise ConfigError(message, agent=agent, key=key)
        elif not match[3] or not match[2].strip():
            message = f"{match[0]!r} in {key or 'the text'} is not a mark: write ${{name}}, or $${{ for a literal ${{"
            raise ConfigError(message, agent=agent, key=key)
        else:
            parts.append(Mark(match[2]))
    parts.append(text[done:])
    return tuple(part for part in parts if part != "")


def check(
    parts: Parts,
    direct: Collection[str],
    every: Callable[[], Collection[str]],
    all_names: Collection[str],
    *,
    agent: str,
    key: str,
    bound: Collection[str] = (),
) -> None:
    """Refuse a mark that names neither the input nor a direct or indirect dependency.

    Args:
        parts: of the text.
        direct: names of the agent's direct dependencies.
        every: gives those of its direct and indirect ones.
        all_names: of the ensemble; the longest wins here too, so that a mark means one thing in every run.
        agent: whose text it is.
        key: where it stands.
        bound: names that stand for something within a fan-out or a loop.

    Raises:
        ConfigError: with the nearest name, or the dependency that is missing.
    """
    for part in parts:
        if isinstance(part, str):
            continue
        shown = part.text.strip()
        if part.head in bound:
            continue
        try:
            name, _ = part.resolve(all_names)
        except KeyError:
            near = sorted({*RESERVED, *bound, *every()})
            nearest = next(iter(get_close_matches(part.head, near, 1)), None)
            message = f"${{{shown}}} in {key} names neither the input nor a dependency"
            raise ConfigError(message, agent=agent, key=key, nearest=nearest) from None
        if name not in RESERVED and name not in direct and name not in every():
            raise ConfigError(f"${{{shown}}} in {key} needs {name!r} in depends_on", agent=agent, key=key)


def fill(parts: Parts, names: Collection[str], value: Callable[[str, tuple[str, ...]], str]) -> str:
    """Replace each mark by `value(name, path)`."""
    return "".join(part if isinstance(part, str) else value(*part.resolve(names)) for part in parts)


class MissingField(LookupError):
    """A path that a value does not have."""


def _longest(found: Mapping[Any, Any], path: Sequence[str]) -> str | None:
    keys = (".".join(path[:end]) for end in range(len(path), 0, -1))
    return next((key for key in keys if key in found), None)


def pick(value: Any, path: Sequence[str]) -> Any:
    """Follow a path of fields through JSON data; a text is read as JSON first. Of a key with dots the longest wins.

    Raises:
        MissingField: says which field is not there.
    """
    if path and isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):  # a model may say three thousand brackets
            raise MissingField(f"has no field {path[0]!r}: it is not JSON") from None
    found: Any = value
    left = list(path)
    while left:
        inside: Any = found
        key = _longest(found, left) if is_mapping(found) else None
        if key is not None:
            found = inside[key]
            del left[: key.count(".") + 1]
            continue
        field = left.pop(0)
        if is_list(found) and field.isdecimal() and len(field) < LONG_INDEX and int(field) < len(inside):
            found = inside[int(field)]
        else:
            raise MissingField(f"has no field {field!r}")
    return found


_GUARD = re.compile(r"\$\{([^{}]+)\}\s*(?:(==|!=)\s*(\S.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition: a mark alone (truthy), or a mark `==` or `!=` a literal."""

    mark: Mark
    operator: str | None
    literal: Any

    def holds(self, value: Any) -> bool:
        """Tell whether the condition holds for the mark's value."""
        if self.operator is None:
            return bool(value) and value not in ("false", "False")
        # As a prompt shows both, too: a model that answers true or 5 gives a text. But 1 is not true.
        same = as_literal(value) == as_literal(self.literal) or (
            value == self.literal and isinstance(value, bool) is isinstance(self.literal, bool)
        )
        return same if self.operator == "==" else not same

    def holds_in_llm_orc(self, value: Any) -> bool:
        """Tell the same as llm-orc does: any text but an empty one is true, and a text is never a number."""
        if self.operator is None:
            return bool(value)
        same = value is not None and value == self.literal
        return same if self.operator == "==" else not same


def as_literal(value: Any) -> str:
    """Give a value as a prompt shows it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # a function may have given anything
        return str(value)


def marks_in(parts: Parts) -> list[Mark]:
    """Give the marks of a text."""
    return [part for part in parts if isinstance(part, Mark)]


def alone(parts: Parts) -> Mark | None:
    """Give the mark of a text that is one mark and nothing else."""
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Mark) else None


def guard(text: str, *, agent: str | None, key: str = "when") -> Guard:
    """Read a `when` or `until`.

    Raises:
        ConfigError: for anything but `${agent.field}`, alone or compared with a literal.
    """
    match = _GUARD.fullmatch(text.strip())
    try:
        if match is None or len(match[1]) > LONG_MARK:
            raise ValueError
        return Guard(Mark(match[1]), match[2], _literal(match[3]) if match[2] else None)
    except ValueError:
        what = BODY if key.endswith("until") else "agent"
        message = (
            f"{key} must be ${{{what}.field}}, or that == or != a literal (several words: in quotes), got {told(text)}"
        )
        raise ConfigError(message, agent=agent, key=key) from None


# Anything with blanks, quotes or braces in it is more than one literal: a condition that we do not know.
_WORD = re.compile(r"""[^\s"'`{}=!&|<>]+""")


def _literal(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] == "'" and "'" not in text[1:-1]:
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        if _WORD.fullmatch(text):
            return text
        raise
