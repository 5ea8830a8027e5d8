"""Bring litellm into this process, give it its clients, and leave nothing of it behind on a loop.

Apart from `litellm.py`, which turns a call into its arguments and its answer into a reply.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import resources, util
from pathlib import Path
from typing import Any

# litellm bounds the gap between bytes with it, and opens a client for each value. Our own clocks stand outside.
PATIENCE = 86_400.0
# Without a key litellm, and the openai SDK in it, take any that the environment holds.
NO_KEY = "not-a-key"

_IMPORTING = threading.Lock()
# Three look-ups on the network, and a `.env` file, which would change the environment after our keys were resolved.
_AT_IMPORT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
}
# Where an application registers what is to hear of each call.
_LISTENERS = (
    "callbacks input_callback success_callback failure_callback service_callback "
    "_async_input_callback _async_success_callback _async_failure_callback"
).split()
_LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
_QUIETED = ("httpx", "apscheduler.executors.default", "apscheduler.scheduler")  # loggers whose level it sets
# The tasks that litellm leaves on a loop: the worker never ends, the others are short.
_WORKER = "LoggingWorker._worker_loop"
_CHORES = ("LoggingWorker.", "Logging.", "ServiceLogging.", "CustomStreamWrapper.", "_client_async_logging_helper")


async def ready() -> None:
    """Import litellm in a thread, when this has not been done."""
    if not imported.cache_info().currsize:
        await asyncio.to_thread(imported)


@cache
def imported() -> Any:
    """Import litellm, and do here what its first call would do on the loop: 3 s together, so call it in a thread."""
    with _IMPORTING:
        ours = "litellm" not in sys.modules
        levels = {name: logging.getLogger(name).level for name in _QUIETED}
        for name in _LOGGERS if ours else ():
            logging.getLogger(name).setLevel(logging.WARNING)  # below it litellm writes whole prompts
        with _environment(_AT_IMPORT):
            litellm: Any = importlib.import_module("litellm")
        if ours:  # else the application has it as it wants it
            _restore_logging(levels)
        litellm.suppress_debug_info = True  # else each error prints where to ask for help
        litellm.disable_hf_tokenizer_download = True  # else counting tokens asks a model hub
        importlib.import_module("openai.resources.chat")
        with suppress(Exception):
            asyncio.run(_rehearsed(litellm))
    return litellm


async def _rehearsed(litellm: Any) -> None:
    said = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}], "api_key": NO_KEY}
    await acompletion(said | {"mock_response": "hi"}, litellm)
    async for _ in await acompletion(said | {"mock_response": "hi", "stream": True}, litellm):
        pass
    await _end_chores()


async def acompletion(request: dict[str, Any], litellm: Any = None) -> Any:
    """Make a request that nobody but the caller hears of, unless the application has registered listeners.

    Else litellm would start a worker for them, of which there is one in the process: loops take it from each other.
    """
    litellm = litellm or imported()
    if any(getattr(litellm, name, None) for name in _LISTENERS):
        return await litellm.acompletion(**request)
    unheard: ContextVar[bool] = importlib.import_module("litellm._internal_context").is_internal_call
    token = unheard.set(True)
    try:
        return await litellm.acompletion(**request)
    finally:
        unheard.reset(token)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _restore_logging(levels: Mapping[str, int]) -> None:
    """Take litellm's handlers off its own loggers, and its filters off everybody else's."""
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if not isinstance(logger, logging.Logger):
            continue
        for handler in filter(_is_litellms, list(logger.handlers)):
            logger.removeHandler(handler)
            logger.addHandler(logging.NullHandler())
        for each in filter(_is_litellms, list(logger.filters)):
            if not name.startswith("LiteLLM"):
                logger.removeFilter(each)


def _is_litellms(thing: object) -> bool:
    return type(thing).__module__.startswith("litellm")


@cache
def _services() -> Mapping[str, Mapping[str, Any]]:
    text = resources.files("stretto").joinpath("services.json").read_text(encoding="utf-8")
    services: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return services


def service(model: str) -> Mapping[str, Any]:
    """Give what was found on the wire about a model's prefix.

    `client` is the kind that litellm takes from its caller: "openai" (the SDK's), "http" (its own), or null.
    """
    return _services().get(model.partition("/")[0], {})


def price_table() -> Mapping[str, Mapping[str, Any]]:
    """Give litellm's prices by model; without importing it where this has not been done."""
    return getattr(sys.modules.get("litellm"), "model_cost", None) or _shipped_prices()


@cache
def _shipped_prices() -> Mapping[str, Mapping[str, Any]]:
    spec = util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin).with_name("model_prices_and_context_window_backup.json")
    prices: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return prices


