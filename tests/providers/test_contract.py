"""The providers that ship keep the contract, over a loopback server where they speak HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.providers.make_services import Wire

from loopback import Answer, Loopback
from stretto.providers import LiteLLM, OpenAICompatible, Simulated
from stretto.testing import assert_provider_contract

KEY = "sk-of-this-test"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Wire() as server:
        server.otherwise = Answer("three little words")
        yield server


def test_simulated_keeps_the_contract() -> None:
    assert_provider_contract(Simulated, failing=["simulated/fail-429", "simulated/cut-3"])


def test_openai_compatible_keeps_the_contract(server: Loopback) -> None:
    assert_provider_contract(OpenAICompatible, model="compatible/m", base_url=server.url, api_key=KEY)


@pytest.mark.parametrize("model", ["openai/gpt-5-mini", "hosted_vllm/m"])
@pytest.mark.filterwarnings("ignore:Accessing the '.*' attribute on the instance is deprecated")
@pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier")
def test_litellm_keeps_the_contract(server: Loopback, model: str) -> None:
    assert_provider_contract(LiteLLM, model=model, base_url=server.url, api_key=KEY)
