"""Write what a script is given: its standard input, and its environment.

Source: llm-orc 0.25.2, as observed, for what `strictness="compat"` gives.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import marks
from .inputs import as_text
from .llm_orc_result import record
from .outcome import plain
from .script_session import MARK

if TYPE_CHECKING:
    from .agent import Agent
    from .inputs import Inputs
    from .outcome import Outcome

# What every script may see of the environment; none of it is a secret. A script within a script has marks of both.
PASSED = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", MARK)
# Bytes of one variable with its name. Source: Linux, MAX_ARG_STRLEN: with a longer one no process starts (E2BIG).
LONGEST_VARIABLE = 32 * 4096


@dataclass(frozen=True, slots=True)
class Given:
    """All that a script is told.

    Args:
        agent: whose script it is.
        inputs: its dependencies' outcomes; of a fan-out instance also `index` and `count`.
        data: its input as data: the run's (or its own) as given, what its prompt says, or a fan-out's item.
        strictness: "compat": llm-orc's contract, with its gaps closed.
        excused: names of the agents that a guard skipped.
        handled: names of the agents that ran although no dependency had succeeded.
    """

    agent: Agent
    inputs: Inputs
    data: Any
    strictness: Literal["strict", "compat"] = "strict"
    excused: Collection[str] = ()
    handled: Collection[str] = ()

    @property
    def told_of_others(self) -> bool:
        """Whether llm-orc gives it its dependencies' results; it gives them to no instance of a fan-out."""
        return bool(self.agent.depends_on) and self.inputs.index is None


def stdin_of(given: Given) -> bytes:
    """Give standard input: JSON, in ASCII so that it reads alike in every locale.

    In strict files `input`, `parameters` and `dependencies` (by name `status`, `output`, `text` and `reason`), in a
    fan-out also `index` and `count`. In compat: `input` (text), `parameters` and `context`; with dependencies
    `agent_name`, `input_data` (text), `context`, `dependencies` (whole records) and, which llm-orc lacks, `parameters`.
    """
    if given.strictness == "compat":
        message = _later(given) if given.told_of_others else _first(given)
    else:
        message = _ours(given)
    return _json(message).encode("ascii")


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # a function has returned what JSON cannot hold
        return json.dumps(plain(value))


def _parameters(given: Given) -> dict[str, Any]:
    return dict(given.agent.parameters or {})


def _ours(given: Given) -> dict[str, Any]:
    inputs = given.inputs
    message: dict[str, Any] = {
        "input": given.data,
        "parameters": _parameters(given),
        "dependencies": {name: _result(outcome) for name, outcome in inputs.results.items()},
    }
    if inputs.index is not None:
        message |= {"index": inputs.index, "count": inputs.count}
    return message


def _result(outcome: Outcome) -> dict[str, Any]:
    return {"status": outcome.status, "output": outcome.value, "text": outcome.text, "reason": outcome.reason}


def _first(given: Given) -> dict[str, Any]:
    return {"input": _text_of(given), "parameters": _parameters(given), "context": {}}


def _text_of(given: Given) -> str:
    """Give the input as llm-orc's scripts get it; in a fan-out it is a text that holds JSON."""
    inputs = given.inputs
    if inputs.index is None:
        return as_text(given.data)
    name, number = given.agent.name, f"[{inputs.index}]"
    chunk: dict[str, Any] = {
        "agent_name": name if name.endswith(number) else name + number,
        "input": inputs.item if _only_blocks(given) else given.data,
        "chunk_index": inputs.index,
        "total_chunks": inputs.count,
        "base_input": as_text(inputs.input),
        "context": {},
    }
    return _json(chunk)


def _later(given: Given) -> dict[str, Any]:
    inputs = given.inputs
    picked = _picked_from(given)
    records: dict[str, Any] = {
        name: record(outcome, excused=name in given.excused, handled=name in given.handled)
        for name, outcome in inputs.results.items()
    }
    if picked is not None:
        records[picked]["response"] = given.data if isinstance(given.data, str) else _json(given.data)
    return {
        "agent_name": given.agent.name,
        "input_data": _base(given),
        "context": {},
        "dependencies": records,
        "parameters": _parameters(given),
    }


def _base(given: Given) -> str:
    own = _picked_from(given) is None and not _only_blocks(given)
    return as_text(given.data if own else given.inputs.input)


def _picked_from(given: Given) -> str | None:
    """Give the dependency of which the prompt is one field alone: `input_key`, which llm-orc puts in its record."""
    prompt = given.agent.prompt
    mark = marks.alone(marks.read(prompt)) if isinstance(prompt, str) else None
    first = given.agent.depends_on[0]
    picked = mark is not None and mark.text.startswith(f"{first}.") and first in given.inputs.results
    return first if picked and given.inputs.results[first].ok else None


def _only_blocks(given: Given) -> bool:
    """Whether the prompt is `input_scope: dependencies`, which says nothing new to a script."""
    return given.agent.prompt == f"${{{marks.DEPENDENCIES}}}"


def environment(names: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that a script may see: PATH, HOME, LANG, TMPDIR, TZ and those that it names; no others.

    Args:
        names: the agent's `env`; those that do not exist are left out.
        environ: the environment to take them from.
    """
    return {name: environ[name] for name in (*PASSED, *names) if name in environ}


def variables_of(given: Given, stdin: bytes) -> dict[str, str]:
    """Give the variables that llm-orc sets: INPUT_DATA, INPUT_TEXT and AGENT_PARAMETERS; none in strict files.

    Args:
        given: what the script is told.
        stdin: that, as `stdin_of` gave it.
    """
    if given.strictness == "strict":
        return {}
    later = given.told_of_others
    text = _base(given) if later else _text_of(given)
    whole = stdin.decode("ascii") if later else text
    return {"INPUT_DATA": whole, "INPUT_TEXT": text, "AGENT_PARAMETERS": _json(_parameters(given))}


def encoded(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    """Give an environment that a process can have: without values that hold NUL or are longer than one may be.

    Standard input has all of what is left out.
    """
    made: dict[bytes, bytes] = {}
    for name, text in variables.items():
        try:
            value = os.fsencode(text)
        except UnicodeEncodeError:  # not of the environment, and not in the locale's alphabet
            value = text.encode("utf-8", "replace")
        if b"\0" not in value and len(name) + len(value) + 2 <= LONGEST_VARIABLE:
            made[os.fsencode(name)] = value
    return made
