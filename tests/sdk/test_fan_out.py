"""Fan-outs: where the items come from, what an instance sees, what is gathered of those that failed."""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from nesting import AtWork, a_run, child, echo, gives, shows, tree
from stretto import Agent, Call, Ensemble, Inputs, Reply, Run, Runner, Settings
from stretto.agent_rules import NAME_LENGTH
from stretto.errors import ConfigError, DeadlineExceeded, InvalidOutput
from stretto.loop import Loop
from stretto.usage import Price, Usage
from watched import an_ensemble, fails, hang, says, statuses, virtually


async def item(inputs: Inputs) -> Any:
    return inputs.item


def spread(value: Any, source: str = "${s}", work: Any = item, **fields: Any) -> Run:
    """Fan out over what an agent gives."""
    return a_run(Agent("s", function=gives(value)), Agent("f", fan_out=source, function=work, **fields))


def kinds(run: Run, agent: str = "f") -> list[str]:
    return [outcome.status for outcome in run[agent].children]


# Where the items come from


@pytest.mark.parametrize(
    ("value", "source", "items"),
    [
        (["a", {"n": 1}, 2, None, [3]], "${s}", ["a", {"n": 1}, 2, None, [3]]),
        (("a", "b"), "${s}", ["a", "b"]),
        ('["a", 2]', "${s}", ["a", 2]),
        (" [1,\n2] ", "${s}", [1, 2]),
        ({"data": [1, 2]}, "${s}", [1, 2]),
        ('{"data": [1, 2], "success": true}', "${s}", [1, 2]),
        ({"items": [1, 2]}, "${s.items}", [1, 2]),
        ('{"items": [1, 2]}', "${s.items}", [1, 2]),
        ({"deep": [{"items": [1]}]}, "${s.deep.0.items}", [1]),
        ({"items": "[1, 2]"}, "${s.items}", [1, 2]),
        ({"items": {"data": [1, 2]}}, "${s.items}", [1, 2]),
        ([[1, 2], [3]], "${s}", [[1, 2], [3]]),
        (range(3), "${s}", [0, 1, 2]),
        ([], "${s}", []),
        ("[]", "${s}", []),
        ({"data": []}, "${s}", []),
    ],
)
def test_the_items_are_those_of_a_list(value: Any, source: str, items: list[Any]) -> None:
    run = spread(value, source)
    assert run["f"].value == items
    assert run["f"].status == "ok"
    assert run.status == "completed"


@pytest.mark.parametrize(
    ("input", "source"),
    [
        ({"items": [1, 2]}, "${input.items}"),
        ([1, 2], "${input}"),
        ("[1, 2]", "${input}"),
        ('{"items": [1, 2]}', "${input.items}"),
        ({"data": [1, 2]}, "${input}"),
    ],
)
def test_the_items_may_be_in_the_input(input: Any, source: str) -> None:
    run = a_run(Agent("f", fan_out=source, function=item), input=input)
    assert run.output == [1, 2]
    assert run.phases == [["f"]]


def test_an_agent_with_an_input_of_its_own_takes_its_items_from_that() -> None:
    ensemble = an_ensemble(Agent("f", fan_out="${input}", function=item), Agent("o", function=shows))
    run = virtually(Runner(middleware=[]).run(ensemble, "all", inputs={"f": [1, 2]}))
    assert (run["f"].value, run["o"].value) == ([1, 2], "all")


@pytest.mark.parametrize(
    ("value", "source", "reason"),
    [
        ("no json", "${s}", "fan_out ${s} is a text that is not JSON"),
        ("5", "${s}", "fan_out ${s} is no list, but a int"),
        (None, "${s}", "fan_out ${s} is no list, but a NoneType"),
        ({"items": [1]}, "${s}", "fan_out ${s} is no list, but a dict"),
        ({"data": "x"}, "${s}", "fan_out ${s} is no list, but a dict"),
        ({"items": 5}, "${s.items}", "fan_out ${s.items} is no list, but a int"),
        ({}, "${s.items}", "${s.items}: s has no field 'items'"),
        ({1, 2}, "${s}", "fan_out ${s} is no list, but a set"),
        (b"[1]", "${s}", "fan_out ${s} is no list, but a bytes"),
        ("", "${s}", "fan_out ${s} is a text that is not JSON"),
    ],
)
def test_what_is_no_list_fails_the_agent(value: Any, source: str, reason: str) -> None:
    run = spread(value, source)
    assert (run["f"].status, run["f"].reason) == ("failed", reason)
    assert isinstance(run["f"].error, InvalidOutput)
    assert run["f"].children == ()


