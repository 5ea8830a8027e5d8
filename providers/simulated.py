"""Answer without a network: deterministic replies, delays and faults, on real or virtual time.

The name of the model says what happens: `simulated/latency-300ms+tokens-20`, `simulated/fail-429-2+retry-after-2s`.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stretto.call import Call, Endpoint
from stretto.errors import BadResponse, CallError, ConfigError, ProviderUnavailable, error_for_status
from stretto.reply import Delta, Reply
from stretto.settings import check_seconds
from stretto.shapes import is_list
from stretto.usage import Price, Usage

WORDS_PER_SECOND = 50
_FREE = Price(0.0, 0.0)
_VOCABULARY = (
    "a about after all also an and are as at be been but by can each every first for from has have here how if in "
    "into is it its last made many may more most new no not now of on one only or other our out over so some such "
    "than that the their then there these they this those through time to two under up was way we well were what "
    "when where which while who will with word work"
).split()

SPELLINGS = (
    "echo, latency-300ms, tokens-200, fail-500, fail-429-2, retry-after-2s, hang, stall-3, cut-3, garbage; "
    "parts are joined with +"
)


@dataclass(frozen=True, slots=True)
class _Script:
    """What a model's name says."""

    latency: float = 0.0
    tokens: int | None = None
    status: int | None = None
    failures: int | None = None  # None: always
    retry_after: float | None = None
    hang: bool = False
    stall: int | None = None
    cut: int | None = None
    garbage: bool = False


_SECONDS = {"ms": 0.001, "s": 1.0}
_NUMBER = r"(\d+(?:\.\d+)?)"
_PARTS: tuple[tuple[str, Callable[[re.Match[str]], dict[str, Any]]], ...] = (
    (r"echo", lambda m: {}),
    (rf"latency-{_NUMBER}(ms|s)", lambda m: {"latency": float(m[1]) * _SECONDS[m[2]]}),
    (r"tokens-(\d+)", lambda m: {"tokens": int(m[1])}),
    (r"fail-([45]\d\d)(?:-(\d+))?", lambda m: {"status": int(m[1]), "failures": int(m[2]) if m[2] else None}),
    (rf"retry-after-{_NUMBER}(ms|s)", lambda m: {"retry_after": float(m[1]) * _SECONDS[m[2]]}),
    (r"hang", lambda m: {"hang": True}),
    (r"stall-(\d+)", lambda m: {"stall": int(m[1])}),
    (r"cut-(\d+)", lambda m: {"cut": int(m[1])}),
    (r"garbage", lambda m: {"garbage": True}),
)


@lru_cache(maxsize=1024)
def _read(model: str) -> _Script:
    known: dict[str, Any] = {}
    unknown: list[str] = []
    name = model.partition("/")[2]
    for part in name.split("+"):
        for pattern, fields in _PARTS:
            match = re.fullmatch(pattern, part)
            if match is not None:
                known |= fields(match) or {"latency": known.get("latency", 0.0)}
                break
        else:
            unknown.append(part)
    if known and unknown:
        raise ConfigError(f"{model!r} has a part {unknown[0]!r} that is not known: {SPELLINGS}", key="model")
    return _Script(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A provider that answers by the model's name; a name without any known part echoes.

    It reports usage (a word is a token) and cost 0.0, and stops at `max_tokens`.

    Args:
        latency: seconds, 0 or more, before each answer, beside what the name says.
        seed: chooses the words of `tokens-N`.

    Raises:
        ConfigError: at construction, when `latency` is below 0.
    """

    latency: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.latency != 0:
            check_seconds("Simulated.latency", self.latency)

    def check(self, model: str, endpoint: Endpoint) -> None:
        """Refuse a name that mixes known parts with unknown ones.

        Raises:
            ConfigError: names the part, and all that are known.
        """
        _read(model)

    def price(self, model: str) -> Price:
        """Give the price of every model: nothing."""
        return _FREE

    async def __call__(self, call: Call) -> Reply:
        """Answer as the model's name says.

        Raises:
            CallError: as the model's name says.
        """
        script = _read(call.model)
        latency = script.latency + self.latency
        if latency:
            await asyncio.sleep(latency)
        if script.hang or (script.stall is not None and call.emit is None):
            await asyncio.get_running_loop().create_future()
        _fail(script, call)
        words, finish = self._words(script, call)
        usage = Usage(input_tokens=_count(call), output_tokens=len(words))
        if call.emit is not None:
            await self._stream(script, call, words)
        elif script.cut is not None:
            raise ProviderUnavailable("the simulated connection was cut")
        call.attempt.usage = usage
        return Reply("".join(words), usage=usage, cost=0.0, finish_reason=finish, model=call.model, route="simulated")

    def _words(self, script: _Script, call: Call) -> tuple[list[str], str]:
        """Give the pieces of the answer, each a word with its space, and the finish reason."""
        if script.tokens is None:
            words = re.findall(r"\s*\S+\s*|\s+", _last_user_message(call))
        else:
            words = self._generated(call, script.tokens)
        ends = [number for number in (script.stall, script.cut) if number is not None]
        if ends and max(ends) >= len(words):  # there must be a word to stop before
            words += self._generated(call, max(ends) - len(words) + 1)
        most = call.params.get("max_completion_tokens") or call.params.get("max_tokens")
        if isinstance(most, int) and len(words) > most:
            return words[:most], "length"
        return words, "stop"

    def _generated(self, call: Call, count: int) -> list[str]:
        chosen = random.Random(f"{self.seed}:{call.model}:{_last_user_message(call)}")
        words = [chosen.choice(_VOCABULARY) for _ in range(count)]
        return [f"{word} " for word in words[:-1]] + words[-1:]

    async def _stream(self, script: _Script, call: Call, words: list[str]) -> None:
        assert call.emit is not None
        pause = 1 / WORDS_PER_SECOND if script.tokens is not None else 0.0
        for number, word in enumerate(words):
            if number == script.stall:
                await asyncio.get_running_loop().create_future()
            if number == script.cut:
                raise ProviderUnavailable("the simulated connection was cut")
            if number:
                await asyncio.sleep(pause)
            await call.emit(Delta(text=word))


def _fail(script: _Script, call: Call) -> None:
    if script.garbage:
        raise BadResponse("the simulated answer is garbage", status=200)
    if script.status is None:
        return
    sent = sum(attempt.model == call.model for attempt in call.record.attempts)
    if script.failures is not None and sent > script.failures:
        return
    if script.retry_after is not None:
        call.attempt.headers = {"retry-after": f"{script.retry_after:g}"}
    kind: type[CallError] = error_for_status(script.status)
    raise kind(f"simulated {script.status}", status=script.status, retry_after=script.retry_after)


def _last_user_message(call: Call) -> str:
    return next((_text(message) for message in reversed(call.messages) if message.get("role") == "user"), "")


def _text(message: Any) -> str:
    content = message.get("content")
    if is_list(content):
        return " ".join(str(part.get("text", "")) for part in content)
    return content if isinstance(content, str) else ""


def _count(call: Call) -> int:
    return sum(len(_text(message).split()) for message in call.messages)
