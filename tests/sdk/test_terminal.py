"""What a model writes cannot steer the terminal that shows it."""

from __future__ import annotations

import pytest

from stretto.terminal import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\x00b\x08c\x7f", "a\\x00b\\x08c\\x7f"),
        ("\x9b31m", "\\x9b31m"),  # CSI in one character
        ("\x85", "\\x85"),
        ("all right\rwrong", "all right\\x0dwrong"),
        ("\x0b\x0c", "\\x0b\\x0c"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\u200e\u200f\u061c", "\\u200e\\u200f\\u061c"),
        ("\u2028\u2029", "\\u2028\\u2029"),
    ],
)
def test_what_steers_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["", "plain\ttext\n\n", "äöü 漢字 🎉 עברית", "👩‍👩‍👧", "\\x1b", "[bold]x[/bold]"])
def test_everything_else_stays(text: str) -> None:
    assert visible(text) == text


def test_a_line_end_of_windows_is_a_line_end() -> None:
    assert visible("a\r\nb\r\n") == "a\nb\n"
