"""Tell when a process ends, and kill all that it has started.

A script leads a session of its own. As long as its leader has not been reaped, no other session can have that number.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

# Rounds of looking for what was born while the last round killed.
_ROUNDS = 20


def start(argv: tuple[str, ...], folder: str, environment: dict[bytes, bytes]) -> subprocess.Popen[bytes]:
    """Start a process that leads a session of its own, with three unbuffered pipes.

    Raises:
        OSError: when it cannot be started.
    """
    return subprocess.Popen(
        argv,
        bufsize=0,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


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


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a process group; nobody may be left of it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: of a group of which only a zombie is left
        os.killpg(leader, number)


def kill_session(leader: int) -> None:
    """Kill a session: its process group, and those who have moved into a group of their own, as `timeout` does."""
    signal_group(leader, signal.SIGKILL)
    killed = {leader}
    for _ in range(_ROUNDS):
        found = _members(leader) - killed
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        killed |= found


def _members(session: int) -> set[int]:
    found: set[int] = set()
    with suppress(FileNotFoundError, PermissionError):  # only Linux lists its processes there
        for name in os.listdir("/proc"):
            if name.isdecimal():
                with suppress(ProcessLookupError, PermissionError):
                    if os.getsid(int(name)) == session:
                        found.add(int(name))
    return found


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
