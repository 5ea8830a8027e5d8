"""Do the work of a script agent: start its process, give it its input, read its answer."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import ScriptFailed
from .inputs import as_text
from .script_input import PASSED, encoded, environment, stdin_of, variables_of
from .script_process import Process
from .script_reply import failed, reply_of
from .secret import Redactor, Secret

if TYPE_CHECKING:
    from .call import Call
    from .reply import Reply
    from .script import Script
    from .script_input import Given


class ScriptWork:
    """Run a script as if it were a provider; this is the `work` of a call of kind "script".

    Cancelled (by a clock or by the run), its whole process group is dead before the CancelledError goes on.

    Args:
        script: as `find_script` gave it.
        given: what it is told; where a layer has changed the call's last message, that text is its input.
        environ: the environment that its variables are taken from: `os.environ`.
    """

    __slots__ = ("_environ", "_given", "_script")

    def __init__(self, script: Script, given: Given, environ: Mapping[str, str]) -> None:
        self._script = script
        self._given = given
        self._environ = environ

    async def __call__(self, call: Call) -> Reply:
        """Give `Reply(text, raw=data, route="script")`; `raw` is the JSON that it wrote, else its text.

        Raises:
            ScriptFailed: it cannot be started, said that it failed, or wrote too much; its message repeats none of the
                variables that the agent's `env` names.
            CancelledError: when it was stopped.
        """
        given, script = self._given, self._script
        if not script.argv:
            raise failed(script.note)
        text = as_text(call.messages[-1:]) if call.messages else given.inputs.text
        if text != given.inputs.text:  # a layer has changed it
            given = replace(given, data=text)
        stdin = stdin_of(given)
        passed = environment(given.agent.env or (), self._environ)
        clean = _cleaner(call, passed)
        process = Process(script.argv, str(script.folder), encoded({**passed, **variables_of(given, stdin)}), stdin)
        try:
            return reply_of(await process.run(), given, clean)
        except ScriptFailed as error:
            failure = error
        except (OSError, RuntimeError, ValueError) as error:  # no such program, no threads left, NUL in its text
            failure = failed(_why(error))
        failure.redact(clean)
        raise failure  # outside of the except block, so that no foreign context is attached


def _cleaner(call: Call, passed: Mapping[str, str]) -> Callable[[str], str]:
    """Give what takes the values of the variables that the agent names out of a text, and the keys of the run."""
    named = (value for name, value in passed.items() if name not in PASSED)
    own = Redactor(Secret(value) for value in named if value.strip()).error_text
    if call.services is None:
        return own
    of_run = call.services.redactor.error_text
    return lambda text: of_run(own(text))


def _why(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return f"it cannot be started: {error}"
    hint = {errno.ENOEXEC: "; it is no program, and has no #! line", errno.E2BIG: "; shell text belongs in a file"}
    where = f" ({error.filename})" if error.filename is not None else ""
    return f"it cannot be started: {error.strerror}{where}{hint.get(error.errno or 0, '')}"
