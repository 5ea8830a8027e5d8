"""Start a script as the leader of a session, tell when it ends, and kill all that it has started.

As long as its leader has not been reaped, no other session can have that number.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from .script_kin import Kin, alone, born, descendants, kin

# The variable by which those who leave the session are known; of a script within a script it holds the marks of both.
MARK = "STRETTO_SCRIPT"
# Rounds of looking for what was born while the last round killed.
_ROUNDS = 20


class Session:
    """A process that leads a session of its own, and all that it starts.

    Args:
        argv, folder, environment: of the process; it gets three unbuffered pipes.

    Raises:
        OSError: when it cannot be started.
    """

    __slots__ = ("_known", "_leader", "_mark", "popen")

    def __init__(self, argv: tuple[str, ...], folder: str, environment: Mapping[bytes, bytes]) -> None:
        self._mark = secrets.token_hex(8).encode()
        name = MARK.encode()
        marks = b" ".join((*environment.get(name, b"").split(), self._mark))
        self.popen = subprocess.Popen(
            argv,
            bufsize=0,
            cwd=folder,
            env={**environment, name: marks},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._leader = Kin(self.popen.pid, born(self.popen.pid))
        self._known = set[Kin]()

    def signal(self, number: int) -> None:
        """Send a signal to its process group, in moments; nobody may be left of that."""
        self._known |= descendants(self._leader.pid)  # when those between have died, nobody knows whose they were
        with suppress(ProcessLookupError, PermissionError):  # macOS: of a group of which only a zombie is left
            os.killpg(self._leader.pid, number)

    def end(self) -> None:
        """Kill them all, those too who have moved into a group or a session of their own, as `timeout` and `setsid` do.

        To be called before the leader is reaped.
        """
        self.signal(signal.SIGKILL)
        if alone(self._leader.pid):
            return
        killed = set[Kin]()
        for _ in range(_ROUNDS):
            found = (self._known | kin(self._leader, self._mark)) - killed
            if not found:
                return
            for one in found:
                one.kill()
            killed |= found


def watch(pid: int) -> int | None:
    """Give a file descriptor that can be read once a process has ended; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux; forbidden in a sandbox
        return None


def has_ended(popen: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended; where the system can, it is not reaped yet."""
    try:
        return os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
    except AttributeError:  # macOS before Python 3.13
        return popen.poll() is not None


def reap(popen: subprocess.Popen[bytes]) -> int | None:
    """Wait for the end of a process and give its status: 0 to 255, or minus the number of the signal that killed it.

    None: something else in this program has taken it away, by waiting for any child or ignoring SIGCHLD. (Popen itself
    would say 0.)
    """
    if popen.returncode is None:
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(popen.pid, 0)[1])
        except ChildProcessError:
            popen.returncode = 0
            return None
        popen.returncode = status
    return popen.returncode
