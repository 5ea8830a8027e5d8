"""`Runner`: everything is checked before the first call; leaving it ends its runs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, use_span

from stretto import Agent, Call, ConfigError, Ensemble, Inputs, Next, Reply, Run, Runner, Settings, default_stack
from stretto.middleware import ConcurrencyLimit, RateLimit, Retry
from stretto.providers import Simulated
from stretto.usage import Price, Usage
from watched import an_ensemble, clock, fails, hang, says, statuses, stubborn, virtually, watched

ONE = an_ensemble(Agent("a", function=says("one")))


class Resource:
    """A layer that is opened and closed, and says so."""

    def __init__(self, *, closing: float = 0.0) -> None:
        self.said: list[str] = []
        self.closing = closing

    async def __aenter__(self) -> None:
        self.said.append("open")

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.sleep(self.closing)
        self.said.append("close")

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        self.said.append("call")
        return await call_next(call)


# What is refused before any call


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"inputs": {"b": "x"}}, "inputs names 'b'"),
        ({"inputs": {"aa": "x"}}, "did you mean 'a'"),
        ({"inputs": {"a": object()}}, "input must be"),
        ({"input": {1, 2}}, "input must be"),
        ({"timeout": 0}, "timeout must be seconds above 0"),
        ({"timeout": float("nan")}, "timeout must be seconds above 0"),
    ],
)
def test_start_refuses_what_is_wrong(options: dict[str, Any], match: str) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=match):
            Runner().start(ONE, **options)

    virtually(main())


def test_start_refuses_a_plan_that_has_a_cycle() -> None:
    async def main() -> None:
        ring = an_ensemble(
            Agent("a", function=says("x"), depends_on=["b"]), Agent("b", function=says("x"), depends_on=["a"])
        )
        with pytest.raises(ConfigError, match="a -> b -> a"):
            Runner().start(ring, "x")

    virtually(main())


@pytest.mark.parametrize("work", ["review.yaml", None, Agent])
def test_start_refuses_what_is_neither_an_ensemble_nor_an_agent(work: Any) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="a runner runs an Ensemble or an Agent, got"):
            Runner().start(work, "x")

    virtually(main())


def test_start_refuses_a_phase_timeout_with_the_schedule_ready() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="phase_timeout needs schedule='phases'"):
            Runner(settings=Settings(phase_timeout=1)).start(an_ensemble(*ONE.agents, schedule="ready"), "x")

    virtually(main())


def test_start_refuses_a_simulated_model_with_a_part_that_it_does_not_know() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="'nonsense' that is not known") as raised:
            Runner().start(Agent("a", model="simulated/echo+nonsense"), "x")
        assert raised.value.agent == "a"

    virtually(main())


def test_start_outside_of_a_loop_is_a_runtime_error() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        Runner().start(ONE, "x")


def test_a_layer_that_is_a_class_is_refused_at_construction() -> None:
    with pytest.raises(ConfigError, match=r"Retry is a class"):
        Runner(middleware=[Retry])  # type: ignore[list-item]


def test_layers_in_another_order_than_the_tables_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="ConcurrencyLimit belongs outside of RateLimit"):
        Runner(middleware=[RateLimit(requests=5), ConcurrencyLimit(2)])


# Inputs


async def shows(inputs: Inputs) -> Any:
    return {"input": inputs.input, "text": inputs.text, "metadata": dict(inputs.metadata)}


def test_an_agent_alone_is_run_as_an_ensemble_of_its_name() -> None:
    async def main() -> None:
        run = await Runner().run(Agent("solo", model="simulated/echo"), "hello")
        assert (run.output, run.ensemble.name, list(run.outcomes)) == ("hello", "solo", ["solo"])

    virtually(main())


def test_an_agent_alone_cannot_depend_on_another() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="depends_on names 'other'"):
            Runner().start(Agent("solo", function=shows, depends_on=["other"]), "x")

    virtually(main())


def test_inputs_by_agent_win_over_the_input_of_all() -> None:
    async def main() -> None:
        two = an_ensemble(Agent("a", function=shows), Agent("b", function=shows))
        run = await Runner().run(two, "all", inputs={"b": {"of": "b"}})
        assert run["a"].output["input"] == "all"
        assert run["b"].output["input"] == {"of": "b"}
        assert run["b"].output["text"] == '{"of": "b"}'

    virtually(main())


def test_without_an_input_the_ensembles_default_counts() -> None:
    async def main() -> None:
        run = await Runner().run(an_ensemble(Agent("a", function=shows), default_input="usual"))
        assert run.output["input"] == "usual"

    virtually(main())


def test_an_empty_input_is_an_input() -> None:
    async def main() -> None:
        run = await Runner().run(an_ensemble(Agent("a", function=shows), default_input="usual"), "")
        assert run.output["input"] == ""

    virtually(main())


def test_metadata_reaches_functions_and_calls_and_cannot_be_changed() -> None:
    async def main() -> None:
        given = {"tenant": "t"}
        run = Runner().start(an_ensemble(Agent("a", function=shows)), "x", metadata=given)
        given["tenant"] = "other"
        await run
        assert run.output["metadata"] == {"tenant": "t"}
        with pytest.raises(TypeError):
            run.metadata["tenant"] = "u"  # type: ignore[index]

    virtually(main())


def test_start_streams_and_run_does_not_unless_the_agent_says_otherwise() -> None:
    async def streamed(call: Call) -> Reply:
        return Reply(str(call.emit is not None))

    async def main() -> None:
        runner = Runner(providers={"p": streamed})
        three = an_ensemble(
            Agent("run", model="p/p"), Agent("yes", model="p/p", stream=True), Agent("no", model="p/p", stream=False)
        )
        started, awaited = await runner.start(three, "x"), await runner.run(three, "x")
        assert {name: outcome.text for name, outcome in started.outcomes.items()} == {
            "run": "True",
            "yes": "True",
            "no": "False",
        }
        assert awaited["run"].text == "False"
        assert awaited["yes"].text == "True"

    virtually(main())


# Settings, layers, prices


def test_the_runners_settings_win_over_the_ensembles_where_they_are_given() -> None:
    async def main() -> None:
        ensemble = an_ensemble(Agent("a", function=hang), settings=Settings(default_timeout=3, max_concurrent_agents=7))
        run = await Runner(settings=Settings(default_timeout=2)).run(ensemble, "x")
        assert clock() == pytest.approx(2)
        assert run.to_dict()["settings"]["max_concurrent_agents"] == 7

    virtually(main())


def test_layers_of_ensemble_and_agent_are_laid_over_the_runners() -> None:
    def tag(name: str) -> Any:
        async def layer(call: Call, call_next: Next) -> Reply:
            reply = await call_next(call)
            return Reply(f"{name}({reply.text})", usage=reply.usage, cost=reply.cost)

        layer.name = name  # type: ignore[attr-defined]
        return layer

    async def main() -> None:
        ensemble = an_ensemble(
            Agent("a", model="simulated/echo"),
            Agent("b", model="simulated/echo", middleware=[tag("inner"), tag("outer")]),
            middleware=[tag("middle")],
        )
        run = await Runner(middleware=[tag("outer")]).run(ensemble, "x")
        assert run["a"].text == "outer(middle(x))"
        assert run["b"].text == "outer(middle(inner(x)))"

    virtually(main())


def test_prices_of_the_runner_win_over_the_ensembles() -> None:
    async def main() -> None:
        ensemble = an_ensemble(
            Agent("a", model="simulated/echo"),
            Agent("b", model="simulated/other"),
            prices={"simulated/*": Price(1e6, 0)},
        )
        run = await Runner(prices={"simulated/other": Price(2e6, 0)}).run(ensemble, "word")
        assert (run["a"].cost, run["b"].cost) == (1, 2)

    virtually(main())


def test_a_run_warns_when_nothing_bounds_an_attempt() -> None:
    async def main() -> None:
        runner = Runner(settings=Settings(default_timeout=None))
        assert [w[:9] for w in (await runner.run(ONE, "x")).warnings] == ["agent 'a'"]
        assert (await runner.run(ONE, "x", timeout=5)).warnings == ()

    virtually(main())


# Lifetimes


def test_layers_are_opened_at_first_use_and_closed_after_the_run() -> None:
    async def main() -> None:
        layer = Resource()
        await Runner(middleware=[layer]).run(Agent("a", model="simulated/echo"), "x")
        assert layer.said == ["open", "call", "close"]

    virtually(main())


def test_an_open_runner_keeps_its_layers_open_between_runs() -> None:
    async def main() -> None:
        layer = Resource()
        async with Runner(middleware=[layer]) as runner:
            for _ in range(2):
                await runner.run(Agent("a", model="simulated/echo"), "x")
        assert layer.said == ["open", "call", "call", "close"]

    virtually(main())


def test_a_runner_that_is_entered_twice_closes_at_the_last_exit() -> None:
    async def main() -> None:
        layer = Resource()
        runner = Runner(middleware=[layer])
        async with runner:
            async with runner:
                pass
            assert layer.said == ["open"]
        assert layer.said == ["open", "close"]

    virtually(main())


def test_leaving_the_runner_ends_all_its_runs() -> None:
    async def main() -> None:
        async with Runner() as runner:
            runs = [runner.start(Agent("a", function=hang), "x") for _ in range(3)]
            await asyncio.sleep(1)
        assert [run.status for run in runs] == ["cancelled"] * 3
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())


def test_leaving_the_runner_under_further_cancels_ends_all_runs_and_closes_all_layers() -> None:
    async def main() -> None:
        layer, runs = Resource(closing=1), list[Run]()

        async def inside() -> None:
            async with Runner(middleware=[layer], settings=Settings(cancel_grace=5)) as runner:
                runs.extend(runner.start(Agent("a", function=stubborn), "x", timeout=3600) for _ in range(3))
                await asyncio.sleep(1)

        task = asyncio.create_task(inside())
        await asyncio.sleep(2)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.25)
        assert task.cancelled()
        assert [run.status for run in runs] == ["cancelled"] * 3
        assert layer.said == ["open", "close"]
        await asyncio.sleep(3600)

    virtually(main())


def test_an_error_inside_the_runner_is_raised_after_its_runs_have_ended() -> None:
    async def main() -> None:
        runs: list[Run] = []

        async def inside() -> None:
            async with Runner() as runner:
                runs.append(runner.start(Agent("a", function=hang), "x"))
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await inside()
        assert runs[0].status == "cancelled"

    virtually(main())


def test_a_runner_without_runs_holds_no_task() -> None:
    async def main() -> None:
        async with Runner() as runner:
            await runner.run(ONE, "x")
            assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())


# Loops


def test_one_runner_and_its_layers_serve_two_loops_one_after_the_other() -> None:
    layer = Resource()
    runner = Runner(
        middleware=[layer, *default_stack(concurrency_limit=ConcurrencyLimit(1), rate_limit=RateLimit(requests=600))]
    )
    two = an_ensemble(Agent("a", model="simulated/latency-1ms+echo"), Agent("b", model="simulated/latency-1ms+echo"))

    async def main() -> Run:
        return await watched(runner.run(two, "x"))

    for _ in range(2):
        assert asyncio.run(main()).status == "completed"
    assert layer.said == ["open", "call", "call", "close"] * 2


def test_one_runner_serves_two_loops_at_once() -> None:
    runner = Runner()
    inside = threading.Barrier(2, timeout=5)

    async def meets(inputs: Inputs) -> str:
        inside.wait()
        return "met"

    def body(found: list[str]) -> None:
        async def main() -> None:
            async with runner:
                found.append((await runner.run(Agent("a", function=meets), "x")).output)

        asyncio.run(main())

    results: list[list[str]] = [[], []]
    threads = [threading.Thread(target=body, args=(found,)) for found in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [["met"], ["met"]]


# run_sync


def test_run_sync_runs_in_a_script() -> None:
    assert Runner().run_sync(ONE, "x").output == "one"


def test_an_ensemble_can_be_run_without_a_runner() -> None:
    run = an_ensemble(Agent("a", function=shows)).run_sync("x", metadata={"k": 1})
    assert run.output["metadata"] == {"k": 1}


def test_run_sync_inside_a_running_loop_uses_a_loop_of_its_own() -> None:
    async def main() -> None:
        outer = asyncio.get_running_loop()
        loops: list[Any] = []

        async def looks(inputs: Inputs) -> str:
            loops.append(asyncio.get_running_loop())
            return "ok"

        assert Runner().run_sync(Agent("a", function=looks), "x").output == "ok"
        assert loops != [outer]

    asyncio.run(watched(main()))


def test_run_sync_inside_a_running_loop_raises_what_it_refuses() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="inputs names"):
            Runner().run_sync(ONE, "x", inputs={"nobody": "x"})

    asyncio.run(watched(main()))


def test_run_sync_inside_a_running_loop_keeps_the_callers_span_as_parent() -> None:
    found: list[int] = []

    async def looks(inputs: Inputs) -> str:
        found.append(get_current_span().get_span_context().trace_id)
        return "ok"

    async def main() -> None:
        with use_span(NonRecordingSpan(SpanContext(7, 8, is_remote=False, trace_flags=TraceFlags(0)))):
            Runner().run_sync(Agent("a", function=looks), "x")

    asyncio.run(main())
    assert found == [7]


def test_ctrl_c_while_run_sync_waits_in_a_notebook_cancels_the_run() -> None:
    seen: list[str] = []

    async def interrupted(inputs: Inputs) -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            return await hang(inputs)
        finally:
            seen.append("cancelled")

    async def main() -> None:
        Runner().run_sync(Agent("a", function=interrupted), "x")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _plain_loop(main())
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["cancelled"]
    for thread in threading.enumerate():
        if thread.name == "stretto:run_sync":
            thread.join(5)
            assert not thread.is_alive()


def test_run_sync_that_finds_no_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                Runner().run_sync(ONE, "x")

    asyncio.run(watched(main()))


def test_ctrl_c_before_the_thread_has_begun_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    async def function(inputs: Inputs) -> str:
        called.append("called")
        return "x"

    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        stopping.append(self)
        raise KeyboardInterrupt

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            Runner().run_sync(Agent("a", function=function), "x")

    stopping: list[threading.Thread] = []
    wait = threading.Event.wait

    def begins(self: threading.Event, timeout: float | None = None) -> bool:
        while stopping:
            start(stopping.pop())
        return wait(self, timeout)

    monkeypatch.setattr(threading.Event, "wait", begins)
    with pytest.raises(KeyboardInterrupt):
        _plain_loop(main())
    assert called == []


def _plain_loop(main: Any) -> None:
    """Run without `asyncio.run`, whose own handler would only ask the loop to stop."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


