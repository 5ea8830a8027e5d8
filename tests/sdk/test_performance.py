"""`performance.yaml`: settings and prices, with every mistake placed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto import ConfigError, Settings
from stretto.performance import Performance, raise_all, read_performance
from stretto.usage import Price


def read(folder: Path, text: str) -> Performance:
    path = folder / "performance.yaml"
    path.write_text(text, encoding="utf-8")
    return read_performance(path)


def said(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [str(error).replace(f"{folder}/performance.yaml:", "") for error in caught.value.errors or (caught.value,)]


def test_flat_settings_are_read(tmp_path: Path) -> None:
    text = "default_timeout: 60\nmax_concurrent_agents: 10\nenable_parallel_execution: false\nrun_timeout: 1.5\n"
    assert read(tmp_path, text).settings == Settings(
        default_timeout=60, max_concurrent_agents=10, enable_parallel_execution=False, run_timeout=1.5
    )


def test_settings_in_sections_are_read(tmp_path: Path) -> None:
    text = "execution:\n  default_timeout: 5\n  x-a: 1\nconcurrency:\n  max_concurrent_agents: 10\nx-b: 2\n"
    assert read(tmp_path, text).settings == Settings(default_timeout=5, max_concurrent_agents=10)


def test_flat_names_and_sections_may_be_mixed(tmp_path: Path) -> None:
    text = "run_timeout: 9\nconcurrency: {enable_parallel_execution: false}\n"
    assert read(tmp_path, text).settings == Settings(run_timeout=9, enable_parallel_execution=False)


@pytest.mark.parametrize("section", ["execution", "concurrency"])
def test_the_rollback_switch_may_stand_in_either_section(tmp_path: Path, section: str) -> None:
    text = f"{section}: {{enable_parallel_execution: false}}\n"
    assert read(tmp_path, text).settings == Settings(enable_parallel_execution=False)


def test_a_setting_counts_as_given_even_when_it_is_the_default(tmp_path: Path) -> None:
    assert read(tmp_path, "default_timeout: 60\n").settings.given == {"default_timeout"}


def test_settings_read_it_themselves(tmp_path: Path) -> None:
    read(tmp_path, "run_timeout: 5\nprices: {a: {input: 1, output: 1}}\n")
    assert Settings.from_file(str(tmp_path / "performance.yaml")) == Settings(run_timeout=5)


def test_a_setting_in_the_wrong_section_is_sent_to_the_right_one(tmp_path: Path) -> None:
    assert said(tmp_path, "concurrency:\n  default_timeout: 5\n") == [
        "2:3: 'default_timeout' is not a setting of concurrency: it belongs under execution"
    ]


def test_an_unknown_name_in_a_section_has_its_nearest(tmp_path: Path) -> None:
    assert said(tmp_path, "execution:\n  default_timeuot: 5\n") == [
        "2:3: 'default_timeuot' is not a setting of execution (did you mean 'default_timeout'?)"
    ]


def test_an_unknown_flat_name_has_its_nearest(tmp_path: Path) -> None:
    assert said(tmp_path, "max_concurrent: 5\n") == [
        "1:1: 'max_concurrent' is not a setting (did you mean 'max_concurrent_agents'?)"
    ]


@pytest.mark.parametrize("value", ["5", "", "[a]", "true"])
def test_a_section_must_hold_settings(tmp_path: Path, value: str) -> None:
    [message] = said(tmp_path, f"execution: {value}\n")
    assert message.startswith("1:1: execution must hold settings, got ")


@pytest.mark.parametrize(
    "text",
    [
        "default_timeout: 5\nexecution: {default_timeout: 6}\n",
        "execution: {enable_parallel_execution: true}\nconcurrency: {enable_parallel_execution: false}\n",
    ],
)
def test_a_setting_that_is_given_twice_is_refused_with_both_lines(tmp_path: Path, text: str) -> None:
    [message] = said(tmp_path, text)
    assert message.startswith("2:")
    assert message.endswith(" is given twice: first in line 1")


def test_sections_that_share_an_alias_are_both_checked(tmp_path: Path) -> None:
    messages = said(tmp_path, "execution: &e {run_timeout: 5, foo: 1}\nconcurrency: *e\n")
    assert len(messages) == 3


def test_a_setting_is_a_single_value(tmp_path: Path) -> None:
    assert said(tmp_path, "run_timeout: [1]\n") == ["1:1: run_timeout must be a single value, got a list"]


def test_all_that_is_wrong_is_said_together(tmp_path: Path) -> None:
    text = "run_timeout: 0\nprices: 5\nexecution:\n  default_timeout: -1\n  foo: 1\nfoo: 2\n"
    assert [message.partition(" ")[0] for message in said(tmp_path, text)] == ["1:1:", "2:1:", "4:3:", "5:3:", "6:1:"]


def test_prices_are_read_by_pattern(tmp_path: Path) -> None:
    text = "prices:\n  openai/*: {input: 1, output: 2.5}\n  a/b: {input: 0, output: 0, cached: 0.1}\n"
    assert read(tmp_path, text).prices == {"openai/*": Price(1.0, 2.5), "a/b": Price(0.0, 0.0, 0.1)}


@pytest.mark.parametrize("value", ["", "5", "[a]", "free"])
def test_prices_must_be_a_mapping(tmp_path: Path, value: str) -> None:
    assert said(tmp_path, f"prices: {value}\n") == ["1:1: prices must map a model pattern to input, output and cached"]


@pytest.mark.parametrize(
    "price",
    [
        *("5", "", "[1, 2]", "{}", "{input: 1}", "{input: 1, output: 2, cahced: 1}", "{input: -1, output: 1}"),
        *("{input: true, output: 1}", "{input: '1', output: 1}", "{input: 1, output: }", "{input: [1], output: 1}"),
    ],
)
def test_a_price_that_is_wrong_is_refused_at_its_pattern(tmp_path: Path, price: str) -> None:
    [message] = said(tmp_path, f"prices:\n  good/*: {{input: 1, output: 1}}\n  openai/*: {price}\n")
    assert message == (
        "3:3: the price of 'openai/*' must be input, output and, where known, cached, each 0 or more: "
        "USD per million tokens"
    )


def test_nothing_is_raised_when_nothing_is_wrong() -> None:
    raise_all([])


def test_the_errors_of_several_files_stay_apart() -> None:
    errors = [
        ConfigError("x", file=file, line=line, column=1) for file, line in (("b", 1), ("a", 2), ("b", 0), ("a", 1))
    ]
    with pytest.raises(ConfigError) as caught:
        raise_all(errors)
    assert [(error.file, error.line) for error in caught.value.errors] == [("a", 1), ("a", 2), ("b", 0), ("b", 1)]
