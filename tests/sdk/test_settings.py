"""Settings: what is refused, and which of two given ones wins."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from stretto.errors import ConfigError
from stretto.settings import SECTIONS, Settings, check_seconds, settings_from

DEFAULTS = {
    "default_timeout": 60,
    "phase_timeout": None,
    "run_timeout": None,
    "max_ensemble_depth": 5,
    "max_concurrent_agents": 100,
    "enable_parallel_execution": True,
    "cancel_grace": 1,
    "tune_gc": False,
}


def test_the_defaults_are_those_of_the_design() -> None:
    assert Settings().to_dict() == DEFAULTS
    assert Settings().given == frozenset()


def test_every_setting_is_documented_with_its_default() -> None:
    text = inspect.getdoc(Settings) or ""
    for name, default in DEFAULTS.items():
        line = text[text.index(f"    {name}: ") :].partition("\n    ")[0].partition("\n\n")[0]
        assert f"default {default}" in " ".join(line.split()), name


def test_every_setting_has_a_section_in_files() -> None:
    assert set(DEFAULTS) == {name for names in SECTIONS.values() for name in names}


@pytest.mark.parametrize("name", ["default_timeout", "phase_timeout", "run_timeout"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", True])
def test_a_clock_must_be_seconds_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        Settings(**{name: value})
    assert str(error.value) == f"Settings.{name} must be seconds above 0, got {value!r}"
    assert error.value.key == name


def test_a_clock_has_a_bound_that_is_said_and_a_number_beyond_it_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"must be seconds up to 1000000000, got 2000000000\.0"):
        Settings(run_timeout=2e9)
    with pytest.raises(ConfigError) as error:
        Settings(run_timeout=10**400)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("name", ["default_timeout", "phase_timeout", "run_timeout"])
@pytest.mark.parametrize("value", [None, 0.001, 5, 1e9])
def test_a_clock_may_be_none_or_above_zero(name: str, value: Any) -> None:
    assert getattr(Settings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("cancel_grace", -0.1, "seconds, 0 or more"),
        ("cancel_grace", math.nan, "seconds, 0 or more"),
        ("cancel_grace", math.inf, "seconds, 0 or more"),
        ("cancel_grace", None, "seconds, 0 or more"),
        ("cancel_grace", False, "seconds, 0 or more"),
        ("max_concurrent_agents", -1, "a whole number, 0 or more"),
        ("max_concurrent_agents", 1.5, "a whole number, 0 or more"),
        ("max_concurrent_agents", True, "a whole number, 0 or more"),
        ("max_concurrent_agents", None, "a whole number, 0 or more"),
        ("max_ensemble_depth", 0, "a whole number, 1 or more"),
        ("max_ensemble_depth", -1, "a whole number, 1 or more"),
        ("max_ensemble_depth", 5.0, "a whole number, 1 or more"),
        ("max_ensemble_depth", "5", "a whole number, 1 or more"),
        ("max_ensemble_depth", True, "a whole number, 1 or more"),
        ("max_ensemble_depth", None, "a whole number, 1 or more"),
        ("max_ensemble_depth", math.nan, "a whole number, 1 or more"),
        ("enable_parallel_execution", 1, "true or false"),
        ("enable_parallel_execution", "false", "true or false"),
        ("tune_gc", None, "true or false"),
    ],
)
def test_a_setting_out_of_its_bounds_names_field_bound_and_value(name: str, value: Any, bound: str) -> None:
    with pytest.raises(ConfigError) as error:
        Settings(**{name: value})
    assert str(error.value).startswith(f"Settings.{name} must be {bound}")
    assert str(error.value).endswith(f"got {value!r}")
    assert error.value.key == name


def test_zero_is_allowed_where_it_means_something() -> None:
    settings = Settings(cancel_grace=0, max_concurrent_agents=0)
    assert (settings.cancel_grace, settings.max_concurrent_agents) == (0, 0)


def test_an_unknown_setting_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'defualt_timeout' is not a setting.*did you mean 'default_timeout'"):
        Settings(defualt_timeout=3)  # type: ignore[call-arg]


def test_an_unknown_setting_of_a_file_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'run_timeot' is not a setting.*did you mean 'run_timeout'"):
        settings_from({"run_timeot": 3})


def test_a_name_that_is_like_nothing_has_no_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        settings_from({"qqqq": 3})
    assert error.value.nearest is None


def test_names_of_a_file_become_given_settings() -> None:
    assert settings_from({"run_timeout": 3}) == Settings(run_timeout=3)


def test_what_is_given_above_wins() -> None:
    assert Settings(run_timeout=1).over(Settings(run_timeout=2, cancel_grace=3)) == Settings(
        run_timeout=1, cancel_grace=3
    )


def test_a_given_default_wins_too() -> None:
    assert Settings(default_timeout=60).over(Settings(default_timeout=5)).default_timeout == 60


def test_a_given_none_wins_too() -> None:
    assert Settings(default_timeout=None).over(Settings(default_timeout=5)).default_timeout is None


def test_what_is_not_given_does_not_win() -> None:
    assert Settings().over(Settings(default_timeout=5)).default_timeout == 5


def test_over_nothing_it_stays_as_it_is() -> None:
    settings = Settings(run_timeout=1)
    assert settings.over(None) == settings
    assert settings.over(Settings()) == settings


def test_laying_over_is_associative() -> None:
    top, middle, ground = Settings(run_timeout=1), Settings(cancel_grace=2), Settings(run_timeout=3, cancel_grace=4)
    assert top.over(middle).over(ground) == top.over(middle.over(ground)) == Settings(run_timeout=1, cancel_grace=2)


def test_given_and_not_given_defaults_differ() -> None:
    assert Settings(default_timeout=60) != Settings()
    assert len({Settings(default_timeout=60), Settings(default_timeout=60), Settings()}) == 2


def test_settings_are_frozen() -> None:
    settings = Settings(run_timeout=1)
    with pytest.raises(AttributeError, match="frozen"):
        settings.run_timeout = 2
    with pytest.raises(AttributeError, match="frozen"):
        del settings.run_timeout


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_remembers_what_was_given(again: Any) -> None:
    assert again(Settings(default_timeout=60)) == Settings(default_timeout=60)


def test_the_text_shows_what_was_given() -> None:
    assert repr(Settings(cancel_grace=2, run_timeout=1)) == "Settings(run_timeout=1, cancel_grace=2)"
    assert repr(Settings()) == "Settings()"


def test_settings_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "performance.yaml"
    file.write_text("execution:\n  default_timeout: 7\nconcurrency:\n  max_concurrent_agents: 10\n", encoding="utf-8")
    assert Settings.from_file(str(file)) == Settings(default_timeout=7, max_concurrent_agents=10)


def test_a_wrong_clock_names_its_agent() -> None:
    with pytest.raises(ConfigError, match="agent 'a': timeout must be seconds above 0, got 0"):
        check_seconds("timeout", 0, agent="a")
