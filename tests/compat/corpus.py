"""All cases, each name once."""

from __future__ import annotations

from compat import corpus_children, corpus_files, corpus_guards, corpus_prompts, corpus_scripts, corpus_settings
from compat.case import Case

_FILES = (corpus_files, corpus_prompts, corpus_guards, corpus_scripts, corpus_children, corpus_settings)
CASES: tuple[Case, ...] = tuple(case for file in _FILES for case in file.cases())
assert len({case.name for case in CASES}) == len(CASES)
