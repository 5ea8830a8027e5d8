"""Read what a script has answered, and whether it has failed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import ScriptFailed, cleaned
from .reply import Reply
from .script_pipes import OUTPUT
from .shapes import is_mapping

if TYPE_CHECKING:
    from .script_input import Given
    from .script_process import Ended

# Characters of what a script wrote that an error repeats: the last ones.
TAIL = 2000
# The same of its output, on one line, where it wrote no errors. And what is looked through for that.
SAID = 200
_LAST = 2**16


def reply_of(ended: Ended, given: Given, clean: Callable[[str], str] = str) -> Reply:
    """Give the reply of a script that ended: `raw` is the JSON that it wrote, else its text.

    In compat an object with a `success` that is false or an `error` that is true has failed, and the input's form
    decides what the rest is: with dependencies a text, JSON or not (of an object, the object); without, and in a
    fan-out, what is not JSON becomes the `output` of an object.

    Args:
        ended: how it ended, and what it wrote.
        given: what it was told.
        clean: takes keys out of what an error repeats; before that is cut, so that no part of a key remains.

    Raises:
        ScriptFailed: it says so by its exit status, or wrote too much; in compat also as above.
    """
    errors = clean(ended.errors.decode("utf-8", "replace"))
    text = ended.output.decode("utf-8", "replace")
    if ended.too_much:
        raise failed(f"it was killed because it wrote more than {OUTPUT >> 20} MiB", ended.status, errors)
    if ended.status != 0:
        said = tail(errors) or _line(clean(text[-_LAST:]))
        payload: dict[str, Any] = (
            {"data": None, "agent_requests": []} if given.told_of_others else {"stderr": tail(errors)}
        )
        raise failed(_status(ended.status) + (f": {said}" if said else ""), ended.status, errors, payload)
    if given.strictness == "compat":
        return _theirs(text.strip(), given, errors, clean)
    text = text.rstrip("\r\n")
    return Reply(text, raw=_read(text, text), route="script")


def _theirs(text: str, given: Given, errors: str, clean: Callable[[str], str]) -> Reply:
    missing: Any = object()
    value = _read(text, missing)
    if is_mapping(value) and (value.get("error") or not value.get("success", True)):
        raise _own_word(value, text, errors, clean)
    if given.told_of_others:
        return Reply(text, raw=value if is_mapping(value) else text, route="script")
    if value is missing:
        value = {"success": True, "output": text}
    return Reply(value if isinstance(value, str) else json.dumps(value), raw=value, route="script")


def _own_word(value: Mapping[str, Any], text: str, errors: str, clean: Callable[[str], str]) -> ScriptFailed:
    """Give the error of a script that says by itself that it failed."""
    try:
        known: Mapping[str, Any] = cleaned(value, clean)
        said = known.get("error") or (text if known == value else json.dumps(known))
        message = said if isinstance(said, str) else json.dumps(said)
    except RecursionError:
        return failed("what it says of its failure is nested too deeply", 0, errors)
    rest = {key: other for key, other in known.items() if key not in ("success", "error")}
    return failed(tail(message), 0, errors, rest or None)


def _read(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return otherwise


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _status(status: int | None) -> str:
    if status is None:
        return "its exit status is not known: something else in this program waits for any child, or ignores SIGCHLD"
    if status > 0:
        return f"exit status {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was killed by signal {-status}"


def tail(text: str) -> str:
    """Give the end of a text, within bounds."""
    text = text.strip()
    return text if len(text) <= TAIL else "..." + text[-TAIL:]


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SAID else "..." + line[-SAID:]


def failed(
    message: str, status: int | None = None, errors: str = "", payload: Mapping[str, Any] | None = None
) -> ScriptFailed:
    """Give the error of a script, with `exit_status` and the end of its standard error as `stderr`."""
    return ScriptFailed(message, exit_status=status, stderr=tail(errors), payload=payload)
