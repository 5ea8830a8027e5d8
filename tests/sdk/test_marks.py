"""One language of marks: how a text is read, checked and filled in, and what a guard holds for."""

from __future__ import annotations

from typing import Any

import pytest

from stretto.errors import ConfigError
from stretto.marks import Mark, MissingField, alone, as_literal, check, fill, guard, marks_in, pick, read
from stretto.shapes import told


def shown(text: str, names: set[str] | None = None) -> str:
    return fill(read(text), names or {"a", "b"}, lambda name, path: f"<{'/'.join((name, *path))}>")


def checked(text: str, direct: set[str], every: set[str], all_names: set[str]) -> None:
    check(read(text), direct, lambda: every, all_names, agent="me", key="prompt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no marks", "no marks"),
        ("", ""),
        ("${input}", "<input>"),
        ("${ a }", "<a>"),
        ("x${a}y${b}z", "x<a>y<b>z"),
        ("${a}${a}", "<a><a>"),
        ("${a.x.0.y}", "<a/x/0/y>"),
        ("${input.name}", "<input/name>"),
        ("${dependencies}", "<dependencies>"),
        ("$${a}", "${a}"),
        ("$${a} is ${a}", "${a} is <a>"),
        ("costs $5 {a} $a }{", "costs $5 {a} $a }{"),
        ("$${", "${"),
        ("$$${a}", "$${a}"),
        ("line\n${a}\r\nend", "line\n<a>\r\nend"),
    ],
)
def test_a_text_is_filled_in(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_what_is_filled_in_is_not_read_again() -> None:
    assert fill(read("${a}"), {"a"}, lambda name, path: "${input} $${b} ${") == "${input} $${b} ${"


@pytest.mark.parametrize("text", ["${}", "${ }", "${a", "x ${", "${a{b}", "${a\n${b}"])
def test_a_mark_that_is_empty_or_not_closed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"in prompt is not a mark: write \$\{name\}, or \$\$\{") as error:
        read(text, agent="a", key="prompt")
    assert (error.value.agent, error.value.key) == ("a", "prompt")


def test_the_longest_name_wins() -> None:
    assert shown("${a.b.c}", {"a", "a.b"}) == "<a.b/c>"
    assert shown("${a.b.c}", {"a", "a.b", "a.b.c"}) == "<a.b.c>"
    assert shown("${a.b.c}", {"a"}) == "<a/b/c>"


def test_names_may_hold_blanks_and_other_letters() -> None:
    assert shown("${Prüfer 2.wert}", {"Prüfer 2"}) == "<Prüfer 2/wert>"


def test_a_mark_of_no_known_name_does_not_resolve() -> None:
    with pytest.raises(KeyError):
        Mark("c.x").resolve({"a"})


def test_direct_and_indirect_dependencies_may_be_named() -> None:
    checked("${a} ${b.x} ${input} ${dependencies}", {"a"}, {"a", "b"}, {"a", "b", "c", "me"})


def test_an_agent_that_is_no_dependency_is_named_with_the_cure() -> None:
    with pytest.raises(ConfigError, match=r"agent 'me': \$\{c\.x\} in prompt needs 'c' in depends_on"):
        checked("${a} ${c.x}", {"a"}, {"a", "b"}, {"a", "b", "c", "me"})


def test_an_unknown_name_is_named_with_the_nearest_dependency() -> None:
    with pytest.raises(ConfigError, match="names neither the input nor a dependency") as error:
        checked("${reviwer.text}", {"reviewer"}, {"reviewer"}, {"reviewer", "reviwers", "me"})
    assert error.value.nearest == "reviewer"


def test_a_misspelt_input_is_near_to_the_input() -> None:
    with pytest.raises(ConfigError) as error:
        checked("${inptu}", set(), set(), {"me"})
    assert error.value.nearest == "input"


def test_an_agent_may_not_name_itself() -> None:
    with pytest.raises(ConfigError, match=r"\$\{me\} in prompt needs 'me'"):
        checked("${me}", {"a"}, {"a"}, {"a", "me"})


def test_a_mark_means_the_same_whichever_agents_have_ended() -> None:
    # ${a.b} would be the field b of a until the agent a.b has ended, and its result from then on.
    with pytest.raises(ConfigError, match=r"needs 'a\.b' in depends_on"):
        checked("${a.b}", {"a"}, {"a"}, {"a", "a.b", "me"})


@pytest.mark.parametrize(("text", "expected"), [("${input}", True), ("x ${a}", True), ("$${a}", False), ("x", False)])
def test_a_text_mentions_something_or_not(text: str, expected: bool) -> None:
    assert bool(marks_in(read(text))) is expected


