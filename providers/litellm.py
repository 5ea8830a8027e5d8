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
    """Take litellm's handlers off its own loggers, and its filters off everybody else's."""
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if not isinstance(logger, logging.Logger):
            continue
        for handler in filter(_is_litellms, list(logger.handlers)):
            logger.removeHandler(handler)
            logger.addHandler(logging.NullHandler())
            logger.setLevel(logging.WARNING)  # below it litellm writes whole prompts
        for each in filter(_is_litellms, list(logger.filters)):
            if not name.startswith("LiteLLM"):
                logger.removeFilter(each)


def _is_litellms(thing: object) -> bool:
    return type(thing).__module__.startswith("litellm")


async def _close_cached() -> None:
    """Close the clients that litellm has made itself on this loop, and let it forget them."""
    cached: dict[str, Any] = _imported().in_memory_llm_clients_cache.cache_dict
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


def _request(call: Call, clients: _Clients) -> dict[str, Any]:
    service = _services().get(call.model.partition("/")[0], {})
    endpoint = call.endpoint
    key = endpoint.api_key.reveal() if endpoint.api_key is not None else _NO_KEY
    # Services that sign with the credentials of the machine are never sent elsewhere: the core refuses to.
    signs = endpoint.api_key is None and endpoint.base_url is None and not service.get("movable")
    request: dict[str, Any] = deepcopy(dict(call.params))  # litellm writes into what it is given
    body = deepcopy(dict(call.extra_body))
    if service.get("client") == "openai" and "metadata" in request:
        body.setdefault("metadata", request.pop("metadata"))  # by this name litellm takes data for itself
    if call.emit is not None:
        request["stream"] = True
        request["stream_options"] = {"include_usage": True, **request.get("stream_options", {})}
    return request | {
        "model": call.model,
        "messages": [deepcopy(dict(message)) for message in call.messages],
        "base_url": endpoint.base_url,
        "api_key": None if signs else key,
        "client": clients.of(call, key),
        "extra_headers": dict(call.extra_headers) or None,
        **({"extra_body": body} if body else {}),
        "timeout": _PATIENCE,
        "max_retries": 0,
        "num_retries": 0,
        "caching": False,
        "_skip_mcp_handler": True,  # else tools need the package mcp
    }


def _headers(answer: Any) -> dict[str, str]:
    return plain_headers(getattr(answer, "_response_headers", None) or {})


def _reply(call: Call, answer: Any) -> Reply:
    if not answer.choices:
        raise BadResponse("the answer has no choices", status=200)
    choice = answer.choices[0]
    call.attempt.usage = usage = _usage(answer.usage)
    return Reply(
        choice.message.content or "",
        reasoning=getattr(choice.message, "reasoning_content", None) or "",
        tool_calls=tuple(_tool_call(each, place) for place, each in enumerate(choice.message.tool_calls or ())),
        usage=usage,
        cost=None if usage is None else _cost(call.model, answer.usage),
        finish_reason=choice.finish_reason,
        model=answer.model or "",
        route="acompletion",
        response_id=answer.id,
        headers=call.attempt.headers or {},
        raw=answer,
    )


async def _streamed(call: Call, stream: Any, handled: BaseException | None) -> Reply:
    assert call.emit is not None
    pieces = _Pieces()
    failure: CallError | None = None
    async with aclosing(stream):
        while failure is None:
            try:
                chunk = await anext(stream)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - as in `__call__`
                failure = _classified(call, error, handled)
            else:
                for delta in pieces.of(chunk):
                    await call.emit(delta)
    if failure is not None:
        raise failure
    finish = stream.received_finish_reason or stream.intermittent_finish_reason
    if finish is None:  # litellm takes an end without an end mark for success
        raise pieces.unfinished()
    told = next((each for chunk in stream.chunks if (each := getattr(chunk, "usage", None))), None)
    call.attempt.usage = usage = _usage(told)
    if usage is not None:
        await call.emit(Delta(usage=usage))
    cost = None if usage is None else _cost(call.model, told)
    return pieces.reply(usage, cost, finish, call.attempt.headers or {})