def test_a_script_with_a_hanging_plain_function_ends() -> None:
    script = textwrap.dedent(
        """
        import threading
        from stretto import Agent, Ensemble, Runner, Settings

        never = threading.Event()
        hangs = Agent("hangs", function=lambda inputs: never.wait(), timeout=0.02)
        run = Runner(settings=Settings(cancel_grace=0.02)).run_sync(Ensemble("e", [hangs]), "x")
        print(run["hangs"].status)
        """
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("timed_out\n", "", 0)


# describe


def test_describe_says_what_a_run_would_do_and_calls_nothing() -> None:
    ensemble = Ensemble(
        "e",
        [
            Agent("a", model="simulated/fail-500"),
            Agent("b", function=fails(AssertionError()), timeout=3, when="${a} == x"),
        ],
    )
    told = Runner(middleware=[Retry(2)]).describe(ensemble)
    assert told["phases"] == [["a"], ["b"]]
    assert [(a["name"], a["phase"], a["model"], a["depends_on"], a["timeout"]) for a in told["agents"]] == [
        ("a", 0, "simulated/fail-500", [], 60),
        ("b", 1, None, ["a"], 3),
    ]
    assert told["middleware"] == ["retry"]
    assert told["settings"]["default_timeout"] == 60


def test_describe_takes_one_agent_too() -> None:
    assert Runner().describe(Agent("solo", model="simulated/echo"))["ensemble"] == "solo"


def test_a_run_of_providers_that_share_an_object_opens_it_once() -> None:
    class Provider(Resource):
        async def __call__(self, call: Call) -> Reply:  # type: ignore[override]
            return Reply("x", usage=Usage(), cost=0.0)

    async def main() -> None:
        provider = Provider()
        runner = Runner(providers={"p": provider, "q": provider})
        run = await runner.run(an_ensemble(Agent("a", model="p/p"), Agent("b", model="q/q")), "x")
        assert provider.said == ["open", "close"]
        assert statuses(run) == {"a": "ok", "b": "ok"}

    virtually(main())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {}}, "settings must be Settings"),
        ({"prices": {"simulated/*": 1}}, "the price of 'simulated/\\*' must be a Price"),
        ({"prices": [1]}, "prices must be a mapping"),
        ({"providers": [1]}, "providers must be a mapping"),
        ({"providers": {"x": Simulated}}, "the provider of 'x' must be callable"),
        ({"capture_content": "x"}, "capture_content must be True, False or None"),
    ],
)
def test_a_runner_refuses_what_it_cannot_use(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Runner(**options)


def test_a_run_without_any_input_is_warned_of() -> None:
    async def main() -> None:
        agents = [Agent("asked", model="simulated/echo", prompt="Say x."), Agent("silent", model="simulated/echo")]
        run = await Runner().run(Ensemble("e", agents))
        assert "agent 'silent': the run has no input, so it is asked nothing" in run.warnings
        assert not any("'asked': the run has no input" in warning for warning in run.warnings)
        assert not any("no input" in warning for warning in (await Runner().run(Ensemble("e", agents), "x")).warnings)

    virtually(main())


async def test_a_provider_stays_open_until_the_open_runner_that_used_it_is_left() -> None:
    told: list[str] = []

    class Connected:
        async def __aenter__(self) -> None:
            told.append("open")

        async def __aexit__(self, *_: object) -> None:
            told.append("closed")

        async def __call__(self, call: Call) -> Reply:
            told.append("call")
            return Reply("ok")

    agent = Agent("a", model="mine/m")
    async with Runner(providers={"mine": Connected()}) as runner:
        await runner.run(agent, "hi")
        await runner.run(agent, "hi")
        assert told == ["open", "call", "call"]
    assert told == ["open", "call", "call", "closed"]
    await runner.run(agent, "hi")  # without `async with` each run opens and closes
    assert told[4:] == ["open", "call", "closed"]


def test_a_fallback_that_no_layer_will_ask_is_warned_of() -> None:
    ensemble = Ensemble("e", [Agent("a", model="simulated/echo", fallback="simulated/b")])
    warning = "agent 'a': its fallback has no effect, the stack has no layer Fallback"
    assert warning in Runner(middleware=[]).describe(ensemble)["warnings"]
    assert warning not in Runner().describe(ensemble)["warnings"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"middleware": 5}, "middleware"),
        ({"middleware": dict}, "middleware"),
        ({"trusted_origins": None}, "trusted_origins"),
        ({"trusted_origins": 5}, "trusted_origins"),
        ({"allow_scripts": "yes"}, "allow_scripts"),
        ({"allow_scripts": []}, "allow_scripts"),
        ({"allow_scripts": ["ls"]}, "allow_scripts"),
    ],
)
def test_what_a_runner_cannot_be_given_is_refused(options: Any, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Runner(**options)
    assert error.value.key == key


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"inputs": 3}, "inputs"),
        ({"inputs": ["a"]}, "inputs"),
        ({"metadata": {1: 2}}, "metadata"),
        ({"timeout": 10**400}, "timeout"),
    ],
)
def test_what_a_run_cannot_be_given_is_refused_before_any_call(options: Any, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Runner().run_sync(Ensemble("e", [Agent("a", model="simulated/echo")]), "x", **options)
    assert error.value.key == key


def test_leave_for_what_is_known_is_none_for_what_a_dispatch_chooses(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("print(1)\n")
    for name in ("known", "chosen"):
        (tmp_path / f"{name}.yaml").write_text(f"stretto: 1\nname: {name}\nagents: [{{name: x, script: a.py}}]\n")
    agents = [Agent("a", script="a.py"), Agent("b", dispatch="chosen"), Agent("c", ensemble="known")]
    work = Ensemble("e", agents, source=str(tmp_path / "e.yaml"))
    run = Runner(allow_scripts="known").run_sync(work, "x")
    assert (run["a"].status, run["b"].status, run["c"].status) == ("ok", "failed", "ok")
    assert "leave was given before this ensemble was chosen" in run["b"].reason
    assert Runner(allow_scripts=True).run_sync(work, "x").ok
