"""Read a YAML file into data that knows where it stands, and refuse what is unsafe or ambiguous.

One pass over libyaml's events, without recursion: nesting, aliases and size are bounded, keys are unique, numbers are
finite, and tags that would make objects are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from .errors import ConfigError

MOST_BYTES = 1_000_000
MOST_VALUES = 100_000  # an alias counts with all that it stands for
MOST_DEPTH = 50
MOST_INTEGER = 2**63
_TAGS = "tag:yaml.org,2002:"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it


class Place(NamedTuple):
    """Where something stands: line and column, from 1."""

    line: int
    column: int


class Section(dict[str, Any]):
    """A mapping that knows where its keys stand."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.keys_at: dict[str, Place] = {}
        self.merged: set[str] = set()
        self.size = 1


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


def read_yaml(path: str | Path) -> Section:
    """Read a file that holds one mapping.

    Raises:
        ConfigError: with file, line and column, for whatever cannot be read.
    """
    name = str(path)
    text = _text(name)
    reader = _Reader(name)
    try:
        document = reader.document(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it is not YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise ConfigError(f"this is not YAML: {problem}", file=name, line=line, column=column) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"this is not YAML: {error}", file=name, line=1, column=1) from None
    if not isinstance(document, Section):
        what = "is empty" if document is None else "must hold a mapping at its top"
        raise ConfigError(f"the file {what}: it begins with keys such as `name:`", file=name, line=1, column=1)
    return document


def _text(name: str) -> str:
    try:
        with open(name, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror or error}", file=name) from None
    if len(data) > MOST_BYTES:
        raise ConfigError(f"the file is larger than {MOST_BYTES} bytes", file=name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file must be UTF-8", file=name, line=line, column=1) from None


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._scalars = _Scalars()
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
                self._put(done.value, done.value.place)
            elif isinstance(event, yaml.ScalarEvent):
                value = self._scalar(event, place)
                if event.anchor is not None:
                    self._anchors[event.anchor] = value
                self._put(value, place)
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self._anchors:  # unknown, or one that is still open: it would hold itself
                    raise self._refuse(f"the alias *{event.anchor} stands for nothing that is complete here", place)
                self._put(self._anchors[event.anchor], place)
        return self._document

    def _begin(self, value: Section | Items, event: Any, place: Place, tag: str) -> None:
        if event.tag not in (None, "!", _TAGS + tag):
            raise self._refuse(f"the tag {event.tag} is not allowed", place)
        if len(self._open) >= MOST_DEPTH:
            raise self._refuse(f"this is nested more than {MOST_DEPTH} deep", place)
        self._open.append(_Open(value, event.anchor))

    def _put(self, value: Any, place: Place) -> None:
        size = value.size if isinstance(value, (Section, Items)) else 1
        self._values += size
        if self._values > MOST_VALUES:
            raise self._refuse(f"the file has more than {MOST_VALUES} values, aliases counted", place)
        if not self._open:
            self._document = value
            return
        top = self._open[-1]
        top.value.size += size
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
                for name in merged.keys() - section.keys():
                    section[name], section.keys_at[name] = merged[name], key_at
                    section.merged.add(name)
            return
        if not isinstance(key, str):
            raise self._refuse(f"the key {key!r} is not a text: quote it", key_at)
        if key in section and key not in section.merged:
            first = section.keys_at[key].line
            raise self._refuse(f"the key {key!r} stands here a second time: the first is in line {first}", key_at)
        section.merged.discard(key)
        section[key] = value
        section.keys_at[key] = key_at

    def _scalar(self, event: Any, place: Place) -> Any:
        plain, quoted = event.implicit
        tag = event.tag if event.tag not in (None, "!") else None
        if tag is None:
            tag = self._scalars.resolve(yaml.ScalarNode, event.value, (plain, quoted))
        kind = tag.removeprefix(_TAGS)
        if kind in ("str", "timestamp", "merge", "value"):  # a date stays the text that it was written as
            return event.value
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            if kind == "int":
                return self._bounded(self._scalars.construct_yaml_int(node), place)
            if kind == "float":
                return self._bounded(self._scalars.construct_yaml_float(node), place)
            if kind == "bool":
                return self._scalars.construct_yaml_bool(node)
            if kind == "null":
                return None
        except (ValueError, KeyError, yaml.YAMLError):
            raise self._refuse(f"{event.value!r} is not a valid {kind}", place) from None
        raise self._refuse(f"the tag {event.tag} is not allowed", place)

    def _bounded(self, number: Any, place: Place) -> Any:
        if isinstance(number, float) and not math.isfinite(number):
            raise self._refuse("a number must be finite", place)
        if isinstance(number, int) and abs(number) >= MOST_INTEGER:
            raise self._refuse("a whole number must be below 2 to the power of 63", place)
        return number
