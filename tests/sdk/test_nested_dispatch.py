"""Dispatches: the ensemble is chosen by name while the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nesting import a_run, child, echo, gives, tree, trees
from stretto import Agent, Call, Ensemble, Next, Reply, Run, Runner, Settings
from stretto.errors import ConfigError, InvalidOutput
from stretto.references import References
from stretto.usage import Price, Usage
from watched import an_ensemble, fails, says, statuses, virtually


def file(folder: Path, name: str, *agents: str, **top: str) -> None:
    lines = ["stretto: 1", f"name: {name}", *(f"{key}: {value}" for key, value in top.items()), "agents:"]
    (folder / f"{name}.yaml").write_text("\n".join([*lines, *(f"  - {{{agent}}}" for agent in agents)]) + "\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two ensembles, outside of which stands a third."""
    folder = tmp_path / "project"
    folder.mkdir()
    file(folder, "upper", "name: a, model: t/upper")
    file(folder, "lower", "name: a, model: t/lower", "name: b, model: t/lower, depends_on: [a], prompt: '${a}!'")
    file(tmp_path, "outside", "name: a, model: t/upper")
    monkeypatch.chdir(folder)
    return folder


async def cases(call: Call) -> Reply:
    text = call.messages[-1]["content"]
    return Reply(text.upper() if call.model == "t/upper" else text.lower(), usage=Usage(10, 5))


OPTIONS: dict[str, Any] = {"providers": {"t": cases}}


def chosen(work: Callable[..., Any], name: str = "${r}", **fields: Any) -> Run:
    router = Agent("r", function=work)
    return a_run(
        router, Agent("d", dispatch=name, depends_on=["r"], prompt="${input}", **fields), input="Hi", **OPTIONS
    )


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("upper", "", "HI"),
        ("lower.yaml", "", "hi!"),
        ("${r}", "upper", "HI"),
        ("${r.to}", {"to": "lower"}, "hi!"),
        ("${r.to}", '{"to": "lower"}', "hi!"),
        ("${r.0}", ["upper"], "HI"),
        ("${r}er", "upp", "HI"),
        ("  ${r}\n", " upper\n", "HI"),
    ],
)
def test_the_name_is_a_text_or_what_an_agent_gives(here: Path, name: str, value: Any, result: str) -> None:
    run = chosen(gives(value), name)
    assert run["d"].value == result
    assert run.status == "completed"


def test_the_name_may_be_in_the_input(here: Path) -> None:
    run = a_run(Agent("d", dispatch="${input.to}", prompt="${input.q}"), input={"to": "upper", "q": "x"}, **OPTIONS)
    assert run.output == "X"


def test_the_agent_waits_for_what_names_the_ensemble(here: Path) -> None:
    run = a_run(Agent("d", dispatch="${r}", prompt="${input}"), Agent("r", function=says("upper", 3)), **OPTIONS)
    assert run.phases == [["r"], ["d"]]
    assert run["d"].value == "X"


def test_an_outcome_says_which_ensemble_was_chosen(here: Path) -> None:
    outcome = chosen(gives("lower"))["d"]
    assert outcome.inner is not None
    assert (outcome.inner.kind, outcome.inner.ensemble, outcome.inner.phases) == ("dispatch", "lower", (("a",), ("b",)))
    assert tree(outcome) == ("ok", {"a": "ok", "b": "ok"})
    assert outcome.usage == Usage(20, 10)


@pytest.mark.parametrize(
    "name",
    ["nothing", "", "../outside", "/etc/passwd", "a\0b", "upper\nlower", "${r}", "[r: failed, no]", "x" * 10_000, ".."],
)
def test_a_name_that_stands_for_nothing_fails_that_agent_alone(here: Path, name: str) -> None:
    run = a_run(
        Agent("r", function=gives(name)),
        Agent("d", dispatch="${r}", prompt="${input}"),
        Agent("other", function=echo),
        Agent("after", function=echo, depends_on=["d"]),
        **OPTIONS,
    )
    assert statuses(run) == {"r": "ok", "d": "failed", "other": "ok", "after": "skipped"}
    assert isinstance(run["d"].error, ConfigError)
    assert (run["d"].error.agent, run["d"].error.key) == ("d", "dispatch")
    assert run["d"].children == ()
    assert len(run["d"].reason) < 2000
    assert run.status == "completed_with_errors"


