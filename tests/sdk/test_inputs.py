"""What an agent gets: a text, chat messages or JSON data, as text and as messages."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stretto.errors import ConfigError
from stretto.inputs import as_text, chat_messages, check_input, is_chat

CHAT = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "Which one?"},
]
PARTS = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CHAT, True),
        (tuple(CHAT), True),
        ([], False),
        ("text", False),
        (b"text", False),
        ({"role": "user"}, False),
        ([{"role": 1}], False),
        ([{"role": "user"}, {"name": "x"}], False),
        ([1, 2], False),
        (None, False),
    ],
)
def test_a_chat_is_a_list_of_messages_with_roles(value: Any, expected: bool) -> None:
    assert is_chat(value) is expected


@pytest.mark.parametrize("value", [None, "text", "", CHAT, {"a": [1, 2.5, None, True]}, 3, [], False])
def test_texts_chats_and_json_data_are_inputs(value: Any) -> None:
    check_input(value)


def circle() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def deep() -> list[Any]:
    made: list[Any] = []
    for _ in range(100_000):
        made = [made]
    return made


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), math.nan, [math.inf], circle(), deep(), {(1, 2): 3}])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="input must be a text, chat messages or JSON data") as error:
        check_input(value, agent="a")
    assert (error.value.agent, error.value.key) == ("a", "input")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\r\n", "as it is\r\n"),
        (None, ""),
        (CHAT, "Which one?"),
        ([{"role": "user", "content": PARTS}], "What is this?"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "tool"}], ""),
        ({"größe": 3}, '{"größe": 3}'),
        ([1, 2], "[1, 2]"),
        (0, "0"),
        (True, "true"),
        ([], "[]"),
    ],
)
def test_a_value_stands_in_a_prompt_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_the_text_parts_of_a_message_stand_one_a_line() -> None:
    parts = [{"type": "text", "text": "one"}, "stray", {"type": "text", "text": "two"}]
    assert as_text([{"role": "user", "content": parts}]) == "one\ntwo"


def test_a_text_becomes_one_message() -> None:
    assert chat_messages("hi", "hi", None) == ({"role": "user", "content": "hi"},)


def test_the_system_prompt_comes_first() -> None:
    assert chat_messages("hi", "composed", "Be brief.") == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "composed"},
    )


def test_an_empty_system_prompt_is_one() -> None:
    assert chat_messages("hi", "hi", "")[0] == {"role": "system", "content": ""}


def test_a_chat_is_sent_as_it_is_when_nothing_was_composed() -> None:
    assert chat_messages(CHAT, "Which one?", None) == tuple(CHAT)


def test_images_of_a_chat_are_kept_when_nothing_was_composed() -> None:
    chat = [{"role": "user", "content": PARTS}]
    assert chat_messages(chat, "What is this?", "Look.") == ({"role": "system", "content": "Look."}, *chat)


def test_a_composed_text_takes_the_place_of_the_last_question() -> None:
    assert chat_messages(CHAT, "composed", None) == (*CHAT[:2], {"role": "user", "content": "composed"})


def test_a_composed_text_follows_an_answer() -> None:
    assert chat_messages(CHAT[:2], "composed", None) == (*CHAT[:2], {"role": "user", "content": "composed"})
