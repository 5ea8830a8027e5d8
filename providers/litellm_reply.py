"""Read what litellm makes of an answer, complete or streamed, and what is told of it on the wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stretto.call import Call
from stretto.errors import BadResponse, ProviderUnavailable
from stretto.providers import litellm_cohere, litellm_setup
from stretto.providers.wire import Collected, Places, unblocked
from stretto.reply import Delta, Reply, ToolCall
from stretto.usage import Usage

if TYPE_CHECKING:
    from stretto.providers.litellm_transport import Exchange

ROUTE = "acompletion"
# The reason that came on the wire, of litellm's stream; at the end it makes one up where none came.
_FINISHES = ("received_finish_reason", "intermittent_finish_reason")


async def complete(call: Call, exchange: Exchange, answer: Any) -> Reply:
    """Make the reply of an answer that came as a whole; a few services never stream.

    Raises:
        BadResponse: when it holds no choice.
        ContentBlocked: when a filter left nothing of it.
    """
    reply = _reply(call, exchange, answer) if not exchange.own else _own(call, exchange)
    if call.emit is not None:
        for delta in _pieces(reply):
            await exchange.emit(call.emit, delta)
    return unblocked(reply)


async def streamed(call: Call, exchange: Exchange, stream: Any) -> Reply:
    """Pass the pieces of a stream on, and make the reply of them.

    Raises:
        CallError: when it was cut off, ended without its end mark, or is no stream of chunks.
        Exception: of litellm.
    """
    assert call.emit is not None
    collected, last, places = Collected(), None, Places()
    stream.raise_on_model_repetition = _tolerated
    if hasattr(stream.completion_stream, "_iterator"):
        stream.completion_stream = _Chunks(stream.completion_stream)
    async with aclosing(stream), _left(exchange, stream.completion_stream):
        while True:
            try:
                with exchange.current():
                    last = chunk = await anext(stream)
            except StopAsyncIteration:
                break
            for delta in _deltas(chunk, places):
                collected.add(delta)
                await exchange.emit(call.emit, delta)
        finish: str | None = next(filter(None, (getattr(stream, name, None) for name in _FINISHES)), None)
        marked = await exchange.ended()
    # Counted among the chunks as they came: what litellm adds at the end may be its own guess.
    counted = [each for chunk in getattr(stream, "chunks", ()) if (each := getattr(chunk, "usage", None))]
    told = (getattr(last, "usage", None) or counted[-1]) if counted else None
    if not collected and (finish is None or told is None):
        raise BadResponse("the answer is not a stream of chunks", status=200)
    if finish is None or not marked:  # litellm takes an end without an end mark for success
        raise ProviderUnavailable("the stream ended before its end mark")
    reply = _ended(call, exchange, collected.reply(ROUTE), last, told, finish)
    return await _usage_emitted(call, exchange, reply)


async def own_streamed(call: Call, exchange: Exchange) -> Reply:
    """Do the same for a format that litellm cannot read.

    Raises:
        CallError: as `streamed`.
    """
    assert call.emit is not None
    collected = Collected()
    last: dict[str, Any] = {}
    async with aclosing(exchange.events()) as events:
        async for event in events:
            last |= {name: event[name] for name in ("id", "error") if name in event}
            last |= event.get("delta", {}) if event.get("type") == "message-end" else {}
            for delta in litellm_cohere.deltas(event):
                collected.add(delta)
                await exchange.emit(call.emit, delta)
    if not collected and "finish_reason" not in last:
        raise BadResponse("the answer is not a stream of chunks", status=200)
    if last.get("error"):
        raise BadResponse(str(last["error"]), status=200)
    if not await exchange.ended():
        raise ProviderUnavailable("the stream ended before its end mark")
    reply = replace(
        collected.reply(ROUTE),
        usage=litellm_cohere.usage_of(last),
        finish_reason=litellm_cohere.finish_of(last),
        response_id=last.get("id"),
    )
    return await _usage_emitted(call, exchange, _priced(call, exchange, reply))


class _Chunks:
    """What openai's SDK makes of a stream, for litellm, which begins to iterate anew with each chunk.

    The SDK would make a generator each time, and litellm drop it.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __aiter__(self) -> Any:
        return self

    def __anext__(self) -> Any:
        return self._stream.__anext__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def run_out(self) -> None:
        """Let the SDK's generators come to their end; nothing more comes over the wire."""
        with suppress(Exception):
            async for _ in self._stream._iterator:
                pass


@asynccontextmanager
async def _left(exchange: Exchange, chunks: Any) -> AsyncGenerator[None]:
    """Leave no generator behind, wherever the stream is left: each would become a task."""
    try:
        yield
    finally:
        exchange.stop()
        if isinstance(chunks, _Chunks):
            await chunks.run_out()


