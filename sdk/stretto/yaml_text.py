"""Read a YAML file into data that knows where it stands, and refuse what is unsafe or ambiguous.

One pass over libyaml's events, without recursion: nesting, aliases and size are bounded, keys are unique, numbers are
finite, and tags that would make objects are refused. No refusal repeats more than a line of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import Reader, ReaderError
from yaml.resolver import Resolver

from .errors import ConfigError
from .plain_file import read_text

MOST_BYTES = 1_000_000
MOST_VALUES = 100_000  # an alias counts with all that it stands for, a long text as several
LONG_TEXT = 100  # characters that count as one value
MOST_DEPTH = 50
MOST_INTEGER = 2**63
LONG_NUMBER = 100  # characters; sums in base 60 of more would take seconds, and overflow
_TAGS = "tag:yaml.org,2002:"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it


class Place(NamedTuple):
    """Where something stands: line and column, from 1."""

    line: int
    column: int


class Origin(NamedTuple):
    """How the key was written that a translated one comes from.

    Args:
        key: its name.
        file: where it stands; None: in the same file.
    """

    key: str
    file: str | None = None


class Section(dict[str, Any]):
    """A mapping that knows where its keys stand."""

    origins: Mapping[str, Origin] = MappingProxyType({})  # of those that were translated

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.keys_at: dict[str, Place] = {}
        self.merged: set[str] = set()
        self.size = 1

    def put(self, key: str, value: Any, place: Place, origin: Origin | None = None) -> None:
        """Set a key, and where it stands; `origin` when it was written as another one."""
        self[key] = value
        self.keys_at[key] = place
        if origin is not None:
            self.origins = {**self.origins, key: origin}

    def without_own(self) -> Section:
        """Give it without keys that begin with `x-`; itself when there are none."""
        if not any(key.startswith("x-") for key in self):
            return self
        made = Section(self.place)
        for key, value in self.items():
            if not key.startswith("x-"):
                made.put(key, value, self.keys_at[key])
        return made


class Items(list[Any]):
    """A list that knows where its items stand."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.items_at: list[Place] = []
        self.size = 1


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being filled."""

    value: Section | Items
    anchor: str | None
    key: Any = None
    key_at: Place | None = None


class _Scalars(SafeConstructor, Resolver):
    """YAML's rules for plain scalars, as PyYAML has them."""

    def __init__(self) -> None:
        SafeConstructor.__init__(self)
        Resolver.__init__(self)


