"""Read `config.yaml` of each tier, once for all who want something of it."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError
from .findings import OF_KEYS, nearest
from .key_shapes import clean
from .plain_file import read_bytes
from .tiers import Tier, check_inside
from .yaml_text import MOST_BYTES, Place, Section, excerpt, read_yaml

NAME = "config.yaml"
READ = ("model_profiles", "performance")  # of its sections; llm-orc has more
MOST_LOOKED_AT = 100  # of its other keys


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The file of one tier.

    Args:
        tier: which.
        file: its path, there or not.
        section: what it holds; empty when it is missing, empty or broken.
        errors: what is wrong with the whole file.
        doubts: its keys that are nearly one that is read.
    """

    tier: Tier
    file: Path
    section: Section
    errors: tuple[ConfigError, ...] = ()
    doubts: tuple[ConfigError, ...] = ()


def read_config_files(tiers: Iterable[Tier]) -> list[ConfigFile]:
    """Read the file of each tier but the library, which has none; a broken one hides no other."""
    return [_read(tier, tier.folder / NAME) for tier in tiers if tier.name != "library"]


def _read(tier: Tier, file: Path) -> ConfigFile:
    errors: tuple[ConfigError, ...] = ()
    if os.path.isfile(file):
        try:
            check_inside(tier, file)
            section = read_yaml(file)
            return ConfigFile(tier, file, section, doubts=tuple(_near_misses(section, str(file))))
        except ConfigError as error:
            if not _is_blank(tier, file):  # which llm-orc takes, such as one whose lines are all commented out
                errors = error.errors or (error,)
    return ConfigFile(tier, file, Section(Place(1, 1)), errors)


def _near_misses(section: Section, file: str) -> Iterator[ConfigError]:
    for key in [key for key in section if key not in READ][:MOST_LOOKED_AT]:
        near, at = nearest(key, READ, OF_KEYS), section.keys_at[key]
        if near is not None:
            message = f"{clean(excerpt(key))} is not a section that is read"
            yield ConfigError(message, file=file, line=at.line, column=at.column, key=clean(key), nearest=near)


def _is_blank(tier: Tier, file: Path) -> bool:
    try:
        check_inside(tier, file)
        lines = read_bytes(file, MOST_BYTES).removeprefix(codecs.BOM_UTF8).splitlines()
    except (OSError, ConfigError):
        return False
    return all(line.strip() in (b"", b"---") or line.lstrip().startswith(b"#") for line in lines)