def test_a_text_that_nests_too_deeply_fails_the_agent_alone() -> None:
    run = spread("[" * 100_000)
    assert statuses(run) == {"s": "ok", "f": "failed"}


def test_the_agent_waits_for_the_one_that_gives_the_items() -> None:
    run = a_run(Agent("f", fan_out="${s}", function=item), Agent("s", function=gives([1])))
    assert run.phases == [["s"], ["f"]]
    assert run["f"].value == [1]


def test_a_fan_out_over_what_is_no_agent_is_refused_before_any_call() -> None:
    with pytest.raises(ConfigError) as error:
        a_run(Agent("source", function=gives([1])), Agent("f", fan_out="${sorce.x}", function=item))
    assert (error.value.agent, error.value.key, error.value.nearest) == ("f", "fan_out", "source")


@pytest.mark.parametrize("source", ["${dependencies}", "${item}", "${index}", "${f}", "${f.items}"])
def test_a_fan_out_over_what_is_not_there_yet_is_refused(source: str) -> None:
    with pytest.raises(ConfigError):
        a_run(Agent("f", fan_out=source, function=item))


# What an instance sees


def test_marks_show_an_instance_its_item_and_its_number() -> None:
    async def both(call: Call) -> Reply:
        return Reply(" | ".join(str(message["content"]) for message in call.messages))

    people = [{"name": "Ann", "tags": ["x", "ü"]}, {"name": "Bob", "tags": []}]
    agent = Agent(
        "f",
        model="t/m",
        fan_out="${input}",
        system_prompt="You are ${item.name}, ${index}",
        prompt="${item.tags} of ${index}: ${item.tags.0} $${x}",
    )
    run = a_run(agent, input=people, providers={"t": both})
    assert run["f"].value[0] == 'You are Ann, 0 | ["x", "ü"] of 0: x ${x}'
    assert kinds(run) == ["ok", "failed"]
    assert run["f"].children[1].reason == "${item.tags.0}: item has no field '0'"


def test_a_prompt_function_sees_the_item_the_number_and_the_count() -> None:
    def prompt(inputs: Inputs) -> str:
        return f"{inputs.item} {inputs.index} {inputs.count} {inputs.agent}"

    run = a_run(Agent("f", fan_out="${input}", function=echo, prompt=prompt), input=["a", "b"])
    assert run.output == ["a 0 2 f[0]", "b 1 2 f[1]"]


def test_a_function_sees_the_item_the_number_and_the_count() -> None:
    async def work(inputs: Inputs) -> Any:
        return [inputs.item, inputs.index, inputs.count, inputs.input, sorted(inputs.results)]

    run = a_run(
        Agent("s", function=gives([None, 5])), Agent("f", fan_out="${s}", function=work, depends_on=["s"]), input="x"
    )
    assert run["f"].value == [[None, 0, 2, "x", ["s"]], [5, 1, 2, "x", ["s"]]]


def test_elsewhere_there_is_no_item() -> None:
    async def work(inputs: Inputs) -> Any:
        return [inputs.item, inputs.index, inputs.count]

    assert a_run(Agent("a", function=work)).output == [None, None, 0]


def test_without_a_prompt_the_composer_writes_each_item() -> None:
    def text(composer: Literal["llm_orc", "plain"]) -> list[str]:
        agents = [Agent("s", function=gives([{"n": 1}, "two"])), Agent("f", fan_out="${s}", function=echo)]
        found: list[str] = a_run(*agents, input="task", composer=composer)["f"].value
        return found

    assert text("plain") == ['{"n": 1}', "two"]
    assert text("llm_orc")[1] == "Processing chunk 2 of 2.\n\nOriginal task: task\n\nChunk content:\ntwo"


