"""What others make of OpenAI's chat completions.

Source: the API references of Mistral, Groq, DeepSeek and OpenRouter, and their error pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from formats_openai import TYPES, OpenAI
from formats_shape import CACHED, INPUT, OUTPUT, REASONED, Said, event


@dataclass(frozen=True, kw_only=True)
class Mistral(OpenAI):
    """Mistral's: content in parts where it reasons, whole tool calls, usage on the last chunk, flat errors."""

    answering: ClassVar[str] = "magistral-small-2509"
    response_id: ClassVar[str] = "426a1c8c62704d959621a94c1ff0cffb"
    finishes: ClassVar[tuple[str, ...]] = ("stop", "length", "tool_calls")

    reasons: bool = True
    cached: int = 0
    reasoned: int = 0
    tool_id: str | None = "D681PevKs"

    def end(self, said: Said) -> Iterator[bytes]:
        yield self.piece({"content": ""}, said.finish, usage=self.usage())
        yield event("[DONE]")

    def message(self, said: Said) -> dict[str, Any]:
        content: Any = said.text
        if said.reasoning:
            content = [*self.reasoning(said.reasoning)["content"], {"type": "text", "text": said.text}]
        tools = [{**tool, "index": index} for index, tool in enumerate(self.tools(said))]
        return {"role": "assistant", "tool_calls": tools or None, "content": content}

    def reasoning(self, text: str) -> dict[str, Any]:
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}

    def tool_parts(self, index: int, tool: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {**tool, "index": index}

    def beside(self) -> dict[str, Any]:
        return {}

    def choice(self, name: str, content: Any, finish: str | None) -> dict[str, Any]:
        return {"index": 0, "finish_reason": finish, name: content}

    def usage(self) -> dict[str, Any]:
        return {"prompt_tokens": INPUT, "total_tokens": INPUT + OUTPUT, "completion_tokens": OUTPUT}

    def error(self, status: int, message: str) -> Any:
        if status == 401:
            return {"detail": message}
        kind, code = {429: ("rate_limited", "1300"), 404: ("not_found", "1500")}.get(
            status, ("invalid_request_error" if status < 500 else "internal_server_error", None)
        )
        told: Any = message
        if status == 422:
            told = {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": message, "input": 1}]}
        error = {"object": "error", "message": told, "type": kind, "param": None, "code": code}
        return {**error, "raw_status_code": status}

    def break_off(self, message: str) -> bytes:
        error = {"object": "error", "message": message, "type": "internal_server_error", "param": None}
        return event({**error, "code": "1000", "raw_status_code": 500})

    def too_long(self) -> tuple[int, Any] | None:
        message = "Prompt contains 140000 tokens, too large for model with 131072 maximum context length"
        error = {"object": "error", "message": message, "type": "invalid_request_invalid_args", "param": None}
        return 400, {**error, "code": "3051", "raw_status_code": 400}

    def blocked(self) -> tuple[int, Any] | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Groq(OpenAI):
    """Groq's: `x_groq`, times in its usage, and a service tier that is not always there.

    Args:
        tier: of the service; None leaves it out.
    """

    reasoning_field: ClassVar[str] = "reasoning"
    answering: ClassVar[str] = "qwen/qwen3-32b"
    response_id: ClassVar[str] = "chatcmpl-5c44b70c-632d-4c1d-ae01-d02160872e86"
    finishes: ClassVar[tuple[str, ...]] = ("stop", "length", "tool_calls")

    reasons: bool = True
    tier: str | None = "on_demand"

    def complete(self, said: Said) -> Any:
        whole = {**super().complete(said), "usage_breakdown": None, "x_groq": {"id": "req_01kwwpd7caeazb6x8yat"}}
        return whole if self.tier is None else {**whole, "service_tier": self.tier}

    def end(self, said: Said) -> Iterator[bytes]:
        yield self.piece({}, said.finish, x_groq={"id": "req_01kwwpd7caeazb6x8yat", "usage": self.usage()})
        yield event({**self.envelope("chat.completion.chunk"), "choices": [], "usage": self.usage()})
        yield event("[DONE]")

    def reasoning(self, text: str) -> dict[str, Any]:
        return {"reasoning": text, "channel": "analysis"}

    def beside(self) -> dict[str, Any]:
        return {"system_fingerprint": "fp_43d97c5965"}

    def usage(self) -> dict[str, Any]:
        times = {"queue_time": 0.265, "prompt_time": 0.012, "completion_time": 0.055, "total_time": 0.067}
        return {**super().usage(), **times}

    def error(self, status: int, message: str) -> Any:
        codes = {413: ("tokens", "rate_limit_exceeded"), 429: ("requests", "rate_limit_exceeded")}
        kind, code = codes.get(status) or TYPES.get(status) or ("invalid_request_error", None)
        if status >= 500:
            kind = "internal_server_error"
        return {"error": {"message": message, "type": kind} | ({"code": code} if code else {})}

    def break_off(self, message: str) -> bytes:
        return event({"error": {"message": message, "type": "internal_server_error", "status_code": 500}}, "error")

    def blocked(self) -> tuple[int, Any] | None:
        return None


@dataclass(frozen=True, kw_only=True)
class DeepSeek(OpenAI):
    """DeepSeek's: `reasoning_content`, its own words for the cache, comments that keep the connection alive."""

    answering: ClassVar[str] = "deepseek-reasoner"
    response_id: ClassVar[str] = "daa81cff-c5b8-421d-9b51-ca7fd364ba7e"

    reasons: bool = True

    def begin(self, said: Said) -> Iterator[bytes]:
        yield b": keep-alive\n\n"
        yield from super().begin(said)

    def end(self, said: Said) -> Iterator[bytes]:
        yield self.piece({"content": ""}, said.finish, usage=self.usage())
        yield event("[DONE]")

    def beside(self) -> dict[str, Any]:
        return {"system_fingerprint": "fp_eaab8d114b_prod0820_fp8_kvcache"}

    def usage(self) -> dict[str, Any]:
        usage = super().usage()
        details = {"prompt_tokens_details": {"cached_tokens": CACHED}}
        details |= {"completion_tokens_details": {"reasoning_tokens": REASONED}}
        return {**usage, **details, "prompt_cache_hit_tokens": CACHED, "prompt_cache_miss_tokens": INPUT - CACHED}

    def error(self, status: int, message: str) -> Any:
        kind = {401: "authentication_error"}.get(status, "invalid_request_error" if status < 500 else "server_error")
        return {"error": {"message": message, "type": kind, "param": None, "code": "invalid_request_error"}}

    def too_long(self) -> tuple[int, Any] | None:
        return 400, self.error(400, "This model's maximum context length is 131072 tokens. You requested 140000.")

    def blocked(self) -> tuple[int, Any] | None:
        return 400, self.error(400, "Content Exists Risk")


@dataclass(frozen=True, kw_only=True)
class OpenRouter(OpenAI):
    """OpenRouter's: `reasoning` with details, comments, usage with its cost; codes of errors are their status."""

    reasoning_field: ClassVar[str] = "reasoning"
    answering: ClassVar[str] = "z-ai/glm-4.6"
    response_id: ClassVar[str] = "gen-1766560958-qN7Gt3oXln7EEUox2h5N"

    reasons: bool = True
    path: str = "/api/v1"

    def begin(self, said: Said) -> Iterator[bytes]:
        yield b": OPENROUTER PROCESSING\n\n"
        yield from super().begin(said)

    def end(self, said: Said) -> Iterator[bytes]:
        yield self.piece({"role": "assistant", "content": ""}, said.finish)
        yield self.piece({"role": "assistant", "content": ""}, said.finish, usage=self.usage())
        yield event("[DONE]")

    def envelope(self, kind: str) -> dict[str, Any]:
        return {**super().envelope(kind), "provider": "Z.AI"}

    def beside(self) -> dict[str, Any]:
        return {}

    def choice(self, name: str, content: Any, finish: str | None) -> dict[str, Any]:
        return {**super().choice(name, content, finish), "native_finish_reason": finish}

    def message(self, said: Said) -> dict[str, Any]:
        message = super().message(said)
        return message | (self._details(said.reasoning) if said.reasoning else {})

    def reasoning(self, text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": "", "reasoning": text, **self._details(text)}

    @staticmethod
    def _details(text: str) -> dict[str, Any]:
        return {"reasoning_details": [{"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}]}

    def usage(self) -> dict[str, Any]:
        cost = {"upstream_inference_cost": None, "upstream_inference_prompt_cost": 2.4e-05}
        return {**super().usage(), "cost": 0.00042, "is_byok": False, "cost_details": cost}

    def error(self, status: int, message: str) -> Any:
        error: dict[str, Any] = {"message": message, "code": status}
        if status == 429:
            error["metadata"] = {"raw": "upstream has no room", "provider_name": "Z.AI"}
        return {"error": error, "user_id": "user_2lTkQmTHgzBDVnNEqlNHBTSgKXa"}

    def break_off(self, message: str) -> bytes:
        return self.piece({"content": ""}, "error", error={"code": 502, "message": message})

    def too_long(self) -> tuple[int, Any] | None:
        return 400, self.error(400, "This endpoint's maximum context length is 202752 tokens. You requested 210000.")

    def blocked(self) -> tuple[int, Any] | None:
        body = self.error(403, "Your input was flagged")
        reason = {"reasons": ["violence"], "flagged_input": "...", "provider_name": "OpenAI", "model_slug": "z"}
        return 403, {**body, "error": {**body["error"], "metadata": reason}}
