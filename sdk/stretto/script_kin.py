"""Find those whom a script has started, wherever they have moved: by parent, by session, by a mark that they inherit.

Only Linux tells; elsewhere nobody is found.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

# Looks at one that has no environment: for a moment in its exec nobody has. And seconds between them.
_LOOKS = 3
_MOMENT = 0.001
_PIECE = 64 * 2**10
_KERNEL_THREAD = 0x00200000  # Source: Linux, PF_KTHREAD


class Kin(NamedTuple):
    """A process, not to be taken for a later one of the same number.

    Attributes:
        pid: its number.
        born: when it was started, in ticks of the system's clock.
    """

    pid: int
    born: int

    def kill(self) -> None:
        """Kill it, unless it is gone."""
        if born(self.pid) == self.born:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)


class _State(NamedTuple):
    zombie: bool
    session: int
    kernel: bool
    born: int


def _state(pid: int) -> _State | None:
    data = _read(f"/proc/{pid}/stat")
    if data is None:
        return None
    words = data.rpartition(b")")[2].split()  # its name may hold anything
    return _State(words[0] in b"ZX", int(words[3]), bool(int(words[6]) & _KERNEL_THREAD), int(words[19]))


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY)  # half the time of a file object: it is done for every process there is
    except OSError:  # it is gone, or somebody else's
        return None
    try:
        data = piece = os.read(fd, _PIECE)
        while piece:
            piece = os.read(fd, _PIECE)
            data += piece
        return data
    except OSError:
        return None
    finally:
        os.close(fd)


def born(pid: int) -> int:
    """Give when a process was started, in ticks of the system's clock; 0 when nobody knows."""
    state = _state(pid)
    return 0 if state is None else state.born


def alone(pid: int) -> bool:
    """Whether a process can be known to have started none: it is the youngest of all, threads included."""
    data = _read("/proc/loadavg")
    return data is not None and data.split()[-1:] == [b"%d" % pid]


def descendants(pid: int) -> set[Kin]:
    """Give children, grandchildren and so on, as long as those between are alive; costs little when they are few."""
    found, todo = set[Kin](), [pid]
    while todo:
        one = todo.pop()
        children: list[int] = []
        with suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):  # each thread has its own
                children += map(int, (_read(f"/proc/{one}/task/{task}/children") or b"").split())
        for child in children:
            kin = Kin(child, born(child))
            if kin.born and kin not in found:
                found.add(kin)
                todo.append(child)
    return found


def kin(leader: Kin, mark: bytes) -> set[Kin]:
    """Give who is alive of a session, who has a mark in the environment, and their descendants; but not the leader.

    Args:
        leader: of the session. Who is older than it cannot be of its kin, and is not looked at.
        mark: what the leader's environment holds, and no other's.
    """
    found, blank = set[Kin](), list[Kin]()
    for pid in _pids():
        state = _state(pid)
        if state is None or state.zombie or state.kernel or state.born < leader.born or pid == leader.pid:
            continue
        one = Kin(pid, state.born)
        if state.session == leader.pid:
            found.add(one)
            continue
        environment = _read(f"/proc/{pid}/environ")
        if environment is not None and mark in environment:
            found.add(one)
        elif environment == b"":
            blank.append(one)
    found |= _at_second_sight(blank, mark)
    return found.union(*(descendants(one.pid) for one in found))


def _pids() -> Iterable[int]:
    with suppress(FileNotFoundError, PermissionError):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return ()


def _at_second_sight(blank: Iterable[Kin], mark: bytes) -> set[Kin]:
    found = set[Kin]()
    for _ in range(_LOOKS):
        if not blank:
            break
        time.sleep(_MOMENT)
        environments = {one: _read(f"/proc/{one.pid}/environ") for one in blank}
        found |= {one for one, environment in environments.items() if mark in (environment or b"")}
        blank = [one for one, environment in environments.items() if environment == b""]
    return found
