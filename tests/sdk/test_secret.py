"""Keys are in no text: `Secret` hides its own, `Redactor` takes known ones out of texts."""

from __future__ import annotations

import copy
import json
import logging
import pickle

import pytest

from stretto.errors import ConfigError
from stretto.secret import HIDDEN, Redactor, Secret

KEY = "abcd-1234-efgh-5678"


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{:>40}".format, "%s".__mod__, "%r".__mod__])
def test_no_way_of_showing_a_secret_shows_its_value(shown: object) -> None:
    assert callable(shown)
    assert KEY not in shown(Secret(KEY))


def test_only_reveal_gives_the_value() -> None:
    assert Secret(KEY).reveal() == KEY


def test_a_logged_secret_is_hidden(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("key %s", Secret(KEY))
    assert caplog.messages == ["key Secret(***)"]


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_a_secret_is_in_no_pickle(way: object) -> None:
    assert callable(way)
    with pytest.raises(TypeError) as error:
        way(Secret(KEY))
    assert KEY not in str(error.value)


@pytest.mark.parametrize("value", ["", "  \n", None, 7, b"abcdefgh"])
def test_a_secret_needs_a_text_that_is_not_empty(value: object) -> None:
    with pytest.raises(ConfigError, match="text that is not empty"):
        Secret(value)  # type: ignore[arg-type]


def test_equal_secrets_are_one_in_a_set() -> None:
    assert len({Secret(KEY), Secret(KEY), Secret(KEY + "9")}) == 2
    assert Secret(KEY) != KEY


def test_a_known_key_is_taken_out_of_both_kinds_of_text() -> None:
    redactor = Redactor([Secret(KEY)])
    assert redactor.error_text(f"bad key {KEY}!") == f"bad key {HIDDEN}!"
    assert redactor.model_text(f"your key is {KEY}.") == f"your key is {HIDDEN}."


def test_a_key_that_begins_another_leaves_no_rest_of_it() -> None:
    redactor = Redactor([Secret(KEY), Secret(KEY + "-and-more")])
    assert redactor.model_text(f"{KEY}-and-more") == HIDDEN


def test_signs_of_regular_expressions_in_a_key_are_taken_as_they_are() -> None:
    redactor = Redactor([Secret("a.c+(x)*[y]")])
    assert redactor.model_text("a.c+(x)*[y] abc+(x)*[y]") == f"{HIDDEN} abc+(x)*[y]"


def test_a_short_key_is_left_in_what_the_model_wrote() -> None:
    assert Redactor([Secret("none")]).model_text("none of them") == "none of them"


@pytest.mark.parametrize(
    "key",
    ["sk-proj-abc_DEF-123456", "sk-ant-api03-xyz", "Bearer abc.def-ghi", "bearer  abcdefgh==", "BEARER abc/def+ghi"],
)
def test_what_looks_like_a_key_is_taken_out_of_errors_though_nobody_told_it(key: str) -> None:
    assert Redactor().error_text(f'{{"error": "{key}"}}') == f'{{"error": "{HIDDEN}"}}'


def test_what_looks_like_a_key_is_left_in_what_the_model_wrote() -> None:
    text = "set sk-your-key-here, then send Bearer <token>, or sk-abcdefgh"
    assert Redactor([Secret(KEY)]).model_text(text) == text


@pytest.mark.parametrize("text", ["task-management", "the bearer of news", "risk-assessment", "sk-1", ""])
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor([Secret(KEY)]).error_text(text) == text
