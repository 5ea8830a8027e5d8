"""Bring litellm into this process, tell what is known of its services, and leave no task of it behind on a loop."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stretto.providers.litellm_thread import Unbroken

if TYPE_CHECKING:
    from stretto.usage import Usage

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
CHORES = ("LoggingWorker.", "Logging.", "ServiceLogging.", "CustomStreamWrapper.", "_client_async_logging_helper",
          "async_generator_athrow")  # fmt: skip


# Whose addresses differ by account or region: what a host of theirs looks like. Anybody may have a host at Amazon.
# Source: the services' lists of endpoints.
_AWS = r"\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)"
_GOOGLE = r"([a-z0-9-]+-)?aiplatform(\.[a-z0-9-]+\.rep)?\.googleapis\.com"
_HOSTS = {
    "bedrock": rf"bedrock[a-z-]*{_AWS}",
    "bedrock_mantle": rf"bedrock[a-z-]*{_AWS}",
    "databricks": r"[a-z0-9.-]+\.(databricks\.com|azuredatabricks\.net)",
    "gigachat": r"[a-z0-9.-]+\.sberbank\.ru",
    "huggingface": r"([a-z0-9-]+\.)?huggingface\.co",
    "sagemaker": rf"runtime\.sagemaker{_AWS}",
    "sagemaker_chat": rf"runtime\.sagemaker{_AWS}",
    "sagemaker_nova": rf"runtime\.sagemaker{_AWS}",
    "snowflake": r"[a-z0-9._-]+\.snowflakecomputing\.com",
    "vertex_ai": _GOOGLE,
    "vertex_ai_beta": _GOOGLE,
    "watsonx": r"[a-z0-9.-]+\.cloud\.ibm\.com",
    "watsonx_text": r"[a-z0-9.-]+\.cloud\.ibm\.com",
}


def at_home(prefix: str, url: str) -> bool:
    """Tell whether an address is one of the service's own, where the call names none."""
    parts = urlsplit(url)
    own = urlsplit(_services().get(prefix, {}).get("url") or "")
    if own.hostname is not None and (own.scheme, own.hostname) == (parts.scheme, parts.hostname):
        return True
    pattern = _HOSTS.get(prefix)
    return pattern is not None and parts.scheme == "https" and re.fullmatch(pattern, parts.hostname or "") is not None


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
        _unlisten(litellm)
        if not heard(litellm):  # they would hear of calls that nobody made
            with suppress(Exception):
                asyncio.run(_rehearsed(litellm))
    return litellm


def _unlisten(litellm: Any) -> None:
    """Import the one module that would register a listener in a call to gemini, and take that away again."""
    before = {name: list(getattr(litellm, name, ())) for name in _LISTENERS}
    with suppress(Exception):
        importlib.import_module("litellm.llms.vertex_ai.context_caching.vertex_ai_context_caching")
    for name, listeners in before.items():
        if getattr(litellm, name, None):
            getattr(litellm, name)[:] = listeners


async def _rehearsed(litellm: Any) -> None:
    asyncio.get_running_loop().slow_callback_duration = 60  # of this loop, which waits for nothing
    said = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}], "api_key": NO_KEY}
    await acompletion(said | {"mock_response": "hi"}, litellm)
    async for _ in await acompletion(said | {"mock_response": "hi", "stream": True}, litellm):
        pass
    await end_chores()


async def acompletion(
    request: dict[str, Any], litellm: Any = None, *, begun: Callable[[], bool] = lambda: False
) -> Any:
    """Make a request that nobody but the caller hears of, unless the application has registered listeners.

    Else litellm would start a worker for them, of which there is one in the process: loops take it from each other.
    """
    litellm = litellm or imported()
    if heard(litellm):
        return await Unbroken(litellm.acompletion(**request), begun)
    unheard: ContextVar[bool] = importlib.import_module("litellm._internal_context").is_internal_call
    token = unheard.set(True)
    try:
        return await Unbroken(litellm.acompletion(**request), begun)
    finally:
        unheard.reset(token)


def heard(litellm: Any = None) -> bool:
    """Tell whether the application listens; "cache" litellm has added itself, in a call to gemini."""
    litellm = litellm or imported()
    listeners = {name: [each for each in getattr(litellm, name, None) or () if each != "cache"] for name in _LISTENERS}
    return any(listeners.values()) or litellm.cache is not None


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

    `client` is the kind that litellm takes from its caller: "openai" (the SDK's), "http" (its own); "own" where it
    finds one itself, and ours instead; null where it sends in another way, or no chat completions at all.
    """
    return _services().get(model.partition("/")[0], {})


def usage(told: Usage) -> Any:
    """Write tokens down as litellm does."""
    details = {"cached_tokens": told.cached_tokens}
    return imported().Usage(
        prompt_tokens=told.input_tokens, completion_tokens=told.output_tokens, prompt_tokens_details=details
    )


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


def _name(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", None) or type(coroutine).__name__


async def end_chores() -> None:
    """Wait for the short tasks that litellm has left on this loop, then end the one that never ends."""

    def left(worker: bool) -> set[asyncio.Task[Any]]:
        tasks = {task: _name(task) for task in asyncio.all_tasks()}
        return {t for t, name in tasks.items() if name.startswith(CHORES) and (name == _WORKER) is worker}

    for worker in (False, False, True, False):  # a task of the first kind makes others
        tasks = left(worker)
        for task in tasks if worker else ():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
