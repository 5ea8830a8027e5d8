"""`performance.yaml`: settings and prices, with every mistake placed."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from stretto import ConfigError, Settings
from stretto.performance import (
    WITHOUT_EFFECT,
    Performance,
    raise_all,
    read_performance,
    read_performance_section,
)
from stretto.settings import SECTIONS
from stretto.usage import Price
from stretto.yaml_text import read_yaml


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


def test_what_was_found_twice_is_said_once() -> None:
    with pytest.raises(ConfigError) as caught:
        raise_all([ConfigError("x", file="a", line=1, column=1) for _ in range(2)])
    assert (str(caught.value), caught.value.errors) == ("a:1:1: x", ())


def test_the_errors_of_several_files_stay_apart() -> None:
    errors = [
        ConfigError("x", file=file, line=line, column=1) for file, line in (("b", 1), ("a", 2), ("b", 0), ("a", 1))
    ]
    with pytest.raises(ConfigError) as caught:
        raise_all(errors)
    assert [(error.file, error.line) for error in caught.value.errors] == [("a", 1), ("a", 2), ("b", 0), ("b", 1)]


# What llm-orc's files hold.


def config(text: str) -> tuple[Performance, list[str]]:
    """Read a section `performance:` of a config.yaml, and what is wrong with it."""
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        section = read_yaml(file.name)
    errors: list[ConfigError] = []
    return read_performance_section(section, "c.yaml", errors), [str(error) for error in errors]


IDLE = [
    ("streaming_enabled: true", "a run streams when it is started with stream=True, or shown with -v"),
    ("script_cache: {enabled: true, ttl_seconds: 3600}", "a script runs each time"),
    ("script_cache: true", "a script runs each time"),
    ("script_cache:", "a script runs each time"),
    ("memory: {efficient_mode: true}", "nothing is held back for lack of memory"),
    ("timeout_seconds: 5", "execution.default_timeout bounds each agent"),
    ("execution: {streaming_enabled: 1}", "a run streams when it is started with stream=True, or shown with -v"),
    ("execution: {monitoring_enabled: no}", "spans go to the OpenTelemetry tracer provider that the program sets up"),
    (
        "concurrency: {connection_pool: {max_connections: 1}}",
        "connections are pooled without a bound, the layer concurrency_limit bounds the requests",
    ),
    (
        "concurrency: {request_timeout: {read: 1}}",
        "the layer timeout and each agent's timeout bound a request, connect_timeout of a provider the connecting",
    ),
]


@pytest.mark.parametrize(("text", "instead"), IDLE)
def test_what_llm_orc_has_and_stretto_does_not_is_kept_with_a_note(tmp_path: Path, text: str, instead: str) -> None:
    section, _, inner = text.rstrip("}").partition(": {")
    name = f"{section}.{inner.partition(':')[0]}" if section in SECTIONS else text.partition(":")[0]
    said = f"kept without effect: {name} ({instead})"
    found = read(tmp_path, f"{text}\n")
    assert (found.settings, found.notes) == (Settings(), (f"{tmp_path}/performance.yaml:1: {said.format(1)}",))
    found, errors = config(f"performance:\n  {text}\n")
    assert errors == []
    assert (found.settings, found.notes) == (Settings(), (f"c.yaml:2: {said.format(2)}",))


def test_what_has_no_effect_is_said_once_for_each_file(tmp_path: Path) -> None:
    text = "execution: {monitoring_enabled: true}\nmemory: {}\nrun_timeout: 5\n"
    [note] = read(tmp_path, text).notes
    assert note.startswith(f"{tmp_path}/performance.yaml:1: kept without effect: execution.monitoring_enabled")
    assert "; in line 2 memory (" in note


def test_the_section_of_a_config_file_is_read() -> None:
    text = (
        "project: {name: x}\nperformance:\n  concurrency: {max_concurrent_agents: 0, x-a: 1}\n"
        "  execution: {default_timeout: 30, max_ensemble_depth: 3}\n  x-b: 2\n  prices: {a: {input: 1, output: 2}}\n"
    )
    found, errors = config(text)
    assert (errors, found.notes) == ([], ())
    assert found.settings == Settings(max_concurrent_agents=0, default_timeout=30, max_ensemble_depth=3)
    assert found.prices == {"a": Price(1.0, 2.0)}


def test_a_config_file_without_the_section_gives_nothing() -> None:
    assert config("project: {}\n") == (Performance(), [])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("performance:", "1:1: performance must hold settings, got nothing: leave the key out, or give it content"),
        ("performance: x", "1:1: performance must hold settings, got 'x'"),
        ("performance: [a]", "1:1: performance must hold settings, got a list"),
        (
            "performance: {concurrency: }",
            "1:15: concurrency must hold settings, got nothing: leave the key out, or give it content",
        ),
        ("performance: {execution: 5}", "1:15: execution must hold settings, got 5"),
        (
            "performance: {concurrency: {max_concurrent_agents: -1}}",
            "1:29: max_concurrent_agents must be a whole number, 0 or more (0: no limit), got -1",
        ),
        (
            "performance: {concurrency: {max_concurrent_agents: '4'}}",
            "1:29: max_concurrent_agents must be a whole number, 0 or more (0: no limit), got '4': "
            "write it without quotes",
        ),
        (
            "performance: {concurrency: {max_concurrent_agents: }}",
            "1:29: max_concurrent_agents must be a whole number, 0 or more (0: no limit), got None",
        ),
        (
            "performance: {execution: {default_timeout: x}}",
            "1:27: default_timeout must be seconds above 0, got 'x'",
        ),
        (
            "performance: {execution: {default_timeout: 0}}",
            "1:27: default_timeout must be seconds above 0, got 0",
        ),
        (
            "performance: {execution: {max_ensemble_depth: 0}}",
            "1:27: max_ensemble_depth must be a whole number, 1 or more, got 0",
        ),
        (
            "performance: {enable_parallel_execution: 'true'}",
            "1:15: enable_parallel_execution must be true or false, got 'true': write it without quotes",
        ),
        ("performance: {run_timeout: [a]}", "1:15: run_timeout must be a single value, got a list"),
        ("performance: {prices: 5}", "1:15: prices must map a model pattern to input, output and cached"),
    ],
)
def test_a_wrong_value_of_a_config_file_is_an_error_with_its_place(text: str, error: str) -> None:
    found, errors = config(f"{text}\n")
    assert errors == [f"c.yaml:{error}"]
    assert found.settings == Settings()


def test_all_that_is_wrong_with_a_section_is_said_and_the_rest_is_read() -> None:
    found, errors = config("performance: {concurrency: , run_timeout: 5, cancel_grace: -1, memory: 1}\n")
    assert len(errors) == 2
    assert (found.settings, len(found.notes)) == (Settings(run_timeout=5), 1)


def test_unknown_keys_of_a_config_file_are_ignored_with_a_note() -> None:
    text = "performance:\n  other: 1\n  execution: {default_timeuot: 5, max_concurrent_agents: 2}\n  limits: {}\n"
    found, errors = config(text)
    assert (found.settings, errors) == (Settings(), [])
    assert found.notes == (
        "c.yaml:2: 'other' is not a setting: it is ignored",
        "c.yaml:3: 'default_timeuot' is not a setting of execution (did you mean 'default_timeout'?): it is ignored",
        "c.yaml:3: 'max_concurrent_agents' is not a setting of execution: it belongs under concurrency: it is ignored",
        "c.yaml:4: limits cannot be read from this file yet: write them into the ensemble, such as "
        "middleware: [{rate_limit: {requests: 60}}]: it is ignored",
    )


def test_a_number_that_llm_orc_takes_as_a_text_is_read_with_a_note() -> None:
    found, errors = config("performance: {execution: {default_timeout: '30', max_ensemble_depth: '4'}}\n")
    assert (found.settings, errors) == (Settings(default_timeout=30, max_ensemble_depth=4), [])
    assert found.notes == (
        "c.yaml:1: default_timeout: the text '30' is read as a number",
        "c.yaml:1: max_ensemble_depth: the text '4' is read as a number",
    )


def test_a_whole_number_with_a_point_is_one_in_a_config_file(tmp_path: Path) -> None:
    text = "concurrency: {max_concurrent_agents: 2.0}\n"
    assert config(f"performance: {{{text.strip()}}}\n")[0].settings == Settings(max_concurrent_agents=2)
    [message] = said(tmp_path, text)
    assert message.endswith("got 2.0")


def test_a_file_of_its_own_takes_no_text_for_a_number(tmp_path: Path) -> None:
    assert said(tmp_path, "default_timeout: '30'\n") == [
        "1:1: default_timeout must be seconds above 0, got '30': write it without quotes"
    ]


def test_a_section_without_content_says_what_to_do(tmp_path: Path) -> None:
    assert said(tmp_path, "concurrency:\n") == [
        "1:1: concurrency must hold settings, got nothing: leave the key out, or give it content"
    ]


def test_limits_are_refused_plainly(tmp_path: Path) -> None:
    assert said(tmp_path, "limits: {openai/*: {requests: 60}}\n") == [
        "1:1: limits cannot be read from this file yet: write them into the ensemble, such as "
        "middleware: [{rate_limit: {requests: 60}}]"
    ]


def test_a_section_that_was_copied_whole_says_what_to_do(tmp_path: Path) -> None:
    assert said(tmp_path, "performance: {run_timeout: 5}\n") == [
        "1:1: performance: is a section of config.yaml: write here what it holds, at the top"
    ]


def test_a_secret_is_not_repeated(tmp_path: Path) -> None:
    [message] = said(tmp_path, "run_timeout: {key: sk-verysecretkey12345}\n")
    assert "sk-" not in message


def test_what_is_laid_over_wins_one_by_one() -> None:
    low = Performance(Settings(run_timeout=1, cancel_grace=2), {"a": Price(1, 1), "b": Price(1, 1)}, ("x",))
    high = Performance(Settings(run_timeout=3), {"b": Price(2, 2)}, ("y",))
    laid = high.over(low)
    assert laid.settings == Settings(run_timeout=3, cancel_grace=2)
    assert laid.prices == {"a": Price(1, 1), "b": Price(2, 2)}
    assert laid.notes == ("x", "y")


@pytest.mark.parametrize("key", [key for keys in WITHOUT_EFFECT.values() for key in keys])
def test_nothing_without_effect_is_a_setting(key: str) -> None:
    assert key not in {name for names in SECTIONS.values() for name in names}
