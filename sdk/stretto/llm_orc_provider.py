"""Translate llm-orc's model and provider to a model with its prefix, and an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .address import check_base_url
from .errors import ConfigError
from .llm_orc_params import LLAMA_SERVER
from .routing import services

LLAMA_SERVER_URL = "LLAMA_SERVER_URL"
_LLAMA_SERVER = "http://127.0.0.1:8080/v1"
COMPATIBLE = "openai-compatible"
# What stretto calls the providers that have an address of their own.
PREFIXES: Mapping[str, str] = {
    "anthropic-api": "anthropic",
    "google": "gemini",
    "google-gemini": "gemini",
    "ollama": "ollama_chat",
}
_SIMULATED = "simulated/echo"
# They stand for a login of a person's, not for a key.
_LOGINS = ("anthropic-claude-pro-max", "claude-cli")


class Reached(NamedTuple):
    """A model, and where it is reached.

    Args:
        model: "provider/model".
        base_url: its address; None: the provider's own.
    """

    model: str
    base_url: str | None


def reached(model: str | None, provider: str | None, base_url: str | None, environ: Mapping[str, str]) -> Reached | str:
    """Give the model with its prefix; a sentence when there is no such provider here.

    Args:
        model: as the file says it.
        provider: llm-orc's name of it. None: the model is stretto's own `provider/model`, or has an address.
        base_url: as the file says it.
        environ: `LLAMA_SERVER_URL` is read from it.
    """
    if not model:
        return "it names no model"
    if provider is None:
        complete = base_url is not None or "/" in model
        return Reached(model, base_url) if complete else "it names no provider"
    if model.startswith("mock"):
        return Reached(_SIMULATED, None)
    if provider == LLAMA_SERVER:
        told = environ.get(LLAMA_SERVER_URL)
        if base_url is None and told and not _is_address(told):
            return f"the environment variable {LLAMA_SERVER_URL} is no http(s) address"
        return Reached(f"compatible/{model}", base_url or told or _LLAMA_SERVER)
    if provider == COMPATIBLE or provider.startswith(f"{COMPATIBLE}/"):
        return Reached(f"openai/{model}" if base_url is None else f"compatible/{model}", base_url)
    if provider in PREFIXES:
        return Reached(f"{PREFIXES[provider]}/{model}", base_url)
    return unlisted(provider, model)


def _is_address(url: str) -> bool:
    try:
        check_base_url(url, agent=None)
    except ConfigError:
        return False
    return True


def unlisted(provider: str, model: str) -> str:
    """Say why a provider cannot be used, and what to write instead."""
    if provider in _LOGINS:
        return f"its provider {provider} needs a person's login, which stretto does not use: anthropic-api takes a key"
    if provider in services():
        cure = f"leave provider out and write model: {provider}/{model}"
    else:
        cure = f"write one of {', '.join((COMPATIBLE, LLAMA_SERVER, *PREFIXES))}, or model: provider/model alone"
    return f"its provider {provider!r} is none of llm-orc's: {cure}"