def test_a_name_of_a_model_cannot_leave_the_project(here: Path, tmp_path: Path) -> None:
    for name in ("../outside", "../outside.yaml", str(tmp_path / "outside.yaml"), "upper/../../outside"):
        run = chosen(gives(name))
        assert run["d"].status == "failed", name


def test_the_nearest_name_is_said(here: Path) -> None:
    assert "did you mean 'lower'?" in chosen(gives("lowr"))["d"].reason


def test_a_file_that_is_wrong_fails_the_agent_with_its_place(here: Path) -> None:
    file(here, "wrong", "name: a, modell: t/upper")
    run = chosen(gives("wrong"))
    assert run["d"].status == "failed"
    assert "wrong.yaml:4:" in run["d"].reason
    assert "modell" not in run["d"].reason  # a model chose the file, and other agents are told why it failed
    assert "`stretto validate " in run["d"].reason


@pytest.mark.parametrize("value", [None, 5, {"to": "upper"}, ["upper"]])
def test_what_is_no_name_fails(here: Path, value: Any) -> None:
    assert chosen(gives(value))["d"].status == "failed"


def test_an_agent_without_a_result_names_nothing(here: Path) -> None:
    run = a_run(
        Agent("r", function=fails(ValueError("upper"))),
        Agent("good", function=echo),
        Agent("d", dispatch="${r}", depends_on=["good", "r"], prompt="${input}"),
        **OPTIONS,
    )
    assert run["d"].status == "failed"
    assert isinstance(run["d"].error, InvalidOutput)
    assert run["d"].reason == "${r}: r has no result (failed)"


def test_a_field_that_is_not_there_names_nothing(here: Path) -> None:
    run = chosen(gives({"from": "upper"}), "${r.to}")
    assert run["d"].reason == "${r.to}: r has no field 'to'"


# What the chosen ensemble has


def test_its_input_is_that_of_a_child(here: Path) -> None:
    run = a_run(
        Agent("r", function=gives("upper")), Agent("d", dispatch="${r}", depends_on=["r"]), input="q", **OPTIONS
    )
    assert run["d"].value == "Q\n\nAGENT R:\nUPPER"


def test_the_layers_of_the_agent_are_laid_under_its_own(here: Path) -> None:
    class Marks:
        name = "marks"

        async def __call__(self, call: Call, call_next: Next) -> Reply:
            reply = await call_next(call)
            return Reply(f"<{reply.text}>", usage=reply.usage)

    assert chosen(gives("upper"), middleware=[Marks()])["d"].value == "<HI>"


def test_prices_and_settings_are_its_own(here: Path) -> None:
    (here / "priced").mkdir()
    file(here / "priced", "dear", "name: a, model: t/upper")
    (here / "priced" / "performance.yaml").write_text("prices: {t/upper: {input: 1000000, output: 0}}\n")
    run = chosen(gives("priced/dear"))
    assert run["d"].cost == 10
    assert chosen(gives("upper"))["d"].cost is None
    runner = Runner(middleware=[], providers={"t": cases}, prices={"t/upper": Price(2e6, 0)})
    ensemble = an_ensemble(Agent("d", dispatch="priced/dear"))
    assert virtually(runner.run(ensemble, "x")).cost == 20


def test_providers_that_only_it_needs_are_opened_and_closed(here: Path) -> None:
    class Held:
        opened = closed = 0

        async def __aenter__(self) -> None:
            self.opened += 1

        async def __aexit__(self, *error: object) -> None:
            self.closed += 1

        async def __call__(self, call: Call) -> Reply:
            assert self.opened == self.closed + 1
            return await cases(call)

    held = Held()
    agents = [Agent("d", dispatch="upper"), Agent("e", dispatch="lower", depends_on=["d"])]
    run = a_run(*agents, providers={"t": held})
    assert run.ok
    assert held.opened == held.closed > 0


