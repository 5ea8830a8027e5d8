"""Answer in capital letters: the provider of every model that begins with `shout/`."""

from __future__ import annotations

import asyncio
import re

from stretto import Call, ConfigError, Delta, Reply, Usage
from stretto.call import Endpoint
from stretto.errors import RequestRejected
from stretto.usage import Price

LOUDNESS = {"loud": "!", "louder": "!!!"}


class Shout:
    """Say the last message again, louder. It needs no key and no network."""

    def check(self, model: str, endpoint: Endpoint) -> None:
        """Refuse a model that is not known, before anything is called.

        Raises:
            ConfigError: names those that are.
        """
        if model.partition("/")[2] not in LOUDNESS:
            raise ConfigError(f"there is no {model}: shout knows {', '.join(LOUDNESS)}", key="model")

    def price(self, model: str) -> Price:
        """Give the price of every model: nothing."""
        return Price(0.0, 0.0)

    async def __call__(self, call: Call) -> Reply:
        """Shout; a streamed call gets a word at a time.

        Raises:
            RequestRejected: when there is nothing to be said.
        """
        asked = str(call.messages[-1].get("content", "")).strip() if call.messages else ""
        if not asked:
            raise RequestRejected("there is nothing to shout", status=400)
        text = asked.upper() + LOUDNESS[call.model.partition("/")[2]]
        words = re.findall(r"\S+\s*", text)
        if call.emit is not None:
            for word in words:
                await call.emit(Delta(text=word))
                await asyncio.sleep(0)
        usage = Usage(input_tokens=len(asked.split()), output_tokens=len(words))
        return Reply(text, usage=usage, cost=0.0, finish_reason="stop", model=call.model, route="shout")
