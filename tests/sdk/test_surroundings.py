"""What stands around an ensemble's file: which settings win, and that one broken file hides no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto import ConfigError, Settings
from stretto.surroundings import Surroundings, surroundings
from stretto.usage import Price


@pytest.fixture(autouse=True)
def here(empty_folders: Path) -> Path:
    return empty_folders


GLOBAL = "home/.config/llm-orc"


def around(folder: Path, files: dict[str, str], path: str = "a/e.yaml") -> tuple[Surroundings, list[str]]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    errors: list[ConfigError] = []
    found = surroundings(folder / path, errors)
    return found, [str(one).replace(f"{folder}/", "") for error in errors for one in error.errors or (error,)]


def test_a_file_alone_has_nothing_around_it(tmp_path: Path) -> None:
    found, errors = around(tmp_path, {})
    assert errors == []
    assert (found.project, found.tiers, found.notes) == (tmp_path / "a", (), ())
    assert (found.performance.settings, found.performance.prices) == (Settings(), {})
    assert (found.profiles.named, found.profiles.errors, found.profiles.notes) == ({}, (), ())


LAYERS = [  # the lowest first
    (f"{GLOBAL}/config.yaml", "performance: {execution: {default_timeout: 1}}\n"),
    (f"{GLOBAL}/performance.yaml", "default_timeout: 2\n"),
    ("work/.llm-orc/config.yaml", "performance: {default_timeout: 3}\n"),
    ("work/.llm-orc/performance.yaml", "execution: {default_timeout: 4}\n"),
    ("a/.llm-orc/config.yaml", "performance: {execution: {default_timeout: 5}}\n"),
    ("a/.llm-orc/performance.yaml", "default_timeout: 6\n"),
    ("a/performance.yaml", "default_timeout: 7\n"),
]


@pytest.mark.parametrize("count", range(1, len(LAYERS) + 1))
def test_the_nearest_file_of_settings_wins(tmp_path: Path, count: int) -> None:
    found, errors = around(tmp_path, dict(LAYERS[:count]))
    assert errors == []
    assert found.performance.settings == Settings(default_timeout=count)


def test_settings_and_prices_are_laid_together_one_by_one(tmp_path: Path) -> None:
    files = {
        f"{GLOBAL}/config.yaml": "performance: {concurrency: {max_concurrent_agents: 4}}\n",
        f"{GLOBAL}/performance.yaml": "run_timeout: 9\nprices: {a: {input: 1, output: 1}, b: {input: 2, output: 2}}\n",
        "a/performance.yaml": "max_concurrent_agents: 0\nprices: {b: {input: 3, output: 3}}\n",
    }
    found, _ = around(tmp_path, files)
    assert found.performance.settings == Settings(max_concurrent_agents=0, run_timeout=9)
    assert found.performance.prices == {"a": Price(1.0, 1.0), "b": Price(3.0, 3.0)}


def test_an_ensemble_in_a_tier_sees_its_settings_once(tmp_path: Path) -> None:
    files = {"a/.llm-orc/performance.yaml": "run_timeout: 5\nmemory: {}\n"}
    found, _ = around(tmp_path, files, "a/.llm-orc/e.yaml")
    assert found.performance.settings == Settings(run_timeout=5)
    assert len(found.notes) == 1


def test_an_ensemble_that_is_named_so_is_not_its_own_settings(tmp_path: Path) -> None:
    _, errors = around(tmp_path, {"a/performance.yaml": "name: e\nagents: []\n"}, "a/performance.yaml")
    assert errors == []


def test_a_relative_path_is_looked_up_in_the_working_folder(tmp_path: Path, here: Path) -> None:
    (here / "performance.yaml").write_text("run_timeout: 5\n")
    errors: list[ConfigError] = []
    found = surroundings(Path("e.yaml"), errors)
    assert (found.performance.settings, found.project, errors) == (Settings(run_timeout=5), here, [])


def test_one_broken_file_hides_no_other_and_all_errors_are_said(tmp_path: Path) -> None:
    files = {
        f"{GLOBAL}/config.yaml": "a: [\n",
        f"{GLOBAL}/performance.yaml": "run_timeout: 0\nfoo: 1\n",
        "a/.llm-orc/config.yaml": "performance: {concurrency: }\nmodel_profiles: {p: {model: m}}\n",
        "a/.llm-orc/profiles/q.yaml": "- a\n",
        "a/performance.yaml": "phase_timeout: 5\n",
    }
    found, errors = around(tmp_path, files)
    assert [error.partition(": ")[0] for error in errors] == [
        f"{GLOBAL}/config.yaml:2:1",
        f"{GLOBAL}/performance.yaml:1:1",
        f"{GLOBAL}/performance.yaml:2:1",
        "a/.llm-orc/config.yaml:1:15",
    ]
    assert found.performance.settings == Settings(phase_timeout=5)
    assert list(found.profiles.named) == ["p"]
    assert [error.file for error in found.profiles.errors] == [f"{tmp_path}/a/.llm-orc/profiles/q.yaml"]


def test_what_has_no_effect_is_in_the_notes_and_profiles_have_their_own(tmp_path: Path) -> None:
    files = {
        "a/.llm-orc/config.yaml": "performance: {streaming_enabled: true}\n",
        "a/.llm-orc/profiles/q.yaml": "model_profiles: {}\n",
    }
    found, errors = around(tmp_path, files)
    assert errors == []
    assert [note.partition(": ")[0] for note in found.notes] == [f"{tmp_path}/a/.llm-orc/config.yaml:1"]
    assert [note.partition(": ")[0] for note in found.profiles.notes] == [f"{tmp_path}/a/.llm-orc/profiles/q.yaml:1"]


def test_local_profiles_win_over_global_ones(tmp_path: Path) -> None:
    files = {
        f"{GLOBAL}/profiles/p.yaml": "name: p\nmodel: far\n",
        "a/.llm-orc/config.yaml": "model_profiles: {p: {model: near}}\n",
    }
    found, _ = around(tmp_path, files)
    assert (found.profiles.named["p"].values["model"], found.profiles.named["p"].tier) == ("near", "local")
    assert [shadow.tier for shadow in found.profiles.named["p"].shadows] == ["global"]


def test_the_library_holds_no_settings_and_no_profiles(tmp_path: Path) -> None:
    files = {
        "a/.llm-orc/config.yaml": "",
        "a/llm-orchestra-library/config.yaml": "performance: {run_timeout: 5}\n",
        "a/llm-orchestra-library/performance.yaml": "run_timeout: 5\n",
        "a/llm-orchestra-library/profiles/p.yaml": "name: p\nmodel: m\n",
    }
    found, errors = around(tmp_path, files)
    assert errors == []
    assert [tier.name for tier in found.tiers] == ["library", "local"]
    assert (found.performance.settings, found.profiles.named) == (Settings(), {})
