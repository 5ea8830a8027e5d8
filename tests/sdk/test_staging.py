"""An ensemble made ready, with all that runs within it: what is wrong anywhere is said before the first call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nesting import child, echo
from stretto import Agent, Call, Ensemble, Next, Reply, Runner, Settings
from stretto.errors import ConfigError
from stretto.loop import Loop
from stretto.routing import Routing
from stretto.stage import Stage, every
from stretto.staging import MOST_NESTED, Staging, inherited
from stretto.usage import Price
from watched import an_ensemble, virtually


class Layer:
    """A layer that does nothing."""

    def __init__(self, name: str, models: tuple[str, ...] = ()) -> None:
        self.name = name
        self.models = models

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        return await call_next(call)


async def answer(call: Call) -> Reply:
    return Reply("x")


async def other(call: Call) -> Reply:
    return Reply("y")


def staging(settings: Settings | None = None, **options: Any) -> Staging:
    routing = Routing({"t": answer, "u": other}, (), None, {}, False)
    return Staging(routing, settings or Settings(), {}, **options)


def staged(ensemble: Ensemble, *base: Layer, **options: Any) -> Stage:
    return staging(**options).stage(ensemble, base)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (child(Agent("a", model="nobody/m")), "no provider is known for 'nobody/m'"),
        (child(Agent("a", function=echo, depends_on=["b"])), "which is no agent of this ensemble"),
        (child(Agent("a", function=echo), Agent("a", function=echo)), "2 agents are named 'a'"),
        (child(Agent("a", function=echo, prompt="${x}")), "names neither the input nor a dependency"),
        (child(Agent("a", script="x.sh")), "scripts are not allowed"),
        (child(Agent("a", model="t/m", base_url="http://169.254.1.1")), "link-local or metadata address"),
        (child(Agent("a", model="t/m", fallback="nobody/m")), "no provider is known for 'nobody/m'"),
        (child(Agent("a", ensemble="not there")), "no ensemble is named 'not there'"),
        (child(Agent("a", loop=Loop("not there", 2))), "no ensemble is named 'not there'"),
        (child(Agent("a", function=echo, middleware=[Layer("x"), Layer("x")])), "two layers are named 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_what_is_wrong_anywhere_is_refused_before_any_call(
    wrong: Ensemble, message: str, depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called: list[Call] = []

    async def counted(call: Call) -> Reply:
        called.append(call)
        return Reply("x")

    level = wrong
    for number in range(depth):
        agents = [Agent("first", model="t/m"), Agent("a", ensemble=level)]
        level = child(*agents, name=f"level {number}")
    with pytest.raises(ConfigError, match=message) as error:
        virtually(Runner(middleware=[], providers={"t": counted}).run(level, "x"))
    assert called == []
    assert error.value.agent in ("a", None)


def test_an_ensemble_by_name_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaf.yaml").write_text("stretto: 1\nname: the leaf\nagents: [{name: a, model: simulated/echo}]\n")
    for agent in (Agent("c", ensemble="leaf"), Agent("c", loop=Loop("leaf", 1))):
        run = virtually(Runner(middleware=[]).run(an_ensemble(agent), "hi"))
        assert run["c"].inner is not None
        assert (run["c"].inner.ensemble, run["c"].ok) == ("the leaf", True)


def test_files_that_name_each_other_ten_times_are_staged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for level in range(4):
        agents = "\n".join(f"  - {{name: a{n}, ensemble: level{level + 1}}}" for n in range(10))
        (tmp_path / f"level{level}.yaml").write_text(f"stretto: 1\nname: level{level}\nagents:\n{agents}\n")
    (tmp_path / "level4.yaml").write_text("stretto: 1\nname: leaf\nagents: [{name: a, model: t/m}]\n")
    top = an_ensemble(*(Agent(f"c{n}", ensemble="level0") for n in range(10)))
    assert [stage.ensemble.name for stage in every(staged(top))] == ["e", *(f"level{n}" for n in range(4)), "leaf"]


def test_the_same_ensemble_over_the_same_layers_is_one_stage() -> None:
    leaf = child(Agent("a", model="t/m"))
    stage = staged(an_ensemble(Agent("c", ensemble=leaf), Agent("d", ensemble=leaf), Agent("l", loop=Loop(leaf, 2))))
    assert stage.inner["c"] is stage.inner["d"] is stage.inner["l"]
    assert [one.height for one in every(stage)] == [1, 0]


def test_over_other_layers_it_is_another() -> None:
    leaf = child(Agent("a", model="t/m"))
    stage = staged(
        an_ensemble(Agent("c", ensemble=leaf), Agent("d", ensemble=leaf, middleware=[Layer("mine")])), Layer("base")
    )
    assert stage.inner["c"] is not stage.inner["d"]
    assert [layer.name for layer in stage.inner["d"].stacks["a"]] == ["base", "mine"]  # type: ignore[attr-defined]


def test_with_other_settings_or_prices_around_it_is_another() -> None:
    leaf = child(Agent("a", model="t/m"), name="leaf")
    same = [child(Agent("x", ensemble=leaf), name=f"same {n}") for n in range(2)]
    own = child(Agent("x", ensemble=leaf), name="own", settings=Settings(default_timeout=5))
    dear = child(Agent("x", ensemble=leaf), name="dear", prices={"t/*": Price(1, 1)})
    stage = staged(an_ensemble(*(Agent(f"c{n}", ensemble=made) for n, made in enumerate((*same, own, dear)))))
    leaves = [stage.inner[f"c{n}"].inner["x"] for n in range(4)]
    assert leaves[0] is leaves[1]
    assert len({id(one) for one in leaves}) == 3
    assert [one.settings.default_timeout for one in leaves] == [60, 60, 5, 60]
    assert [one.routing.price("t/m") for one in leaves] == [None, None, None, Price(1, 1)]


def test_prices_that_are_known_already_make_no_other_stage() -> None:
    prices = {"t/*": Price(1, 1)}
    leaf = child(Agent("a", model="t/m"), name="leaf", prices=dict(prices))
    middle = child(Agent("x", ensemble=leaf), name="middle", prices=dict(prices))
    stage = staged(an_ensemble(Agent("c", ensemble=leaf), Agent("d", ensemble=middle), prices=dict(prices)))
    assert stage.inner["c"] is stage.inner["d"].inner["x"]


# What is opened


def test_layers_and_providers_of_all_levels_are_held_each_once_layers_first() -> None:
    runner, mine, inner = Layer("runner"), Layer("mine"), Layer("inner", models=("u/m",))
    leaf = child(Agent("a", model="t/m", middleware=[inner]), Agent("b", model="t/n"))
    top = an_ensemble(Agent("c", ensemble=leaf), Agent("d", ensemble=leaf, middleware=[mine]), Agent("e", model="t/m"))
    made = staging()
    stage = made.stage(top, (runner,))
    held = made.held(stage)
    assert set(held) == {runner, mine, inner, answer, other}
    assert held[-2:] == [answer, other]
    assert made.providers(stage) == [answer, other]


def test_models_that_stand_in_have_their_providers_held() -> None:
    made = staging()
    leaf = child(Agent("a", model="t/m", fallback=["u/m"]))
    assert made.providers(made.stage(an_ensemble(Agent("c", ensemble=leaf)), ())) == [answer, other]


# Clocks


def test_a_phase_clock_of_the_runner_is_refused_for_a_run_that_has_no_phases() -> None:
    ready = child(Agent("a", function=echo), schedule="ready")
    with pytest.raises(ConfigError, match="phase_timeout needs schedule='phases'"):
        staged(ready, settings=Settings(phase_timeout=5))


def test_within_a_run_with_phases_it_is_the_clock_of_those_around() -> None:
    ready = child(Agent("a", function=echo), Agent("b", function=echo, depends_on=["a"]), schedule="ready")
    stage = staged(an_ensemble(Agent("c", ensemble=ready)), settings=Settings(phase_timeout=5))
    assert stage.inner["c"].settings.phase_timeout == 5


def test_all_settings_but_the_clocks_of_phases_and_runs_go_on_to_what_is_within() -> None:
    outer = Settings(default_timeout=1, phase_timeout=2, run_timeout=3, max_concurrent_agents=4, cancel_grace=5)
    assert inherited(None, outer) == Settings(default_timeout=1, max_concurrent_agents=4, cancel_grace=5)
    own = Settings(default_timeout=9, run_timeout=8)
    assert inherited(own, outer) == Settings(default_timeout=9, run_timeout=8, max_concurrent_agents=4, cancel_grace=5)
    assert inherited(own, None) is own
    assert inherited(None, None) is None


# How deep


def test_the_bound_for_nesting_is_one_that_coroutines_bear() -> None:
    assert MOST_NESTED == 50


def test_a_circle_of_ensembles_in_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text("stretto: 1\nname: one\nagents: [{name: a, ensemble: two}]\n")
    (tmp_path / "two.yaml").write_text("stretto: 1\nname: two\nagents: [{name: a, ensemble: one}]\n")
    with pytest.raises(ConfigError, match="includes itself"):
        staged(an_ensemble(Agent("c", ensemble="one")))


def test_a_circle_that_python_makes_is_refused_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    again = Ensemble("again", [Agent("a", ensemble="again")])

    def named(name: str, source: str | None) -> Ensemble:
        return again

    monkeypatch.setattr("stretto.loading.named_ensemble", named)
    with pytest.raises(ConfigError, match=r"nested more than 5 deep \(e > again > again > again"):
        staged(an_ensemble(Agent("c", ensemble="again")))
    wide = Ensemble("again", [Agent(f"a{n}", ensemble="again") for n in range(100)])
    again = wide
    with pytest.raises(ConfigError, match="nested more than 50 deep"):
        staged(wide, settings=Settings(max_ensemble_depth=50))


def test_a_key_of_a_child_needs_its_variable_before_any_call() -> None:
    keyed = child(Agent("a", model="openai/gpt-4o", api_key_env="OPENAI_API_KEY"))
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        staged(an_ensemble(Agent("c", ensemble=keyed)))
    assert staged(an_ensemble(Agent("c", ensemble=keyed)), planning=True).height == 1
