"""Call every service that litellm knows, through `litellm.acompletion`.

It retries nothing, prints nothing, and finds no key in the environment: what is sent is what the call holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import aclosing, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from stretto.call import Call
from stretto.errors import BadResponse, CallError, ContentBlocked, ContextTooLong, ProviderUnavailable, RequestRejected
from stretto.per_loop import PerLoop
from stretto.providers import litellm_setup
from stretto.providers.litellm_setup import NO_KEY, PATIENCE, Clients
from stretto.providers.wire import Answer, Collected, answer_behind, break_behind, causes, error_of, plain_headers
from stretto.reply import Delta, Reply, ToolCall
from stretto.usage import Price, Usage

# What litellm knows better than the status. It reads some of them out of a message: that is its own affair.
_KINDS: Mapping[str, type[CallError]] = {
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentBlocked,
}
# The reason that came on the wire, of litellm's stream; at the end it makes one up where none came.
_FINISHES = ("received_finish_reason", "intermittent_finish_reason")
_LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """The provider of every prefix that names one of litellm's services.

    Its connections are closed with the last runner that uses it on a loop; without a runner, use it in `async with`.
    """

    _clients: PerLoop[Clients] = field(default_factory=lambda: PerLoop(Clients), init=False, repr=False, compare=False)

    async def prepare(self) -> None:
        """Import litellm in a thread: 3 s, when it has not been imported before."""
        await litellm_setup.ready()

    async def __aenter__(self) -> LiteLLM:
        return self

    async def __aexit__(self, *_: object) -> None:
        clients = self._clients.known()
        if clients is not None:
            await clients.close()

    def price(self, model: str) -> Price | None:
        """Look a price up in litellm's table, without importing litellm; None when it is not there."""
        prefix, _, bare = model.partition("/")
        table = litellm_setup.price_table()
        entry = table.get(model) or table.get(bare) or {}
        read, written = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
        if read is None or written is None or not str(entry.get("litellm_provider", "")).startswith(prefix):
            return None
        cached = entry.get("cache_read_input_token_cost")
        return Price(read * 1e6, written * 1e6, None if cached is None else cached * 1e6)

    async def __call__(self, call: Call) -> Reply:
        """Make one request.

        Raises:
            CallError: classified by status and cause, without the foreign error.
        """
        await self.prepare()
        handled = sys.exception()  # a retry's first failure: what stands behind it does not belong to this request
        try:
            answer = await litellm_setup.acompletion(_request(call, self._clients.get()))
            call.attempt.headers = plain_headers(getattr(answer, "_response_headers", None) or {})
            if call.emit is None or not hasattr(answer, "aclose"):  # a few services never stream
                return _reply(call, answer)
        except Exception as error:  # noqa: BLE001 - this is where foreign errors end
            failure = _failure(call, error, handled)
        else:
            return await _streamed(call, answer, handled)
        raise failure  # outside of the except block, so that it has no foreign context


def _request(call: Call, clients: Clients) -> dict[str, Any]:
    service = litellm_setup.service(call.model)
    endpoint = call.endpoint
    key = endpoint.api_key.reveal() if endpoint.api_key is not None else NO_KEY
    if endpoint.base_url is None and service.get("movable") and service.get("url") is None:
        # litellm would send it, key and all, to openai
        raise RequestRejected(f"{call.model!r}: this service has no address of its own, give the agent a base_url")
    # Others may sign with credentials of the machine: the core lets them go to addresses that are trusted only.
    signs = endpoint.api_key is None and not service.get("movable")
    if call.model.startswith("ollama"):  # of a model that is not in its table litellm asks, and blocks the loop
        litellm_setup.imported().model_cost.setdefault(call.model, {"litellm_provider": "ollama", "mode": "chat"})
    request: dict[str, Any] = deepcopy(dict(call.params))  # litellm writes into what it is given
    body: dict[str, Any] = deepcopy(dict(call.extra_body))
    if service.get("client") == "openai" and "metadata" in request:
        body.setdefault("metadata", request.pop("metadata"))  # by this name litellm takes data for itself
    if body:
        request["extra_body"] = body
    if call.emit is not None:
        request["stream"] = True
        request["stream_options"] = {"include_usage": True, **request.get("stream_options", {})}
    return request | {
        "model": call.model,
        "messages": [deepcopy(dict(message)) for message in call.messages],
        "base_url": endpoint.base_url,
        "api_key": None if signs else key,
        "client": clients.of(call.model, endpoint.base_url, key),
        "extra_headers": dict(call.extra_headers) or None,
        "timeout": PATIENCE,
        "max_retries": 0,
        "num_retries": 0,
        "caching": False,
        "_skip_mcp_handler": True,  # else tools need the package mcp
    }