def read_yaml(path: str | Path, *, pipe: bool = False) -> Section:
    """Read a file that holds one mapping.

    Args:
        path: of the file.
        pipe: whether it may be a pipe, which is waited for. Other files that are no regular ones are never opened.

    Raises:
        ConfigError: with file, line and column, for whatever cannot be read.
    """
    name = str(path)
    text = read_text(name, MOST_BYTES, pipe=pipe)
    reader = _Reader(name)
    try:
        document = reader.document(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be read"
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        at = text.split("\n")[line - 1 : line]
        if at and at[0][column - 1 : column] == "\t":
            problem = "a tab stands here: indent with spaces"
        raise ConfigError(f"this is not YAML: {problem}", file=name, line=line, column=column) from None
    except ReaderError as error:
        raise _not_printable(error, text, name) from None
    if not isinstance(document, Section):
        what = "is empty" if document is None else f"holds {kind_of(document)} at its top"
        raise ConfigError(f"the file {what}: begin with keys such as `name:`", file=name, line=1, column=1)
    return document


def kind_of(value: Any) -> str:
    """Say what a value is, without repeating what a mapping or a list holds."""
    if value is None:
        return "nothing"
    if isinstance(value, (Section, Items)):
        return "a mapping" if isinstance(value, Section) else "a list"
    return excerpt(value)


def excerpt(value: Any) -> str:
    """Give the beginning of a value as it would stand in Python."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"


def _not_printable(error: ReaderError, text: str, name: str) -> ConfigError:
    # libyaml gives the place in bytes, or in characters, so the first such character is looked for here.
    found = Reader.NON_PRINTABLE.search(text)
    if found is None:
        return ConfigError(f"this is not YAML: {error.reason}", file=name, line=1, column=1)
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    message = f"this is not YAML: the character U+{ord(found[0]):04X} is not allowed"
    return ConfigError(message, file=name, line=line, column=column)


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._scalars: Any = _Scalars()
        self._anchors: dict[str, Any] = {}
        self._open: list[_Open] = []
        self._values = 0
        self._document: Any = None
        self._documents = 0

    def _refuse(self, message: str, place: Place) -> ConfigError:
        return ConfigError(message, file=self._file, line=place.line, column=place.column)

    def document(self, events: Iterator[Any]) -> Any:
        for event in events:
            place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise self._refuse("the file holds a second document: write one file for each", place)
            elif isinstance(event, yaml.MappingStartEvent):
                self._begin(Section(place), event, place, "map")
            elif isinstance(event, yaml.SequenceStartEvent):
                self._begin(Items(place), event, place, "seq")
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                done = self._open.pop()
                if done.anchor is not None:
                    self._anchors[done.anchor] = done.value
                self._put(done.value, done.value.place, 1)  # what it holds was counted already
            elif isinstance(event, yaml.ScalarEvent):
                value = self._scalar(event, place)
                if event.anchor is not None:
                    self._anchors[event.anchor] = value
                self._put(value, place, _size(value))
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self._anchors:
                    raise self._refuse(self._no_anchor(event.anchor), place)
                value = self._anchors[event.anchor]
                self._put(value, place, _size(value))
        return self._document

    def _begin(self, value: Section | Items, event: Any, place: Place, tag: str) -> None:
        if event.tag not in (None, "!", _TAGS + tag):
            raise self._refuse(f"the tag {event.tag} is not allowed", place)
        if len(self._open) >= MOST_DEPTH:
            raise self._refuse(f"this is nested more than {MOST_DEPTH} deep", place)
        self._open.append(_Open(value, event.anchor))

    def _no_anchor(self, name: str | None) -> str:
        if any(open.anchor == name for open in self._open):
            return f"the alias *{name} stands within what it names: it would hold itself"
        return f"the alias *{name} names nothing: write &{name} before a value above"

    def _put(self, value: Any, place: Place, counted: int) -> None:
        self._values += counted
        if self._values > MOST_VALUES:
            raise self._refuse(f"the file has more than {MOST_VALUES} values, aliases counted", place)
        if not self._open:
            self._document = value
            return
        top = self._open[-1]
        top.value.size += _size(value)
        if isinstance(top.value, Items):
            top.value.append(value)
            top.value.items_at.append(place)
        elif top.key_at is None:
            top.key, top.key_at = value, place
        else:
            key, key_at, top.key, top.key_at = top.key, top.key_at, None, None
            self._pair(top.value, key, key_at, value)

    def _pair(self, section: Section, key: Any, key_at: Place, value: Any) -> None:
        if key == "<<":
            for merged in value if isinstance(value, Items) else [value]:
                if not isinstance(merged, Section):
                    raise self._refuse("<< merges mappings only", key_at)
                for name in merged:
                    if name not in section:
                        section[name], section.keys_at[name] = merged[name], key_at
                        section.merged.add(name)
            return
        if not isinstance(key, str):
            cure = "" if isinstance(key, (Section, Items)) else ": quote it"
            raise self._refuse(f"a key must be a text, got {kind_of(key)}{cure}", key_at)
        if key in section and key not in section.merged:
            first = section.keys_at[key].line
            raise self._refuse(f"the key {excerpt(key)} is given twice: first in line {first}", key_at)
        section.merged.discard(key)
        section[key] = value
        section.keys_at[key] = key_at

    def _scalar(self, event: Any, place: Place) -> Any:
        tag: str = event.tag
        if tag in (None, "!"):
            tag = self._scalars.resolve(yaml.ScalarNode, event.value, event.implicit)
        kind = tag.removeprefix(_TAGS)
        if kind in ("str", "timestamp", "merge", "value"):  # a date stays the text that it was written as
            return event.value
        if kind == "null":
            return None
        if kind not in ("int", "float", "bool"):
            raise self._refuse(f"the tag {tag} is not allowed", place)
        if len(event.value) > LONG_NUMBER:
            message = f"a number of {len(event.value)} characters is too long: quote it if it is a text"
            raise self._refuse(message, place)
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            value = getattr(self._scalars, f"construct_yaml_{kind}")(node)
        except (ValueError, LookupError, OverflowError):
            raise self._refuse(f"{event.value!r} is not a valid {kind}", place) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refuse("a number must be finite", place)
        if isinstance(value, int) and abs(value) >= MOST_INTEGER:
            raise self._refuse("a whole number must be below 2 to the power of 63: quote it if it is a text", place)
        return value


def _size(value: Any) -> int:
    """Count a value with all that it holds."""
    if isinstance(value, (Section, Items)):
        return value.size
    return 1 + len(value) // LONG_TEXT if isinstance(value, str) else 1