DATA = {"name": "x", "list": [{"n": 1}, 2], "none": None, "0": "zero"}


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        (DATA, (), DATA),
        (DATA, ("name",), "x"),
        (DATA, ("list", "0", "n"), 1),
        (DATA, ("none",), None),
        (DATA, ("0",), "zero"),
        ('{"a": {"b": [true]}}', ("a", "b", "0"), True),
        ("[1, 2]", ("1",), 2),
        ("a text", (), "a text"),
    ],
)
def test_a_path_is_followed_through_data(value: Any, path: tuple[str, ...], expected: Any) -> None:
    assert pick(value, path) == expected


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (DATA, ("nam",), "has no field 'nam'"),
        (DATA, ("list", "2"), "has no field '2'"),
        (DATA, ("list", "-1"), "has no field '-1'"),
        (DATA, ("name", "x"), "has no field 'x'"),
        (DATA, ("none", "x"), "has no field 'x'"),
        ("a text", ("x",), "has no field 'x': it is not JSON"),
        ("", ("x",), "has no field 'x': it is not JSON"),
        ('{"a": 1}', ("b",), "has no field 'b'"),
        (None, ("x",), "has no field 'x'"),
    ],
)
def test_a_field_that_is_missing_is_named(value: Any, path: tuple[str, ...], message: str) -> None:
    with pytest.raises(MissingField) as error:
        pick(value, path)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "name", "operator", "literal"),
    [
        ("${a}", "a", None, None),
        ("  ${a.ok}\n", "a.ok", None, None),
        ("${a.n} == 5", "a.n", "==", 5),
        ("${a.n}!=5", "a.n", "!=", 5),
        ("${a} == yes", "a", "==", "yes"),
        ("${a} == 'two words'", "a", "==", "two words"),
        ('${a} == "two words"', "a", "==", "two words"),
        ("${a} == 'yes'", "a", "==", "yes"),
        ("${a} == ''", "a", "==", ""),
        ("${a} == true", "a", "==", True),
        ("${a} != null", "a", "!=", None),
        ("${a} == [1, 2]", "a", "==", [1, 2]),
        ("${a} == größer-als", "a", "==", "größer-als"),
    ],
)
def test_a_guard_is_a_mark_alone_or_compared(text: str, name: str, operator: str | None, literal: Any) -> None:
    read = guard(text, agent="me")
    assert (read.mark.text.strip(), read.operator, read.literal) == (name, operator, literal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "a == 1",
        "${a} == ",
        "${a} > 3",
        "${a} = 3",
        "${a} === 3",
        "not ${a}",
        "${a} and ${b}",
        "${a} == ${b}",
        "${a} == yes or no",
        "${a} == 1 and ${b} == 2",
        "${a} == 'x' || true",
        "${a} == 'x' and 'y'",
        "3 == ${a}",
        "${a",
        "$${a}",
        "${a} == __import__('os')",
    ],
)
def test_any_other_condition_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="when must be") as error:
        guard(text, agent="me")
    assert (error.value.agent, error.value.key) == ("me", "when")
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("${a}", "some text", True),
        ("${a}", "", False),
        ("${a}", "false", False),
        ("${a}", False, False),
        ("${a}", 0, False),
        ("${a}", [], False),
        ("${a}", {"x": 1}, True),
        ("${a}", None, False),
        ("${a} == yes", "yes", True),
        ("${a} == yes", "no", False),
        ("${a} != yes", "no", True),
        ("${a} != yes", "yes", False),
        ("${a} == 5", 5, True),
        ("${a} == 5", 5.0, True),
        ("${a} == 5", 6, False),
        ("${a} == true", True, True),
        ("${a} == true", False, False),
        ("${a} == null", None, True),
        ("${a} == [1, 2]", [1, 2], True),
        ("${a} == 'true'", True, True),
    ],
)
def test_a_guard_holds_for_the_value(text: str, value: Any, holds: bool) -> None:
    assert guard(text, agent="me").holds(value) is holds


@pytest.mark.parametrize(("literal", "value"), [("true", "true"), ("5", "5"), ("null", "null")])
def test_the_text_of_a_model_is_compared_as_it_is_shown(literal: str, value: str) -> None:
    assert guard(f"${{a}} == {literal}", agent="me").holds(value)
    assert not guard(f"${{a}} != {literal}", agent="me").holds(value)


@pytest.mark.parametrize(("literal", "value"), [("true", 1), ("1", True), ("false", 0), ("0", False)])
def test_numbers_are_not_true_or_false(literal: str, value: Any) -> None:
    assert not guard(f"${{a}} == {literal}", agent="me").holds(value)