class Clients:
    """What litellm calls with on one loop: one pool of connections, and a face of it for each address and key."""

    __slots__ = ("_faces", "_others", "_pool")

    def __init__(self) -> None:
        self._pool: Any = None
        self._faces: dict[tuple[str, str | None, str], Any] = {}
        self._others = False  # litellm has made clients itself

    def of(self, model: str, base_url: str | None, key: str) -> Any:
        """Give the client for a request; None where litellm takes none but its own."""
        kind = service(model).get("client")
        if kind is None:
            self._others = True
            return None
        if self._pool is None:
            make: Any = importlib.import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
            self._pool = make(timeout=PATIENCE, follow_redirects=False)
            self._pool.client = self._pool.client  # given back, it is ours to close: else its finalizer does it again
        if kind == "http":
            return self._pool
        wanted = (model.partition("/")[0], base_url, key)
        if wanted not in self._faces:
            self._faces[wanted] = self._face(model, base_url, key)
        return self._faces[wanted]

    def _face(self, model: str, base_url: str | None, key: str) -> Any:
        prefix = model.partition("/")[0]
        # What the environment says of openai is meant for it alone.
        own = base_url is None and prefix in ("openai", "text-completion-openai")
        make: Any = importlib.import_module("openai").AsyncOpenAI if own else sdk_client()
        url: str | None = base_url or imported().get_llm_provider(model, api_key=key)[3]
        url = url or service(model)["url"]  # else it would be openai's, which is then sent the key
        return make(api_key=key, base_url=url, http_client=self._pool.client, timeout=PATIENCE, max_retries=0)

    async def close(self) -> None:
        """Close all connections, and end the tasks that litellm keeps on this loop."""
        self._faces.clear()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.client.aclose()
        if self._others:
            self._others = False
            await _close_cached()
        await _end_chores()


@cache
def sdk_client() -> Any:
    """Make openai's client without what it takes from the environment, and without retries of its own."""
    base: Any = importlib.import_module("openai").AsyncOpenAI

    class Client(base):  # type: ignore[misc]
        # litellm sets these again with each call; where a service does not know max_retries, to 2.
        max_retries = property(lambda self: 0, lambda self, value: None)  # pyright: ignore
        organization = project = property(lambda self: None, lambda self, value: None)  # pyright: ignore

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]
            self._custom_headers: Mapping[str, str] = {}  # from OPENAI_CUSTOM_HEADERS

    return Client


async def _close_cached() -> None:
    """Close the clients that litellm has made itself on this loop, and let it forget them."""
    cached: dict[str, Any] = imported().in_memory_llm_clients_cache.cache_dict
    mark = f"-{id(asyncio.get_running_loop())}"
    for name in [name for name in cached if name.endswith(mark)]:
        client = cached.pop(name)
        with suppress(Exception):
            await client.close()


async def _end_chores() -> None:
    """Wait for the short tasks that litellm has left on this loop, then end the one that never ends."""

    def left(worker: bool) -> set[asyncio.Task[Any]]:
        tasks = {task: getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
        return {t for t, name in tasks.items() if name.startswith(_CHORES) and (name == _WORKER) is worker}

    for worker in (False, False, True, False):  # a task of the first kind makes others
        tasks = left(worker)
        for task in tasks if worker else ():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
