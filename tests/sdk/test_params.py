"""Only chat parameters pass; what steers the client is refused with the place where it belongs."""

from __future__ import annotations

from typing import Any

import pytest

from stretto.errors import ConfigError
from stretto.params import CHAT_PARAMETERS, check_params


@pytest.mark.parametrize("name", sorted(CHAT_PARAMETERS))
def test_a_chat_parameter_passes(name: str) -> None:
    check_params({name: 1})


def test_no_parameters_pass() -> None:
    check_params({})


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model", "`model`"),
        ("messages", "`prompt`"),
        ("stream", "`stream`"),
        ("timeout", "`timeout`"),
        ("request_timeout", "`timeout`"),
        ("api_base", "`base_url`"),
        ("base_url", "`base_url`"),
        ("api_key", "`api_key`"),
        ("api_key_env", "`api_key_env`"),
        ("num_retries", "`Retry(attempts)`"),
        ("max_retries", "`Retry(attempts)`"),
        ("fallbacks", "`Fallback`"),
        ("headers", "`extra_headers`"),
        ("callbacks", "`middleware`"),
        ("success_callback", "`middleware`"),
        ("mock_response", "`simulated/`"),
        ("custom_llm_provider", "`model`"),
        ("aws_secret_access_key", "the environment"),
        ("vertex_credentials", "the environment"),
    ],
)
def test_what_steers_the_client_is_refused_with_its_right_place(name: str, place: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_params({"temperature": 0, name: "x"}, agent="a")
    assert str(error.value).startswith(f"agent 'a': params.{name} is not a chat parameter: use ")
    assert place in str(error.value)
    assert (error.value.agent, error.value.key) == ("a", f"params.{name}")


def test_a_misspelt_parameter_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"params\.temprature is not a chat parameter") as error:
        check_params({"temprature": 1})
    assert error.value.nearest == "temperature"


def test_a_parameter_of_one_provider_belongs_into_extra_body() -> None:
    with pytest.raises(ConfigError, match=r"what only your provider knows goes into params\.extra_body"):
        check_params({"guided_grammar": "x"})


@pytest.mark.parametrize("name", [3, None, ("temperature",)])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="is not a chat parameter"):
        check_params({name: 1})


@pytest.mark.parametrize("params", [None, ["seed"], "seed=1", 3])
def test_parameters_are_a_mapping(params: Any) -> None:
    with pytest.raises(ConfigError, match=f"params must be a mapping, got {type(params).__name__}") as error:
        check_params(params, agent="a")
    assert error.value.key == "params"


@pytest.mark.parametrize("name", ["extra_body", "extra_headers"])
def test_fields_of_the_call_pass_as_mappings_only(name: str) -> None:
    check_params({name: {"x": 1}})
    with pytest.raises(ConfigError, match=f"params.{name} must be a mapping"):
        check_params({name: ["x"]})


@pytest.mark.parametrize("name", ["api_key", "api_base", "mock_response"])
def test_the_value_of_a_refused_parameter_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_params({name: "hunter2-hunter2"})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "API-Key", "x-goog-api-key"])
def test_a_header_that_carries_a_key_is_refused_with_the_field_where_the_key_belongs(header: str) -> None:
    with pytest.raises(ConfigError, match=r"must not hold .*api_key_env") as caught:
        check_params({"extra_headers": {header: "k-1234567"}}, agent="a")
    assert caught.value.key == "params.extra_headers"
    assert "k-1234567" not in str(caught.value)


def test_the_body_steers_the_client_no_more_than_the_parameters_do() -> None:
    with pytest.raises(ConfigError, match="extra_body must not hold api_base: use the agent's `base_url`"):
        check_params({"extra_body": {"api_base": "http://elsewhere"}}, agent="a")
    check_params({"extra_body": {"guided_choice": ["a", "b"]}}, agent="a")


@pytest.mark.parametrize("header", ["Host", "content-length", "Transfer-Encoding", "Expect", "upgrade"])
def test_a_header_of_the_session_is_refused(header: str) -> None:
    with pytest.raises(ConfigError, match=f"must not hold {header}: it belongs to the HTTP session"):
        check_params({"extra_headers": {header: "x"}}, agent="a")


@pytest.mark.parametrize("headers", [{"x-mine": None}, {7: "x"}, {"x-mine": b"hunter2-hunter2"}, {"x-mine": True}])
def test_a_header_is_a_text_with_a_text(headers: Any) -> None:
    with pytest.raises(ConfigError, match="a header is a text with a text") as caught:
        check_params({"extra_headers": headers}, agent="a")
    assert "hunter2" not in str(caught.value)
    check_params({"extra_headers": {"x-mine": "1", "x-count": 3}}, agent="a")
