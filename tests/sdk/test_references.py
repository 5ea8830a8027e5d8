"""Ensembles that agents name: each file is read once in a run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from stretto import Ensemble, load
from stretto.errors import ConfigError
from stretto.references import References

LEAF = "stretto: 1\nname: the leaf\nagents: [{name: a, model: simulated/echo}]\n"


def ensemble_in(folder: Path, name: str = "top.yaml") -> Ensemble:
    (folder / name).write_text(LEAF)
    return load(folder / name)


def test_a_name_is_looked_up_beside_the_file_that_has_it(tmp_path: Path) -> None:
    top = ensemble_in(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "leaf.yaml").write_text(LEAF)
    assert References().find("sub/leaf", top).name == "the leaf"
    assert References().find("sub/leaf.yaml", top).source == str(tmp_path / "sub" / "leaf.yaml")


def test_an_ensemble_of_python_names_files_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaf.yaml").write_text(LEAF)
    monkeypatch.chdir(tmp_path)
    python = Ensemble("python", [], strictness="compat")
    assert References().find("leaf", python).name == "the leaf"


def test_a_file_is_read_once_however_it_is_named(tmp_path: Path) -> None:
    top, references = ensemble_in(tmp_path), References()
    (tmp_path / "leaf.yaml").write_text(LEAF)
    found = references.find("leaf", top)
    assert references.find("leaf.yaml", top) is found
    assert references.find("./leaf", top) is found
    os.unlink(tmp_path / "leaf.yaml")
    assert references.find("leaf", top) is found


def test_another_run_reads_it_anew(tmp_path: Path) -> None:
    top = ensemble_in(tmp_path)
    (tmp_path / "leaf.yaml").write_text(LEAF)
    before = References().find("leaf", top)
    (tmp_path / "leaf.yaml").write_text(LEAF.replace("the leaf", "another"))
    assert (before.name, References().find("leaf", top).name) == ("the leaf", "another")


def test_its_own_file_says_how_strictly_it_is_read(tmp_path: Path) -> None:
    top = ensemble_in(tmp_path)
    (tmp_path / "theirs.yaml").write_text("name: theirs\nagents: [{name: a, model: m, provider: p}]\nodd: 1\n")
    assert (top.strictness, References().find("theirs", top).strictness) == ("strict", "compat")


def test_what_is_not_there_is_said_with_the_nearest_name(tmp_path: Path) -> None:
    top = ensemble_in(tmp_path)
    (tmp_path / "leaf.yaml").write_text(LEAF)
    with pytest.raises(ConfigError, match="no ensemble is named 'leef'") as error:
        References().find("leef", top)
    assert error.value.nearest == "leaf"


@pytest.mark.parametrize("name", ["../leaf", "/etc/passwd", "a/../../leaf", "", " ", "\0", "~/leaf", "leaf.yaml/"])
def test_no_name_leads_out_of_the_project(tmp_path: Path, name: str) -> None:
    (tmp_path / "leaf.yaml").write_text(LEAF)
    (tmp_path / "project").mkdir()
    top = ensemble_in(tmp_path / "project")
    with pytest.raises(ConfigError):
        References().find(name, top)


async def test_many_that_ask_at_once_wait_for_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def slow(name: str, source: str | None) -> Ensemble:
        read.append(name)
        return Ensemble(name, [], strictness="compat", source=source)

    monkeypatch.setattr("stretto.loading.named_ensemble", slow)
    top, references = ensemble_in(tmp_path), References()
    found = await asyncio.gather(*(references.found("leaf", top) for _ in range(100)))
    assert read == ["leaf"]
    assert len(set(map(id, found))) == 1
    assert references.find("leaf", top) is found[0]


async def test_one_that_gives_up_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    top, references = ensemble_in(tmp_path), References()
    (tmp_path / "leaf.yaml").write_text(LEAF)
    first = asyncio.create_task(references.found("leaf", top))
    second = asyncio.create_task(references.found("leaf", top))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "the leaf"
    with pytest.raises(asyncio.CancelledError):
        await first
