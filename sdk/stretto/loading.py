"""Load an ensemble from a YAML file, with what it refers to; all that is wrong is said together, with its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from .agent_rules import NAME_LENGTH
from .ensemble import Ensemble
from .ensemble_file import EnsembleFile, Reference, holds, placed
from .errors import ConfigError
from .file_keys import FILE_KEYS, TOP_KEYS
from .findings import Findings, Suggestions
from .key_shapes import clean
from .llm_orc import translated
from .lookup import Outside, Stems, find_ensemble
from .performance import NAME as PERFORMANCE
from .performance import raise_all
from .staging import MOST_NESTED
from .surroundings import Surroundings, Tiers, surroundings
from .tiers import absolute
from .unavailable import Unavailable
from .yaml_text import excerpt, read_yaml

Strictness = Literal["compat", "strict"]
LONG_MESSAGE = 600  # characters
MOST_MISSING = 1000  # names of ensembles

__all__ = ["FILE_KEYS", "LONG_MESSAGE", "MOST_NESTED", "TOP_KEYS", "load", "located", "named_ensemble"]


def load(path: str | Path, *, strictness: Strictness | None = None) -> Ensemble:
    """Load an ensemble with the ensembles that it names, the profiles around it and the settings of `performance.yaml`.

    Args:
        path: of a YAML file, UTF-8, at most 1 MB.
        strictness: "strict": unknown keys are errors, and so is whatever else would be a warning; "compat": files of
            llm-orc are read as they are. It holds for the ensembles that the file names as well. None: strict for each
            file with `stretto: 1` at its top.

    Raises:
        ConfigError: with file, line, column, agent, key and the nearest valid key; `errors` holds all of them when
            there are several.
    """
    if strictness not in (None, "compat", "strict"):
        raise ConfigError(f"strictness must be 'compat' or 'strict', got {strictness!r}", key="strictness")
    try:
        return _Load(strictness, os.environ).top(str(path))
    except ConfigError as error:
        raise _sayable(error) from None


def named_ensemble(name: str, source: str | None, strictness: Strictness | None = None) -> Ensemble:
    """Load an ensemble by the name that another one has for it.

    Args:
        name: a relative path, or a stem.
        source: the file that names it. None: as if that stood in the working folder.
        strictness: as of `load`.

    Raises:
        ConfigError: nothing has that name, with the nearest one; or as of `load`.
    """
    return load(find_ensemble(name, beside=None if source is None else Path(source)), strictness=strictness)


def located(error: ConfigError, path: str | Path) -> ConfigError:
    """Give an error that came from an ensemble of a file its place: in `error.file`, else `path`, or in a profile."""
    if error.line is not None or error.errors:
        return _sayable(error)
    file = error.file or str(path)
    try:
        section = read_yaml(file)
    except ConfigError:  # it was a pipe, or is no longer there
        return _sayable(error.at(file=file, line=1, column=1))
    unsaid = Findings(file, strict=False)
    made = translated(section, unsaid, surroundings(Path(file), unsaid.errors), os.environ)
    return _sayable(placed(error, file, made if holds(made, error) else section))


def _sayable(error: ConfigError) -> ConfigError:
    """Take out what looks like a key, and shorten what would fill the screen."""
    message = clean(error.message)
    return ConfigError(
        message if len(message) <= LONG_MESSAGE else f"{message[:LONG_MESSAGE]}...",
        file=error.file,
        line=error.line,
        column=error.column,
        agent=None if error.agent is None else clean(error.agent[:NAME_LENGTH]),
        key=None if error.key is None else clean(error.key),
        nearest=error.nearest,
        errors=tuple(map(_sayable, error.errors)),
    )


class _Load:
    """One load: each file is read once, however often it is named."""

    def __init__(self, strictness: Strictness | None, environ: Mapping[str, str]) -> None:
        self._strictness = strictness
        self._environ = environ
        self._errors: list[ConfigError] = []
        self._made: dict[Path, Ensemble | None] = {}
        self._open: dict[Path, str] = {}  # the files that are being read, outermost first, and where each was named
        self._around: dict[Path, Surroundings] = {}
        self._tiers = Tiers()
        self._suggestions = Suggestions()
        self._stems = Stems(self._suggestions)
        self._missing = 0

    def top(self, file: str) -> Ensemble:
        made = self._ensemble(file, _identity(Path(file)), file)
        raise_all(self._errors)
        assert made is not None  # else there is an error
        within = [note for one in self._made.values() if one is not None for note in one.notes]
        notes = tuple(dict.fromkeys((*made.notes, *within)))
        return made if notes == made.notes else replace(made, notes=notes)

    def _ensemble(self, file: str, known_as: Path, named_at: str) -> Ensemble | None:
        """Read a file that was not read before; None when it is wrong, which the errors say."""
        self._open[known_as] = named_at
        made = None
        try:
            section = read_yaml(file, pipe=len(self._open) == 1)
            strict = self._strictness == "strict" or (self._strictness is None and "stretto" in section)
            findings = Findings(file, strict=strict, suggestions=self._suggestions)
            around = self._surroundings(Path(file), findings.errors)
            find = partial(self._found, findings, around.project)
            made = EnsembleFile(section, findings, around, self._environ, find).ensemble()
            self._errors.extend(findings.errors)
        except ConfigError as error:
            self._errors.extend(error.errors or (error,))
        del self._open[known_as]
        self._made[known_as] = made
        return made

    def _surroundings(self, file: Path, errors: list[ConfigError]) -> Surroundings:
        # Files of one folder have the same around them, but for the settings, which are not read as their own settings.
        key = file if file.name == PERFORMANCE else file.parent
        found = self._around.get(key)
        if found is None:
            found = self._around[key] = self._tiers.around(file, errors)
        return found

    def _found(self, findings: Findings, project: Path, named: Reference) -> Ensemble | Unavailable | None:
        """Load what a file names; what is wrong with the name is said at its place."""
        if self._missing > MOST_MISSING:  # each search costs time
            message = f"more than {MOST_MISSING} ensembles that are named cannot be found: this one is not looked for"
            findings.wrong(message, named.place, named.key, named.agent)
            return None
        try:
            file = find_ensemble(named.name, beside=Path(findings.file), within=project, stems=self._stems)
        except ConfigError as error:
            self._missing += 1
            return _missing(error, named, findings)
        known_as, where, shown = _identity(file), f"{findings.file}:{named.place.line}", _shown(file, findings.file)
        if known_as in self._made:
            return self._made[known_as]
        if known_as not in self._open and len(self._open) <= MOST_NESTED:
            return self._ensemble(shown, known_as, where)
        message = f"ensembles are nested more than {MOST_NESTED} deep"
        if known_as in self._open:
            files = list(self._open)
            ring = [self._open[one] for one in files[files.index(known_as) + 1 :]]
            message = f"the ensemble {excerpt(named.name)} includes itself: {' -> '.join([*ring, where, shown])}"
        findings.wrong(message, named.place, named.key, named.agent)
        return None


def _missing(error: ConfigError, named: Reference, findings: Findings) -> Unavailable | None:
    path = Path(named.name)
    if findings.strict or isinstance(error, Outside) or path.is_absolute() or ".." in path.parts:
        findings.wrong(error.message, named.place, named.key, named.agent, near=error.nearest)
        return None
    after = "the agent fails without a call"
    findings.warn(error.message, named.place, named.key, named.agent, near=error.nearest, after=after)
    return Unavailable(error.message)


def _identity(file: Path) -> Path:
    """Give what is the same for all names of a file."""
    try:
        return file.resolve()
    except (OSError, ValueError, RuntimeError):  # links in a circle, a null byte: reading it says so
        return file


def _shown(file: Path, named_in: str) -> str:
    """Give a file's path as the file that names it was given: relative to the working folder, or absolute."""
    here = absolute(Path())
    return str(file) if os.path.isabs(named_in) or not file.is_relative_to(here) else str(file.relative_to(here))
