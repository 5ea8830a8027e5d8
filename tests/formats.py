"""Eleven APIs that the loopback server can speak.

    format = FORMATS["anthropic"]
    async with Loopback() as server:
        server.answer(format.answer(Said("hello"), stream=True), format.refuse(529))
        ...  # call format.model at format.base_url(server.origin), with format.key

The variables of `format.environment` must be set.
"""

from __future__ import annotations

from collections.abc import Mapping

from formats_anthropic import Anthropic
from formats_bedrock import Bedrock
from formats_cohere import Cohere
from formats_gemini import Gemini
from formats_ollama import Ollama
from formats_openai import Azure, OpenAI
from formats_openai_like import DeepSeek, Groq, Mistral, OpenRouter
from formats_shape import CACHED, INPUT, OUTPUT, REASONED, TOOL_INPUTS, TOOL_NAME, TOOLS, Format, Said

__all__ = [
    "CACHED",
    "FORMATS",
    "INPUT",
    "OUTPUT",
    "REASONED",
    "TOOLS",
    "TOOL_INPUTS",
    "TOOL_NAME",
    "Anthropic",
    "Format",
    "Gemini",
    "Groq",
    "Said",
]

_AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAOFTHETESTS000000",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests-0123456789abcdef",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        OpenAI(name="openai", model="openai/gpt-5-mini"),
        Anthropic(name="anthropic", model="anthropic/claude-sonnet-4-5"),
        Gemini(name="gemini", model="gemini/gemini-2.5-flash"),
        Ollama(name="ollama", model="ollama_chat/qwen3:8b"),
        Azure(
            name="azure",
            model="azure/gpt-4.1-mini",
            path="",
            environment={"AZURE_API_VERSION": "2024-10-21"},
            request_id="apim-request-id",
        ),
        Mistral(name="mistral", model="mistral/magistral-small-latest", request_id="mistral-correlation-id"),
        Groq(name="groq", model="groq/qwen/qwen3-32b", path="/openai/v1"),
        Cohere(name="cohere", model="cohere_chat/command-a-reasoning-08-2025", path="/v2/chat"),
        DeepSeek(name="deepseek", model="deepseek/deepseek-reasoner", path="", request_id="x-ds-trace-id"),
        OpenRouter(name="openrouter", model="openrouter/z-ai/glm-4.6", request_id="cf-ray"),
        Bedrock(
            name="bedrock",
            model="bedrock/converse/anthropic.claude-sonnet-4-5-20250929-v1:0",
            environment=_AWS,
        ),
    )
}