def test_instances_do_not_see_each_other() -> None:
    async def seen(inputs: Inputs) -> Any:
        return sorted(inputs.results)

    agents = [Agent("s", function=gives([1, 2])), Agent("o", function=echo)]
    run = a_run(*agents, Agent("f", fan_out="${s}", function=seen, depends_on=["o", "s"]), max_concurrent_agents=1)
    assert run["f"].value == [["o", "s"], ["o", "s"]]


def test_an_item_wins_over_an_agent_of_that_name() -> None:
    agents = [Agent("item", function=gives(["a"])), Agent("f", fan_out="${item}", function=echo, prompt="${item}")]
    assert a_run(*agents)["f"].value == ["a"]


def test_an_item_is_unknown_where_nothing_is_fanned_out() -> None:
    for mark in ("${item}", "${index}", "${item.x}"):
        with pytest.raises(ConfigError, match="names neither the input nor a dependency"):
            a_run(Agent("a", function=echo, prompt=mark))


def test_an_item_that_looks_like_a_mark_is_not_read_again() -> None:
    run = a_run(Agent("f", fan_out="${input}", function=echo, prompt="<${item}>"), input=["${input}", "$${x}"])
    assert run.output == ["<${input}>", "<$${x}>"]


# What may be fanned out


def test_a_child_ensemble_has_the_item_as_its_input() -> None:
    pair = child(Agent("a", function=shows), Agent("b", function=echo, depends_on=["a"], prompt="${a}!"))
    run = a_run(Agent("f", fan_out="${input}", ensemble=pair), input=[{"n": 1}, "two"])
    assert run.output == ['{"n": 1}!', "two!"]
    assert [outcome.value for outcome in run["f"].children[0].children] == [{"n": 1}, '{"n": 1}!']
    instance = run["f"].children[0].inner
    assert instance is not None
    assert (instance.kind, instance.ensemble) == ("ensemble", "child")


def test_a_child_ensemble_may_have_a_prompt_of_marks() -> None:
    agent = Agent("f", fan_out="${input}", ensemble=child(Agent("a", function=shows)), prompt="${item.deep}")
    assert a_run(agent, input=[{"deep": [1]}, {"deep": {"x": 2}}, {}]).output == [[1], {"x": 2}, None]


def test_a_loop_is_fanned_out_each_with_its_own_rounds() -> None:
    async def counts(inputs: Inputs) -> Any:
        return {"n": inputs.input["n"] - 1}

    loop = Loop(child(Agent("a", function=counts), name="body"), 5, "${body.n} == 0", "${body}")
    run = a_run(Agent("f", fan_out="${input}", loop=loop), input=[{"n": 1}, {"n": 3}, {"n": 9}])
    assert run.output == [{"n": 0}, {"n": 0}, {"n": 4}]
    assert [len(outcome.children) for outcome in run["f"].children] == [1, 3, 5]
    assert [outcome.agent for outcome in run["f"].children[1].children] == ["f[1][1]", "f[1][2]", "f[1][3]"]


def test_a_fan_out_over_a_fan_out_has_its_results_as_items() -> None:
    twice = Agent("g", fan_out="${f}", function=echo, prompt="${item}${item}")
    run = a_run(Agent("f", fan_out="${input}", function=item), twice, input=["a", "b"])
    assert run.output == ["aa", "bb"]


def test_a_fan_out_within_a_fan_out_is_a_child_that_fans_out() -> None:
    inner = child(Agent("g", fan_out="${input}", function=item))
    run = a_run(Agent("f", fan_out="${input}", ensemble=inner), input=[[1, 2], [], [3]])
    assert run.output == [[1, 2], [], [3]]
    assert tree(run["f"]) == (
        "ok",
        {
            "f[0]": ("ok", {"g": ("ok", {"g[0]": "ok", "g[1]": "ok"})}),
            "f[1]": ("ok", {"g": "ok"}),
            "f[2]": ("ok", {"g": ("ok", {"g[0]": "ok"})}),
        },
    )


# What is gathered


def test_an_instance_without_a_result_is_none_in_its_place() -> None:
    async def odd(inputs: Inputs) -> Any:
        if inputs.item % 2:
            raise ValueError(f"{inputs.item} is odd")
        return inputs.item

    run = spread([0, 1, 2, 3], work=odd)
    assert run["f"].value == [0, None, 2, None]
    assert run["f"].text == "[0, null, 2, null]"
    assert kinds(run) == ["ok", "failed", "ok", "failed"]
    assert run["f"].status == "ok"
    assert run["f"].reason == "2 of 4 of 'f' without a result: f[1] (failed: 1 is odd), f[3] (failed: 3 is odd)"
    assert run.status == "completed"


