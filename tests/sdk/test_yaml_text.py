"""The YAML reader: values with their places, and nothing that is unsafe or ambiguous."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stretto import yaml_text
from stretto.errors import ConfigError
from stretto.yaml_text import MOST_BYTES, MOST_DEPTH, Items, Place, Section, read_yaml


def read(folder: Path, content: str | bytes) -> Section:
    path = folder / "f.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_yaml(path)


def refused(folder: Path, content: str | bytes) -> ConfigError:
    """Give the refusal, and hold that it has a place and is short."""
    with pytest.raises(ConfigError) as caught:
        read(folder, content)
    error = caught.value
    assert error.file == str(folder / "f.yaml")
    assert error.line is not None
    assert error.line >= 1
    assert error.column is not None
    assert error.column >= 1
    assert len(error.message) < 300
    return error


def said(folder: Path, content: str | bytes) -> tuple[int | None, int | None, str]:
    error = refused(folder, content)
    return error.line, error.column, error.message


@pytest.fixture(params=["libyaml", "python"])
def either_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)


# What is read.


@pytest.mark.usefixtures("either_loader")
def test_a_value_is_what_safe_yaml_makes_of_it(tmp_path: Path) -> None:
    content = (
        'a: text\nb: 5\nc: 1.5\nd: true\ne: null\nf:\ng: [1, {h: x}]\ni: "5"\nj: |\n  two\n  lines\nk: 0x1F\nl: -3\n'
    )
    assert read(tmp_path, content) == yaml.safe_load(content)


def test_a_mapping_knows_where_its_keys_stand(tmp_path: Path) -> None:
    section = read(tmp_path, "a: 1\nbb:\n  c: 2\n")
    assert section.keys_at == {"a": Place(1, 1), "bb": Place(2, 1)}
    assert section["bb"].keys_at == {"c": Place(3, 3)}


def test_a_list_knows_where_its_items_stand(tmp_path: Path) -> None:
    items = read(tmp_path, "a:\n  - x\n  - [y]\n")["a"]
    assert isinstance(items, Items)
    assert items.items_at == [Place(2, 5), Place(3, 5)]


def test_a_date_stays_a_text(tmp_path: Path) -> None:
    assert read(tmp_path, "a: 2020-01-01\nb: 2020-01-01 10:00:00\n") == {"a": "2020-01-01", "b": "2020-01-01 10:00:00"}


def test_an_equals_sign_is_a_text(tmp_path: Path) -> None:
    assert read(tmp_path, "a: =\n") == {"a": "="}


def test_a_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    section = read(tmp_path, b"\xef\xbb\xbfname: e\n")
    assert section == {"name": "e"}
    assert section.keys_at["name"] == Place(1, 1)


def test_windows_line_ends_are_allowed(tmp_path: Path) -> None:
    section = read(tmp_path, b"a: 1\r\nb: |\r\n  x\r\n  y\r\n")
    assert section == {"a": 1, "b": "x\ny\n"}
    assert section.keys_at["b"] == Place(2, 1)


def test_columns_count_characters_not_bytes(tmp_path: Path) -> None:
    assert said(tmp_path, "{äöü: 1, b: .nan}\n")[:2] == (1, 13)


def test_a_file_of_exactly_the_largest_size_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "a: 1\n".ljust(MOST_BYTES, "\n")) == {"a": 1}


def test_an_alias_gives_what_its_anchor_holds(tmp_path: Path) -> None:
    assert read(tmp_path, "a: &x [1, 2]\nb: *x\nc: &y 5\nd: *y\n") == {"a": [1, 2], "b": [1, 2], "c": 5, "d": 5}


def test_harmless_tags_are_allowed(tmp_path: Path) -> None:
    content = "a: !!str 5\nb: !!int '7'\nc: !!map {d: 1}\ne: !!seq [1]\nf: ! 5\ng: !!null x\n"
    assert read(tmp_path, content) == yaml.safe_load(content)


# Merge keys.


def test_a_merge_key_fills_in_and_what_stands_beside_it_wins(tmp_path: Path) -> None:
    section = read(tmp_path, "base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\nd:\n  y: 4\n  <<: *b\n")
    assert section["c"] == {"x": 1, "y": 3}
    assert section["d"] == {"x": 1, "y": 4}


def test_the_first_of_several_merged_mappings_wins(tmp_path: Path) -> None:
    section = read(tmp_path, "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n")
    assert section["c"] == {"x": 1, "y": 2}


def test_merged_keys_keep_their_order(tmp_path: Path) -> None:
    keys = [f"key-{number}" for number in range(40)]
    section = read(tmp_path, f"a: &a {{{', '.join(f'{key}: 1' for key in keys)}}}\nb: {{<<: *a}}\n")
    assert list(section["b"]) == keys


def test_a_merged_key_stands_where_it_is_merged(tmp_path: Path) -> None:
    assert read(tmp_path, "a: &a {x: 1}\nb:\n  <<: *a\n")["b"].keys_at == {"x": Place(3, 3)}


def test_a_merge_of_anything_but_mappings_is_refused(tmp_path: Path) -> None:
    assert said(tmp_path, "a:\n  <<: 5\n") == (2, 3, "<< merges mappings only")


def test_an_own_key_may_stand_once_beside_a_merged_one(tmp_path: Path) -> None:
    line, _, message = said(tmp_path, "a: &a {x: 1}\nb:\n  <<: *a\n  x: 2\n  x: 3\n")
    assert (line, message) == (5, "the key 'x' is given twice: first in line 4")


# What is ambiguous.


def test_a_key_that_is_given_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    assert said(tmp_path, "a: 1\nb: 2\na: 3\n") == (3, 1, "the key 'a' is given twice: first in line 1")


@pytest.mark.parametrize("key", ["1", "1.5", "yes", "null", "~"])
def test_a_key_that_is_no_text_is_refused_with_the_cure(tmp_path: Path, key: str) -> None:
    line, column, message = said(tmp_path, f"a: 1\n{key}: 2\n")
    assert (line, column) == (2, 1)
    assert message.startswith("a key must be a text, got ")
    assert message.endswith(": quote it")


def test_a_key_that_is_a_mapping_is_refused_without_repeating_it(tmp_path: Path) -> None:
    assert said(tmp_path, "? {token: 12345}\n: 1\n") == (1, 3, "a key must be a text, got a mapping")


def test_a_second_document_is_refused_at_its_start(tmp_path: Path) -> None:
    line, _, message = said(tmp_path, "a: 1\n---\nb: 2\n")
    assert (line, message) == (2, "the file holds a second document: write one file for each")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("---\n...\n", "is empty"),
        ("null\n", "is empty"),
        ("- a\n- b\n", "holds a list at its top"),
        ("just a text\n", "holds 'just a text' at its top"),
        ("5\n", "holds 5 at its top"),
    ],
)
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, content: str, what: str) -> None:
    assert said(tmp_path, content) == (1, 1, f"the file {what}: begin with keys such as `name:`")


# Numbers.


@pytest.mark.parametrize("number", [".nan", ".NaN", ".inf", "-.inf", "1.0e+400"])
def test_a_number_must_be_finite(tmp_path: Path, number: str) -> None:
    assert said(tmp_path, f"a: {number}\n") == (1, 4, "a number must be finite")


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**90])
def test_a_whole_number_must_fit_64_bits(tmp_path: Path, number: int) -> None:
    line, column, message = said(tmp_path, f"a: {number}\n")
    assert (line, column) == (1, 4)
    assert message.startswith("a whole number must be below 2 to the power of 63")


def test_the_largest_whole_number_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, f"a: {2**63 - 1}\n") == {"a": 2**63 - 1}


@pytest.mark.parametrize(
    "number", ["9" * 900_000, "0x" + "f" * 900_000, "1" + ":59" * 300_000, "1" + ":59" * 300 + ":5.5"]
)
def test_a_number_that_would_take_long_to_compute_is_refused(tmp_path: Path, number: str) -> None:
    line, column, message = said(tmp_path, f"a: {number}\n")
    assert (line, column) == (1, 4)
    assert message == f"a number of {len(number)} characters is too long: quote it if it is a text"


@pytest.mark.parametrize(("tag", "value"), [("int", "x"), ("float", "x"), ("bool", "x"), ("int", "''"), ("int", "0b")])
def test_a_value_that_is_not_what_its_tag_says_is_refused(tmp_path: Path, tag: str, value: str) -> None:
    line, column, message = said(tmp_path, f"a: !!{tag} {value}\n")
    assert (line, column) == (1, 4)
    assert message == f"{value.strip(chr(39))!r} is not a valid {tag}"


# Tags.


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system x",
        "!!python/object:object {a: 1}",
        "!!binary aGk=",
        "!!set {a}",
        "!!omap [a: 1]",
        "!own x",
        "!own [x]",
        "!!int [1]",
    ],
)
@pytest.mark.usefixtures("either_loader")
def test_a_tag_that_would_make_an_object_is_refused(tmp_path: Path, value: str) -> None:
    line, column, message = said(tmp_path, f"a: {value}\n")
    assert (line, column) == (1, 4)
    assert message.startswith("the tag ")
    assert message.endswith(" is not allowed")


def test_a_tag_behind_a_shorthand_is_refused(tmp_path: Path) -> None:
    content = "%TAG !e! tag:yaml.org,2002:python/\n---\na: !e!name:os.system x\n"
    assert "python/name:os.system is not allowed" in said(tmp_path, content)[2]


# Size, depth, aliases.


@pytest.mark.parametrize("opening", ["[", "{", "{a: ", "[[", "- ", "? "])
@pytest.mark.usefixtures("either_loader")
def test_a_megabyte_of_nesting_is_refused_at_once(tmp_path: Path, opening: str) -> None:
    message = said(tmp_path, opening * (MOST_BYTES // len(opening) - 1))[2]
    assert message == f"this is nested more than {MOST_DEPTH} deep"


def test_nesting_up_to_the_bound_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, f"a: {'[' * (MOST_DEPTH - 1)}{']' * (MOST_DEPTH - 1)}\n")["a"]
    assert "nested more than" in said(tmp_path, f"a: {'[' * MOST_DEPTH}{']' * MOST_DEPTH}\n")[2]


def test_a_file_above_the_bound_is_refused(tmp_path: Path) -> None:
    assert said(tmp_path, "a: 1\n".ljust(MOST_BYTES + 1, "\n")) == (1, 1, "the file is larger than 1000000 bytes")


def test_a_billion_laughs_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert said(tmp_path, "\n".join(lines))[2] == "the file has more than 100000 values, aliases counted"


def test_a_bomb_of_merged_keys_is_refused(tmp_path: Path) -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(1000))
    content = f"a: &a {{{keys}}}\nb: &b {{<<: [{'*a, ' * 20}]}}\nc: {{<<: [{'*b, ' * 20}]}}\n"
    assert "100000 values" in said(tmp_path, content)[2]


def test_a_long_text_that_is_repeated_by_aliases_is_refused(tmp_path: Path) -> None:
    assert "100000 values" in said(tmp_path, f"a: &a {'x' * 400_000}\nb: [{'*a, ' * 1000}]\n")[2]


def test_a_value_counts_once_however_deep_it_stands(tmp_path: Path) -> None:
    content = f"a: [[[[[[[[[[{'1, ' * 60_000}]]]]]]]]]]\n"
    assert read(tmp_path, content)["a"]


def test_many_values_are_refused_even_without_aliases(tmp_path: Path) -> None:
    assert "100000 values" in said(tmp_path, f"a: [{'1,' * 120_000}]\n")[2]


def test_an_alias_to_what_holds_it_is_refused(tmp_path: Path) -> None:
    line, column, message = said(tmp_path, "a: &a [1, *a]\n")
    assert (line, column, message) == (1, 11, "the alias *a stands within what it names: it would hold itself")


def test_an_alias_without_an_anchor_is_refused(tmp_path: Path) -> None:
    line, column, message = said(tmp_path, "a: 1\nb: *missing\n")
    assert (line, column) == (2, 4)
    assert message == "the alias *missing names nothing: write &missing before a value above"


# What is no text, or no YAML.


def test_utf_16_is_refused(tmp_path: Path) -> None:
    assert said(tmp_path, "name: e\n".encode("utf-16")) == (1, 1, "the file must be UTF-8")


def test_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    assert said(tmp_path, "a: 1\nb: café\n".encode("latin-1")) == (2, 1, "the file must be UTF-8")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    assert said(tmp_path, b"\x7fELF\x02\x01\x00\xff\xfe")[2] == "the file must be UTF-8"


@pytest.mark.parametrize("character", ["\0", "\x01", "\x1b", "\x7f"])
@pytest.mark.usefixtures("either_loader")
def test_a_control_character_is_refused_where_it_stands(tmp_path: Path, character: str) -> None:
    line, column, message = said(tmp_path, f"a: 1\nb: x{character}y\n")
    assert (line, column) == (2, 5)
    assert message == f"this is not YAML: the character U+{ord(character):04X} is not allowed"


def test_a_surrogate_is_refused(tmp_path: Path) -> None:
    assert said(tmp_path, 'a: "\\ud800"\n')[2].startswith("this is not YAML: ")


@pytest.mark.usefixtures("either_loader")
def test_a_tab_that_indents_is_named(tmp_path: Path) -> None:
    assert said(tmp_path, "a:\n\t- b\n") == (2, 1, "this is not YAML: a tab stands here: indent with spaces")


@pytest.mark.parametrize("content", ["a: [1, 2\n", "a: b: c\n", "a: 'open\n", "a: @x\n", "a: 1\n b: 2\n"])
@pytest.mark.usefixtures("either_loader")
def test_what_is_not_yaml_is_refused_with_its_place(tmp_path: Path, content: str) -> None:
    assert refused(tmp_path, content).message.startswith("this is not YAML: ")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "missing.yaml")
    assert str(caught.value) == f"{tmp_path}/missing.yaml: cannot be read: No such file or directory"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_a_name_with_a_null_byte_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: .*embedded null"):
        read_yaml("a\0b")


def test_a_long_value_is_not_repeated_whole() -> None:
    value: Any = "x" * 1000
    assert yaml_text.excerpt(value) == "'" + "x" * 75 + "...'"
