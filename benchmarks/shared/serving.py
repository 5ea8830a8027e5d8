"""Start the loopback server of the benchmarks, and raise the number of connections that may be open."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).with_name("server.py")


@contextmanager
def serving(seconds: float = 0.0, chunks: int = 100) -> Iterator[str]:
    """Serve; give the base URL."""
    many_files()
    command = [sys.executable, str(SERVER), str(seconds), str(chunks)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.kill()


def many_files() -> None:
    """Raise this process's limit of open files as far as it may; the server inherits it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
