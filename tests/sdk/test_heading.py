"""The beginning of a file: its name, and whether it is an ensemble."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stretto.heading import Heading, heading


def read(folder: Path, text: str | bytes) -> Heading:
    file = folder / "e.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return heading(file)


@pytest.mark.parametrize(
    ("text", "name", "is_ensemble"),
    [
        ("name: a\nagents: []\n", "a", True),
        ("\ufeffdescription: d\nagents:\n  - name: b\nname: 'a b'\n", "a b", True),
        ("x: {name: b}\nname: a\n", "a", False),
        ("x: [name, agents]\n", None, False),
        ("agents: []\n", None, True),
        ("name: [a]\nagents: []\n", None, True),
        ("? [a, b]\n: c\nname: a\n", "a", False),
        ("n: &n b\nm: *n\nname: a\n", "a", False),
        ("- name: a\n- agents: b\n", None, False),
        ("name", None, False),
        ("", None, False),
        ("name: a\n--- \nagents: []\n", "a", False),
    ],
)
def test_name_and_agents_are_found_at_the_top(tmp_path: Path, text: str, name: str | None, is_ensemble: bool) -> None:
    assert read(tmp_path, text) == Heading(name, is_ensemble)


def test_a_broken_file_keeps_what_was_read(tmp_path: Path) -> None:
    assert read(tmp_path, "name: a\nx: [\nagents: []\n") == Heading("a", True)
    assert read(tmp_path, "name: a\nx: [\n  agents: b\n") == Heading("a", False)
    assert read(tmp_path, "name: a\x01\nagents: []\n").is_ensemble


@pytest.mark.parametrize("data", [b"\xff\xfen\x00", b"\x00\x01\x02", b"name: \xff\n"])
def test_what_is_not_text_has_no_heading(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == Heading(None, False)


def test_what_cannot_be_read_has_no_heading(tmp_path: Path) -> None:
    assert heading(tmp_path) == Heading(None, False)
    assert heading(tmp_path / "missing") == Heading(None, False)


def test_a_name_at_the_top_spares_the_rest(tmp_path: Path) -> None:
    started = time.process_time()
    assert read(tmp_path, "name: a\nagents: []\nx:\n" + "  - {a: b}\n" * 80_000) == Heading("a", True)
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("text", ["[" * 900_000, "x: " + "[" * 900_000, "x: " + "{a: " * 200_000])
def test_deep_nesting_ends_it(tmp_path: Path, text: str) -> None:
    started = time.process_time()
    assert read(tmp_path, text) == Heading(None, False)
    assert time.process_time() - started < 1
