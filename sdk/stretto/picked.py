"""Write the text of an agent that is shown one field of a result instead of all of it: llm-orc's `input_key`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .inputs import Inputs, as_text
from .marks import as_literal
from .prompt import COMPOSERS, mark_value


@dataclass(frozen=True, slots=True)
class Picked:
    """A function for prompts: what the composer writes, with the field in place of the result that it is of.

    Args:
        source: name of the agent whose result has the field; without a result, nothing is picked.
        field: its name.
        composer: "llm_orc" or "plain".
    """

    source: str
    field: str
    composer: str = "llm_orc"

    def __call__(self, inputs: Inputs) -> str:
        """Give the text.

        Raises:
            InvalidOutput: when the result has no such field.
        """
        outcome = inputs.results.get(self.source)
        results = dict(inputs.results)
        if outcome is not None and outcome.ok:
            value = mark_value(self.source, (self.field,), inputs.input, results)
            results[self.source] = replace(outcome, value=value, text=as_literal(value), children=(), inner=None)
        return COMPOSERS[self.composer](replace(inputs, text=as_text(inputs.input), results=results))