def test_a_provider_that_does_not_open_fails_that_agent_alone(here: Path) -> None:
    class Broken:
        async def __aenter__(self) -> None:
            raise OSError("no socket")

        async def __aexit__(self, *error: object) -> None: ...

        async def __call__(self, call: Call) -> Reply:
            raise AssertionError

    run = a_run(Agent("d", dispatch="upper"), Agent("other", function=echo), providers={"t": Broken()})
    assert trees(run) == {"d": ("failed", {"a": "skipped"}), "other": "ok"}
    assert run["d"].reason == "no socket"


def test_a_model_without_provider_fails_that_agent_alone(here: Path) -> None:
    file(here, "strange", "name: a, model: nobody/m")
    run = a_run(Agent("d", dispatch="strange"), Agent("other", function=echo))
    assert statuses(run) == {"d": "failed", "other": "ok"}
    assert "no provider is known for 'nobody/m'" in run["d"].reason


def test_scripts_of_a_chosen_ensemble_need_leave_as_well(here: Path) -> None:
    (here / "hi.sh").write_text("echo hi\n")
    file(here, "runs", "name: a, script: hi.sh")
    run = a_run(Agent("d", dispatch="runs"))
    assert run["d"].status == "failed"
    assert "scripts are not allowed" in run["d"].reason


# How deep, and how often


def test_an_ensemble_that_chooses_itself_ends_at_the_depth_that_is_allowed(here: Path) -> None:
    file(here, "again", "name: a, dispatch: '${input}', prompt: '${input}'")
    outcome = a_run(Agent("d", dispatch="again"), input="again")["d"]
    depth = 0
    while outcome.children:
        (outcome,) = outcome.children
        depth += 1
    assert (outcome.status, depth) == ("failed", 5)
    path = " > ".join(["e", *["again"] * 6])
    assert f"ensembles are nested more than 5 deep ({path})" in outcome.reason


def test_the_depth_counts_from_where_an_ensemble_stands_not_from_where_it_stood_first(here: Path) -> None:
    file(here, "leaf", "name: a, model: t/upper")
    chooses = child(Agent("x", dispatch="leaf"), name="chooses")
    deep = child(Agent("x", ensemble=child(Agent("x", ensemble=chooses), name="two")), name="one")
    agents = [Agent("shallow", ensemble=chooses), Agent("deep", ensemble=deep)]
    run = a_run(*agents, max_ensemble_depth=3, **OPTIONS)
    assert (run["shallow"].status, run["deep"].status) == ("ok", "failed")
    assert "nested more than 3 deep (e > one > two > chooses > leaf)" in run["deep"].reason


def test_what_is_within_a_chosen_ensemble_counts_for_the_depth(here: Path) -> None:
    file(here, "inner", "name: a, model: t/upper")
    file(here, "middle", "name: a, ensemble: inner")
    ensemble = an_ensemble(Agent("d", dispatch="middle"))
    for most, status in ((1, "failed"), (2, "ok")):
        runner = Runner(middleware=[], settings=Settings(max_ensemble_depth=most), **OPTIONS)
        run = virtually(runner.run(ensemble, "x"))
        assert run["d"].status == status


def test_a_thousand_dispatches_of_a_fan_out_read_each_file_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = References.find

    def counted(self: References, name: str, ensemble: Ensemble) -> Ensemble:
        if (name, ensemble.source) not in self._by_name:
            read.append(name)
        return original(self, name, ensemble)

    monkeypatch.setattr(References, "find", counted)
    items = [{"to": ("upper", "lower", "none")[n % 3], "q": f"Q{n}"} for n in range(999)]
    agent = Agent("d", fan_out="${input}", dispatch="${item.to}", prompt="${item.q}")
    run = a_run(agent, input=items, **OPTIONS)
    assert run["d"].value[:4] == ["Q0", "q1!", None, "Q3"]
    assert [read.count(name) for name in ("upper", "lower")] == [1, 1]
    assert [outcome.status for outcome in run["d"].children[:3]] == ["ok", "ok", "failed"]