@pytest.mark.parametrize(("value", "text"), [("ü", "ü"), (True, "true"), ({"ü": None}, '{"ü": null}'), (1.5, "1.5")])
def test_a_literal_is_written_as_a_prompt_shows_it(value: Any, text: str) -> None:
    assert as_literal(value) == text


@pytest.mark.parametrize("text", ["${a}", "${ a.b.0 }", "${input}"])
def test_a_mark_that_is_all_of_a_text_is_alone(text: str) -> None:
    mark = alone(read(text))
    assert mark is not None
    assert mark.text == text[2:-1]


@pytest.mark.parametrize("text", ["", "a", " ${a}", "${a}\n", "${a}${b}", "$${a}", "x${a}"])
def test_anything_beside_it_leaves_no_mark_alone(text: str) -> None:
    assert alone(read(text)) is None


def test_the_head_of_a_mark_stands_before_its_first_dot() -> None:
    assert [mark.head for mark in marks_in(read("${ a.b.c } ${x} ${y.0}"))] == ["a", "x", "y"]


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("${a}", "false", True),
        ("${a}", "", False),
        ("${a}", 0, False),
        ("${a}", [], False),
        ("${a}", None, False),
        ("${a} == 3", 3, True),
        ("${a} == 3", 3.0, True),
        ("${a} == 3", "3", False),
        ("${a} == '3'", "3", True),
        ("${a} == '3'", 3, False),
        ("${a} == true", True, True),
        ("${a} == true", 1, True),
        ("${a} == true", "true", False),
        ("${a} == True", "True", True),
        ("${a} == null", None, False),
        ("${a} == word", "word", True),
        ("${a} != word", "other", True),
        ("${a} != word", "word", False),
    ],
)
def test_in_llm_orc_s_files_a_guard_compares_as_theirs_do(text: str, value: Any, holds: bool) -> None:
    assert guard(text, agent="me").holds_in_llm_orc(value) is holds


def test_an_until_that_is_no_guard_is_told_how_one_looks() -> None:
    with pytest.raises(ConfigError, match=r"loop.until must be \$\{body.field\}"):
        guard("done", agent=None, key="loop.until")


@pytest.mark.parametrize("name", ["item", "index"])
def test_names_that_are_bound_stand_for_themselves_whatever_the_agents_are_called(name: str) -> None:
    text = f"${{{name}.x}} ${{{name}}}"
    check(read(text), set(), lambda: set(), {"a"}, agent="me", key="prompt", bound=("item", "index"))
    with pytest.raises(ConfigError):
        check(read(text), set(), lambda: set(), {"a"}, agent="me", key="prompt")


def test_a_misspelt_item_is_near_to_it() -> None:
    with pytest.raises(ConfigError) as error:
        check(read("${itm.x}"), set(), lambda: set(), {"a"}, agent="me", key="prompt", bound=("item", "index"))
    assert error.value.nearest == "item"


def test_of_a_key_with_dots_the_longest_wins() -> None:
    data = {"a.b": {"c": 1}, "a": {"b": {"c": 2}, "b.c": 3}}
    assert (pick(data, ("a", "b", "c")), pick(data, ("a", "b"))) == (1, {"c": 1})
    assert pick({"a": {"b.c": 3}}, ("a", "b", "c")) == 3


@pytest.mark.parametrize("text", ["[" * 3000, '{"a": ' * 3000])
def test_a_text_that_is_nested_too_deep_has_no_field(text: str) -> None:
    with pytest.raises(MissingField, match="it is not JSON"):
        pick(text, ("a",))


def test_an_index_of_many_digits_is_no_index() -> None:
    with pytest.raises(MissingField):
        pick([1], ("9" * 5000,))


@pytest.mark.parametrize(
    "text", ["${a.x} == x" + " " * 1_000_000 + "y", "${a" + ".a" * 500_000 + "}", "${" + "a" * 2000 + "}"]
)
def test_a_guard_that_is_too_long_is_refused_in_a_short_time_and_a_short_text(text: str) -> None:
    with pytest.raises(ConfigError, match="when must be") as error:
        guard(text, agent="me")
    assert len(str(error.value)) < 300


def test_a_mark_that_is_too_long_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="a mark of 200001 characters in prompt is too long") as error:
        read("${a" + ".a" * 100_000 + "}", agent="me", key="prompt")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", [{"token": "hunter2"}, ["hunter2"], {"hunter2"}])
def test_what_a_mapping_or_a_list_holds_is_in_no_message(value: Any) -> None:
    assert "hunter2" not in told(value)
