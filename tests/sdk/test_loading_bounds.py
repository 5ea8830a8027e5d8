"""A load does a bounded amount of work, however many names of a file are wrong and whatever stands around it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stretto import ConfigError, load, lookup, profiles
from stretto.findings import MOST_SUGGESTED
from stretto.llm_orc_models import MOST_STANDING_IN

MOST_SECONDS = 4  # of CPU; the longest needs 0.8
TOP = "name: e\nagents:\n"
PROFILE = "{model: m, provider: ollama"


@contextmanager
def soon() -> Iterator[None]:
    before = time.process_time()
    yield
    assert time.process_time() - before < MOST_SECONDS


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tier, to work in."""
    (tmp_path / ".llm-orc" / "profiles").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def errors_of(path: Path) -> list[ConfigError]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return list(caught.value.errors or (caught.value,))


def test_scripts_that_are_missing_are_compared_with_others_a_few_times_only(here: Path) -> None:
    for number in range(500):
        (here / f"s{number}.py").touch()
    agents = "".join(f"  - {{name: a{n}, script: sx{n}.py}}\n" for n in range(1000))
    (here / "e.yaml").write_text(f"stretto: 1\n{TOP}{agents}")
    with soon():
        errors = errors_of(here / "e.yaml")
    assert sum(error.nearest is not None for error in errors) == MOST_SUGGESTED


def test_a_folder_is_looked_at_once_for_the_names_of_ensembles(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (here / f"e{number}.yaml").write_text(TOP)
    agents = "".join(f"  - {{name: a{n}, ensemble: ex{n}}}\n" for n in range(100))
    (here / "e.yaml").write_text(f"stretto: 1\n{TOP}{agents}")
    read = list[Path]()
    original = lookup.heading
    monkeypatch.setattr(lookup, "heading", lambda file: (read.append(file), original(file))[1])
    errors = errors_of(here / "e.yaml")
    assert sum(error.nearest is not None for error in errors) == MOST_SUGGESTED
    assert len(read) == 31


def test_profiles_that_no_agent_names_are_not_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".llm-orc" / "profiles" / "p.yaml").write_text("- broken\n")
    (here / "e.yaml").write_text(f"{TOP}  - {{name: a, model: simulated/echo}}\n")
    monkeypatch.setattr(profiles, "read_yaml", None)
    assert load(here / "e.yaml").warnings == ()


def test_profiles_are_read_once_for_all_folders(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".llm-orc" / "profiles" / "p.yaml").write_text("name: p\nmodel: m\nprovider: ollama\n")
    for number in range(5):
        (here / f"f{number}").mkdir()
        (here / f"f{number}" / "e.yaml").write_text(f"{TOP}  - {{name: a, model_profile: p}}\n")
    agents = "".join(f"  - {{name: a{n}, ensemble: f{n}/e}}\n" for n in range(5))
    (here / "e.yaml").write_text(f"{TOP}{agents}")
    read = list[str]()
    original = profiles.read_yaml
    monkeypatch.setattr(profiles, "read_yaml", lambda file: (read.append(str(file)), original(file))[1])
    assert load(here / "e.yaml").warnings == ()
    assert len(read) == 1


def test_the_files_of_a_folder_of_profiles_have_a_bound_together(here: Path) -> None:
    for number in range(4):
        text = f"name: p{number}\nmodel: m\nprovider: ollama\ndescription: {'x' * 900_000}\n"
        (here / ".llm-orc" / "profiles" / f"p{number}.yaml").write_text(text)
    (here / "e.yaml").write_text(f"{TOP}  - {{name: a, model_profile: p3}}\n")
    with soon():
        (error,) = errors_of(here / "e.yaml")
    assert error.message.endswith("hold more than 2000000 bytes: those from here on are not read")
    assert str(error.file).endswith("p2.yaml")


def test_a_long_chain_of_profiles_is_followed_for_a_while(here: Path) -> None:
    chain = "".join(f"  p{n}: {PROFILE}, fallback_model_profile: p{n + 1}}}\n" for n in range(2000))
    (here / ".llm-orc" / "config.yaml").write_text(f"model_profiles:\n{chain}  p2000: {PROFILE}}}\n")
    agents = "".join(f"  - {{name: a{n}, model_profile: p{n}}}\n" for n in range(300))
    (here / "e.yaml").write_text(f"{TOP}{agents}")
    with soon():
        made = load(here / "e.yaml")
    substitutes: Any = made.agents[0].fallback
    assert len(substitutes) == MOST_STANDING_IN
    assert f"no more than {MOST_STANDING_IN} profiles stand in for a model" in made.warnings[0]


def test_names_of_profiles_are_compared_a_few_times_only(here: Path) -> None:
    known = "".join(f"  p{n}: {PROFILE}}}\n" for n in range(2000))
    (here / ".llm-orc" / "config.yaml").write_text(f"model_profiles:\n{known}")
    agents = "".join(f"  - {{name: a{n}, model_profile: px{n}}}\n" for n in range(1000))
    (here / "e.yaml").write_text(f"{TOP}{agents}")
    with soon():
        made = load(here / "e.yaml")
    assert sum("did you mean" in warning for warning in made.warnings) == MOST_SUGGESTED


@pytest.mark.parametrize(
    "where", ["performance: {%s}", "performance: {execution: {%s}}", "model_profiles: {p: {%s}}", "%s"]
)
def test_thousands_of_unknown_keys_around_a_file_are_told_soon(here: Path, where: str) -> None:
    keys = (", " if "{" in where else "\n").join(f"default_timeou{n}: 1" for n in range(20_000))
    (here / ".llm-orc" / "config.yaml").write_text(where % keys)
    (here / "e.yaml").write_text(f"stretto: 1\n{TOP}  - {{name: a, model_profile: p}}\n")
    with soon():
        errors_of(here / "e.yaml")


def test_thousands_of_unknown_settings_are_told_soon(here: Path) -> None:
    keys = ", ".join(f"default_timeou{n}: 1" for n in range(20_000))
    (here / "e.yaml").write_text(f"stretto: 1\nsettings: {{{keys}}}\n{TOP}  - {{name: a, model: simulated/echo}}\n")
    with soon():
        assert len(errors_of(here / "e.yaml")) == 101
