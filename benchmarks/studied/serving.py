"""Start the server of the study in a process of its own, and ask it for its counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Counted:
    """What the server saw.

    Args:
        peak: connections open at once, at most.
        opened: connections.
        requests: that were complete.
    """

    peak: int
    opened: int
    requests: int


class Server:
    """A server that answers after the latency that a prompt asks for.

    Attributes:
        url: its base URL.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._asked, self._told = process.stdin, process.stdout
        self.url = f"http://127.0.0.1:{self._told.readline().strip()}/v1"

    def counted(self) -> Counted:
        """Give the counts since the last time."""
        self._asked.write("\n")
        self._asked.flush()
        return Counted(**json.loads(self._told.readline()))


@contextmanager
def answering() -> Iterator[Server]:
    """Serve."""
    command = [sys.executable, "-m", "studied.server"]
    with subprocess.Popen(command, cwd=BENCHMARKS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()
