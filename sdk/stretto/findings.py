"""Collect what is wrong with a file, and what of it is translated or has no effect."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from .errors import ConfigError
from .key_shapes import clean
from .yaml_text import Origin, Place, Section

MOST_FOUND = 1000  # errors; who has more of them is told to begin with these
MOST_NOTES = 100
MOST_SUGGESTED = 20  # in one load: each search costs time
LONG_WORD = 80  # characters; what is longer is no slip of the pen
OF_KEYS = 0.72  # how alike a key and the one that was meant are; names of people's own may differ more


def nearest(word: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Give the name that is nearest to a word."""
    return next(iter(get_close_matches(word, list(names), 1, cutoff)), None) if len(word) <= LONG_WORD else None


class Suggestions:
    """The nearest names, for the first mistakes of a load."""

    def __init__(self) -> None:
        self._left = MOST_SUGGESTED

    def take(self) -> bool:
        """Tell whether there is one more, and count it."""
        self._left -= 1
        return self._left >= 0

    def nearest(self, word: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
        """Give the name that is nearest to a word, while there is one more."""
        return nearest(word, names, cutoff) if self.take() else None


def ignored(doubt: ConfigError) -> str:
    """Say of a key that is none, and has its place, that it is ignored."""
    return f"{doubt.file}:{doubt.line}: {ConfigError(doubt.message, nearest=doubt.nearest)}: it is ignored"


class Findings:
    """What is found in one file.

    Args:
        file: its path.
        strict: whether a warning is an error.
        suggestions: of the load that the file is read in.

    Attributes:
        errors: in the order in which they were found.
    """

    def __init__(self, file: str, *, strict: bool, suggestions: Suggestions | None = None) -> None:
        self.file = file
        self.suggestions = suggestions or Suggestions()
        self.strict = strict
        self.errors: list[ConfigError] = []
        self._notes: dict[str, None] = {}
        self._said: set[str] = set()

    @property
    def full(self) -> bool:
        """Whether there are so many errors that nobody needs more."""
        return len(self.errors) >= MOST_FOUND

    @property
    def notes(self) -> tuple[str, ...]:
        """The warnings, each once."""
        notes = tuple(self._notes)
        more = len(notes) - MOST_NOTES
        return notes if more <= 0 else (*notes[:MOST_NOTES], f"{self.file}: and {more} more warnings")

    def wrong(
        self,
        message: str,
        place: Place,
        key: str | None = None,
        agent: str | None = None,
        *,
        near: str | None = None,
        file: str | None = None,
    ) -> None:
        """Add an error, unless it is there already."""
        where = file or self.file
        self.add(
            ConfigError(message, file=where, line=place.line, column=place.column, agent=agent, key=key, nearest=near)
        )

    def add(self, error: ConfigError) -> None:
        """Add an error that has its place, unless it is there already; of one that holds several, each."""
        for one in error.errors or (error,):
            if not self.full and str(one) not in self._said:
                self._said.add(str(one))
                self.errors.append(one)

    def warn(
        self,
        message: str,
        place: Place,
        key: str | None = None,
        agent: str | None = None,
        *,
        near: str | None = None,
        file: str | None = None,
        after: str = "",
    ) -> None:
        """Add a warning; in a strict file it is an error. `after` is what comes of it where it is none."""
        if self.strict:
            self.wrong(message, place, key, agent, near=near, file=file)
        else:
            subject = f"agent {agent!r}: " if agent is not None else ""
            hint = f" (did you mean {near!r}?)" if near is not None else ""
            self.note(f"{file or self.file}:{place.line}: {subject}{message}{hint}{after and ': '}{after}")

    def note(self, text: str) -> None:
        """Add a warning that is none of a strict file's errors."""
        self._notes[clean(text)] = None

    def refused(self, error: ConfigError, section: Section, key: str, agent: str | None = None) -> None:
        """Add what a class said of a value: at the place of the key, and under the name that it was written with."""
        place = place_in(section, error.key if (error.key or "").startswith(key) else key)
        origin = section.origins.get(key, Origin(key))
        message, name = error.message, error.key
        if origin.key != key:
            head = message.startswith(key)
            message = f"{origin.key}{message[len(key) :]}" if head else f"{origin.key}: {message}"
            name = origin.key
        self.wrong(message, place, name, agent, near=error.nearest, file=origin.file)


def place_in(section: Section, key: str | None) -> Place:
    """Find the place of a key such as `params.seed`, or of the last part of it that is there."""
    place, inner = section.place, section
    for part in (key or "").split("."):
        if part not in inner:
            break
        place = inner.keys_at[part]
        if not isinstance(inner[part], Section):
            break
        inner = inner[part]
    return place
