"""One question to each service whose key is in the environment: `pytest -m live`. At most ten tokens are written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from stretto import Agent, Runner

pytestmark = [
    pytest.mark.live,
    # litellm itself ignores these warnings of its own when it is imported; pytest forgets that with each test.
    pytest.mark.filterwarnings("ignore:Accessing the '.*' attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier"),
]


class Service(NamedTuple):
    """What is called, and what must be set for it.

    Attributes:
        model: "provider/model".
        variables: without one of them the test is skipped.
        limit: the parameter that bounds the answer.
    """

    model: str
    variables: tuple[str, ...]
    limit: str = "max_tokens"


SERVICES: Mapping[str, Service] = {
    "openai": Service("openai/gpt-4.1-nano", ("OPENAI_API_KEY",), "max_completion_tokens"),
    "anthropic": Service("anthropic/claude-haiku-4-5", ("ANTHROPIC_API_KEY",)),
    "gemini": Service("gemini/gemini-2.5-flash-lite", ("GEMINI_API_KEY",)),
    "mistral": Service("mistral/mistral-small-latest", ("MISTRAL_API_KEY",)),
    "groq": Service("groq/llama-3.1-8b-instant", ("GROQ_API_KEY",)),
    "cohere": Service("cohere_chat/command-r7b-12-2024", ("COHERE_API_KEY",)),
    "deepseek": Service("deepseek/deepseek-chat", ("DEEPSEEK_API_KEY",)),
    "openrouter": Service("openrouter/openai/gpt-4.1-nano", ("OPENROUTER_API_KEY",)),
    # The deployment must have the model's name.
    "azure": Service("azure/gpt-4.1-nano", ("AZURE_API_KEY", "AZURE_API_BASE")),
    "bedrock": Service(
        "bedrock/converse/amazon.nova-micro-v1:0", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    ),
    "xai": Service("xai/grok-4.3", ("XAI_API_KEY",)),
    "together_ai": Service("together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", ("TOGETHER_API_KEY",)),
    "fireworks_ai": Service("fireworks_ai/accounts/fireworks/models/gpt-oss-20b", ("FIREWORKS_API_KEY",)),
    "perplexity": Service("perplexity/sonar", ("PERPLEXITY_API_KEY",)),
    "cerebras": Service("cerebras/gpt-oss-120b", ("CEREBRAS_API_KEY",), "max_completion_tokens"),
}


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_answers(name: str) -> None:
    service = SERVICES[name]
    missing = [variable for variable in service.variables if not os.environ.get(variable)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not set")
    agent = Agent("a", model=service.model, prompt="Say: hello", params={service.limit: 10}, timeout=60)
    async with Runner() as runner:
        run = await runner.run(agent, "hi", stream=True)
    assert run.ok, run.outcomes["a"].error
    reply = run.outcomes["a"].reply
    assert reply is not None
    assert reply.text or reply.reasoning
    assert reply.usage is not None
    assert 0 < reply.usage.output_tokens <= 10
    assert reply.finish_reason in ("stop", "length")
