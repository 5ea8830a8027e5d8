"""Where a script is looked for, and how it is started."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from stretto.errors import ConfigError
from stretto.script import Script, find_script

BASH = shutil.which("bash") or shutil.which("sh")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a `.llm-orc`, far from other tiers; the working folder is in it."""
    for name in ("home", "project", "project/.llm-orc/ensembles", "project/.llm-orc/scripts", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("LLM_ORC_LIBRARY_PATH", raising=False)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def written(path: Path, text: str = "", *, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def found(
    text: str,
    source: Path | None,
    strictness: Literal["strict", "compat"] = "strict",
    path: str | None = None,
    *,
    told: bool = False,
) -> Script:
    return find_script(
        text,
        agent="worker",
        source=None if source is None else str(source),
        strictness=strictness,
        told_of_others=told,
        path=path,
    )


def refused(text: str, source: Path | None, strictness: Any = "strict", path: str | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        found(text, source, strictness, path)
    assert (caught.value.agent, caught.value.key) == ("worker", "script")
    return caught.value


def test_a_file_beside_the_ensemble_runs_in_its_folder(project: Path) -> None:
    script = written(project / "flows" / "count.py")
    written(project / "count.py")
    assert found("count.py", project / "flows" / "e.yaml") == Script(
        (sys.executable, str(script)), project / "flows", inline=False
    )


def test_a_path_from_the_projects_top_is_found_too(project: Path) -> None:
    script = written(project / "tools" / "count.py")
    assert found("tools/count.py", project / "flows" / "e.yaml").argv == (sys.executable, str(script))


def test_a_path_upwards_that_stays_in_the_project_is_fine(project: Path) -> None:
    script = written(project / "tools" / "count.py")
    assert found("../tools/count.py", project / "flows" / "e.yaml").argv[1] == str(script)


def test_without_a_file_the_working_folder_stands_for_its_folder(project: Path) -> None:
    script = written(project / "count.py")
    assert found("count.py", None) == Script((sys.executable, str(script)), project)


@pytest.mark.parametrize("strictness", ["strict", "compat"])
@pytest.mark.parametrize(
    "text", ["../elsewhere/x.py", "../../../nowhere/x.py", "{top}/elsewhere/x.py", "/bin/sh", "link.py"]
)
def test_a_path_that_leaves_the_project_is_refused(project: Path, strictness: str, text: str) -> None:
    written(project.parent / "elsewhere" / "x.py")
    (project / "link.py").symlink_to("../elsewhere/x.py")
    error = refused(text.format(top=project.parent), project / "e.yaml", strictness)
    assert "leaves its project" in str(error)


def test_a_folder_that_leads_out_of_the_project_is_refused(project: Path) -> None:
    written(project.parent / "elsewhere" / "x.py")
    (project / "linked").symlink_to("../elsewhere")
    assert "leaves its project" in str(refused("linked/x.py", project / "e.yaml"))


def test_a_link_within_the_project_is_followed(project: Path) -> None:
    script = written(project / "tools" / "count.py")
    (project / "count").symlink_to("tools/count.py")
    assert found("count", project / "e.yaml").argv == (sys.executable, str(script))


def test_an_absolute_path_within_the_project_is_fine(project: Path) -> None:
    script = written(project / "count.py")
    assert found(str(script), project / "flows" / "e.yaml").argv[1] == str(script)


def test_a_missing_script_names_the_nearest_one(project: Path) -> None:
    written(project / "count_words.py")
    error = refused("count_word.py", project / "e.yaml")
    assert error.nearest == "count_words.py"
    assert "'count_word.py' is no file beside the ensemble" in str(error)
    written(project / "flows" / "scripts" / "tally.py")
    assert refused("scripts/taly.py", project / "flows" / "e.yaml").nearest == "scripts/tally.py"


@pytest.mark.parametrize("text", ["echo hello", "echo one\necho two", "x" * 10_000, "a\0b", "flows", " "])
def test_strict_files_have_no_shell_text(project: Path, text: str) -> None:
    (project / "flows").mkdir()
    error = refused(text, project / "e.yaml")
    assert "is no file" in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("name", "program"),
    [("x.py", sys.executable), ("x.PY", sys.executable), ("x.sh", "bash"), ("x.js", "node"), ("x.rb", "ruby")],
)
def test_the_suffix_names_the_interpreter(project: Path, name: str, program: str) -> None:
    script = written(project / name)
    programs = project.parent / "bin"
    for known in ("bash", "sh", "node", "ruby"):
        written(programs / known, mode=0o755)
    expected = program if program == sys.executable else str(programs / program)
    assert found(name, project / "e.yaml", path=str(programs)).argv == (expected, str(script))


def test_sh_stands_in_where_there_is_no_bash(project: Path) -> None:
    written(project / "x.sh")
    sh = written(project.parent / "bin" / "sh", mode=0o755)
    assert found("x.sh", project / "e.yaml", path=str(sh.parent)).argv[0] == str(sh)
    first = found("echo hi", project / "e.yaml", "compat", path=str(sh.parent))
    assert first.argv == (str(sh), "-eu", "-c", "echo hi")


def test_other_files_are_programs_themselves(project: Path) -> None:
    script = written(project / "tool", "#!/bin/sh\n", mode=0o755)
    assert found("tool", project / "e.yaml").argv == (str(script),)


def test_a_file_that_may_not_be_executed_says_the_cure(project: Path) -> None:
    written(project / "x.pl")
    assert "chmod +x" in str(refused("x.pl", project / "e.yaml"))
    script = found("x.pl", project / "e.yaml", "compat")
    assert script.argv == ()
    assert "chmod +x" in script.note


def test_a_missing_interpreter_is_named(project: Path) -> None:
    written(project / "x.rb")
    nothing = str(project / "flows")
    assert "needs ruby, which is not on the PATH" in str(refused("x.rb", project / "e.yaml", path=nothing))
    script = found("x.rb", project / "e.yaml", "compat", path=nothing)
    assert script.argv == ()
    assert "needs ruby" in script.note
    assert found("echo hi", project / "e.yaml", "compat", path=nothing).argv == ()


def test_llm_orcs_files_are_looked_up_where_it_looks(project: Path) -> None:
    source = project / ".llm-orc" / "ensembles" / "e.yaml"
    library, world = project / "llm-orchestra-library", project.parent / "home" / ".config" / "llm-orc"
    places = [
        project / ".llm-orc" / "scripts" / "x.py",
        project / ".llm-orc" / "x.py",
        project / "x.py",
        library / "scripts" / "x.py",
        library / "x.py",
        world / "scripts" / "x.py",
        world / "x.py",
        source.parent / "x.py",
    ]
    for place in places:
        written(place)
    for place in places:  # each wins when those before are gone
        assert found("x.py", source, "compat") == Script((sys.executable, str(place)), project)
        place.unlink()
    assert found("x.py", source, "compat").argv == ()


def test_llm_orcs_files_may_name_a_path_below_their_scripts(project: Path) -> None:
    source = project / ".llm-orc" / "ensembles" / "e.yaml"
    script = written(project / ".llm-orc" / "scripts" / "text" / "x.sh")
    tool = written(project / "tools" / "z.sh")
    assert found("text/x.sh", source, "compat").argv[1] == str(script)
    assert found("scripts/text/x.sh", source, "compat").argv[1] == str(script)
    assert found("./tools/z.sh", source, "compat").argv[1] == str(tool)


def test_an_ensemble_of_a_library_works_in_the_project_at_hand(project: Path) -> None:
    world = project.parent / "home" / ".config" / "llm-orc"
    script = written(world / "scripts" / "x.py")
    assert found("x.py", world / "ensembles" / "e.yaml", "compat") == Script((sys.executable, str(script)), project)
    beside = found("../scripts/x.py", world / "ensembles" / "e.yaml")
    assert beside == Script((sys.executable, str(script)), world / "ensembles")


@pytest.mark.parametrize(
    "text",
    ["date", "tool", "missing.txt", "echo hello > out.txt", "x.sh --flag", "echo one\necho /two", "/bin/ls / | head"],
)
def test_what_does_not_look_like_a_file_is_shell_text_for_llm_orc(project: Path, text: str) -> None:
    written(project / "tool", mode=0o755)
    written(project / "x.sh")
    assert BASH is not None
    script = found(text, project / "e.yaml", "compat")
    assert script == Script((BASH, "-eu", "-o", "pipefail", "-c", text), project, inline=True)


def test_shell_text_of_an_agent_that_gets_results_is_for_a_plain_sh(project: Path) -> None:
    programs = project.parent / "bin"
    for name in ("bash", "sh"):
        written(programs / name, mode=0o755)
    script = found("echo hi", project / "e.yaml", "compat", path=str(programs), told=True)
    assert script.argv == (str(programs / "sh"), "-c", "echo hi")
    (programs / "sh").unlink()
    without = found("echo hi", project / "e.yaml", "compat", path=str(programs), told=True)
    assert (without.argv, without.note) == ((), "a script that is shell text needs sh, not on the PATH")


@pytest.mark.parametrize("text", ["missing.py", "missing.RB", "scripts/missing", "./missing.sh"])
def test_what_looks_like_a_file_and_is_not_there_fails_its_agent_alone(project: Path, text: str) -> None:
    script = found(text, project / "e.yaml", "compat")
    assert script.argv == ()
    assert f"script {text!r} was not found in" in script.note
    assert str(project / ".llm-orc" / "scripts") in script.note


def test_names_that_no_file_system_takes_are_no_files(project: Path) -> None:
    script = found("a" * 300 + ".x b", project / "e.yaml", "compat")
    assert script.inline
    assert os.fspath(script.folder) == str(project)
