"""The cost of a call is what litellm itself reckons, for the usage that came over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from formats import FORMATS, Said
from loopback import Answer, Loopback
from stretto.call import Endpoint
from stretto.providers import litellm_setup
from stretto.providers.litellm import LiteLLM
from stretto.secret import Secret
from stretto.testing import a_call

pytestmark = [
    pytest.mark.filterwarnings("ignore:Accessing the '.*' attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier"),
]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
PLAIN: Mapping[str, Any] = {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500}
USAGES: Mapping[str, Mapping[str, Any]] = {
    "plain": PLAIN,
    "cached": {**PLAIN, "prompt_tokens_details": {"cached_tokens": 1000}},
    "reasoning": {**PLAIN, "completion_tokens_details": {"reasoning_tokens": 250}},
    "both": {
        **PLAIN,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "completion_tokens_details": {"reasoning_tokens": 250},
    },
}
MODELS = [
    "openai/gpt-5-mini",
    "openai/gpt-4.1",
    "openai/o3",
    "deepseek/deepseek-chat",
    "xai/grok-4.3",
    "groq/openai/gpt-oss-20b",
]


@BOTH
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("usage", USAGES)
async def test_the_cost_is_litellms(server: Loopback, model: str, stream: bool, usage: str) -> None:
    server.answer(Answer(usage=USAGES[usage]))
    async with LiteLLM() as provider:
        reply = await provider(a_call(stream, model=model, endpoint=Endpoint(server.url, Secret("sk-key"))))
    litellm = litellm_setup.imported()
    prefix, _, bare = model.partition("/")
    answer = litellm.ModelResponse(model=bare, usage=litellm.Usage(**USAGES[usage]))
    expected = litellm.completion_cost(answer, model=model, custom_llm_provider=prefix)
    assert expected > 0
    assert reply.cost == pytest.approx(expected, rel=1e-9)
    if "xai" not in model:  # it counts the reasoning apart
        price = provider.price(model)
        assert price is not None
        assert reply.usage is not None
        assert price.of(reply.usage) == pytest.approx(expected, rel=1e-9)


# In place of models that have no price.
PRICED = {"cohere": "cohere_chat/command-r-08-2024", "groq": "groq/openai/gpt-oss-20b"}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "ollama"])  # which costs nothing
async def test_a_stream_costs_what_a_complete_answer_costs(
    server: Loopback, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = FORMATS[name]
    for variable, value in form.environment.items():
        monkeypatch.setenv(variable, value)
    key = None if form.key is None else Secret(form.key)
    costs: list[float] = []
    async with LiteLLM() as provider:
        for stream in (False, True):
            server.answer(form.answer(Said(), stream))
            model = PRICED.get(name, form.model)
            reply = await provider(a_call(stream, model=model, endpoint=Endpoint(form.base_url(server.origin), key)))
            assert reply.cost is not None
            costs.append(reply.cost)
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)
    assert costs[0] > 0
