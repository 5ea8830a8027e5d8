"""The folders of configuration around a file, and the project that it belongs to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from stretto.tiers import project, tiers


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, with nothing in it, and a working folder elsewhere."""
    folder = tmp_path / "home"
    folder.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("LLM_ORC_LIBRARY_PATH", raising=False)
    monkeypatch.chdir(work)
    return folder


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def found(start: Path) -> list[tuple[str, Path]]:
    return [(tier.name, tier.folder) for tier in tiers(start)]


def test_without_any_folder_there_is_no_tier(tmp_path: Path) -> None:
    assert tiers(tmp_path) == ()


def test_the_global_tier_is_below_the_home_folder(home: Path, tmp_path: Path) -> None:
    place = folder(home / ".config" / "llm-orc")
    assert found(tmp_path) == [("global", place)]


def test_the_variable_for_configuration_wins_over_the_home_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(home / ".config" / "llm-orc")
    place = folder(tmp_path / "xdg" / "llm-orc")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert found(tmp_path) == [("global", place)]


@pytest.mark.parametrize("value", ["", "relative"])
def test_a_variable_that_is_no_absolute_path_does_not_count(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    place = folder(home / ".config" / "llm-orc")
    folder(tmp_path / "work" / "relative" / "llm-orc")
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert found(tmp_path) == [("global", place)]


def test_the_local_tier_is_the_nearest_one_above_the_file(tmp_path: Path) -> None:
    folder(tmp_path / ".llm-orc")
    near = folder(tmp_path / "a" / ".llm-orc")
    below = folder(tmp_path / "a" / "b" / "c")
    assert found(below)[-1] == ("local", near)


def test_a_file_within_the_tier_finds_it(tmp_path: Path) -> None:
    local = folder(tmp_path / "a" / ".llm-orc")
    assert found(folder(local / "ensembles" / "sub")) == [("local", local)]


def test_the_working_folder_is_looked_at_too_and_the_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_file, of_work = folder(tmp_path / "a" / ".llm-orc"), folder(tmp_path / "work" / ".llm-orc")
    monkeypatch.chdir(folder(tmp_path / "work" / "deep"))
    assert found(tmp_path / "a") == [("local", of_work), ("local", of_file)]


def test_one_folder_is_one_tier(tmp_path: Path) -> None:
    local = folder(tmp_path / "work" / ".llm-orc")
    (tmp_path / "link").symlink_to(tmp_path / "work")
    assert found(tmp_path / "work") == [("local", local)]
    assert found(tmp_path / "link") == [("local", tmp_path / "link" / ".llm-orc")]


def test_global_is_lowest_and_the_library_below_local(home: Path, tmp_path: Path) -> None:
    expected = [
        ("global", folder(home / ".config" / "llm-orc")),
        ("library", folder(tmp_path / "a" / "llm-orchestra-library")),
        ("local", folder(tmp_path / "a" / ".llm-orc")),
    ]
    assert found(tmp_path / "a") == expected


def test_the_library_may_stand_in_the_working_folder(tmp_path: Path) -> None:
    place = folder(tmp_path / "work" / "llm-orchestra-library")
    assert found(tmp_path) == [("library", place)]


def test_the_variable_for_the_library_wins_also_when_it_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "work" / "llm-orchestra-library")
    place = folder(tmp_path / "other")
    monkeypatch.setenv("LLM_ORC_LIBRARY_PATH", str(place))
    assert found(tmp_path) == [("library", place)]
    monkeypatch.setenv("LLM_ORC_LIBRARY_PATH", str(tmp_path / "missing"))
    assert found(tmp_path) == []


def test_a_file_of_that_name_is_no_tier(tmp_path: Path) -> None:
    (tmp_path / ".llm-orc").write_text("")
    assert tiers(tmp_path) == ()


def test_a_start_with_dots_is_looked_up_where_it_leads(tmp_path: Path) -> None:
    local = folder(tmp_path / "a" / ".llm-orc")
    folder(tmp_path / "b")
    assert found(tmp_path / "b" / ".." / "a") == [("local", local)]


def test_a_working_folder_that_was_removed_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = folder(tmp_path / "gone")
    monkeypatch.chdir(gone)
    shutil.rmtree(gone)
    local = folder(tmp_path / "a" / ".llm-orc")
    try:
        assert found(tmp_path / "a") == [("local", local)]
        assert tiers(Path("x")) == ()
        assert project(Path("x")) == Path("x")
    finally:
        os.chdir(tmp_path)


def test_a_loop_of_links_is_no_tier(tmp_path: Path) -> None:
    (tmp_path / ".llm-orc").symlink_to(tmp_path / ".llm-orc")
    assert tiers(tmp_path) == ()


def test_the_project_is_where_the_local_tier_stands(tmp_path: Path) -> None:
    local = folder(tmp_path / "a" / ".llm-orc")
    for start in (tmp_path / "a", folder(tmp_path / "a" / "b"), folder(local / "ensembles")):
        assert project(start) == tmp_path / "a"


def test_without_a_local_tier_the_project_is_the_folder(tmp_path: Path) -> None:
    assert project(tmp_path / "a") == tmp_path / "a"


def test_the_home_folder_is_no_project_though_its_tier_counts(home: Path) -> None:
    local = folder(home / ".llm-orc")
    downloads = folder(home / "downloads")
    assert project(downloads) == downloads
    assert project(folder(local / "ensembles")) == local
    assert found(downloads) == [("local", local)]
