"""What an agent does whose model or ensemble nothing defines: it fails without a call, and the others run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

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
