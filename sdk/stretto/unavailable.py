"""What an agent does whose model or ensemble nothing defines: it fails without a call, and the others run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import CallError

if TYPE_CHECKING:
    from .inputs import Inputs


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The function of such an agent.

    Args:
        reason: one sentence, without keys.
    """

    reason: str

    async def __call__(self, inputs: Inputs) -> NoReturn:
        raise CallError(self.reason)

    def in_place_of(self, given: dict[str, Any], *keys: str) -> None:
        """Make an agent's keywords those of one that fails."""
        for key in keys:
            given.pop(key, None)
        given["function"] = self
