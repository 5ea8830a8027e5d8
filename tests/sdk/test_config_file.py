"""`config.yaml` of each tier: read once, and a broken one hides no other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stretto.config_file import ConfigFile, read_config_files
from stretto.tiers import Tier


def read(folder: Path, text: str | bytes) -> ConfigFile:
    (folder / "config.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    [found] = read_config_files([Tier("local", folder)])
    return found


def test_what_it_holds_is_kept(tmp_path: Path) -> None:
    found = read(tmp_path, "project: {name: x}\nserving: {}\nperformance: {run_timeout: 5}\n")
    assert found.section == {"project": {"name": "x"}, "serving": {}, "performance": {"run_timeout": 5}}
    assert found.errors == ()


def test_a_missing_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    [found] = read_config_files([Tier("global", tmp_path)])
    assert (found.section, found.errors) == ({}, ())


@pytest.mark.parametrize("text", ["", "\n", "# all of it\n  # is commented out\n", "---\n# x\n", "\ufeff"])
def test_a_file_without_content_holds_nothing_as_in_llm_orc(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert (found.section, found.errors) == ({}, ())


def test_the_library_has_none(tmp_path: Path) -> None:
    assert read_config_files([Tier("library", tmp_path)]) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("- a\n", 1, "the file holds a list at its top"),
        ("text\n", 1, "the file holds 'text' at its top"),
        ("a: [\n", 2, "this is not YAML"),
        ("a:\n\tb: 1\n", 2, "this is not YAML: a tab stands here"),
        ("a: 1\n---\nb: 2\n", 2, "the file holds a second document"),
        ("a: 1\na: 2\n", 2, "the key 'a' is given twice"),
        ("a: .nan\n", 1, "a number must be finite"),
        ("a: 1.0e+999\n", 1, "a number must be finite"),
        ("a: 99999999999999999999\n", 1, "a whole number must be below"),
        ("no: 1\n", 1, "a key must be a text, got False: quote it"),
        ("a: !!python/object:os.system x\n", 1, "the tag"),
        ("a: 1\n".encode("utf-16"), 1, "the file must be UTF-8"),
        (b"\x00\x01\x02", 1, "this is not YAML: the character U+0000"),
        (b"\x89PNG\r\n\x1a\n", 1, "the file must be UTF-8"),
        ("a: b\n" * 300_000, 1, "the file is larger than 1000000 bytes"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(97 + n)}: &{chr(97 + n)} [{', '.join([f'*{chr(96 + n)}'] * 10)}]\n" for n in range(1, 9)
        ), 5, "the file has more than 100000 values"),
        ("{a: " * 60, 1, "this is nested more than 50 deep"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_an_error_with_its_place(
    tmp_path: Path, text: str | bytes, line: int, message: str
) -> None:
    started = time.process_time()
    found = read(tmp_path, text)
    assert time.process_time() - started < 2
    [error] = found.errors
    assert found.section == {}
    assert (error.file, error.line) == (str(tmp_path / "config.yaml"), line)
    assert error.column is not None
    assert error.message.startswith(message)


def test_a_broken_file_hides_no_other(tmp_path: Path) -> None:
    for name, text in (("a", "x: [\n"), ("b", "y: 1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    broken, good = read_config_files([Tier("global", tmp_path / "a"), Tier("local", tmp_path / "b")])
    assert (len(broken.errors), good.errors, good.section) == (1, (), {"y": 1})
