"""Allow chat parameters, and refuse whatever steers the client.

Source: the request body of OpenAI's chat completions API, and the provider parameters that litellm documents.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from .errors import ConfigError
from .shapes import is_mapping

CHAT_PARAMETERS = frozenset(
    """
    audio cache_control frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
    metadata min_p modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_retention reasoning_effort repetition_penalty response_format safety_identifier safety_settings seed
    service_tier stop store stream_options temperature thinking tool_choice tools top_a top_k top_logprobs top_p
    user verbosity web_search_options
    """.split()
)

_ENVIRONMENT = "the environment, where the provider's credentials belong"
# What people write by habit, and where it belongs.
_BELONGS_ELSEWHERE = {
    "model": "the agent's `model`",
    "messages": "the agent's `system_prompt` and `prompt`",
    "stream": "the agent's `stream`",
    "timeout": "the agent's `timeout`",
    "request_timeout": "the agent's `timeout`",
    "api_base": "the agent's `base_url`",
    "base_url": "the agent's `base_url`",
    "api_key": "the agent's `api_key` or `api_key_env`",
    "api_key_env": "the agent's `api_key_env`",
    "num_retries": "the layer `Retry(attempts)`",
    "max_retries": "the layer `Retry(attempts)`",
    "fallbacks": "the layer `Fallback`",
    "headers": "`extra_headers`",
    "callbacks": "a layer of `middleware`",
    "success_callback": "a layer of `middleware`",
    "failure_callback": "a layer of `middleware`",
    "mock_response": "a model of `simulated/`",
    "mock_tool_calls": "a model of `simulated/`",
    "mock_timeout": "a model of `simulated/`",
    "custom_llm_provider": "the agent's `model`, as provider/model",
    "aws_access_key_id": _ENVIRONMENT,
    "aws_secret_access_key": _ENVIRONMENT,
    "aws_session_token": _ENVIRONMENT,
    "azure_ad_token": _ENVIRONMENT,
    "vertex_credentials": _ENVIRONMENT,
}
# They carry keys, and a key goes only where its rules let it: as a header it would go along to any model and address.
_KEY_HEADERS = frozenset(("api-key", "authorization", "proxy-authorization", "x-api-key", "x-goog-api-key"))
# They say how the request itself is sent, and to whom: that is the HTTP session's.
SESSION_HEADERS = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
# Fields of the call that may be written among the parameters.
CALL_FIELDS = ("extra_body", "extra_headers")


def check_params(params: Any, *, agent: str | None = None) -> None:
    """Refuse a parameter that is not on the list of chat parameters.

    Raises:
        ConfigError: names the field or layer where it belongs, or the nearest parameter.
    """
    if not is_mapping(params):
        raise ConfigError(f"params must be a mapping, got {type(params).__name__}", agent=agent, key="params")
    for name in params:
        if name in CHAT_PARAMETERS or name in CALL_FIELDS:
            continue
        key = f"params.{name}"
        if name in _BELONGS_ELSEWHERE:
            raise ConfigError(f"{key} is not a chat parameter: use {_BELONGS_ELSEWHERE[name]}", agent=agent, key=key)
        nearest = next(iter(get_close_matches(str(name), sorted(CHAT_PARAMETERS), 1)), None)
        message = f"{key} is not a chat parameter; what only your provider knows goes into params.extra_body"
        raise ConfigError(message, agent=agent, key=key, nearest=nearest)
    for name in CALL_FIELDS:
        if name in params and not is_mapping(params[name]):
            raise ConfigError(f"params.{name} must be a mapping", agent=agent, key=f"params.{name}")
    for name in params.get("extra_body", ()):
        if name in _BELONGS_ELSEWHERE:
            message = f"params.extra_body must not hold {name}: use {_BELONGS_ELSEWHERE[name]}"
            raise ConfigError(message, agent=agent, key="params.extra_body")
    for header, value in params.get("extra_headers", {}).items():
        problem = _header_problem(header, value)
        if problem:
            raise ConfigError(f"params.extra_headers must not hold {problem}", agent=agent, key="params.extra_headers")


def _header_problem(name: Any, value: Any) -> str:
    known = str(name).strip().lower()
    if known in _KEY_HEADERS:
        return f"{name}: use the agent's `api_key` or `api_key_env`"
    if known in SESSION_HEADERS:
        return f"{name}: it belongs to the HTTP session"
    if not isinstance(name, str) or not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return f"{name!r} with a {type(value).__name__}: a header is a text with a text"
    return ""
