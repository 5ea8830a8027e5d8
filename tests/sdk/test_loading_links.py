"""Links: a project cannot read with them what lies outside of it; whoever runs a file may name it by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto import ConfigError, Runner, load
from stretto.listing import listing

LEAF = "name: leaf\nagents:\n  - {name: one, model: simulated/echo}\n"
SECRET = "hvs.CAESIJvaulttokenvalue1234567890"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project to work in, and an empty home folder."""
    for name in ("home", "work/.llm-orc/profiles", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("LLM_ORC_LIBRARY_PATH", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "elsewhere" / "leaf.yaml").write_text(LEAF)
    return tmp_path / "work"


def refused(path: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.line is not None
    return str(caught.value)


@pytest.mark.parametrize("keys", ["ensemble: leaf", "loop: {body: leaf, max_iterations: 1}", "dispatch: leaf"])
@pytest.mark.parametrize("top", ["stretto: 1\n", ""])
def test_an_ensemble_behind_a_link_that_leaves_the_project_is_refused(here: Path, keys: str, top: str) -> None:
    (here / "leaf.yaml").symlink_to("../elsewhere/leaf.yaml")
    (here / "top.yaml").write_text(f"{top}name: top\nagents:\n  - {{name: a, {keys}}}\n")
    assert "the ensemble 'leaf' is a link that leaves the project" in refused("top.yaml")


def test_a_folder_that_is_such_a_link_is_no_way_out(here: Path) -> None:
    (here / "linked").symlink_to("../elsewhere")
    (here / "top.yaml").write_text("stretto: 1\nname: top\nagents:\n  - {name: a, ensemble: linked/leaf}\n")
    assert "is a link that leaves the project" in refused("top.yaml")


def test_a_link_within_the_project_is_followed(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "other.yaml").write_text(LEAF)
    (here / "leaf.yaml").symlink_to("sub/other.yaml")
    (here / "top.yaml").write_text("name: top\nagents:\n  - {name: a, ensemble: leaf}\n")
    assert load("top.yaml").warnings == ()


def test_a_project_that_is_reached_through_a_link_is_one(here: Path, tmp_path: Path) -> None:
    (here / "leaf.yaml").write_text(LEAF)
    (here / "top.yaml").write_text("name: top\nagents:\n  - {name: a, ensemble: leaf}\n")
    (tmp_path / "link").symlink_to(here)
    assert load(tmp_path / "link" / "top.yaml").warnings == ()


def test_the_file_that_is_run_may_be_a_link(here: Path) -> None:
    (here / "top.yaml").symlink_to("../elsewhere/leaf.yaml")
    assert load("top.yaml").name == "leaf"


def test_links_in_the_user_s_own_folder_lead_anywhere(here: Path, tmp_path: Path) -> None:
    own = tmp_path / "home" / ".config" / "llm-orc"
    (own / "ensembles").mkdir(parents=True)
    (own / "ensembles" / "leaf.yaml").symlink_to(tmp_path / "elsewhere" / "leaf.yaml")
    (tmp_path / "elsewhere" / "config.yaml").write_text("performance: {run_timeout: 5}\n")
    (own / "config.yaml").symlink_to(tmp_path / "elsewhere" / "config.yaml")
    (here / "top.yaml").write_text("name: top\nagents:\n  - {name: a, ensemble: leaf}\n")
    made = load("top.yaml")
    assert (made.warnings, made.settings.run_timeout) == ((), 5)


def test_links_in_the_llm_orc_folder_of_the_user_s_home_lead_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, work = tmp_path / "home" / ".llm-orc", tmp_path / "home" / "work"
    (own / "ensembles").mkdir(parents=True)
    work.mkdir()
    (own / "ensembles" / "leaf.yaml").symlink_to(tmp_path / "elsewhere" / "leaf.yaml")
    (tmp_path / "elsewhere" / "config.yaml").write_text("performance: {run_timeout: 5}\n")
    (own / "config.yaml").symlink_to(tmp_path / "elsewhere" / "config.yaml")
    monkeypatch.chdir(work)
    Path("top.yaml").write_text("name: top\nagents:\n  - {name: a, ensemble: leaf}\n")
    made = load("top.yaml")
    assert (made.warnings, made.settings.run_timeout) == ((), 5)


@pytest.mark.parametrize("name", ["config.yaml", "performance.yaml", "profiles/p.yaml"])
def test_configuration_of_a_project_behind_such_a_link_is_not_read(here: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "elsewhere" / "secret.yaml"
    secret.write_text(f"{SECRET}\n")
    (here / ".llm-orc" / name).symlink_to(secret)
    (here / "top.yaml").write_text("name: top\nagents:\n  - {name: a, model_profile: p}\n")
    message = refused("top.yaml")
    assert message.endswith(f"{name}:1:1: is a link that leaves its project, and is not read: copy the file")
    assert SECRET not in str(listing(here))


async def test_what_a_model_has_chosen_and_is_broken_tells_no_agent_what_it_holds(here: Path) -> None:
    (here / "inside.yaml").write_text(f"{SECRET}\n")
    (here / "outside.yaml").symlink_to("../elsewhere/leaf.yaml")
    told = {"inside": "inside.yaml:1:1: 1 error: `stretto validate ", "outside": "a link that leaves the project"}
    for chosen, reason in told.items():
        (here / "top.yaml").write_text(
            f"name: top\nagents:\n  - {{name: name, model: simulated/echo, prompt: {chosen}}}\n"
            "  - {name: d, dispatch: '${name}', depends_on: [name]}\n"
            "  - {name: send, model: simulated/echo, depends_on: [d], on_dependency_failure: run}\n"
        )
        run = await Runner().run(load("top.yaml"), "hi")
        assert reason in run["d"].reason
        assert SECRET not in str(run.to_dict())


def test_a_file_that_a_caller_names_is_quoted_to_the_caller(here: Path) -> None:
    (here / "inside.yaml").write_text(f"{SECRET}\n")
    assert "the file holds" in refused("inside.yaml")
