"""Ensembles within ensembles: what comes out, what is added up, what is their own and what is from around them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from nesting import a_run, check, child, echo, gives, shows, tree, trees
from stretto import Agent, Call, Ensemble, Inputs, Next, Reply, Run, Runner, Settings
from stretto.errors import CallError, ConfigError, DeadlineExceeded, ProviderUnavailable
from stretto.middleware import Retry
from stretto.usage import Price, Usage
from watched import an_ensemble, clock, fails, hang, says, statuses, virtually


async def answers(call: Call) -> Reply:
    """A provider that answers with the last message, for 10 tokens and 5."""
    await asyncio.sleep(1)
    return Reply(call.messages[-1]["content"].upper(), usage=Usage(10, 5))


PROVIDERS: dict[str, Next] = {"t": answers}


# What comes out


def test_the_result_is_that_of_the_last_terminal_agent_with_one() -> None:
    pair = child(Agent("a", function=says("one")), Agent("b", function=gives({"n": 2})))
    run = a_run(Agent("c", ensemble=pair))
    assert run["c"].value == {"n": 2}
    assert run["c"].text == '{"n": 2}'
    assert run["c"].output == run.output == {"n": 2}
    assert run["c"].messages == ({"role": "assistant", "content": '{"n": 2}'},)


def test_a_terminal_agent_without_a_result_leaves_it_to_the_one_before() -> None:
    pair = child(Agent("a", function=says("one")), Agent("b", function=fails(ValueError("no"))))
    run = a_run(Agent("c", ensemble=pair))
    assert trees(run) == {"c": ("ok", {"a": "ok", "b": "failed"})}
    assert run["c"].value == "one"
    assert run["c"].reason == "1 of 2 of 'child' without a result: b (failed: no)"


def test_what_others_depend_on_is_no_result() -> None:
    line = child(Agent("last", function=echo, depends_on=["first"], prompt="${first}!"), Agent("first", function=echo))
    run = a_run(Agent("c", ensemble=line), input="hi")
    assert run["c"].value == "hi!"
    assert run["c"].inner is not None
    assert run["c"].inner.terminals == ("last",)


def test_the_children_stand_in_file_order_not_in_that_of_their_ends() -> None:
    three = child(*(Agent(name, function=says(name, after)) for name, after in (("a", 3), ("b", 1), ("c", 2))))
    run = a_run(Agent("x", ensemble=three))
    assert [outcome.agent for outcome in run["x"].children] == ["a", "b", "c"]


def test_an_outcome_says_what_was_run_within_it() -> None:
    pair = child(Agent("a", function=echo), Agent("b", function=echo, depends_on=["a"]), name="pair")
    inner = a_run(Agent("c", ensemble=pair))["c"].inner
    assert inner is not None
    assert (inner.kind, inner.ensemble, inner.phases, inner.terminals) == ("ensemble", "pair", (("a",), ("b",)), ("b",))


def test_an_agent_that_makes_a_call_has_nothing_within() -> None:
    outcome = a_run(Agent("a", function=echo))["a"]
    assert (outcome.inner, outcome.children) == (None, ())


def test_dependants_see_the_result() -> None:
    pair = child(Agent("a", function=gives({"n": [5, 6]})))
    run = a_run(Agent("c", ensemble=pair), Agent("after", function=echo, depends_on=["c"], prompt="${c.n.1}"))
    assert run.output == "6"


def test_each_terminal_agent_is_shown_to_a_dependant() -> None:
    pair = child(Agent("a", function=says("one")), Agent("b", function=fails(ValueError("no"))))
    run = a_run(Agent("c", ensemble=pair), Agent("after", function=echo, depends_on=["c"]), composer="plain")
    assert run.output == "Agent c:\na:\none\n\nb (failed): no"


# Statuses


def test_a_child_without_a_result_has_failed_with_its_error() -> None:
    error = ValueError("no")
    pair = child(Agent("a", function=fails(error)), Agent("b", function=echo, depends_on=["a"]), name="pair")
    run = a_run(Agent("c", ensemble=pair), Agent("good", function=echo))
    assert trees(run) == {"c": ("failed", {"a": "failed", "b": "skipped"}), "good": "ok"}
    assert run["c"].error is error
    assert run["c"].reason == "'pair' has no result: a failed: no"
    assert run.status == "completed_with_errors"


def test_a_failed_child_skips_its_dependants_and_is_named() -> None:
    pair = child(Agent("a", function=fails(ValueError("no"))))
    run = a_run(Agent("c", ensemble=pair), Agent("after", function=echo, depends_on=["c"]))
    assert statuses(run) == {"c": "failed", "after": "skipped"}
    assert run["after"].reason == "no dependency succeeded: c (failed)"
    assert run.status == "failed"


def test_a_child_whose_guards_skip_everything_has_ended_well_with_nothing() -> None:
    guarded = child(Agent("a", function=echo, when="${input} == never"), Agent("b", function=echo, depends_on=["a"]))
    run = a_run(Agent("c", ensemble=guarded), Agent("after", function=echo, depends_on=["c"]))
    assert trees(run) == {"c": ("ok", {"a": "skipped", "b": "skipped"}), "after": "ok"}
    assert (run["c"].value, run["c"].text) == (None, "")
    assert run["c"].reason == "'child' has no result: guards skipped what would give it"
    assert run["c"].inner is not None
    assert run["c"].inner.excused == ("a", "b")
    assert run.status == "completed"


def test_a_guard_does_not_hide_that_the_other_terminal_agent_failed() -> None:
    guarded = child(Agent("a", function=fails(ValueError("no"))), Agent("b", function=echo, when="${input} == never"))
    run = a_run(Agent("c", ensemble=guarded))
    assert trees(run) == {"c": ("failed", {"a": "failed", "b": "skipped"})}
    assert run["c"].reason == "'child' has no result: a failed: no"


def test_a_child_that_runs_out_of_its_agents_time_has_timed_out() -> None:
    run = a_run(Agent("c", ensemble=child(Agent("a", function=hang, timeout=3))))
    assert trees(run) == {"c": ("timed_out", {"a": "timed_out"})}
    assert isinstance(run["c"].error, DeadlineExceeded)
    assert run["c"].timings.total == pytest.approx(3)


def test_a_child_has_a_run_clock_of_its_own() -> None:
    slow = child(
        Agent("bad", function=hang),
        Agent("worse", function=fails(ValueError("no"))),
        Agent("after", function=echo, depends_on=["bad"]),
        settings=Settings(run_timeout=3),
        name="slow",
    )
    run = a_run(Agent("c", ensemble=slow), Agent("d", function=says("late", 10)))
    expected = ("timed_out", {"bad": "timed_out", "worse": "failed", "after": "skipped"})
    assert trees(run) == {"c": expected, "d": "ok"}
    assert run["c"].reason == "'slow' has no result: the clock of the run (3 s) ran out"
    assert isinstance(run["c"].error, DeadlineExceeded)
    assert run["c"].timings.total == pytest.approx(3)
    assert run.status == "completed_with_errors"


def test_a_child_keeps_what_it_had_when_its_run_clock_ran_out() -> None:
    some = child(Agent("a", function=says("one")), Agent("b", function=hang), settings=Settings(run_timeout=3))
    run = a_run(Agent("c", ensemble=some))
    assert trees(run) == {"c": ("ok", {"a": "ok", "b": "timed_out"})}
    assert run["c"].value == "one"
    assert "b (timed_out: the clock of the run (3 s) ran out)" in run["c"].reason


def test_a_child_has_a_phase_clock_of_its_own() -> None:
    slow = child(
        Agent("a", function=hang),
        Agent("b", function=says("good", 1)),
        Agent("after", function=echo, depends_on=["b"], prompt="${b}"),
        settings=Settings(phase_timeout=2),
    )
    run = a_run(Agent("c", ensemble=slow), Agent("d", function=says("late", 10)))
    assert trees(run) == {"c": ("ok", {"a": "timed_out", "b": "ok", "after": "ok"}), "d": "ok"}


def test_the_clocks_of_a_phase_and_a_run_do_not_go_on_to_the_children() -> None:
    slow = child(Agent("a", function=says("one", 4)), Agent("b", function=says("two", 4), depends_on=["a"]))
    ensemble = an_ensemble(Agent("c", ensemble=slow), settings=Settings(phase_timeout=10, run_timeout=10))
    run = virtually(Runner(middleware=[]).run(ensemble, "x"))
    assert trees(run) == {"c": ("ok", {"a": "ok", "b": "ok"})}


def test_fail_fast_ends_the_child_alone() -> None:
    fast = child(Agent("a", function=fails(ValueError("no"), 1)), Agent("b", function=hang), on_failure="fail_fast")
    run = a_run(Agent("c", ensemble=fast), Agent("d", function=says("late", 10)))
    assert trees(run) == {"c": ("failed", {"a": "failed", "b": "cancelled"}), "d": "ok"}
    assert run["c"].reason == "'child' has no result: a failed: no"


def test_fail_fast_around_ends_what_is_within() -> None:
    slow = child(Agent("a", function=hang), Agent("b", function=echo, depends_on=["a"]))
    run = a_run(Agent("bad", function=fails(ValueError("no"), 1)), Agent("c", ensemble=slow), on_failure="fail_fast")
    assert trees(run) == {"bad": "failed", "c": ("cancelled", {"a": "cancelled", "b": "skipped"})}
    assert run["c"].reason == "fail_fast: bad failed"


def test_a_child_that_has_no_result_ends_a_run_that_fails_fast() -> None:
    run = a_run(
        Agent("c", ensemble=child(Agent("a", function=fails(ValueError("no"), 1)))),
        Agent("d", function=hang),
        on_failure="fail_fast",
    )
    assert statuses(run) == {"c": "failed", "d": "cancelled"}


def test_reasons_do_not_double_at_each_level() -> None:
    def nested(depth: int) -> Ensemble:
        if not depth:
            return child(*(Agent(f"a{n}", function=fails(ValueError("no " * 100))) for n in range(5)), name="leaf")
        within = nested(depth - 1)
        agents = [Agent(f"a{n}", ensemble=within) for n in range(3)]
        return child(*agents, Agent("good", function=echo), name=f"level{depth}")

    run = a_run(Agent("c", ensemble=nested(4)))
    assert run["c"].ok
    assert len(run["c"].reason) < 5000


def test_a_child_of_no_agents_has_an_empty_result() -> None:
    run = a_run(Agent("c", ensemble=Ensemble("none", [], strictness="compat")))
    assert (run["c"].status, run["c"].value, run["c"].text) == ("ok", None, "")
    assert run.status == "completed"


# What is added up


def test_tokens_costs_and_times_of_the_children_are_added_up() -> None:
    prices = {"t/dear": Price(1e6, 2e6)}
    pair = child(Agent("a", model="t/dear"), Agent("b", model="t/dear", depends_on=["a"]))
    run = a_run(Agent("c", ensemble=pair), Agent("d", model="t/dear"), providers=PROVIDERS, prices=prices)
    assert run["c"].usage == Usage(20, 10)
    assert run["c"].cost == pytest.approx(40)
    assert run["c"].timings.provider == pytest.approx(2)
    assert run["c"].timings.total == pytest.approx(2)
    assert run.usage == Usage(30, 15)
    assert run.cost == run.known_cost == pytest.approx(60)


def test_requests_of_children_at_once_count_once_in_the_time() -> None:
    pair = child(Agent("a", model="t/m"), Agent("b", model="t/m"))
    run = a_run(Agent("c", ensemble=pair), providers=PROVIDERS)
    assert run["c"].timings.provider == pytest.approx(1)


def test_a_cost_that_is_unknown_within_is_unknown_around() -> None:
    pair = child(Agent("a", model="t/dear"), Agent("b", model="t/strange"))
    run = a_run(Agent("c", ensemble=pair), providers=PROVIDERS, prices={"t/dear": Price(1e6, 2e6)})
    assert (run["c"].cost, run.cost) == (None, None)
    assert run.known_cost == pytest.approx(20)


def test_what_failed_within_counts_too() -> None:
    async def flaky(call: Call) -> Reply:
        if call.agent == "bad":
            raise ProviderUnavailable("down")
        return await answers(call)

    pair = child(Agent("bad", model="t/m"), Agent("good", model="t/m"))
    run = a_run(Agent("c", ensemble=pair), providers={"t": flaky}, prices={"t/m": Price(1e6, 1e6)})
    assert trees(run) == {"c": ("ok", {"bad": "failed", "good": "ok"})}
    # a request that nobody answered may have been read: what was expected of it counts
    bad = run["c"].children[0].usage
    assert bad.estimated
    assert run.usage.total_tokens == 15 + bad.total_tokens


# What a child has of its own


def test_a_child_without_an_input_has_its_own() -> None:
    asks = child(Agent("a", function=shows), default_input={"q": 1})
    assert a_run(Agent("c", ensemble=asks), input=None).output == {"q": 1}
    assert a_run(Agent("c", ensemble=asks), input="given").output == "given"
    assert a_run(Agent("c", ensemble=asks), input="").output == ""


def test_a_child_gets_the_input_of_its_agent() -> None:
    ensemble = an_ensemble(Agent("c", ensemble=child(Agent("a", function=shows))), Agent("d", function=shows))
    run = virtually(Runner(middleware=[]).run(ensemble, "all", inputs={"c": {"mine": True}}))
    assert (run["c"].value, run["d"].value) == ({"mine": True}, "all")


def test_a_child_gets_the_input_and_what_its_agent_depends_on_as_text() -> None:
    run = a_run(
        Agent("a", function=says("one")),
        Agent("c", ensemble=child(Agent("b", function=shows)), depends_on=["a"]),
        input="task",
    )
    assert run.output == "task\n\nAgent a:\none"


def test_a_prompt_of_one_mark_gives_the_child_data() -> None:
    run = a_run(
        Agent("a", function=gives({"deep": {"n": [1, 2]}})),
        Agent("c", ensemble=child(Agent("b", function=shows)), depends_on=["a"], prompt="${a.deep}"),
    )
    assert run.output == {"n": [1, 2]}


def test_a_prompt_of_more_than_a_mark_gives_the_child_text() -> None:
    run = a_run(
        Agent("a", function=gives({"n": 1})),
        Agent("c", ensemble=child(Agent("b", function=shows)), depends_on=["a"], prompt="n=${a.n}"),
        Agent("d", ensemble=child(Agent("b", function=shows)), prompt=lambda inputs: f"<{inputs.text}>"),
        input="x",
    )
    assert (run["c"].value, run["d"].value) == ("n=1", "<x>")


def test_a_prompt_that_picks_from_an_agent_without_result_fails_without_a_call() -> None:
    calls: list[str] = []

    async def counted(inputs: Inputs) -> str:
        calls.append(inputs.text)
        return "x"

    run = a_run(
        Agent("good", function=echo),
        Agent("bad", function=fails(ValueError("no"))),
        Agent("c", ensemble=child(Agent("b", function=counted)), depends_on=["good", "bad"], prompt="${bad.x}"),
    )
    assert run["c"].status == "failed"
    assert run["c"].reason == "${bad.x}: bad has no result (failed)"
    assert calls == []


def test_a_child_sees_nothing_of_the_agents_around_it() -> None:
    async def seen(inputs: Inputs) -> list[str]:
        return sorted(inputs.results)

    pair = child(Agent("a", function=seen), Agent("b", function=seen, depends_on=["a"]))
    run = a_run(Agent("before", function=echo), Agent("c", ensemble=pair, depends_on=["before"], prompt="${before}"))
    assert [outcome.value for outcome in run["c"].children] == [[], ["a"]]


def test_a_child_knows_nothing_of_names_around_it() -> None:
    before = child(Agent("a", function=echo, depends_on=["outer"]))
    with pytest.raises(ConfigError, match="which is no agent of this ensemble"):
        a_run(Agent("outer", function=echo), Agent("c", ensemble=before, depends_on=["outer"]))


def test_a_child_has_its_own_composer() -> None:
    pair = child(
        Agent("a", function=echo), Agent("b", function=echo, depends_on=["a"]), composer=lambda i: f"mine {i.agent}"
    )
    run = a_run(Agent("c", ensemble=pair), composer="plain", input="hi")
    assert run.output == "mine b"


def test_a_child_has_its_own_model_and_defaults() -> None:
    async def tells(call: Call) -> Reply:
        return Reply(f"{call.model} {call.params.get('temperature')}")

    own = child(Agent("a"), model="t/own", defaults={"params": {"temperature": 1}})
    run = a_run(Agent("c", ensemble=own), Agent("d"), model="t/outer", providers={"t": tells})
    assert (run["c"].value, run["d"].value) == ("t/own 1", "t/outer None")


def test_a_child_has_its_own_settings_over_those_around_it_and_the_runner_s_over_both() -> None:
    def run_with(runner: Settings, outer: Settings | None, own: Settings | None) -> float:
        ensemble = an_ensemble(Agent("c", ensemble=child(Agent("a", function=hang), settings=own)), settings=outer)
        run = virtually(Runner(middleware=[], settings=runner).run(ensemble, "x"))
        return run["c"].timings.total

    assert run_with(Settings(), None, None) == pytest.approx(60)
    assert run_with(Settings(), Settings(default_timeout=5), None) == pytest.approx(5)
    assert run_with(Settings(), Settings(default_timeout=5), Settings(default_timeout=50)) == pytest.approx(50)
    assert run_with(Settings(default_timeout=7), Settings(default_timeout=5), Settings()) == pytest.approx(7)
    assert run_with(Settings(default_timeout=7), None, Settings(default_timeout=50)) == pytest.approx(7)


def test_one_child_within_two_ensembles_has_the_settings_of_each() -> None:
    leaf = child(Agent("a", function=hang), name="leaf")
    quick = child(Agent("x", ensemble=leaf), name="quick", settings=Settings(default_timeout=5))
    slow = child(Agent("x", ensemble=leaf), name="slow", settings=Settings(default_timeout=50))
    run = a_run(Agent("q", ensemble=quick), Agent("s", ensemble=slow))
    assert run["q"].timings.total == pytest.approx(5)
    assert run["s"].timings.total == pytest.approx(50)


def test_a_child_has_its_own_prices_under_those_around_it() -> None:
    prices = {"t/m": Price(1e6, 0), "t/n": Price(2e6, 0)}
    own = child(Agent("m", model="t/m"), Agent("n", model="t/n"), Agent("o", model="t/o"), prices=prices)
    ensemble = Ensemble("e", [Agent("c", ensemble=own), Agent("o", model="t/o")], prices={"t/n": Price(3e6, 0)})
    run = virtually(Runner(middleware=[], providers=PROVIDERS).run(ensemble, "x"))
    assert [outcome.cost for outcome in run["c"].children] == [10, 30, None]
    assert run["o"].cost is None
    runner = Runner(middleware=[], providers=PROVIDERS, prices={"t/*": Price(5e6, 0), "t/n": Price(4e6, 0)})
    run = virtually(runner.run(ensemble, "x"))
    assert [outcome.cost for outcome in run["c"].children] == [10, 40, 50]


def test_the_prices_of_a_child_are_not_those_of_its_neighbours() -> None:
    def priced(usd: float) -> Ensemble:
        return child(Agent("a", model="t/m"), name=f"for {usd}", prices={"t/m": Price(usd * 1e6, 0)})

    run = a_run(
        Agent("c", ensemble=priced(1)), Agent("d", ensemble=priced(2)), Agent("e", model="t/m"), providers=PROVIDERS
    )
    assert [run[name].cost for name in "cde"] == [10, 20, None]


def test_a_child_runs_when_ready() -> None:
    line = child(
        Agent("slow", function=says("slow", 5)),
        Agent("quick", function=says("quick", 1)),
        Agent("after", function=says("after", 1), depends_on=["quick"]),
        schedule="ready",
    )
    run = a_run(Agent("c", ensemble=line), phase_timeout=20)  # the clock is of the phases around it
    after = next(outcome for outcome in run["c"].children if outcome.agent == "after")
    assert after.started - run["c"].started == pytest.approx(1)
    assert run["c"].inner is not None
    assert run["c"].inner.phases == (("slow", "quick"), ("after",))


def test_whether_an_agent_streams_is_so_for_all_within_it() -> None:
    async def streams(call: Call) -> Reply:
        return Reply(str(call.emit is not None))

    one = child(Agent("a", model="t/m"))
    agents = [
        Agent("c", ensemble=one),
        Agent("yes", ensemble=one, stream=True),
        Agent("no", ensemble=one, stream=False),
    ]
    for stream, expected in ((False, ["False", "True", "False"]), (True, ["True", "True", "False"])):
        run = a_run(*agents, providers={"t": streams}, stream=stream)
        assert [run[name].value for name in ("c", "yes", "no")] == expected


# Layers


def noted(name: str) -> Any:
    """A layer that writes its name before the answer."""

    class Layer:
        async def __call__(self, call: Call, call_next: Next) -> Reply:
            reply = await call_next(call)
            return Reply(f"{name} {reply.text}", usage=reply.usage)

    layer = Layer()
    layer.name = name  # type: ignore[attr-defined]
    return layer


def test_a_child_s_layers_lie_over_the_agent_s_and_those_over_the_ensemble_s_and_the_runner_s() -> None:
    leaf = child(Agent("a", model="t/m", middleware=[noted("leaf")]), middleware=[noted("child")])
    agent = Agent("c", ensemble=leaf, middleware=[noted("agent")])
    ensemble = Ensemble("e", [agent, Agent("d", model="t/m")], middleware=[noted("ensemble")])
    run = virtually(Runner(middleware=[noted("runner")], providers=PROVIDERS).run(ensemble, "x"))
    assert run["c"].value == "runner ensemble agent child leaf X"
    assert run["d"].value == "runner ensemble X"


def test_a_child_replaces_a_layer_by_its_name_for_itself() -> None:
    sent: list[str] = []

    async def down(call: Call) -> Reply:
        sent.append(call.agent)
        raise ProviderUnavailable("down")

    keen = child(Agent("a", model="t/m"), middleware=[Retry(4, backoff=0.1)])
    ensemble = Ensemble("e", [Agent("c", ensemble=keen), Agent("d", model="t/m")], middleware=[Retry(2, backoff=0.1)])
    virtually(Runner(middleware=[], providers={"t": down}).run(ensemble, "x"))
    assert (sent.count("a"), sent.count("d")) == (4, 2)


def test_layers_of_a_child_are_opened_once_and_closed() -> None:
    class Held:
        opened = closed = 0
        name = "held"

        async def __aenter__(self) -> None:
            self.opened += 1

        async def __aexit__(self, *error: object) -> None:
            self.closed += 1

        async def __call__(self, call: Call, call_next: Next) -> Reply:
            assert (self.opened, self.closed) == (1, 0)
            return await call_next(call)

    held = Held()
    leaf = child(Agent("a", model="t/m"), middleware=[held])
    a_run(Agent("c", ensemble=leaf), Agent("d", ensemble=leaf, depends_on=["c"]), providers=PROVIDERS)
    assert (held.opened, held.closed) == (1, 1)


# What a call knows of where it is made


def test_a_call_within_names_its_own_ensemble_and_the_one_run() -> None:
    calls: list[Call] = []

    async def keeps(call: Call) -> Reply:
        calls.append(call)
        return Reply("x")

    inner = child(Agent("a", model="t/m"), name="inner")
    outer = child(Agent("b", ensemble=inner), name="outer")
    ensemble = an_ensemble(Agent("c", ensemble=outer))
    run = virtually(Runner(middleware=[], providers={"t": keeps}).run(ensemble, "x", metadata={"who": "me"}))
    (call,) = calls
    assert (call.agent, call.ensemble, call.run_id, call.metadata["who"]) == ("a", "inner", run.run_id, "me")


@pytest.mark.parametrize(
    ("fields", "settings", "left"),
    [
        ({"timeout": 30}, {"run_timeout": 100}, 29),
        ({}, {"run_timeout": 20}, 19),
        ({}, {"phase_timeout": 15}, 14),
        ({"timeout": 10}, {"run_timeout": 20, "phase_timeout": 15}, 9),
        ({}, {}, 59),
    ],
)
def test_the_nearest_clock_around_bounds_the_calls_within(
    fields: dict[str, Any], settings: dict[str, Any], left: float
) -> None:
    seen: list[float] = []

    async def asks(call: Call) -> Reply:
        await asyncio.sleep(1)
        seen.append(call.remaining())
        return Reply("x")

    nested = child(Agent("b", ensemble=child(Agent("a", model="t/m"))), name="outer")
    a_run(Agent("c", ensemble=nested, **fields), providers={"t": asks}, **settings)
    assert seen == [pytest.approx(left)]


def test_a_retry_within_refuses_a_wait_past_the_clock_around() -> None:
    tries: list[float] = []

    async def later(call: Call) -> Reply:
        tries.append(clock())
        raise ProviderUnavailable("busy", retry_after=30)

    leaf = child(Agent("a", model="t/m"))
    options: dict[str, Any] = {"middleware": [Retry(3)], "providers": {"t": later}}
    run = a_run(Agent("c", ensemble=leaf, timeout=20), Agent("after", function=echo, depends_on=["c"]), **options)
    assert len(tries) == 1
    assert run["c"].status == "failed"
    assert isinstance(run["c"].error, CallError)
    assert run["c"].timings.total == pytest.approx(0)


def test_a_child_s_agents_have_the_default_timeout_and_the_child_has_none() -> None:
    line = child(*(Agent(f"a{n}", function=says("x", 50), depends_on=[f"a{n - 1}"] * (n > 0)) for n in range(4)))
    run = a_run(Agent("c", ensemble=line))
    assert run["c"].ok
    assert run["c"].timings.total == pytest.approx(200)


# The same child, many times


def test_one_child_is_run_by_several_agents_at_once_each_with_its_own_input() -> None:
    async def slow(inputs: Inputs) -> str:
        await asyncio.sleep(1)
        return inputs.text

    one = child(Agent("a", function=slow), Agent("b", function=echo, depends_on=["a"], prompt="${a}!"))
    agents = [Agent(f"c{n}", ensemble=one, prompt=f"{n}: ${{input}}") for n in range(20)]
    run = a_run(*agents, input="x")
    assert [run[f"c{n}"].value for n in range(20)] == [f"{n}: x!" for n in range(20)]
    assert run["c7"].timings.total == pytest.approx(1)


def test_ensembles_that_are_all_the_same_are_made_ready_once() -> None:
    made: list[str] = []

    def plans(ensemble: Ensemble) -> None:
        made.append(ensemble.name)

    level = child(Agent("a", function=echo), name="leaf")
    for depth in range(5):
        level = child(*(Agent(f"a{n}", ensemble=level) for n in range(10)), name=f"level{depth}")
    original = Ensemble.plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ensemble, "plan", lambda self: (plans(self), original(self))[1])

        async def main() -> Run:
            run = Runner(middleware=[], settings=Settings(max_ensemble_depth=6)).start(level, "x")
            run.cancel()
            return await run

        run = virtually(main())
    assert made == ["level4", "level3", "level2", "level1", "level0", "leaf"]
    assert run.status == "cancelled"


def test_a_diamond_of_ensembles_runs_each_time_it_is_named() -> None:
    calls: list[str] = []

    async def counted(inputs: Inputs) -> str:
        calls.append(inputs.text)
        return inputs.text

    level = child(Agent("a", function=counted), name="leaf")
    for depth in range(3):
        level = child(*(Agent(f"a{n}", ensemble=level) for n in range(5)), name=f"level{depth}")
    run = a_run(Agent("top", ensemble=level))
    assert len(calls) == 125
    assert run["top"].ok


# How deep


def nested(depth: int) -> Ensemble:
    """An ensemble with `depth` others below it."""
    level = child(Agent("a", function=echo), name="level 0")
    for number in range(1, depth + 1):
        level = child(Agent("a", ensemble=level), name=f"level {number}")
    return level


def test_five_levels_below_the_run_s_own_are_allowed() -> None:
    run = virtually(Runner(middleware=[]).run(nested(5), "deep"))
    check(run)
    assert run.output == "deep"


def test_one_level_more_is_refused_before_any_call_with_its_path() -> None:
    with pytest.raises(ConfigError) as error:
        virtually(Runner(middleware=[]).run(nested(6), "x"))
    path = " > ".join(f"level {number}" for number in range(6, -1, -1))
    assert f"ensembles are nested more than 5 deep ({path})" in str(error.value)
    assert "max_ensemble_depth" in str(error.value)


@pytest.mark.parametrize("where", ["runner", "ensemble"])
def test_the_depth_is_a_setting_of_the_runner_or_of_the_run_s_ensemble(where: str) -> None:
    def run_at(depth: int, most: int) -> Run:
        settings = Settings(max_ensemble_depth=most)
        ensemble = nested(depth)
        if where == "ensemble":
            ensemble = Ensemble("own", ensemble.agents, settings=settings)
        runner = Runner(middleware=[], settings=settings if where == "runner" else None)
        return virtually(runner.run(ensemble, "x"))

    assert run_at(7, 7).ok
    assert run_at(1, 1).ok
    for depth, most in ((8, 7), (2, 1)):
        with pytest.raises(ConfigError, match=f"nested more than {most} deep"):
            run_at(depth, most)


def test_a_child_does_not_change_how_deep_the_run_may_be() -> None:
    deep = nested(6)
    inner = Ensemble("own", deep.agents, settings=Settings(max_ensemble_depth=50))
    with pytest.raises(ConfigError, match="nested more than 5 deep"):
        virtually(Runner(middleware=[]).run(an_ensemble(Agent("c", ensemble=inner)), "x"))


def test_more_than_fifty_levels_are_as_fifty() -> None:
    runner = Runner(middleware=[], settings=Settings(max_ensemble_depth=1000))
    run = virtually(runner.run(nested(50), "deep"))
    check(run)
    assert run.output == "deep"
    with pytest.raises(ConfigError, match=r"nested more than 50 deep \(level 51 > .* > \.\.\. > .* > level 0\)"):
        virtually(runner.run(nested(51), "deep"))


def test_a_child_counts_where_it_is_deepest() -> None:
    leaf = nested(4)
    shallow = child(Agent("x", ensemble=leaf), name="shallow")
    ensemble = an_ensemble(Agent("first", ensemble=leaf), Agent("then", ensemble=shallow))
    assert virtually(Runner(middleware=[], settings=Settings(max_ensemble_depth=6)).run(ensemble, "x")).ok
    with pytest.raises(ConfigError, match=r"nested more than 5 deep \(e > shallow > level 4 > .* > level 0\)"):
        virtually(Runner(middleware=[]).run(ensemble, "x"))


# Everything as data


def test_a_run_with_children_is_plain_data() -> None:
    pair = child(Agent("a", function=gives({"n": 1})), Agent("b", function=fails(ValueError("no"))))
    run = a_run(Agent("c", ensemble=child(Agent("d", ensemble=pair), name="outer")))
    data = json.loads(json.dumps(run.to_dict()))
    outcome = data["outcomes"]["c"]
    assert outcome["output"] == {"n": 1}
    assert outcome["inner"]["kind"] == "ensemble"
    assert [found["agent"] for found in outcome["children"]] == ["d"]
    assert [found["status"] for found in outcome["children"][0]["children"]] == ["ok", "failed"]
    assert tree(run["c"]) == ("ok", {"d": ("ok", {"a": "ok", "b": "failed"})})


def test_values_that_json_does_not_hold_are_written_all_the_same() -> None:
    run = a_run(
        Agent("c", ensemble=child(Agent("a", function=gives({1, 2})))), Agent("d", function=gives(float("nan")))
    )
    assert run["c"].value == {1, 2}
    json.dumps(run.to_dict(), allow_nan=False)
