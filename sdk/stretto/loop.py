"""A loop: an ensemble that is run again until its result is good enough, at most a number of times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from . import marks
from .errors import ConfigError
from .shapes import is_mapping, told

if TYPE_CHECKING:
    from .ensemble import Ensemble


@dataclass(frozen=True, slots=True)
class Loop:
    """What an agent repeats.

    Args:
        body: an Ensemble, or where its file is: a relative path or a stem.
        max_iterations: rounds at most, 1 or more.
        until: `${body.field}`, alone or `==` / `!=` a literal; it ends after the round in which this holds. None: after
            `max_iterations`.
        carry: text with marks (`${body.field}`, `${input}`): the input of the next round; a mark alone carries data.
            None: every round has the agent's own input.

    Raises:
        ConfigError: at construction; names the key, its bound and the value.
    """

    body: Ensemble | str
    max_iterations: int
    until: str | None = None
    carry: str | None = None

    def __post_init__(self) -> None:
        body: Any = self.body
        if not (isinstance(body, str) and body.strip()) and not hasattr(body, "plan"):
            message = f"loop.body must be an Ensemble, a relative path or a stem, got {told(body)}"
            raise ConfigError(message, key="loop.body")
        most: Any = self.max_iterations
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            message = f"loop.max_iterations must be a whole number of 1 or more, got {told(most)}"
            raise ConfigError(message, key="loop.max_iterations")
        for key in ("until", "carry"):
            value = getattr(self, key)
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"loop.{key} must be a text, got {told(value)}", key=f"loop.{key}")
        if self.until is not None:
            guard = marks.guard(self.until, agent=None, key="loop.until")
            _check((guard.mark,), "until")
        if self.carry is not None:
            _check(marks.read(self.carry, key="loop.carry"), "carry")


def _check(parts: marks.Parts, key: str) -> None:
    known = (marks.BODY,)
    for part in parts:
        if isinstance(part, str):
            continue
        try:
            name, _ = part.resolve(known)
        except KeyError:
            name = marks.DEPENDENCIES
        if name == marks.DEPENDENCIES:
            message = f"${{{part.text}}} in loop.{key} must be ${{{marks.BODY}}}, a field of it, or ${{{marks.INPUT}}}"
            raise ConfigError(message, key=f"loop.{key}")


LOOP_KEYS = tuple(f.name for f in fields(Loop))


def as_loop(given: Any, *, agent: str) -> Loop:
    """Give a loop, or a mapping of its fields, as a `Loop`.

    Raises:
        ConfigError: names the agent and the key.
    """
    if isinstance(given, Loop):
        return given
    if not is_mapping(given):
        message = f"loop must be a mapping of {', '.join(LOOP_KEYS)}, got {told(given)}"
        raise ConfigError(message, agent=agent, key="loop")
    values: Mapping[str, Any] = given
    for key in values:
        if key not in LOOP_KEYS:
            nearest = next(iter(get_close_matches(str(key), LOOP_KEYS, 1)), None)
            raise ConfigError(f"{key!r} is not a key of loop", agent=agent, key=f"loop.{key}", nearest=nearest)
    for key in ("body", "max_iterations"):
        if values.get(key) is None:
            raise ConfigError(f"loop needs {key}", agent=agent, key="loop")
    try:
        return Loop(**values)
    except ConfigError as error:
        raise ConfigError(error.message, agent=agent, key=error.key, nearest=error.nearest) from None
