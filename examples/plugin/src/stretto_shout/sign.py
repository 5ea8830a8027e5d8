"""Sign every reply.

Outside of `Retry`: what is tried again is signed once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from stretto import Call, ConfigError, Delta, Next, Reply


@dataclass(frozen=True, slots=True)
class Sign:
    """Add a line to each reply, and to its pieces.

    Args:
        text: of the line, not empty.
        name: of the layer.

    Raises:
        ConfigError: at construction, when `text` is empty.
    """

    text: str
    name: str = field(default="sign", kw_only=True)

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ConfigError("Sign.text must not be empty", key="text")

    async def __call__(self, call: Call, call_next: Next) -> Reply:
        reply = await call_next(call)
        line = f"\n{self.text}" if reply.text else self.text
        # A cache below emits nothing; then what the reply says is emitted with it, by the run.
        if call.emit is not None and any(attempt.emitted for attempt in call.record.attempts):
            await call.emit(Delta(text=line))
        return replace(reply, text=reply.text + line)