class _Pieces:
    """What a stream has brought so far."""

    __slots__ = ("_last", "_reasoning", "_text", "_tools")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tools: dict[int, ToolCall] = {}
        self._last: Any = None

    def of(self, chunk: Any) -> Iterator[Delta]:
        """Take a chunk in, and give what is new."""
        self._last = chunk
        delta = chunk.choices[0].delta if chunk.choices else None
        if reasoning := getattr(delta, "reasoning_content", None):
            self._reasoning.append(reasoning)
            yield Delta(reasoning=reasoning)
        if text := getattr(delta, "content", None):
            self._text.append(text)
            yield Delta(text=text)
        for each in getattr(delta, "tool_calls", None) or ():
            new = _tool_call(each, each.index or 0)
            old = self._tools.get(new.index, ToolCall("", ""))
            known = ToolCall(new.id or old.id, new.name or old.name, old.arguments + new.arguments, new.index)
            self._tools[new.index] = known
            yield Delta(tool_call=new)

    def unfinished(self) -> CallError:
        if self._text or self._reasoning or self._tools:
            return ProviderUnavailable("the stream ended before its end mark")
        return BadResponse("the answer is no stream of chunks", status=200)

    def reply(self, usage: Usage | None, cost: float | None, finish: str, headers: Mapping[str, str]) -> Reply:
        return Reply(
            "".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._tools[index] for index in sorted(self._tools)),
            usage=usage,
            cost=cost,
            finish_reason=finish,
            model=getattr(self._last, "model", None) or "",
            route="acompletion",
            response_id=getattr(self._last, "id", None),
            headers=headers,
        )


def _tool_call(each: Any, place: int) -> ToolCall:
    function = each.function
    return ToolCall(each.id or "", getattr(function, "name", None) or "", getattr(function, "arguments", None) or "", place)


def _usage(told: Any) -> Usage | None:
    if told is None or not (told.prompt_tokens or told.completion_tokens):
        return None  # litellm writes zeros where the provider said nothing
    read, written = told.prompt_tokens_details, told.completion_tokens_details
    return Usage(
        told.prompt_tokens or 0,
        told.completion_tokens or 0,
        cached_tokens=getattr(read, "cached_tokens", None) or 0,
        cache_write_tokens=getattr(read, "cache_creation_tokens", None) or 0,
        reasoning_tokens=getattr(written, "reasoning_tokens", None) or 0,
    )


def _cost(model: str, told: Any) -> float | None:
    with suppress(Exception):  # it has no price for the model
        return float(sum(_imported().cost_per_token(model=model, usage_object=told)))
    return None


def _classified(call: Call, error: Exception, handled: BaseException | None) -> CallError:
    """Make our error of litellm's, by the answer or the cause that stands in its chain."""
    if isinstance(error, CallError):
        return error
    chain = list(_chain(error, handled))
    kind = next((_KINDS[name] for each in chain if (name := type(each).__name__) in _KINDS), None)
    text = str(error)[:500]
    answer = next(filter(None, map(_answer, chain)), None)
    if answer is not None:
        call.attempt.headers = answer.headers
        return error_of(answer, text, kind=kind)
    missing = next((each for each in chain if isinstance(each, ImportError)), None)
    if missing is not None:
        return CallError(f"litellm needs another package for this model: {missing}", retryable=False)
    if any(isinstance(each, OSError) or type(each).__module__.partition(".")[0] in _TRANSPORTS for each in chain):
        return ProviderUnavailable(text)
    # 500 is what litellm calls everything that it does not understand.
    told = (status for each in chain if isinstance(status := getattr(each, "status_code", None), int))
    status = next((status for status in told if 400 <= status < 600 and status != 500), None)
    return (kind or BadResponse)(text) if status is None else error_of(Answer(status, {}), text, kind=kind)


def _chain(error: BaseException | None, handled: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = {id(handled)}
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        yield from _chain(getattr(error, "original_exception", None), handled)
        error = error.__cause__ or error.__context__


def _answer(error: BaseException) -> Answer | None:
    """Read an answer with an error status; litellm's own errors hold invented ones."""
    response: Any = getattr(error, "response", None)
    if type(error).__module__ == "litellm.exceptions" or not hasattr(response, "status_code"):
        return None
    ...
