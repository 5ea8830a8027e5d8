"""The variants of the study: ways to ask for many answers, each with its own connections.

A variant is entered, and has then made one call: what it imports is imported, its first connection is open, no other.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

PATH = "/chat/completions"
HEADERS = {"content-type": "application/json", "authorization": "Bearer key"}
THREADS_OF_HYBRID = 4

Work = Callable[[], Awaitable[None]]
Opened = Callable[[str, Sequence[float]], AbstractAsyncContextManager[Work]]


class Variant(Protocol):
    """A way to ask for many answers."""

    def __enter__(self) -> Variant: ...

    def __exit__(self, *_: object) -> None: ...

    def run(self) -> None:
        """Ask for all, and wait for all."""
        ...

    def rest(self, seconds: float) -> None:
        """Let go on what goes on in the background."""
        ...


def prompt(seconds: float) -> str:
    return f"wait {seconds:.6f}"


def body(seconds: float) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt(seconds)}]}


def read(answer: bytes) -> str:
    return str(json.loads(answer)["choices"][0]["message"]["content"])


class OnLoop:
    """A variant that lives on an event loop."""

    def __init__(self, opened: Opened, url: str, waits: Sequence[float]) -> None:
        self._opened = opened(url, waits)
        self._loop = asyncio.Runner()

    def __enter__(self) -> OnLoop:
        self._loop.__enter__()
        self._work = self._loop.run(self._opened.__aenter__())  # type: ignore[arg-type]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._opened.__aexit__(None, None, None))  # type: ignore[arg-type]
        self._loop.__exit__(None, None, None)

    def run(self) -> None:
        self._loop.run(self._work())  # type: ignore[arg-type]

    def rest(self, seconds: float) -> None:
        self._loop.run(asyncio.sleep(seconds))


@asynccontextmanager
async def plain(url: str, *, first: bool = True) -> AsyncIterator[Callable[[float], Awaitable[str]]]:
    """aiohttp + json, as one writes it by hand; one session, any number of connections, the first of them open."""
    import aiohttp

    async def call(seconds: float) -> str:
        async with session.post(url + PATH, json=body(seconds), headers=HEADERS) as response:
            return read(await response.read())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        if first:
            await call(0.0)
        yield call


@asynccontextmanager
async def one_by_one(url: str, waits: Sequence[float]) -> AsyncIterator[Work]:
    async with plain(url) as call:

        async def work() -> None:
            for seconds in waits:
                await call(seconds)

        yield work


@asynccontextmanager
async def at_once(url: str, waits: Sequence[float]) -> AsyncIterator[Work]:
    async with plain(url) as call:

        async def work() -> None:
            await asyncio.gather(*map(call, waits))

        yield work


@asynccontextmanager
async def agents_of_a_run(
    url: str, waits: Sequence[float], model: str = "compatible/m", middleware: Sequence[Any] | None = None
) -> AsyncIterator[Work]:
    """stretto; the ensemble is made beforehand, planned in each run. All agents have a place at once."""
    from stretto import Agent, Ensemble, Runner, Settings

    def agent(name: str, seconds: float) -> Agent:
        return Agent(name, model=model, base_url=url, api_key="key", prompt=prompt(seconds))

    ensemble = Ensemble("wide", [agent(f"a{number}", seconds) for number, seconds in enumerate(waits)])
    async with Runner(middleware=middleware, settings=Settings(max_concurrent_agents=0)) as runner:
        assert (await runner.run(agent("first", 0.0), "hello")).ok

        async def work() -> None:
            run = await runner.run(ensemble, "hello")
            assert run.ok, run.failed[0].reason

        yield work


class Threads:
    """A thread and a connection of its own for each answer; the standard library's blocking HTTP client."""

    def __init__(self, url: str, waits: Sequence[float]) -> None:
        self._address = urlsplit(url + PATH)
        self._waits = waits
        self._own = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._pool = ThreadPoolExecutor(len(waits))

    def __enter__(self) -> Threads:
        self._pool.submit(self._call, 0.0).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def _call(self, seconds: float) -> str:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection(self._address.netloc)
            self._connections.append(connection)
        connection.request("POST", self._address.path, json.dumps(body(seconds)).encode(), HEADERS)
        return read(connection.getresponse().read())

    def run(self) -> None:
        list(self._pool.map(self._call, self._waits))

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)


class _LoopOfThread:
    """An event loop in a thread of its own, with a session of its own."""

    def __init__(self, url: str, *, first: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._plain = plain(url, first=first)
        self.call = asyncio.run_coroutine_threadsafe(self._plain.__aenter__(), self._loop).result()  # type: ignore[arg-type]

    def start(self, waits: Sequence[float]) -> Any:
        async def work() -> None:
            await asyncio.gather(*map(self.call, waits))

        return asyncio.run_coroutine_threadsafe(work(), self._loop)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._plain.__aexit__(None, None, None), self._loop).result()  # type: ignore[arg-type]
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Hybrid:
    """Four threads at most, each with an event loop and a session; the answers are dealt to them in turn.

    Its loops and sessions are there beforehand; its first connection is open, as with the others.
    """

    def __init__(self, url: str, waits: Sequence[float]) -> None:
        self._url = url
        self._waits = waits
        self._loops: list[_LoopOfThread] = []

    def __enter__(self) -> Hybrid:
        threads = min(THREADS_OF_HYBRID, len(self._waits))
        self._loops = [_LoopOfThread(self._url, first=number == 0) for number in range(threads)]
        return self

    def __exit__(self, *_: object) -> None:
        for loop in self._loops:
            loop.close()

    def run(self) -> None:
        dealt = [self._waits[number :: len(self._loops)] for number in range(len(self._loops))]
        for started in [loop.start(waits) for loop, waits in zip(self._loops, dealt, strict=True)]:
            started.result()

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)


VARIANTS: dict[str, Callable[[str, Sequence[float]], Variant]] = {
    "sequential": partial(OnLoop, one_by_one),
    "async": partial(OnLoop, at_once),
    "threads": Threads,
    "hybrid": Hybrid,
    "stretto, no layers": partial(OnLoop, partial(agents_of_a_run, middleware=())),
    "stretto": partial(OnLoop, agents_of_a_run),
    "stretto, litellm": partial(OnLoop, partial(agents_of_a_run, model="openai/m")),
}
SAYS = {
    "sequential": "aiohttp + json, one call after the other",
    "async": "aiohttp + json, `asyncio.gather`",
    "threads": "`ThreadPoolExecutor`, a thread and an `http.client` connection for each call",
    "hybrid": "four threads, each with an event loop and aiohttp",
    "stretto, no layers": "`Runner(middleware=[])` on `OpenAICompatible`",
    "stretto": "`Runner()`: the default stack, on `OpenAICompatible`",
    "stretto, litellm": "`Runner()`: the default stack, on litellm's route (`acompletion`)",
}


def prepared() -> None:
    """Settle what must be so before litellm is imported."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
