"""The OpenAI chat format, complete and in chunks, as those who speak it really write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.errors import BadResponse, ContentBlocked
from stretto.providers.wire import Chunks, Collected, reply_of, unblocked, usage_of
from stretto.reply import Delta, Reply, ToolCall
from stretto.usage import Usage

PROPERTY = settings(deadline=None, derandomize=True, max_examples=200)
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def completion(message: Any, finish_reason: Any = "stop", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE, **fields}


def chunk(delta: Any = None, finish_reason: Any = None, index: Any = 0, **fields: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **fields}


def complete(message: Any, **fields: Any) -> Reply:
    return reply_of(completion(message, **fields), "here")


def streamed(*chunks: Any) -> Reply:
    read = Chunks("here")
    for each in chunks:
        read.add(each)
    return read.reply()


def pieces(*chunks: Any) -> list[Delta]:
    read = Chunks("here")
    return [piece for each in chunks for piece in read.add(each)]


# ---- complete answers


def test_a_complete_answer_is_read_whole() -> None:
    body = completion({"role": "assistant", "content": "hi"})
    reply = reply_of(body, "here", {"x-request-id": "7"})
    assert reply == Reply(
        "hi",
        usage=Usage(5, 2),
        finish_reason="stop",
        model="m",
        route="here",
        response_id="1",
        headers={"x-request-id": "7"},
        raw=body,
    )


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "hi", "reasoning_content": "hm"}, "hi", "hm"),  # DeepSeek, vLLM, llama.cpp, LM Studio
        ({"content": "hi", "reasoning": "hm"}, "hi", "hm"),  # OpenRouter, Ollama, newer vLLM, Groq
        ({"content": "hi", "thinking": "hm"}, "hi", "hm"),
        ({"content": "hi", "reasoning_content": "", "reasoning": "hm"}, "hi", "hm"),
        ({"content": "hi", "reasoning_content": None}, "hi", ""),
        ({"content": "hi", "reasoning_details": [{"text": "h"}, {"summary": "m"}, {"data": "x"}, 1]}, "hi", "hm"),
        ({"content": "hi", "reasoning": "hm", "reasoning_details": [{"text": "hm"}]}, "hi", "hm"),
        ({"content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}, "hi", ""),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
                    {"type": "text", "text": "hi"},
                ]
            },
            "hi",
            "hm",
        ),  # Mistral
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "image_url"}]}, "", "hm"),
        ({"content": None, "refusal": "no"}, "no", ""),
        ({"content": "hi", "refusal": None, "annotations": [], "audio": None}, "hi", ""),
        ({"content": None}, "", ""),
        ({}, "", ""),
        ({"content": 7}, "", ""),
        ({"content": {"text": "hi"}}, "", ""),
    ],
)
def test_text_and_reasoning_are_found_where_they_stand(message: Any, text: str, reasoning: str) -> None:
    reply = complete(message)
    assert (reply.text, reply.reasoning) == (text, reasoning)
    reply = streamed(chunk(message), chunk({}, "stop"))
    assert (reply.text, reply.reasoning) == (text, reasoning)


def call(arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "arguments": arguments}, **fields}


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        ([call(id="a", index=0)], [ToolCall("a", "f", "{}")]),
        ([call(id="a"), call(id="b")], [ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}", 1)]),
        ([call(), call()], [ToolCall("", "f", "{}"), ToolCall("", "f", "{}", 1)]),
        ([call(index=0), call(index=0)], [ToolCall("", "f", "{}"), ToolCall("", "f", "{}", 1)]),
        ([call({"a": [1]}, id="a")], [ToolCall("a", "f", '{"a": [1]}')]),  # Ollama
        ([call(None, id="a")], [ToolCall("a", "f", "")]),
        ([call("", id="a")], [ToolCall("a", "f", "")]),
        ([call(id=7, index="0")], [ToolCall("", "f", "{}")]),
        ([call(id="a", index=True)], [ToolCall("a", "f", "{}")]),
        ([{"id": "a"}, None, 1, {"id": "b", "function": "f"}], [ToolCall("a", ""), ToolCall("b", "", "", 1)]),
        (None, []),
        ({"a": 1}, []),
        ("text", []),
    ],
)
def test_the_calls_of_a_complete_answer_are_numbered_in_their_order(calls: Any, found: list[ToolCall]) -> None:
    assert complete({"content": None, "tool_calls": calls}).tool_calls == tuple(found)


def test_the_function_call_of_old_is_a_tool_call() -> None:
    old = {"content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}}
    assert complete(old).tool_calls == (ToolCall("", "f", '{"a": 1}'),)
    reply = streamed(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ": 1}"}}),
        chunk({}, "function_call"),
    )
    assert reply.tool_calls == (ToolCall("", "f", '{"a": 1}'),)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_nested_too_deeply_is_a_bad_response() -> None:
    with pytest.raises(BadResponse, match="nested too deeply"):
        complete({"tool_calls": [call(nested(100_000))]})
    thinking: Any = "hm"
    for _ in range(2000):
        thinking = [{"type": "thinking", "thinking": thinking}]
    assert complete({"content": thinking}).text == ""


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        7,
        {},
        {"choices": None},
        {"choices": {}},
        {"choices": []},
        {"choices": [None]},
        {"choices": [[]]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": "hi"}]},
        {"choices": [{"text": "of another API"}]},
    ],
    ids=json.dumps,
)
def test_what_is_no_answer_is_a_bad_response(body: Any) -> None:
    with pytest.raises(BadResponse) as caught:
        reply_of(body, "here")
    assert (caught.value.status, caught.value.retryable) == (200, True)


# ---- chunks


def test_a_stream_is_read_piece_by_piece() -> None:
    read = Chunks("here")
    assert not read.answered
    assert read.add(chunk({"role": "assistant", "content": ""})) == []
    assert read.answered
    assert read.add(chunk({"reasoning_content": "hm"})) == [Delta(reasoning="hm")]
    assert read.add(chunk({"content": "hel"})) == [Delta(text="hel")]
    assert read.add(chunk({"content": "lo"})) == [Delta(text="lo")]
    assert read.finish_reason is None
    assert read.add(chunk({}, "stop")) == []
    assert read.finish_reason == "stop"
    assert read.add({"id": "1", "choices": [], "usage": USAGE}) == []
    assert read.usage == Usage(5, 2)
    assert read.reply({"a": "b"}) == Reply(
        "hello",
        reasoning="hm",
        usage=Usage(5, 2),
        finish_reason="stop",
        model="m",
        route="here",
        response_id="1",
        headers={"a": "b"},
    )


VLLM = [
    chunk({"role": "assistant", "content": ""}, logprobs=None, usage=None),
    chunk({"content": "hi"}, usage=None),
    chunk({"content": ""}, "stop", stop_reason=None, usage=None),
    {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": USAGE},
]
LLAMA_CPP = [
    chunk({"role": "assistant", "content": None}),
    chunk({"content": "hi"}),
    chunk({}, "stop"),
    {"choices": [], "id": "1", "model": "m", "usage": USAGE, "timings": {"predicted_per_second": 99.5}},
]
OLLAMA = [
    chunk({"role": "assistant", "content": "hi"}, system_fingerprint="fp_ollama"),
    chunk({"role": "assistant", "content": ""}, "stop"),
    {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": USAGE},
]
LM_STUDIO = [chunk({"role": "assistant", "content": "hi"}), chunk({}, "stop", usage=USAGE)]
LITELLM = [
    chunk({"role": "assistant", "content": "hi", "provider_specific_fields": None}, citations=None),
    chunk({}, "stop"),
    chunk({"content": None, "role": None}, None, usage=USAGE),
]
OPENROUTER = [
    chunk({"role": "assistant", "content": "hi"}, provider="Some", native_finish_reason=None),
    chunk({"role": "assistant", "content": ""}, "stop"),
    chunk({"role": "assistant", "content": ""}, None, usage={**USAGE, "cost": 0.1, "is_byok": False}),
]
DEEPSEEK = [
    chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
    chunk({"content": "hi", "reasoning_content": None}),
    chunk({"content": "", "reasoning_content": None}, "stop", usage={**USAGE, "prompt_cache_hit_tokens": 0}),
]
MISTRAL = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": [{"type": "text", "text": "hi"}]}),
    chunk({"content": ""}, "stop", usage=USAGE),
]
GROQ = [
    chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
    chunk({"content": "hi"}),
    chunk({}, "stop", x_groq={"id": "req_1", "usage": {**USAGE, "queue_time": 0.1}}),
]
AZURE = [
    {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0}]},
    chunk({"role": "assistant", "content": "hi"}, content_filter_results={}),
    chunk({}, "stop"),
    chunk({}, None, choices=[], usage=USAGE),
]
MOONSHOT = [
    chunk({"role": "assistant", "content": "hi"}),
    {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
]
NO_CHOICES = [
    chunk({"content": "hi"}),
    chunk({}, "stop"),
    {"id": "1", "usage": USAGE},
    {"object": "chat.completion.chunk"},
]
NULLS = [
    {"id": None, "model": None, "choices": [{"delta": {"content": "hi"}}], "usage": None, "error": None},
    {"id": "1", "model": "m", "choices": [{"delta": None, "finish_reason": "stop"}], "usage": {}},
    {"choices": None, "usage": USAGE},
]


SPEAKERS = {
    "vllm": VLLM,
    "llama.cpp": LLAMA_CPP,
    "ollama": OLLAMA,
    "lm-studio": LM_STUDIO,
    "litellm": LITELLM,
    "openrouter": OPENROUTER,
    "deepseek": DEEPSEEK,
    "mistral": MISTRAL,
    "groq": GROQ,
    "azure": AZURE,
    "moonshot": MOONSHOT,
    "no-choices": NO_CHOICES,
    "nulls": NULLS,
}


@pytest.mark.parametrize("chunks", SPEAKERS.values(), ids=SPEAKERS)
def test_a_stream_says_the_same_whoever_writes_it(chunks: Sequence[Any]) -> None:
    reply = streamed(*chunks)
    assert (reply.text, reply.finish_reason, reply.usage) == ("hi", "stop", Usage(5, 2))
    assert (reply.model, reply.response_id) == ("m", "1")
    assert pieces(*chunks) == [Delta(text="hi")]


def test_mistral_thinks_in_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    chunks = [chunk({"content": [thinking]}), chunk({"content": [{"type": "text", "text": "hi"}]})]
    assert pieces(*chunks) == [Delta(reasoning="hm"), Delta(text="hi")]


def test_of_several_choices_the_first_is_read() -> None:
    choices = [{"index": 1, "delta": {"content": "B"}}, {"index": 0, "delta": {"content": "C"}}]
    chunks = [chunk({"content": "a"}, index=0), chunk({"content": "A"}, index=1), {"choices": choices}]
    assert streamed(*chunks, chunk({}, "stop"), chunk({}, "length", index=1)).text == "aC"
    assert streamed(*chunks, chunk({}, "stop"), chunk({}, "length", index=1)).finish_reason == "stop"


def tool(**fields: Any) -> Any:
    return chunk({"tool_calls": [fields]})


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        (
            [
                tool(index=0, id="a", function={"name": "f", "arguments": ""}),
                tool(index=0, function={"arguments": '{"a"'}),
                tool(index=1, id="b", function={"name": "g", "arguments": "{}"}),
                tool(index=0, function={"arguments": ": 1}"}),
            ],
            [ToolCall("a", "f", '{"a": 1}'), ToolCall("b", "g", "{}", 1)],
        ),
        (
            [
                tool(id="a", function={"name": "f", "arguments": '{"a"'}),
                tool(function={"arguments": ": 1}"}),
                tool(id="b", function={"name": "g", "arguments": "{"}),
                tool(id="", function={"arguments": "}"}),
            ],
            [ToolCall("a", "f", '{"a": 1}'), ToolCall("b", "g", "{}", 1)],
        ),
        (
            [tool(index=False, function={"name": "f", "arguments": {"a": 1}})],
            [ToolCall("", "f", '{"a": 1}')],
        ),
        (
            [tool(index=0, id="a", function={"name": "f"}), tool(index=0, id=None, function={"name": None})],
            [ToolCall("a", "f", "")],
        ),
        (
            [chunk({"tool_calls": [{"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}]})],
            [ToolCall("a", "f", ""), ToolCall("b", "g", "", 1)],
        ),
        (
            [tool(index=0, id="a"), chunk({"tool_calls": None}), chunk({"tool_calls": [None, 1, []]})],
            [ToolCall("a", "")],
        ),
    ],
    ids=["indexes", "ids", "object", "nulls", "at-once", "garbage"],
)
def test_the_pieces_of_tool_calls_are_put_together(chunks: list[Any], found: list[ToolCall]) -> None:
    calls = streamed(*chunks).tool_calls
    assert calls == tuple(found)
    assert all(type(each.index) is int for each in calls)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        7,
        {},
        {"choices": {}},
        {"choices": "x"},
        {"message": "no"},
        {"object": "error", "message": "no"},
    ],
    ids=json.dumps,
)
def test_what_is_no_chunk_is_a_bad_response(body: Any) -> None:
    with pytest.raises(BadResponse, match="not a stream of chunks"):
        Chunks("here").add(body)


def test_the_pieces_of_a_tool_call_belong_together_by_their_index() -> None:
    collected = Collected()
    assert not collected
    for each in (ToolCall("1", "f", '{"a"', 1), ToolCall("0", "g", "{}", 0), ToolCall("", "", ": 1}", 1)):
        collected.add(Delta(tool_call=each))
    collected.add(Delta(text="hel"))
    collected.add(Delta(text="lo"))
    reply = collected.reply("here")
    assert reply.text == "hello"
    assert reply.tool_calls == (ToolCall("0", "g", "{}", 0), ToolCall("1", "f", '{"a": 1}', 1))


# ---- usage, and blocked answers


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": USAGE}, Usage(5, 2)),
        ({"usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 3}}}, Usage(5, 2, cached_tokens=3)),
        ({"usage": {**USAGE, "prompt_cache_hit_tokens": 4}}, Usage(5, 2, cached_tokens=4)),
        ({"usage": {**USAGE, "prompt_tokens_details": {"cache_write_tokens": 3}}}, Usage(5, 2, cache_write_tokens=3)),
        ({"usage": {**USAGE, "completion_tokens_details": {"reasoning_tokens": 1}}}, Usage(5, 2, reasoning_tokens=1)),
        ({"usage": {**USAGE, "prompt_tokens_details": None, "completion_tokens_details": []}}, Usage(5, 2)),
        ({"x_groq": {"usage": USAGE}}, Usage(5, 2)),
        ({"usage": {"prompt_tokens": 5.0, "completion_tokens": None}}, Usage(5, 0)),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, None),
        ({"usage": {"prompt_tokens": -5, "completion_tokens": "2"}}, None),
        ({"usage": {"prompt_tokens": float("inf"), "completion_tokens": float("nan")}}, None),
        ({"usage": {"prompt_tokens": 10**400, "completion_tokens": 2}}, Usage(0, 2)),
        ({"usage": None}, None),
        ({"usage": []}, None),
        ({"usage": 7}, None),
        ({}, None),
    ],
)
def test_usage_is_what_was_told_and_never_made_up(body: Any, usage: Usage | None) -> None:
    assert usage_of(body) == usage


def test_usage_may_stand_in_the_choice() -> None:
    assert usage_of({}, {"usage": USAGE}) == Usage(5, 2)


def test_the_last_usage_of_a_stream_counts() -> None:
    later = {"prompt_tokens": 5, "completion_tokens": 9}
    assert streamed(chunk({"content": "a"}, usage=USAGE), chunk({}, usage=later), chunk({}, usage=None)).usage == Usage(
        5, 9
    )


def test_an_answer_of_which_a_filter_left_nothing_is_blocked() -> None:
    with pytest.raises(ContentBlocked):
        unblocked(complete({"content": ""}, finish_reason="content_filter"))
    for message in ({"content": "half"}, {"content": None, "tool_calls": [call()]}):
        reply = complete(message, finish_reason="content_filter")
        assert unblocked(reply) is reply
    assert unblocked(complete({"content": ""})).text == ""


# ---- anything at all

NAMES = st.sampled_from(
    "choices message delta content text type thinking reasoning reasoning_content reasoning_details refusal index id "
    "tool_calls function function_call name arguments finish_reason usage x_groq prompt_tokens completion_tokens model "
    "prompt_tokens_details cached_tokens object error summary".split()
)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
LEAF |= st.sampled_from(["thinking", "content_filter", "error", 1e308, 10**400])
ANY = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"index": ANY, "id": ANY, "function": st.dictionaries(NAMES, ANY, max_size=3) | ANY}
    )
    | ANY,
    max_size=3,
)
MESSAGE = ANY | st.fixed_dictionaries(
    {}, optional={"content": ANY | st.lists(ANY), "tool_calls": CALLS, "function_call": ANY, "reasoning_details": ANY}
)
CHOICE = ANY | st.fixed_dictionaries(
    {}, optional={"message": MESSAGE, "delta": MESSAGE, "finish_reason": ANY, "usage": ANY, "index": ANY}
)
BODY = ANY | st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, max_size=3)}, optional={"usage": ANY, "id": ANY, "model": ANY, "x_groq": ANY}
)


def check(reply: Reply) -> None:
    assert type(reply.text) is type(reply.reasoning) is type(reply.model) is str
    assert all(type(each) is ToolCall and type(each.index) is int for each in reply.tool_calls)
    assert all(type(text) is str for each in reply.tool_calls for text in (each.id, each.name, each.arguments))
    if reply.usage is not None:
        assert 0 < reply.usage.total_tokens < 2**54
    assert type(reply.finish_reason) in (str, type(None))


@PROPERTY
@given(BODY)
def test_any_json_is_a_reply_or_an_error_of_ours(body: Any) -> None:
    with suppress(BadResponse, ContentBlocked):
        check(unblocked(reply_of(body, "here")))


@PROPERTY
@given(st.lists(BODY, max_size=3))
def test_so_is_any_stream_of_json(bodies: list[Any]) -> None:
    read, found = Chunks("here"), list[Delta]()
    with suppress(BadResponse, ContentBlocked):
        for body in bodies:
            found += read.add(body)
        check(unblocked(read.reply()))
    assert "".join(piece.text or "" for piece in found) == read.reply().text


def test_calls_that_all_come_at_index_0_are_told_apart_by_their_ids() -> None:
    chunks = Chunks("here")
    for id, name, arguments in (("1", "f", '{"a"'), ("", "", ": 1}"), ("2", "g", "{}")):
        call = {"index": 0, "id": id, "function": {"name": name, "arguments": arguments}}
        chunks.add({"choices": [{"delta": {"tool_calls": [call]}}]})
    assert chunks.reply().tool_calls == (ToolCall("1", "f", '{"a": 1}', 0), ToolCall("2", "g", "{}", 1))
