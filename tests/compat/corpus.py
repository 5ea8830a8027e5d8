"""All cases, each name once."""

from __future__ import annotations

from compat import corpus_children, corpus_files, corpus_prompts, corpus_scripts, corpus_settings
from compat.case import Case

CASES: tuple[Case, ...] = tuple(
    case
    for module in (corpus_files, corpus_prompts, corpus_scripts, corpus_children, corpus_settings)
    for case in module.cases()
)
assert len({case.name for case in CASES}) == len(CASES)
