"""Call every service that litellm knows, through `litellm.acompletion`.

litellm is imported in a thread, before the run's clocks start. It retries nothing, prints nothing, and finds no key in
the environment: what it sends is what the call holds.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib import resources, util
from pathlib import Path
from typing import Any

from stretto.call import Call
from stretto.errors import BadResponse, CallError, ContentBlocked, ContextTooLong, ProviderUnavailable, RequestRejected
from stretto.per_loop import PerLoop
from stretto.providers.wire import Answer, error_of, plain_headers
from stretto.reply import Delta, Reply, ToolCall
from stretto.usage import Price, Usage

# litellm bounds the gap between bytes with it, and opens a client for each value. Our own clocks stand outside.
_PATIENCE = 86_400.0
# Without a key litellm, and the openai SDK in it, look for any that the environment holds.
_NO_KEY = "not-a-key"
# Three look-ups on the network, and a `.env` file, which would change the environment after our keys were resolved.
_AT_IMPORT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
}
_IMPORTING = threading.Lock()
_LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
_QUIETED = ("httpx", "apscheduler.executors.default", "apscheduler.scheduler")  # loggers whose level litellm sets
# The tasks that litellm leaves on a loop: the first never ends, the others are short.
_WORKER = "LoggingWorker._worker_loop"
_CHORES = ("LoggingWorker.", "Logging.", "ServiceLogging.", "CustomStreamWrapper.", "_client_async_logging_helper")


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """The provider of every prefix that names one of litellm's services.

    Its connections are closed with the last runner that uses it on a loop; without a runner, use it in `async with`.
    """

    _on_loop: PerLoop[_Clients] = field(
        default_factory=lambda: PerLoop(_Clients), init=False, repr=False, compare=False
    )

    async def prepare(self) -> None:
        """Import litellm in a thread: 3 s, when it has not been imported before."""
        if not _imported.cache_info().currsize:
            await asyncio.to_thread(_imported)

    async def __aenter__(self) -> LiteLLM:
        return self

    async def __aexit__(self, *_: object) -> None:
        clients = self._on_loop.known()
        if clients is not None:
            await clients.close()

    def price(self, model: str) -> Price | None:
        """Look a price up in litellm's table, without importing litellm; None when it is not there."""
        litellm = sys.modules.get("litellm")
        table: Mapping[str, Any] = getattr(litellm, "model_cost", None) or _table()
        prefix, _, bare = model.partition("/")
        entry = table.get(model) or table.get(bare) or {}
        cost, written = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
        if cost is None or written is None or not str(entry.get("litellm_provider", "")).startswith(prefix):
            return None
        cached = entry.get("cache_read_input_token_cost")
        return Price(cost * 1e6, written * 1e6, None if cached is None else cached * 1e6)

    async def __call__(self, call: Call) -> Reply:
        """Make one request.

        Raises:
            CallError: classified by status and cause, without the foreign error.
        """
        await self.prepare()
        handled = sys.exception()  # a retry's first failure: what stands behind it does not belong to this request
        try:
            request = _request(call, self._on_loop.get())
            answer = await _imported().acompletion(**request)
            call.attempt.headers = _headers(answer)
            if call.emit is None:
                return _reply(call, answer)
        except Exception as error:  # noqa: BLE001 - this is where foreign errors end
            failure = _classified(call, error, handled)
        else:
            return await _streamed(call, answer, handled)
        raise failure  # outside of the except block, so that it has no foreign context


class _Clients:
    """What litellm calls with on one loop: one pool of connections, and a face of it for each address and key."""

    __slots__ = ("_faces", "_foreign", "_pool")

    def __init__(self) -> None:
        self._pool: Any = None
        self._faces: dict[tuple[str, str | None, str], Any] = {}
        self._foreign = False

    def of(self, call: Call, key: str) -> Any:
        """Give the client for a call; None where litellm takes none but its own."""
        prefix = call.model.partition("/")[0]
        kind = _services().get(prefix, {}).get("client")
        if kind is None:
            self._foreign = True
            return None
        if self._pool is None:
            handler = importlib.import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
            self._pool = handler(timeout=_PATIENCE, follow_redirects=False)
        if kind == "http":
            return self._pool
        address = call.endpoint.base_url
        face = self._faces.get((prefix, address, key))
        if face is None:
            own = prefix == "openai" and address is None
            make = importlib.import_module("openai").AsyncOpenAI if own else _sdk_client()
            url = address or _imported().get_llm_provider(call.model, api_key=key)[3]
            if url is None and not own:
                raise RequestRejected(f"{prefix}/ has no address of its own: give the agent a base_url")
            face = make(api_key=key, base_url=url, http_client=self._pool.client, timeout=_PATIENCE, max_retries=0)
            self._faces[prefix, address, key] = face
        return face

    async def close(self) -> None:
        """Close all connections, and end the tasks that litellm keeps on this loop."""
        self._faces.clear()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()
        if self._foreign:
            self._foreign = False
            await _close_cached()
        await _end_chores()


@cache
def _services() -> Mapping[str, Any]:
    # `client` says which kind of client litellm takes for a prefix: that, and all else in it, was found on the wire.
    text = resources.files("stretto").joinpath("services.json").read_text(encoding="utf-8")
    services: Mapping[str, Any] = json.loads(text)
    return services


@cache
def _table() -> Mapping[str, Any]:
    spec = util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin).with_name("model_prices_and_context_window_backup.json")
    table: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table


@cache
def _imported() -> Any:
    """Import litellm, and do in this thread what its first call would do on the loop."""
    with _IMPORTING:
        ours = "litellm" not in sys.modules
        levels = {name: logging.getLogger(name).level for name in _QUIETED}
        with _environment(_AT_IMPORT):
            litellm = importlib.import_module("litellm")
        if ours:  # else the application has it as it wants it
            _restore_logging(levels)
        litellm.suppress_debug_info = True  # else each error prints where to ask for help
        litellm.disable_hf_tokenizer_download = True  # else counting tokens asks a model hub
        importlib.import_module("openai.resources.chat")
        with suppress(Exception):
            asyncio.run(_rehearsed(litellm))
    return litellm


async def _rehearsed(litellm: Any) -> None:
    await litellm.acompletion("openai/gpt-4o", [{"role": "user", "content": ""}], mock_response="", api_key=_NO_KEY)
    await _end_chores()


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
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
    """Take litellm's handlers off its own loggers, its filters off everybody else's."""
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if type(h).__module__.startswith("litellm")]:
            logger.removeHandler(handler)
        if not name.startswith("LiteLLM"):
            for each in [f for f in logger.filters if type(f).__module__.startswith("litellm")]:
                logger.removeFilter(each)
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).setLevel(logging.WARNING)  # below it whole prompts are written
