"""Loading what a file names: ensembles within ensembles, scripts, and where an error of theirs stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stretto import ConfigError, Ensemble, Runner, load
from stretto.loading import MOST_NESTED, located, named_ensemble

HEAD = "stretto: 1\nname: %s\nmodel: simulated/echo\nagents:\n"
LEAF = HEAD % "leaf" + "  - name: one\n"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def said(folder: Path, name: str = "top", **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder / f"{name}.yaml", **options)
    errors = caught.value.errors or (caught.value,)
    assert all(error.file and error.line and error.column for error in errors)
    return [str(error).replace(f"{folder}/", "") for error in errors]


def children(ensemble: Ensemble) -> list[Any]:
    return [agent.ensemble if agent.loop is None else getattr(agent.loop, "body", None) for agent in ensemble.agents]


# Ensembles.


@pytest.mark.parametrize("name", ["leaf", "leaf.yaml", "./leaf", "sub/../leaf"])
def test_an_ensemble_is_found_beside_the_file_that_names_it(tmp_path: Path, name: str) -> None:
    write(tmp_path, leaf=LEAF, top=HEAD % "top" + f"  - {{name: a, ensemble: {name}}}\n", sub__x=LEAF)
    (child,) = children(load(tmp_path / "top.yaml"))
    assert (child.name, child.strictness, child.source) == ("leaf", "strict", str(tmp_path / "leaf.yaml"))


def test_a_loop_has_its_body_as_an_ensemble(tmp_path: Path) -> None:
    loop = "{body: leaf, max_iterations: 2, until: '${body.done}', carry: '${body.next}'}"
    write(tmp_path, leaf=LEAF, top=HEAD % "top" + f"  - {{name: a, loop: {loop}}}\n")
    (body,) = children(load(tmp_path / "top.yaml"))
    assert body.name == "leaf"


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    kinds = ("ensemble: leaf", "loop: {body: leaf.yaml, max_iterations: 1}", "ensemble: mid")
    agents = "".join(f"  - {{name: a{number}, {kind}}}\n" for number, kind in enumerate(kinds))
    write(tmp_path, leaf=LEAF, top=HEAD % "top" + agents, mid=HEAD % "mid" + "  - {name: d, ensemble: ./leaf}\n")
    first, second, third = children(load(tmp_path / "top.yaml"))
    assert first is second is children(third)[0]


async def test_what_was_loaded_runs(tmp_path: Path) -> None:
    write(tmp_path, leaf=LEAF, top=HEAD % "top" + "  - {name: a, ensemble: leaf}\n  - {name: b, dispatch: leaf}\n")
    async with Runner() as runner:
        run = await runner.run(load(tmp_path / "top.yaml"), "hello")
    assert (run["a"].output, run["b"].output) == ("hello", "hello")


def test_each_file_says_for_itself_whether_it_is_strict(tmp_path: Path) -> None:
    loose = LEAF.replace("stretto: 1\n", "") + "nonsense: 1\n"
    write(tmp_path, leaf=loose, top=HEAD % "top" + "  - {name: a, ensemble: leaf}\n")
    ensemble = load(tmp_path / "top.yaml")
    assert children(ensemble)[0].strictness == "compat"
    assert ensemble.notes == (f"{tmp_path}/leaf.yaml:5: the key 'nonsense' is ignored",)
    assert said(tmp_path, strictness="strict") == ["leaf.yaml:5:1: 'nonsense' is not a key of an ensemble"]


def test_errors_of_all_files_are_said_together_each_in_its_own(tmp_path: Path) -> None:
    write(
        tmp_path,
        leaf=HEAD % "leaf" + "  - {name: a, timeuot: 1}\n  - 5\n",
        other="a: [\n",
        top=HEAD % "top" + "  - {name: a, ensemble: leaf}\n  - {name: b, ensemble: other}\n  - {name: c, foo: 1}\n",
    )
    assert [one.partition(" ")[0] for one in said(tmp_path)] == [
        "leaf.yaml:5:15:",
        "leaf.yaml:6:5:",
        "other.yaml:2:1:",
        "top.yaml:7:15:",
    ]


def test_an_ensemble_that_nothing_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    for keys in ("ensemble: laef", "dispatch: laef", "loop: {body: laef, max_iterations: 1}"):
        write(tmp_path, leaf=LEAF, top=HEAD % "top" + f"  - {{name: a, {keys}}}\n")
        (error,) = said(tmp_path)
        assert error.startswith("top.yaml:5:")
        assert "no ensemble is named 'laef' in" in error
        assert error.endswith("(did you mean 'leaf'?)")


def test_in_files_of_llm_orc_it_lets_its_agent_fail_alone(tmp_path: Path) -> None:
    loop = "loop: {body: none, max_iterations: 1}"
    agents = f"  - {{name: a, ensemble: none}}\n  - {{name: b, {loop}}}\n  - {{name: c, dispatch: none}}\n"
    write(tmp_path, top=f"name: top\nmodel: simulated/echo\nagents:\n{agents}  - name: d\n")
    ensemble = load(tmp_path / "top.yaml")
    assert [note.partition(" in ")[0].replace(f"{tmp_path}/", "") for note in ensemble.notes] == [
        f"top.yaml:{line}: agent {name!r}: no ensemble is named 'none'" for line, name in ((4, "a"), (5, "b"), (6, "c"))
    ]
    run = Runner().run_sync(ensemble, "hello")
    assert {name: outcome.status for name, outcome in run.outcomes.items()} == {
        "a": "failed",
        "b": "failed",
        "c": "failed",
        "d": "ok",
    }


@pytest.mark.parametrize("name", ["../leaf", "/etc/passwd", "../../x"])
@pytest.mark.parametrize("top", ["stretto: 1\n", ""])
def test_an_ensemble_outside_of_the_project_is_refused(tmp_path: Path, top: str, name: str) -> None:
    inside = tmp_path / "inside"
    write(tmp_path, leaf=LEAF, inside__top=f"{top}name: e\nagents: [{{name: a, ensemble: {name}}}]\n")
    (error,) = said(inside)
    assert f"the ensemble {name!r} is outside the project" in error


def test_who_names_a_thousand_that_nothing_has_is_told_so(tmp_path: Path) -> None:
    agents = "".join(f"  - {{name: a{n}, ensemble: none-{n}}}\n" for n in range(600))
    write(tmp_path, top=HEAD % "top" + "  - {name: a, ensemble: one}\n  - {name: b, ensemble: two}\n")
    write(tmp_path, one=f"name: one\nagents:\n{agents}", two=f"name: two\nagents:\n{agents}")
    assert "more than 1000 ensembles that are named cannot be found" in said(tmp_path)[0]


# Rings and depth.


@pytest.mark.parametrize("keys", ["ensemble: top", "loop: {body: ./top.yaml, max_iterations: 1}", "dispatch: top"])
@pytest.mark.parametrize("top", ["stretto: 1\n", ""])
def test_a_file_that_includes_itself_is_refused(tmp_path: Path, top: str, keys: str) -> None:
    write(tmp_path, top=f"{top}name: e\nagents:\n  - {{name: a, {keys}}}\n")
    (error,) = said(tmp_path)
    line = 3 + bool(top)
    assert error.startswith(f"top.yaml:{line}:")
    assert error.endswith(f" includes itself: top.yaml:{line} -> top.yaml")


def test_a_ring_of_files_is_named_with_its_places(tmp_path: Path) -> None:
    write(
        tmp_path,
        start=HEAD % "start" + "  - {name: a, ensemble: one}\n",
        one=HEAD % "one" + "\n  - {name: a, ensemble: two}\n",
        two=HEAD % "two" + "  - {name: a, dispatch: three}\n",
        three=HEAD % "three" + "  - name: a\n    loop:\n      body: one\n      max_iterations: 2\n",
    )
    (error,) = said(tmp_path, "start")
    assert error == (
        "three.yaml:7:7: agent 'a': the ensemble 'one' includes itself: "
        "one.yaml:6 -> two.yaml:5 -> three.yaml:7 -> one.yaml"
    )


def test_a_link_to_a_file_is_the_same_file(tmp_path: Path) -> None:
    write(tmp_path, top=HEAD % "top" + "  - {name: a, ensemble: other}\n")
    (tmp_path / "other.yaml").symlink_to(tmp_path / "top.yaml")
    assert "includes itself" in said(tmp_path)[0]


def deep(folder: Path, levels: int) -> None:
    for number in range(levels):
        write(folder, **{f"e{number}": HEAD % f"e{number}" + f"  - {{name: a, ensemble: e{number + 1}}}\n"})
    write(folder, **{f"e{levels}": LEAF})


def test_ensembles_may_be_nested_fifty_deep(tmp_path: Path) -> None:
    deep(tmp_path, MOST_NESTED)
    ensemble, levels = load(tmp_path / "e0.yaml"), 0
    while children(ensemble)[0] is not None:
        ensemble, levels = children(ensemble)[0], levels + 1
    assert levels == MOST_NESTED


def test_deeper_ones_are_refused(tmp_path: Path) -> None:
    deep(tmp_path, MOST_NESTED + 1)
    (error,) = said(tmp_path, "e0")
    assert error == f"e{MOST_NESTED}.yaml:5:15: agent 'a': ensembles are nested more than 50 deep"


def test_a_web_of_files_is_read_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stretto import loading

    for number in range(40):
        agents = "".join(f"  - {{name: a{n}, ensemble: e{number + 1}}}\n" for n in range(10))
        write(tmp_path, **{f"e{number}": HEAD % f"e{number}" + agents})
    write(tmp_path, e40=LEAF)
    read = list[str]()
    original = loading.read_yaml

    def counted(path: str, *, pipe: bool = False) -> Any:
        read.append(str(path))
        return original(path, pipe=pipe)

    monkeypatch.setattr(loading, "read_yaml", counted)
    load(tmp_path / "e0.yaml")
    assert len(read) == 41


def test_a_file_within_is_named_as_the_one_around_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, top=HEAD % "top" + "  - {name: a, ensemble: sub/leaf}\n", sub__leaf=LEAF)
    assert children(load(tmp_path / "top.yaml"))[0].source == str(tmp_path / "sub" / "leaf.yaml")
    monkeypatch.chdir(tmp_path)
    assert children(load("top.yaml"))[0].source == "sub/leaf.yaml"
    monkeypatch.chdir(tmp_path / "sub")
    write(tmp_path, sub__up=HEAD % "up" + f"  - {{name: a, ensemble: {tmp_path}/sub/leaf}}\n")
    assert children(load("up.yaml"))[0].source == "leaf.yaml"


def test_a_file_that_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    for name in (tmp_path / "a.yaml", "a\0b", tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match="cannot be read: "):
            load(name)


# Names at run time.


def test_an_ensemble_is_loaded_by_the_name_that_another_has_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, leaf=LEAF, sub__other=LEAF.replace("leaf", "other"))
    assert named_ensemble("leaf", str(tmp_path / "top.yaml")).name == "leaf"
    assert named_ensemble("sub/other", str(tmp_path / "top.yaml")).name == "other"
    monkeypatch.chdir(tmp_path)
    assert named_ensemble("leaf", None).name == "leaf"
    with pytest.raises(ConfigError, match=r"no ensemble is named 'laef' .*\(did you mean 'leaf'\?\)"):
        named_ensemble("laef", str(tmp_path / "top.yaml"))


# Scripts.


def test_a_script_is_looked_for_when_the_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, top=HEAD % "top" + "  - {name: a, script: work.py}\n")
    (error,) = said(tmp_path)
    assert error.startswith("top.yaml:5:15: agent 'a': ")
    (tmp_path / "work.py").write_text("print(1)\n")
    assert load(tmp_path / "top.yaml").agents[0].script == "work.py"


@pytest.mark.parametrize("top", ["stretto: 1\n", ""])
def test_a_script_outside_of_the_project_is_refused(tmp_path: Path, top: str) -> None:
    (tmp_path / "work.py").write_text("print(1)\n")
    inside = tmp_path / "inside"
    write(tmp_path, inside__top=f"{top}name: e\nagents:\n  - {{name: a, script: ../work.py}}\n")
    (error,) = said(inside)
    assert "leaves its project" in error
    assert "agent 'a'" in error


# Errors that come later.


def test_an_error_of_a_runner_stands_where_llm_orc_s_word_for_it_is(tmp_path: Path) -> None:
    path = tmp_path / "top.yaml"
    agent = (
        "  - name: a\n    model_profile: p\n    timeout_seconds: 5\n    fallback_model_profile: q\n    input_key: k\n"
    )
    path.write_text(f"name: e\nagents:\n{agent}coordinator:\n  model_profile: p\n")
    for key, line in (
        ("timeout", 5),
        ("model", 4),
        ("base_url", 4),
        ("api_key_env", 4),
        ("fallback", 6),
        ("prompt", 7),
    ):
        assert located(ConfigError("odd", agent="a", key=key), path).line == line
    assert located(ConfigError("odd", agent="coordinator", key="model"), path).line == 9
    assert located(ConfigError("odd", agent="a", key="nothing"), path).line == 3


def test_an_error_of_an_ensemble_within_stands_in_its_own_file(tmp_path: Path) -> None:
    write(tmp_path, top=LEAF, leaf=HEAD % "leaf" + "\n\n  - {name: one, base_url: 'http://h'}\n")
    error = ConfigError("odd", agent="one", key="base_url", file=str(tmp_path / "leaf.yaml"))
    assert str(located(error, tmp_path / "top.yaml")) == f"{tmp_path}/leaf.yaml:7:17: agent 'one': odd"


def test_an_error_that_has_its_place_keeps_it(tmp_path: Path) -> None:
    error = ConfigError("odd", file="elsewhere.yaml", line=3, column=4)
    assert str(located(error, tmp_path / "missing.yaml")) == "elsewhere.yaml:3:4: odd"