def test_a_reason_names_the_first_few_only() -> None:
    run = spread([*range(100), []], work=lambda inputs: 1 // len(inputs.item or []))
    assert run["f"].status == "failed"
    assert run["f"].reason.startswith("101 of 101 of 'f' without a result: f[0] (failed: ")
    assert run["f"].reason.endswith("and 96 more")
    assert len(run["f"].reason) < 1000


def test_when_all_fail_the_agent_has_failed_with_the_first_error() -> None:
    errors = [ValueError("no"), KeyError("never")]

    async def work(inputs: Inputs) -> Any:
        raise errors[inputs.index or 0]

    run = spread(["a", "b"], work=work)
    assert (run["f"].status, run["f"].error, run["f"].value) == ("failed", errors[0], None)
    assert kinds(run) == ["failed", "failed"]
    assert run["f"].inner is not None
    assert run["f"].inner.kind == "fan_out"


def test_when_all_time_out_so_has_the_agent() -> None:
    run = spread(["a", "b"], work=hang, timeout=3)
    assert run["f"].status == "timed_out"
    assert isinstance(run["f"].error, DeadlineExceeded)
    assert kinds(run) == ["timed_out", "timed_out"]


def test_when_some_time_out_and_the_others_fail_the_agent_has_failed() -> None:
    async def work(inputs: Inputs) -> Any:
        return await (hang(inputs) if inputs.index else fails(ValueError("no"))(inputs))

    run = spread(["a", "b"], work=work, timeout=3)
    assert run["f"].status == "failed"
    assert kinds(run) == ["failed", "timed_out"]


def test_each_instance_has_the_whole_timeout() -> None:
    at_work = AtWork()
    agent = at_work("f", 2, fan_out="${input}", timeout=3)
    run = a_run(agent, input=list("abcdef"), max_concurrent_agents=2)
    assert kinds(run) == ["ok"] * 6
    assert run["f"].timings.total == pytest.approx(6)


def test_results_keep_the_order_of_the_items() -> None:
    async def work(inputs: Inputs) -> Any:
        await asyncio.sleep(10 - inputs.item)
        return inputs.item

    assert spread([1, 5, 9], work=work)["f"].value == [1, 5, 9]


def test_no_items_are_no_calls_and_a_result() -> None:
    run = a_run(
        Agent("s", function=gives([])),
        Agent("f", fan_out="${s}", function=hang),
        Agent("after", function=echo, depends_on=["f"], prompt="${f}"),
    )
    assert (run["f"].status, run["f"].value, run["f"].text, run["f"].children) == ("ok", [], "[]", ())
    assert run.output == "[]"


def test_a_dependant_picks_from_the_results() -> None:
    run = a_run(
        Agent("f", fan_out="${input}", function=item),
        Agent("after", function=echo, depends_on=["f"], prompt="${f.1.n} of ${f}"),
        input=[{"n": 1}, {"n": 2}],
    )
    assert run.output == '2 of [{"n": 1}, {"n": 2}]'


def test_a_dependant_is_shown_each_instance() -> None:
    async def work(inputs: Inputs) -> Any:
        if inputs.index:
            raise ValueError("no")
        return "one"

    agents = [Agent("f", fan_out="${input}", function=work), Agent("after", function=echo, depends_on=["f"])]
    assert a_run(*agents, input=[1, 2], composer="plain").output == "Agent f:\n[0]:\none\n\n[1] (failed): no"


def test_what_the_instances_cost_is_added_up() -> None:
    async def answers(call: Call) -> Reply:
        await asyncio.sleep(1)
        return Reply("x", usage=Usage(10, 5))

    options: dict[str, Any] = {"providers": {"t": answers}, "prices": {"t/m": Price(1e6, 0)}}
    run = a_run(Agent("f", fan_out="${input}", model="t/m"), input=[1, 2, 3], **options)
    assert (run["f"].usage, run["f"].cost, run.cost) == (Usage(30, 15), 30, 30)
    assert run["f"].timings.provider == pytest.approx(1)


def test_a_model_is_asked_once_for_each_item() -> None:
    calls: list[Call] = []

    async def answers(call: Call) -> Reply:
        calls.append(call)
        return Reply("x")

    run = a_run(
        Agent("f", fan_out="${input}", model="t/m", prompt="${item}"), input=["a", "b"], providers={"t": answers}
    )
    assert [(call.agent, call.messages[-1]["content"]) for call in calls] == [("f[0]", "a"), ("f[1]", "b")]
    assert [len(outcome.attempts) for outcome in run["f"].children] == [1, 1]
    assert run["f"].attempts == ()


# Guards and failed dependencies


def test_a_guard_is_asked_once_for_all() -> None:
    run = a_run(
        Agent("s", function=gives({"go": False, "items": [1]})),
        Agent("f", fan_out="${s.items}", function=item, when="${s.go}"),
    )
    assert (run["f"].status, run["f"].reason) == ("skipped", "when ${s.go} does not hold")
    assert run["f"].children == ()
    assert run.status == "completed"


def test_a_guard_that_holds_lets_all_instances_run() -> None:
    run = a_run(
        Agent("s", function=gives({"go": True, "items": [1, 2]})),
        Agent("f", fan_out="${s.items}", function=item, when="${s.go}"),
    )
    assert run["f"].value == [1, 2]


def test_a_source_that_failed_skips_the_fan_out() -> None:
    run = a_run(
        Agent("s", function=fails(ValueError("no"))), Agent("f", fan_out="${s}", function=item, depends_on=["s"])
    )
    assert run["f"].reason == "no dependency succeeded: s (failed)"


@pytest.mark.parametrize("others", [[], ["good"]])
def test_a_source_that_failed_fails_a_fan_out_that_runs_all_the_same(others: Sequence[str]) -> None:
    run = a_run(
        Agent("good", function=echo),
        Agent("s", function=fails(ValueError("no"))),
        Agent("f", fan_out="${s}", function=item, depends_on=["s", *others], on_dependency_failure="run"),
    )
    assert (run["f"].status, run["f"].reason) == ("failed", "${s}: s has no result (failed)")


def test_a_fan_out_over_the_input_runs_although_its_dependencies_failed() -> None:
    bad = Agent("bad", function=fails(ValueError("no")))
    run = a_run(
        bad,
        Agent(
            "f",
            fan_out="${input}",
            function=echo,
            depends_on=["bad"],
            prompt="${item} ${bad}",
            on_dependency_failure="run",
        ),
        input=[1, 2],
    )
    assert run["f"].value == ["1 [bad: failed, no]", "2 [bad: failed, no]"]


def test_one_that_fails_does_not_stop_the_others_in_an_ensemble_that_fails_fast() -> None:
    async def work(inputs: Inputs) -> Any:
        if inputs.index == 0:
            raise ValueError("no")
        await asyncio.sleep(5)
        return inputs.item

    run = a_run(Agent("f", fan_out="${input}", function=work), input=[1, 2], on_failure="fail_fast")
    assert run["f"].value == [None, 2]
    assert run.status == "completed"


def test_a_fan_out_that_fails_stops_an_ensemble_that_fails_fast() -> None:
    agents = [Agent("f", fan_out="${input}", function=fails(ValueError("no"), 1)), Agent("o", function=hang)]
    run = a_run(*agents, input=[1, 2], on_failure="fail_fast")
    assert statuses(run) == {"f": "failed", "o": "cancelled"}


# Many, and long names


@pytest.mark.parametrize("limit", [0, 7, 100])
def test_a_thousand_items_are_a_thousand_calls_within_the_limit(limit: int) -> None:
    at_work = AtWork()
    run = a_run(at_work("f", 1, fan_out="${input}"), input=list(range(1000)), max_concurrent_agents=limit)
    assert at_work.calls == 1000
    assert at_work.most == (limit or 1000)
    assert kinds(run) == ["ok"] * 1000
    assert run["f"].timings.total == pytest.approx(-(-1000 // (limit or 1000)))


def test_a_list_is_written_out_once_however_many_items_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    original = json.dumps

    def dumps(value: Any, **options: Any) -> str:
        if isinstance(value, list) and len(value) == 300:
            written.append(1)
        return original(value, **options)

    monkeypatch.setattr("stretto.inputs.json", types.SimpleNamespace(dumps=dumps))

    async def main() -> Run:
        ensemble = an_ensemble(Agent("f", fan_out="${input}", function=item))
        return await Runner(middleware=[]).run(ensemble, [{"n": n} for n in range(300)])

    assert len(virtually(main())["f"].children) == 300
    assert len(written) <= 3  # to check the input, and to write it


def test_an_agent_with_the_longest_name_has_instances() -> None:
    name = "n" * NAME_LENGTH
    run = a_run(Agent(name, fan_out="${input}", function=item), input=[1, 2])
    assert [outcome.agent for outcome in run[name].children] == [f"{name}[0]", f"{name}[1]"]


def test_an_agent_named_as_an_instance_is_another() -> None:
    run = a_run(Agent("f", fan_out="${input}", function=item), Agent("f[0]", function=echo), input=[1])
    assert (run["f"].value, run["f[0]"].value) == ([1], "[1]")
    assert len(run.outcomes) == 2


def test_a_fan_out_runs_within_a_child() -> None:
    inner = child(
        Agent("split", function=gives(["a", "b"])),
        Agent("each", fan_out="${split}", function=echo, prompt="${item}!"),
        Agent("join", function=echo, depends_on=["each"], prompt="${each}"),
    )
    assert a_run(Agent("c", ensemble=inner)).output == '["a!", "b!"]'


def test_a_single_agent_may_be_fanned_out() -> None:
    run = virtually(Runner(middleware=[]).run(Agent("f", fan_out="${input}", function=item), [1, 2]))
    assert run.output == [1, 2]


@pytest.mark.parametrize("schedule", ["phases", "ready"])
def test_both_schedules_fan_out(schedule: Any) -> None:
    run = a_run(
        Agent("s", function=gives([1, 2])),
        Agent("f", fan_out="${s}", function=item),
        Agent("after", function=echo, depends_on=["f"], prompt="${f}"),
        schedule=schedule,
    )
    assert run.output == "[1, 2]"


def test_one_at_a_time_is_one_instance_at_a_time() -> None:
    at_work = AtWork()
    agents = [at_work("f", 1, fan_out="${input}"), at_work("g", 1, fan_out="${input}")]
    run = a_run(*agents, input=[1, 2, 3], enable_parallel_execution=False)
    assert at_work.most == 1
    assert [name for name, _ in at_work.began] == ["f[0]", "f[1]", "f[2]", "g[0]", "g[1]", "g[2]"]
    assert run.ok


def test_a_layer_of_the_agent_sees_each_instance() -> None:
    seen: list[str] = []

    async def notes(call: Call, call_next: Any) -> Reply:
        seen.append(call.agent)
        reply: Reply = await call_next(call)
        return reply

    notes.kinds = ("function",)  # type: ignore[attr-defined]
    a_run(Agent("f", fan_out="${input}", function=item, middleware=[notes]), input=[1, 2])
    assert seen == ["f[0]", "f[1]"]


def test_results_that_json_does_not_hold_are_in_the_value_as_they_are() -> None:
    run = spread([1], work=lambda inputs: {1, 2})
    assert run["f"].value == [{1, 2}]
    assert json.loads(run["f"].text) == ["{1, 2}"]


def test_settings_of_phases_and_runs_do_not_reach_the_instances() -> None:
    settings = Settings(phase_timeout=5, run_timeout=8)
    ensemble = Ensemble("e", [Agent("f", fan_out="${input}", function=says("x", 2))], settings=settings)
    run = virtually(Runner(middleware=[]).run(ensemble, [1, 2, 3]))
    assert kinds(run) == ["ok"] * 3
    slow = Ensemble("e", [Agent("f", fan_out="${input}", function=hang)], settings=settings)
    run = virtually(Runner(middleware=[]).run(slow, [1, 2]))
    assert tree(run["f"]) == ("timed_out", {"f[0]": "timed_out", "f[1]": "timed_out"})
    assert run["f"].reason == "the clock of phase 0 (5 s) ran out"
