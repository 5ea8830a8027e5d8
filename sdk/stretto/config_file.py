"""Read `config.yaml` of each tier, once for all who want something of it."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError
from .tiers import Tier
from .yaml_text import MOST_BYTES, Place, Section, read_yaml

NAME = "config.yaml"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The file of one tier.

    Args:
        tier: which.
        file: its path, there or not.
        section: what it holds; empty when it is missing, empty or broken.
        errors: what is wrong with the whole file.
    """

    tier: Tier
    file: Path
    section: Section
    errors: tuple[ConfigError, ...] = ()


def read_config_files(tiers: Iterable[Tier]) -> list[ConfigFile]:
    """Read the file of each tier but the library, which has none; a broken one hides no other."""
    return [_read(tier, tier.folder / NAME) for tier in tiers if tier.name != "library"]


def _read(tier: Tier, file: Path) -> ConfigFile:
    errors: tuple[ConfigError, ...] = ()
    if os.path.isfile(file):
        try:
            return ConfigFile(tier, file, read_yaml(file))
        except ConfigError as error:
            if not _is_blank(file):  # which llm-orc takes, such as one whose lines are all commented out
                errors = error.errors or (error,)
    return ConfigFile(tier, file, Section(Place(1, 1)), errors)


def _is_blank(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            lines = opened.read(MOST_BYTES).removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError:
        return False
    return all(line.strip() in (b"", b"---") or line.lstrip().startswith(b"#") for line in lines)
