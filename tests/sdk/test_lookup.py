"""Ensembles by name: beside the file that names them, in the tiers, and on the command line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stretto import ConfigError, lookup
from stretto.lookup import Found, ensembles, find_ensemble, find_top


@pytest.fixture(autouse=True)
def here(empty_folders: Path) -> Path:
    return empty_folders


def ensemble(path: Path, name: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"name: {name or path.stem}\nagents:\n  - {{name: a, model: simulated/echo}}\n", encoding="utf-8")
    return path


def said(name: str, beside: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        find_ensemble(name, beside=beside)
    assert caught.value.key == "ensemble"
    return caught.value


# A file that names another one.


@pytest.mark.parametrize("name", ["child", "child.yaml", "./child", "sub/../child"])
def test_what_stands_beside_the_file_is_found(tmp_path: Path, name: str) -> None:
    child = ensemble(tmp_path / "a" / "child.yaml")
    assert find_ensemble(name, beside=tmp_path / "a" / "top.yaml") == child


def test_both_endings_are_found_and_yaml_wins(tmp_path: Path) -> None:
    short = ensemble(tmp_path / "child.yml")
    assert find_ensemble("child", beside=tmp_path / "top.yaml") == short
    long = ensemble(tmp_path / "child.yaml")
    assert find_ensemble("child", beside=tmp_path / "top.yaml") == long
    assert find_ensemble("child.yml", beside=tmp_path / "top.yaml") == short


def test_a_name_with_a_dot_is_a_stem_too(tmp_path: Path) -> None:
    child = ensemble(tmp_path / "v1.2.yaml")
    assert find_ensemble("v1.2", beside=tmp_path / "top.yaml") == child


def test_a_relative_path_leads_from_the_file(tmp_path: Path) -> None:
    child = ensemble(tmp_path / "a" / "sub" / "child.yaml")
    assert find_ensemble("sub/child", beside=tmp_path / "a" / "top.yaml") == child


def test_without_a_file_it_leads_from_the_working_folder(here: Path) -> None:
    child = ensemble(here / "child.yaml")
    assert find_ensemble("child", beside=None) == child


def test_a_relative_path_of_the_file_is_enough(here: Path) -> None:
    child = ensemble(here / "child.yaml")
    assert find_ensemble("child", beside=Path("top.yaml")) == child


def test_beside_a_file_outside_the_tiers_comes_before_the_tiers(tmp_path: Path) -> None:
    in_tier = ensemble(tmp_path / ".llm-orc" / "ensembles" / "child.yaml")
    assert find_ensemble("child", beside=tmp_path / "a" / "top.yaml") == in_tier
    beside = ensemble(tmp_path / "a" / "child.yaml")
    assert find_ensemble("child", beside=tmp_path / "a" / "top.yaml") == beside


def test_below_a_tier_the_tiers_come_first_as_in_llm_orc(tmp_path: Path) -> None:
    folder = tmp_path / ".llm-orc" / "ensembles"
    top, beside = ensemble(folder / "sub" / "top.yaml"), ensemble(folder / "sub" / "child.yaml")
    assert find_ensemble("child", beside=top) == beside
    flat = ensemble(folder / "child.yaml")
    assert find_ensemble("child", beside=top) == flat


def test_local_wins_over_library_and_library_over_global(tmp_path: Path) -> None:
    top = tmp_path / ".llm-orc" / "top.yaml"
    (tmp_path / ".llm-orc").mkdir()
    for folder in ("home/.config/llm-orc", "llm-orchestra-library", ".llm-orc"):
        child = ensemble(tmp_path / folder / "ensembles" / "child.yaml")
        assert find_ensemble("child", beside=top) == child


def test_a_global_file_sees_the_tier_of_the_working_folder(tmp_path: Path, here: Path) -> None:
    top = ensemble(tmp_path / "home" / ".config" / "llm-orc" / "ensembles" / "top.yaml")
    child = ensemble(here / ".llm-orc" / "ensembles" / "child.yaml")
    assert find_ensemble("child", beside=top) == child


def test_a_path_below_the_ensembles_of_a_tier_is_found(tmp_path: Path) -> None:
    child = ensemble(tmp_path / ".llm-orc" / "ensembles" / "sub" / "child.yaml")
    assert find_ensemble("sub/child", beside=tmp_path / "top.yaml") == child
    assert find_ensemble("../ensembles/sub/child", beside=child) == child


def test_a_stem_is_not_looked_for_deeper(tmp_path: Path) -> None:
    ensemble(tmp_path / ".llm-orc" / "ensembles" / "sub" / "child.yaml")
    error = said("child", tmp_path / "top.yaml")
    assert error.message == f"no ensemble is named 'child' in {tmp_path}, {tmp_path}/.llm-orc/ensembles"


def test_the_nearest_name_is_said(tmp_path: Path) -> None:
    ensemble(tmp_path / "child.yaml")
    (tmp_path / "childx.yaml").write_text("no: ensemble\n")
    assert said("chidl", tmp_path / "top.yaml").nearest == "child"


@pytest.mark.parametrize("name", ["", " ", "a\0b", "sub/", ".", "..", "sub/.."])
def test_what_can_be_no_file_is_refused(tmp_path: Path, name: str) -> None:
    ensemble(tmp_path / "a.yaml")
    (tmp_path / "a").mkdir()
    ensemble(tmp_path / ".yaml", "x")
    error = said(name, tmp_path / "a" / "top.yaml")
    assert error.message.startswith(("an ensemble needs a name or a path", "no ensemble is named"))


@pytest.mark.parametrize("name", ["../secret", "../../secret", "../a/../secret"])
def test_a_path_that_leaves_the_project_is_refused(tmp_path: Path, name: str) -> None:
    ensemble(tmp_path / "secret.yaml")
    error = said(name, tmp_path / "a" / "top.yaml")
    assert error.message.startswith(f"the ensemble {name!r} is outside the project {tmp_path}/a and")
    assert error.message.endswith("move it there, or add a folder .llm-orc above both")


def test_an_absolute_path_must_lie_in_the_project_or_in_a_tier(tmp_path: Path) -> None:
    outside, inside = ensemble(tmp_path / "x.yaml"), ensemble(tmp_path / "a" / "x.yaml")
    in_tier = ensemble(tmp_path / "home" / ".config" / "llm-orc" / "other" / "x.yaml")
    assert find_ensemble(str(inside), beside=tmp_path / "a" / "top.yaml") == inside
    assert find_ensemble(str(in_tier.with_suffix("")), beside=tmp_path / "a" / "top.yaml") == in_tier
    assert "is outside the project" in said(str(outside), tmp_path / "a" / "top.yaml").message


def test_a_local_tier_above_makes_it_one_project(tmp_path: Path) -> None:
    child = ensemble(tmp_path / "b" / "child.yaml")
    (tmp_path / ".llm-orc").mkdir()
    assert find_ensemble("../b/child", beside=tmp_path / "a" / "top.yaml") == child


def test_the_project_may_be_that_of_the_file_that_was_loaded_first(tmp_path: Path) -> None:
    child = ensemble(tmp_path / "child.yaml")
    assert find_ensemble("../child", beside=tmp_path / "sub" / "middle.yaml", within=tmp_path) == child
    assert "is outside" in said("../child", tmp_path / "sub" / "middle.yaml").message


def test_a_folder_and_a_pipe_are_no_ensembles(tmp_path: Path) -> None:
    (tmp_path / "child.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    assert said("child", tmp_path / "top.yaml").message.startswith("no ensemble")
    assert said("pipe", tmp_path / "top.yaml").message.startswith("no ensemble")


def test_a_folder_that_is_gone_has_no_ensembles(tmp_path: Path) -> None:
    assert said("child", tmp_path / "gone" / "top.yaml").nearest is None


def test_a_very_long_name_is_only_quoted_in_part(tmp_path: Path) -> None:
    assert len(said("x" * 100_000, tmp_path / "top.yaml").message) < 500


# The command line.


def top(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        find_top(name)
    return str(caught.value)


def test_a_path_stays_what_it_is(here: Path) -> None:
    ensemble(here / "e.yaml")
    assert find_top("e.yaml") == Path("e.yaml")
    assert find_top(str(here / "e.yaml")) == here / "e.yaml"


@pytest.mark.parametrize("name", ["", " ", "a\0b", "missing.yaml", "missing.yml"])
def test_what_is_no_name_is_left_to_whoever_reads_it(name: str) -> None:
    assert find_top(name) == Path(name)


def test_a_file_without_ending_is_a_path(here: Path) -> None:
    (here / "e").write_text("name: e\n")
    assert find_top("e") == Path("e")


def test_a_stem_in_the_working_folder_is_a_name(here: Path) -> None:
    file = ensemble(here / "e.yml", "other")
    assert find_top("e") == find_top("other") == file


def test_names_are_those_that_the_files_give_themselves(here: Path) -> None:
    file = ensemble(here / ".llm-orc" / "ensembles" / "sub" / "file.yaml", "called")
    assert find_top("sub/called") == find_top("called") == find_top("sub/file") == file


def test_a_name_comes_before_a_stem_in_every_tier(here: Path, tmp_path: Path) -> None:
    ensemble(here / ".llm-orc" / "ensembles" / "x.yaml", "y")
    called = ensemble(tmp_path / "home" / ".config" / "llm-orc" / "ensembles" / "z.yaml", "x")
    assert find_top("x") == called


def test_the_nearest_tier_wins(here: Path, tmp_path: Path) -> None:
    for folder in ("home/.config/llm-orc", "work/llm-orchestra-library", "work/.llm-orc"):
        file = ensemble(tmp_path / folder / "ensembles" / "x.yaml")
        assert find_top("x") == file
    file = ensemble(here / "x.yaml")
    assert find_top("x") == file


def test_a_name_that_several_files_of_a_tier_have_is_refused(here: Path) -> None:
    for folder in ("a", "b"):
        ensemble(here / ".llm-orc" / "ensembles" / folder / "x.yaml")
    assert top("x") == "several ensembles are named 'x': write one of a/x, b/x"
    assert find_top("b/x") == here / ".llm-orc" / "ensembles" / "b" / "x.yaml"
    flat = ensemble(here / ".llm-orc" / "ensembles" / "x.yaml")
    assert find_top("x") == flat


def test_an_unknown_name_is_refused_with_the_nearest(here: Path) -> None:
    ensemble(here / ".llm-orc" / "ensembles" / "review.yaml")
    assert top("reveiw") == (
        "no file and no ensemble is named 'reveiw': `stretto list` shows those that are found (did you mean 'review'?)"
    )


# All that a folder sees.


def names(start: Path) -> list[tuple[str, str, bool]]:
    return [(found.name, found.tier, found.shadowed_by is not None) for found in ensembles(start, [])]


def test_all_are_listed_the_nearest_tier_first_with_what_they_shadow(here: Path, tmp_path: Path) -> None:
    ensemble(here / "b.yaml")
    ensemble(here / ".llm-orc" / "ensembles" / "b.yaml")
    local = ensemble(here / ".llm-orc" / "ensembles" / "sub" / "a.yml")
    far = ensemble(tmp_path / "home" / ".config" / "llm-orc" / "ensembles" / "sub" / "other.yaml", "a")
    assert names(here) == [
        ("b", "folder", False),
        ("b", "local", True),
        ("sub/a", "local", False),
        ("sub/a", "global", True),
    ]
    assert ensembles(here, [])[-1] == Found("sub/a", far, "global", "sub/other", shadowed_by=local)


def test_in_the_working_folder_only_ensembles_are_listed(here: Path) -> None:
    (here / "compose.yaml").write_text("services: {}\n")
    (here / "broken.yaml").write_text("name: a\nagents:\n  - [\n")
    (here / "other.yaml").write_text("a: [\n")
    (here / "notes.txt").write_text("agents:\n")
    assert names(here) == [("a", "folder", False)]


def test_below_a_tier_everything_is_listed_but_settings(here: Path) -> None:
    folder = here / ".llm-orc" / "ensembles"
    ensemble(folder / "good.yaml")
    (folder / "broken.yaml").write_text("a: [\n")
    (folder / "performance.yaml").write_text("run_timeout: 5\n")
    (folder / "gone.yaml").symlink_to(folder / "nowhere.yaml")
    os.mkfifo(folder / "pipe.yaml")
    (folder / "sub.yaml").mkdir()
    assert [name for name, _, _ in names(here)] == ["broken", "gone", "good"]


def test_the_working_folder_may_be_a_tier_itself(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = here / ".llm-orc" / "ensembles"
    ensemble(folder / "a.yaml")
    monkeypatch.chdir(folder)
    assert names(folder) == [("a", "folder", False)]


def test_links_in_a_circle_end(here: Path) -> None:
    folder = here / ".llm-orc" / "ensembles"
    ensemble(folder / "a.yaml")
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(here)
    (folder / "self").symlink_to(folder / "self")
    assert ("a", "local", False) in names(here)
    assert len(names(here)) < 4


def test_a_linked_folder_is_looked_at(here: Path, tmp_path: Path) -> None:
    ensemble(tmp_path / "shared" / "a.yaml")
    (here / ".llm-orc" / "ensembles").mkdir(parents=True)
    (here / ".llm-orc" / "ensembles" / "shared").symlink_to(tmp_path / "shared")
    assert names(here) == [("shared/a", "local", False)]


def test_a_folder_that_cannot_be_read_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = here / ".llm-orc" / "ensembles"
    ensemble(folder / "a.yaml")
    ensemble(folder / "closed" / "b.yaml")
    scandir = os.scandir

    def refusing(path: Path) -> object:  # the super-user of a test may read everything
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    notes: list[str] = []
    assert [found.name for found in ensembles(here, notes)] == ["a"]
    assert notes == [f"{folder}/closed: cannot be looked at: Permission denied"]


def test_the_number_of_files_is_bounded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MOST_ENTRIES", 5)
    folder = here / ".llm-orc" / "ensembles"
    for n in range(4):
        ensemble(folder / "sub" / f"{n}.yaml")
    ensemble(folder / "a.yaml")
    notes: list[str] = []
    assert len(ensembles(here, notes)) == 4
    assert notes == [f"{folder}: only the first 5 files are looked at"]


def test_the_depth_of_folders_is_bounded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MOST_DEPTH", 2)
    folder = here / ".llm-orc" / "ensembles"
    ensemble(folder / "1" / "2" / "a.yaml")
    ensemble(folder / "1" / "2" / "3" / "b.yaml")
    assert names(here) == [("1/2/a", "local", False)]


def test_thousands_of_files_are_looked_at_quickly(here: Path) -> None:
    folder = here / ".llm-orc" / "ensembles"
    folder.mkdir(parents=True)
    for n in range(2_000):
        (folder / f"e{n}.yaml").write_text(f"name: e{n}\nagents: []\n")
    started = time.process_time()
    assert len(ensembles(here, [])) == 2_000
    assert find_top("e1999").name == "e1999.yaml"
    assert time.process_time() - started < 2


def test_a_folder_does_not_hide_an_ensemble_of_its_name(here: Path) -> None:
    (here / "child").mkdir()
    ensemble(here / ".llm-orc" / "ensembles" / "child.yaml")
    assert find_top("child") == here / ".llm-orc" / "ensembles" / "child.yaml"
