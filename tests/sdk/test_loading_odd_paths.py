"""Paths that lead to no file: each is refused in words, and nothing is waited for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from stretto import ConfigError, load
from stretto.heading import Heading, heading
from stretto.lookup import find_ensemble

EMPTY = "stretto: 1\nname: e\nagents:\n  - {name: a, model: simulated/echo}\n"


def refused(path: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.message


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder that was removed."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").symlink_to("e.yaml")
    assert refused(tmp_path / "e.yaml").startswith("cannot be read: Too many levels of symbolic links")


@pytest.mark.parametrize("name", ["a\0b.yaml", "a\ud800.yaml", "sub/../a\0b.yaml", "sub/../a\ud800.yaml"])
def test_what_can_be_no_name_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(name).startswith("cannot be read: ")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "../a\ud800"])
def test_an_agent_that_names_such_a_thing_is_told_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        find_ensemble(name, beside=tmp_path / "e.yaml")


@pytest.mark.usefixtures("nowhere")
def test_without_a_working_folder_a_file_can_still_be_refused_or_read(tmp_path: Path) -> None:
    assert refused("e.yaml") == "cannot be read: No such file or directory"
    (tmp_path / "e.yaml").write_text(EMPTY + "  - {name: b, ensemble: leaf}\n")
    (tmp_path / "leaf.yaml").write_text(EMPTY)
    assert load(tmp_path / "e.yaml").agents[1].name == "b"


def test_a_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == "cannot be read: Is a directory"
    assert refused("/dev/null") == "cannot be read: Is no regular file"


def test_a_pipe_that_nobody_writes_to_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "e.yaml")
    assert refused(tmp_path / "e.yaml") == "the file is empty: begin with keys such as `name:`"


def test_a_pipe_with_a_writer_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(writing, EMPTY.encode()), os.close(writing)))
    writer.start()
    try:
        assert load(f"/dev/fd/{reading}").name == "e"
    finally:
        writer.join()
        os.close(reading)


@pytest.mark.parametrize("name", ["leaf.yaml", ".llm-orc/config.yaml", ".llm-orc/profiles/p.yaml", "performance.yaml"])
def test_a_pipe_around_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / ".llm-orc" / "profiles").mkdir(parents=True)
    os.mkfifo(tmp_path / name)
    (tmp_path / "e.yaml").write_text(
        "name: e\nagents:\n  - {name: a, model_profile: p}\n  - {name: b, ensemble: leaf}\n"
    )
    assert len(load(tmp_path / "e.yaml").warnings) == 2
    assert heading(tmp_path / name) == Heading(None, False)