def _tolerated() -> None:
    """Let a model say the same a hundred times: litellm takes that for an error."""


async def _usage_emitted(call: Call, exchange: Exchange, reply: Reply) -> Reply:
    if reply.usage is not None and call.emit is not None:
        await exchange.emit(call.emit, Delta(usage=reply.usage))
    return unblocked(reply)


def _reply(call: Call, exchange: Exchange, answer: Any) -> Reply:
    if not answer.choices:
        raise BadResponse("the answer has no choices", status=200)
    choice, message = answer.choices[0], answer.choices[0].message
    reply = Reply(
        message.content or "",
        reasoning=getattr(message, "reasoning_content", None) or "",
        tool_calls=tuple(_tool_call(each, place) for place, each in enumerate(message.tool_calls or ())),
        route=ROUTE,
        raw=answer,
    )
    return _ended(call, exchange, reply, answer, answer.usage, choice.finish_reason)


def _own(call: Call, exchange: Exchange) -> Reply:
    return _priced(call, exchange, litellm_cohere.reply_of(exchange.body, ROUTE))


def _priced(call: Call, exchange: Exchange, reply: Reply) -> Reply:
    call.attempt.usage = usage = reply.usage
    told = None if usage is None else litellm_setup.usage(usage)
    cost = None if told is None else _cost(call.model, told)
    return replace(reply, cost=cost, model=call.model.partition("/")[2], headers=exchange.headers)


def _pieces(reply: Reply) -> Iterator[Delta]:
    if reply.reasoning:
        yield Delta(reasoning=reply.reasoning)
    if reply.text:
        yield Delta(text=reply.text)
    for each in reply.tool_calls:
        yield Delta(tool_call=each)
    if reply.usage is not None:
        yield Delta(usage=reply.usage)


def _ended(call: Call, exchange: Exchange, reply: Reply, source: Any, told: Any, finish: str | None) -> Reply:
    call.attempt.usage = usage = _usage(told, exchange.reasoned)
    # litellm writes the name that was asked for into each chunk.
    model = (exchange.watch.model if exchange.watch is not None else "") or getattr(source, "model", None) or ""
    return replace(
        reply,
        usage=usage,
        cost=None if usage is None else _cost(call.model, told, source, model),
        finish_reason=finish,
        model=model,
        response_id=getattr(source, "id", None),
        headers=exchange.headers,
    )


def _deltas(chunk: Any, places: Places) -> Iterator[Delta]:
    delta = chunk.choices[0].delta if chunk.choices else None
    if reasoning := getattr(delta, "reasoning_content", None):
        yield Delta(reasoning=reasoning)
    if text := getattr(delta, "content", None):
        yield Delta(text=text)
    for each in getattr(delta, "tool_calls", None) or ():
        yield Delta(tool_call=_tool_call(each, places.of(each.index or 0, each.id)))


def _tool_call(each: Any, place: int) -> ToolCall:
    function = each.function
    return ToolCall(
        each.id or "", getattr(function, "name", None) or "", getattr(function, "arguments", None) or "", place
    )


def _usage(told: Any, reasoned: bool) -> Usage | None:
    if told is None or not (told.prompt_tokens or told.completion_tokens):
        return None  # litellm writes zeros where the provider said nothing
    read, written = told.prompt_tokens_details, told.completion_tokens_details
    return Usage(
        told.prompt_tokens or 0,
        told.completion_tokens or 0,
        cached_tokens=getattr(read, "cached_tokens", None) or 0,
        cache_write_tokens=getattr(read, "cache_creation_tokens", None) or 0,
        reasoning_tokens=(getattr(written, "reasoning_tokens", None) or 0) if reasoned else 0,
    )


def _cost(model: str, told: Any, source: Any = None, answering: str = "") -> float | None:
    if getattr(source, "object", None) == "chat.completion":  # of a complete answer it has been reckoned
        hidden: dict[str, Any] = getattr(source, "_hidden_params", None) or {}
        reckoned: float | None = hidden.get("response_cost", 0.0)
        if reckoned != 0:  # what has no price is None or 0
            return reckoned
    prefix = model.partition("/")[0]
    if prefix == "openrouter" and isinstance(charged := getattr(told, "cost", None), float):
        return charged
    # In litellm's order: the model that answered, then the one that was asked for.
    costs = (_priced_by(name, told) for name in (answering and f"{prefix}/{answering}", model) if name)
    return next((cost for cost in costs if cost is not None), None)


def _priced_by(model: str, told: Any) -> float | None:
    entry = litellm_setup.price_table().get(model)
    if entry is not None and not any("cost" in name for name in entry):
        return None
    with suppress(Exception):  # it has no price for the model
        return float(sum(litellm_setup.imported().cost_per_token(model=model, usage_object=told)))
    return None
