"""Plain functions run in threads of their own; nobody waits for one that hangs."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from stretto import Agent, Inputs, Runner, Settings
from stretto.thread import in_thread
from watched import an_ensemble, statuses, watched

QUICK = Runner(middleware=[], settings=Settings(cancel_grace=0.02))


def test_the_result_of_a_plain_function_is_the_agents() -> None:
    def work(inputs: Inputs) -> str:
        return f"{inputs.text} in {threading.current_thread().name}"

    assert QUICK.run_sync(Agent("a", function=work), "hello").output == "hello in stretto:work"


def test_an_exception_of_a_plain_function_is_the_agents_untouched() -> None:
    mine = ValueError("mine")

    def work(inputs: Inputs) -> str:
        raise mine

    assert QUICK.run_sync(Agent("a", function=work), "x")["a"].error is mine


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
def test_a_plain_function_cannot_end_the_program(error: BaseException) -> None:
    def work(inputs: Inputs) -> str:
        raise error

    run = QUICK.run_sync(an_ensemble(Agent("a", function=work), Agent("b", function=lambda inputs: "b")), "x")
    assert statuses(run) == {"a": "failed", "b": "ok"}
    assert run["a"].error is error


def test_a_stop_iteration_which_a_future_refuses_fails_the_agent_too() -> None:
    def work(inputs: Inputs) -> str:
        raise StopIteration("end")

    run = QUICK.run_sync(Agent("a", function=work), "x")
    assert run["a"].reason == "the function raised StopIteration: end"


def test_many_plain_functions_are_at_work_at_once() -> None:
    all_there = threading.Barrier(60, timeout=10)

    def work(inputs: Inputs) -> str:
        all_there.wait()
        return "met"

    run = QUICK.run_sync(an_ensemble(*(Agent(f"a{n}", function=work) for n in range(60))), "x")
    assert run.status == "completed"


def test_a_plain_function_that_hangs_is_left_behind_and_its_result_dropped() -> None:
    go_on, done = threading.Event(), threading.Event()

    def work(inputs: Inputs) -> str:
        go_on.wait(10)
        done.set()
        return "late"

    async def main() -> None:
        run = await QUICK.run(an_ensemble(Agent("a", function=work, timeout=0.02)), "x")
        assert (run["a"].status, run["a"].reason) == ("timed_out", "the agent's clock of 0.02 s ran out")
        go_on.set()
        while not done.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.005)  # what it settles now finds nobody
        assert run["a"].text == ""

    asyncio.run(watched(main()))


def test_a_plain_function_may_end_after_its_loop() -> None:
    go_on = threading.Event()
    threads: list[threading.Thread] = []

    def work(inputs: Inputs) -> str:
        threads.append(threading.current_thread())
        go_on.wait(10)
        return "late"

    QUICK.run_sync(Agent("a", function=work, timeout=0.02), "x")
    assert threads[0].daemon
    go_on.set()
    threads[0].join(5)
    assert not threads[0].is_alive()


def test_a_plain_function_sees_the_callers_context_and_cannot_change_it() -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")

    def work(argument: str) -> str:
        before = tenant.get()
        tenant.set("other")
        return before + argument

    async def main() -> None:
        tenant.set("me")
        assert await in_thread(work, "!") == "me!"
        assert tenant.get() == "me"

    asyncio.run(main())


def test_a_plain_function_may_give_something_to_await() -> None:
    async def later(text: str) -> str:
        return text.upper()

    assert QUICK.run_sync(Agent("a", function=lambda inputs: later(inputs.text)), "hello").output == "HELLO"


def test_an_object_with_an_async_call_runs_on_the_loop() -> None:
    class Work:
        async def __call__(self, inputs: Inputs) -> Any:
            return threading.current_thread() is main_thread

    main_thread = threading.current_thread()
    assert QUICK.run_sync(Agent("a", function=Work()), "x").output is True


def test_when_no_thread_can_be_started_the_agent_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        run = await QUICK.run(Agent("a", function=lambda inputs: "x"), "x")
        assert run["a"].reason == "can't start new thread"

    asyncio.run(watched(main()))