def _reply(call: Call, answer: Any) -> Reply:
    if not answer.choices:
        raise BadResponse("the answer has no choices", status=200)
    choice, message = answer.choices[0], answer.choices[0].message
    reply = Reply(
        message.content or "",
        reasoning=getattr(message, "reasoning_content", None) or "",
        tool_calls=tuple(_tool_call(each, place) for place, each in enumerate(message.tool_calls or ())),
        route="acompletion",
        raw=answer,
    )
    return _ended(call, reply, answer, answer.usage, choice.finish_reason)


async def _streamed(call: Call, stream: Any, handled: BaseException | None) -> Reply:
    assert call.emit is not None
    collected, last, failure = Collected(), None, None
    async with aclosing(stream):
        while failure is None:
            try:
                last = chunk = await anext(stream)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - as in `__call__`
                failure = _failure(call, error, handled)
            else:
                for delta in _deltas(chunk):
                    collected.add(delta)
                    await call.emit(delta)
    finish: str | None = next(filter(None, (getattr(stream, name, None) for name in _FINISHES)), None)
    # Counted among the chunks as they came: what litellm adds at the end may be its own guess.
    told = next((each for chunk in getattr(stream, "chunks", ()) if (each := getattr(chunk, "usage", None))), None)
    if failure is None and collected and finish is None:  # litellm takes an end without an end mark for success
        failure = ProviderUnavailable("the stream ended before its end mark")
    elif failure is None and not collected and (finish is None or told is None):
        failure = BadResponse("the answer is not a stream of chunks", status=200)
    if failure is not None:
        raise failure
    reply = _ended(call, collected.reply("acompletion"), last, told, finish)
    if reply.usage is not None:
        await call.emit(Delta(usage=reply.usage))
    return reply


def _ended(call: Call, reply: Reply, source: Any, told: Any, finish: str | None) -> Reply:
    call.attempt.usage = usage = _usage(told)
    return replace(
        reply,
        usage=usage,
        cost=None if usage is None else _cost(call.model, told),
        finish_reason=finish,
        model=getattr(source, "model", None) or "",
        response_id=getattr(source, "id", None),
        headers=call.attempt.headers or {},
    )


def _deltas(chunk: Any) -> Iterator[Delta]:
    delta = chunk.choices[0].delta if chunk.choices else None
    if reasoning := getattr(delta, "reasoning_content", None):
        yield Delta(reasoning=reasoning)
    if text := getattr(delta, "content", None):
        yield Delta(text=text)
    for each in getattr(delta, "tool_calls", None) or ():
        yield Delta(tool_call=_tool_call(each, each.index or 0))


def _tool_call(each: Any, place: int) -> ToolCall:
    function = each.function
    return ToolCall(
        each.id or "", getattr(function, "name", None) or "", getattr(function, "arguments", None) or "", place
    )


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
    entry = litellm_setup.price_table().get(model)
    if entry is not None and not any("cost" in name for name in entry):
        return None
    with suppress(Exception):  # it has no price for the model
        return float(sum(litellm_setup.imported().cost_per_token(model=model, usage_object=told)))
    return None


def _failure(call: Call, error: Exception, handled: BaseException | None) -> CallError:
    """Make our error of litellm's, by the answer or the cause behind it."""
    if isinstance(error, CallError):
        return error
    chain = list(causes(error, handled))
    names = [type(each).__name__ for each in chain]
    kind = next((_KINDS[name] for name in names if name in _KINDS), None)
    text = str(error).partition("\n")[0][:_LONGEST_MESSAGE]  # what follows may be a traceback
    answer = answer_behind(chain)
    if answer is not None:
        call.attempt.headers = answer.headers
        return error_of(answer, text, kind=kind)
    broken = break_behind(chain)
    if broken is not None:
        words = f"{type(broken).__name__}: {broken}".split()
        return ProviderUnavailable(" ".join(words)[:_LONGEST_MESSAGE])
    missing = next((each for each in chain if isinstance(each, ImportError)), None)
    if missing is not None:
        return CallError(f"litellm needs another package for this model: {missing}", retryable=False)
    # Its own checks before a request, and errors told in the middle of a stream. 500 is also whatever it does not know.
    told = (getattr(each, "status_code", None) for each in chain)
    status = next((s for s in told if isinstance(s, int) and 400 <= s < 600 and s != 500), None)
    return (kind or BadResponse)(text) if status is None else error_of(Answer(status, {}), text, kind=kind)
