"""Run a test's coroutine, in virtual time or not, and hold it to what must be true after every run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from stretto import Agent, Ensemble, Inputs, Run
from stretto.testing import virtual_time

T = TypeVar("T")


async def watched(main: Coroutine[Any, Any, T]) -> T:
    """Await `main`; afterwards no task is left, and nothing was complained of to the loop."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    result = await main
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert complaints == []
    return result


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time, watched."""
    return virtual_time(watched(main))


def clock() -> float:
    """The loop's time: in virtual time the seconds since the beginning."""
    return asyncio.get_running_loop().time()


def says(text: str, after: float = 0.0) -> Callable[[Inputs], Awaitable[str]]:
    """A function agent's work that gives `text` after some seconds."""

    async def say(inputs: Inputs) -> str:
        await asyncio.sleep(after)
        return text

    return say


def fails(error: BaseException, after: float = 0.0) -> Callable[[Inputs], Awaitable[str]]:
    """A function agent's work that raises `error` after some seconds."""

    async def fail(inputs: Inputs) -> str:
        await asyncio.sleep(after)
        raise error

    return fail


async def hang(inputs: Inputs) -> str:
    """A function agent's work that never ends by itself."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def stubborn(inputs: Inputs) -> str:
    """A function agent's work that swallows its cancels for an hour."""
    until = clock() + 3600
    while clock() < until:
        try:
            await asyncio.sleep(until - clock())
        except asyncio.CancelledError:
            continue
    return "late"


def an_ensemble(*agents: Agent, **options: Any) -> Ensemble:
    return Ensemble("e", agents, **options)


def statuses(run: Run) -> dict[str, str]:
    """The statuses of a run's agents by name, in file order."""
    return {agent.name: run[agent.name].status for agent in run.ensemble.agents}


def kinds(events: Sequence[Any]) -> list[str]:
    return [event.type for event in events]
