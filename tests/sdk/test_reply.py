"""What comes back: complete replies, and deltas of exactly one thing."""

from __future__ import annotations

import dataclasses

import pytest

from stretto.reply import Delta, Reply, ToolCall
from stretto.usage import Usage


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", ""),
        ("reasoning", "so"),
        ("tool_call", ToolCall("1", "f")),
        ("usage", Usage()),
        ("restart", True),
    ],
)
def test_a_delta_has_one_field_and_the_others_are_none(field: str, value: object) -> None:
    delta = Delta(**{field: value})  # type: ignore[arg-type]
    assert {f.name: getattr(delta, f.name) for f in dataclasses.fields(delta)} == {
        **dict.fromkeys(("text", "reasoning", "tool_call", "usage", "restart")),
        field: value,
    }


def test_a_delta_without_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one of its fields, got 0"):
        Delta()


def test_a_delta_with_two_things_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one of its fields, got 2"):
        Delta(text="a", restart=True)


def test_only_text_is_needed_for_a_reply() -> None:
    reply = Reply("hello")
    assert (reply.text, reply.reasoning, reply.tool_calls, reply.usage, reply.cost) == ("hello", "", (), None, None)
    assert (reply.finish_reason, reply.model, reply.route, reply.response_id) == (None, "", "", None)
    assert (dict(reply.headers), reply.raw) == ({}, None)


def test_the_message_of_a_reply_can_be_sent_again() -> None:
    assert Reply("hello").message == {"role": "assistant", "content": "hello"}


def test_the_message_holds_the_tool_calls() -> None:
    reply = Reply("", tool_calls=(ToolCall("id-1", "weather", '{"city": "Bonn"}'), ToolCall("id-2", "time", "{}", 1)))
    assert reply.message["tool_calls"] == [
        {"id": "id-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
        {"id": "id-2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]


def test_two_replies_share_no_headers() -> None:
    assert Reply("a").headers is not Reply("b").headers


@pytest.mark.parametrize("thing", [Reply("a"), Delta(text="a"), ToolCall("1", "f")])
def test_what_comes_back_is_frozen(thing: object) -> None:
    name = dataclasses.fields(thing)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, name, "other")
