"""Find out on the wire what litellm reads and sends for each service, and write `sdk/stretto/services.json`.

    python tests/providers/make_services.py        # about five minutes; review the difference before it is committed

Every variable that looks like a credential in the sources of litellm, the openai SDK and botocore is set to a canary of
its own. Nothing leaves the machine: whatever looks up or connects to another host than loopback is noted and refused.

keys     the canaries that arrive when no key is given, in litellm's order
bases    the variables that name an address, in litellm's order
url      the service's own address; null when it has none, or one for each account
client   the kind of client that litellm takes from its caller: "openai" (the SDK's), "http" (its own); "own": it finds
         one itself, and `LiteLLM` sees to it that it finds ours; null: it sends in another way, or no chat completions
movable  shown: sent to another address, by `LiteLLM`, no model of it carries a canary or calls another host
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from loopback import Answer, Loopback, Request  # noqa: E402
from stretto.call import Endpoint  # noqa: E402
from stretto.providers import litellm_setup  # noqa: E402
from stretto.providers.litellm import LiteLLM  # noqa: E402
from stretto.providers.litellm_setup import NO_KEY, imported  # noqa: E402
from stretto.secret import Secret  # noqa: E402
from stretto.testing import a_call  # noqa: E402

TARGET = ROOT / "sdk" / "stretto" / "services.json"
OURS = {"compatible", "local", "simulated"}
# They open a browser, or wait for a code to be typed in, before they say what their address is.
INTERACTIVE = {"chatgpt", "github_copilot"}
SIGNS = re.compile(r"AWS_|AZURE_AD|AZURE_(CLIENT|TENANT|FEDERATED)|WATSONX|WX_|DATABRICKS_CLIENT|PREDIBASE_TENANT")

# Where "some-model" has not the form of a model's name.
NAMES = {"clarifai": "openai.chat-completion.gpt-4o", "ragflow": "chat/some-chat/some-model"}

# What the wire cannot tell: a service that guards its key against foreign addresses, or listens on this machine.
REVIEWED: Mapping[str, Mapping[str, Any]] = {
    "anthropic": {"keys": ["ANTHROPIC_API_KEY"]},  # ANTHROPIC_AUTH_TOKEN goes into another header
    "azure": {"keys": ["AZURE_API_KEY"], "bases": ["AZURE_API_BASE"], "client": "own", "movable": False},
    "azure_text": {"keys": ["AZURE_API_KEY"], "bases": ["AZURE_API_BASE"], "client": "own", "movable": False},
    "bedrock": {"keys": ["AWS_BEARER_TOKEN_BEDROCK"], "url": None},
    "bedrock_mantle": {"keys": ["BEDROCK_MANTLE_API_KEY"], "url": None},
    "bytez": {"keys": ["BYTEZ_API_KEY"]},
    "custom_openai": {"keys": []},
    "databricks": {"client": "own"},  # where it would sign in with a client of its own, `LiteLLM` refuses
    "huggingface": {"url": None},
    "inception": {"keys": ["INCEPTION_API_KEY"]},
    "mistral": {"keys": ["MISTRAL_API_KEY", "MISTRAL_AZURE_API_KEY"]},
    "nadir": {"keys": ["NADIR_API_KEY"]},
    "ollama": {"url": "http://localhost:11434"},
    "ollama_chat": {"url": "http://localhost:11434"},
    "openai": {"url": "https://api.openai.com/v1"},
    "replicate": {"keys": ["REPLICATE_API_KEY", "REPLICATE_API_TOKEN"]},
    "sagemaker": {"url": None},
    "sagemaker_chat": {"url": None},
    "sagemaker_nova": {"url": None},
    "triton": {"client": "own"},  # its address must end with /generate
    "vertex_ai": {"client": "own"},  # the same path as gemini's; google-auth, which signs for it, need not be installed
    "vertex_ai_beta": {"client": "own"},
    "snowflake": {"movable": False},  # its address is made of SNOWFLAKE_ACCOUNT_ID
    "text-completion-inception": {"keys": ["INCEPTION_API_KEY"], "url": "https://api.inceptionlabs.ai/v1"},
    "text-completion-openai": {"url": "https://api.openai.com/v1"},
}

_NAME = re.compile(r"[\"']([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)[\"']")
_CREDENTIAL = re.compile(
    r"(KEY|KEY_ID|TOKEN|SECRET|PASSWORD|CREDENTIALS?|JWT|ORGANIZATION|ORG_ID|PROJECT|PROJECT_ID|ACCOUNT_ID|TENANT_ID|"
    r"CLIENT_ID|CLIENT_SECRET|USERNAME|USER|LICENSE|SECRET_ID|TOKEN_V2|WORKSPACE_ID|SPACE_ID|TOKEN_BEDROCK)$"
)
_NO_CREDENTIAL = re.compile(
    r"^(MAX_|MIN_|DEFAULT_|CREDENTIALS_|LENGTH_|LITELLM_KEY|LITELLM_CLI|LITELLM_SECRET|USE_|REDIS_|MCP_|ISSUER_|MASK_|"
    r"RESOLVED_|KEYPAIR|GOOGLE_APPLICATION|GOOGLE_SECRET_MANAGER|GOOGLE_KMS|TIKTOKEN|HCP_|CYBERARK)"
)
_ADDRESS = re.compile(r"(API_BASE|BASE_URL|ENDPOINT|_URL|API_BASE_[A-Z]+|HOST)$")
_NO_ADDRESS = re.compile(
    r"^(LITELLM_(?!PROXY)|AWS_(EC2|CSM|STS|CONTAINER|IGNORE|S3|USE)|ACTIONS|REDIS|SLACK|ALERTING|PHOENIX|ARIZE|"
    r"LOGFIRE|LANGTRACE|OPENAI_CHATGPT|OR_SITE)"
)
_PLAIN = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
    "AWS_REGION_NAME": "us-east-1",
    "AZURE_API_VERSION": "2024-10-21",
    "VERTEXAI_LOCATION": "us-central1",
    "VERTEX_LOCATION": "us-central1",
}
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
MESSAGES = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"})
# An answer in which a chat completion is found, and whatever a service asks for before it: a token that never ends.
FOREVER = 99_999_999_999
BODY: Mapping[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "access_token": "issued",
    "token": "issued",
    "tok": "issued",
    **dict.fromkeys(("expires_in", "expires_at", "expiration", "exp"), FOREVER),
}


class Wire:
    """A loopback server in a thread of its own, since some services call with blocking clients on the loop."""

    def __init__(self) -> None:
        self.server = Loopback(Answer(body=BODY))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        async with self.server:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Loopback:
        self._thread.start()
        self._ready.wait()
        return self.server

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


def canary(name: str) -> str:
    """Give the value by which a variable is known again on the wire."""
    return f"canary.{name}.0123456789abcdef"


def canaries(names: set[str]) -> dict[str, str]:
    """Give an environment full of credentials."""
    found = {n: canary(n) for n in names if _CREDENTIAL.search(n) and not _NO_CREDENTIAL.search(n)}
    for name in ("ANTHROPIC_CUSTOM_HEADERS", "OPENAI_CUSTOM_HEADERS"):
        found[name] = f"X-Canary: {canary(name)}"
    return found | _PLAIN


def arrived(requests: list[Request], mark: str = "canary") -> list[str]:
    """Give the names of the variables that are on the wire, as they are or in base64 (basic authentication, JWT)."""
    pattern = re.compile(rb"%b\.([A-Z0-9_]+)\." % mark.encode())
    found: set[bytes] = set()
    for request in requests:
        found.update(pattern.findall(request.raw))
        for coded in _BASE64.findall(request.raw):
            whole = coded[: len(coded) // 4 * 4].translate(_URL_SAFE)
            found.update(pattern.findall(base64.urlsafe_b64decode(whole)))
    return sorted(name.decode() for name in found)


def names_in_sources() -> set[str]:
    """Find everything that looks like an environment variable."""
    site = Path(imported().__file__).parents[1]
    folders = ("litellm/llms", "litellm/litellm_core_utils", "litellm/responses", "litellm/secret_managers")
    found: set[str] = set()
    for folder in (*folders, "litellm/types", "openai", "botocore"):
        for file in (site / folder).rglob("*"):
            if file.suffix in (".py", ".json") and "botocore/data" not in str(file):
                found.update(_NAME.findall(file.read_text(errors="ignore")))
    for file in (site / "litellm").glob("*.py"):
        found.update(_NAME.findall(file.read_text(errors="ignore")))
    return found


def guard() -> list[str]:
    """Refuse every host but loopback from here on; give the list in which they are noted."""
    seen: list[str] = []
    home = ("127.0.0.1", "localhost", "::1", None)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host, port = args[0], args[1]
        elif event == "socket.connect" and isinstance(args[1], tuple):
            host, port = args[1][:2]
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in home:
            seen.append(f"{'http' if port in (80, '80') else 'https'}://{host}")
            raise socket.gaierror(-2, f"{host} is not to be called")

    sys.addaudithook(watch)
    return seen


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def quietly(made: Callable[[], Awaitable[Any]]) -> str:
    """Await something; give its error as text, "" without one."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            async with asyncio.timeout(20):
                await made()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def ask(model: str, **options: Any) -> str:
    """Call litellm itself."""

    async def made() -> None:
        answer = await imported().acompletion(
            model, [dict(m) for m in MESSAGES], max_retries=0, timeout=10, _skip_mcp_handler=True, **options
        )
        if options.get("stream"):
            async for _ in answer:
                pass

    return await quietly(made)


def prefixes() -> list[str]:
    """Give every name that litellm knows as a provider."""
    registry = json.loads((Path(imported().__file__).parent / "llms/openai_like/providers.json").read_text())
    known = {str(getattr(each, "value", each)) for each in imported().provider_list} | set(registry)
    return sorted(known - OURS)


def models(prefix: str) -> list[str]:
    """Give the models of a prefix that litellm has a price for, those of the plain chat format first."""
    table = {
        name if name.startswith(f"{prefix}/") else f"{prefix}/{name}": entry
        for name, entry in imported().model_cost.items()
        if str(entry.get("litellm_provider", "")).partition("-")[0] in (prefix, prefix.removesuffix("_chat"))
        and entry.get("mode") in ("chat", "completion", "responses")
    }
    plain = sorted(table, key=lambda name: (table[name]["mode"] != "chat", "codex" in name or "agent" in name))
    return [*plain, f"{prefix}/{NAMES.get(prefix, 'some-model')}"]


class Probe:
    """What can be learnt about the prefixes, one after the other."""

    def __init__(self, server: Loopback, foreign: list[str]) -> None:
        self.server = server
        self.foreign = foreign
        names = names_in_sources()
        self.credentials = canaries(names)
        self.addresses = sorted(n for n in names if _ADDRESS.search(n) and not _NO_ADDRESS.search(n))

    def _clear(self) -> None:
        self.server.requests.clear()
        self.foreign.clear()
        imported().in_memory_llm_clients_cache.flush_cache()  # a client keeps what it found in the environment

    async def entry(self, prefix: str) -> dict[str, Any]:
        """Learn all about one prefix."""
        if prefix in INTERACTIVE:
            return {"keys": [], "bases": [], "url": None, "client": None, "movable": False}
        model = await self._answering(prefix)
        keys, signs = await self._keys(model)
        bases, url = await self._addresses(model)
        found = {"keys": keys, "bases": bases, "url": url, "client": await self._client(model), "movable": not signs}
        return found | dict(REVIEWED.get(prefix, {}))

    async def _answering(self, prefix: str) -> str:
        for model in models(prefix)[:4]:
            self._clear()
            with environment(self.credentials):
                await ask(model, api_base=self.server.url, api_key=NO_KEY)
            if self.server.requests:
                return model
        return models(prefix)[0]

    async def _keys(self, model: str) -> tuple[list[str], bool]:
        left, keys, signs = dict(self.credentials), list[str](), False
        openais = model.partition("/")[0] in ("openai", "text-completion-openai")
        for _ in range(8):
            self._clear()
            with environment(left):
                await ask(model, api_base=self.server.url)
            names = arrived(self.server.requests)
            for name in names:
                left.pop(name, None)
                signs = signs or bool(SIGNS.match(name))
                # What the openai SDK takes for every service is openai's.
                if re.search(r"(KEY|TOKEN|JWT)$", name) and (openais or not name.startswith("OPENAI_")):
                    keys += [] if SIGNS.match(name) else [name]
            if not names:
                break
        return keys, signs

    async def _addresses(self, model: str) -> tuple[list[str], str | None]:
        prefix = model.partition("/")[0]
        left = self.credentials | {name: f"{self.server.origin}/base.{name}.end" for name in self.addresses}
        bases: list[str] = []
        for _ in range(8):
            self._clear()
            with environment(left):
                await ask(model, api_key=NO_KEY)
            names = [name for name in arrived(self.server.requests, "base") if name in left]
            if not names:
                break
            bases += names
            for name in names:
                del left[name]
        hub = "https://huggingface.co"  # where tokenizers come from
        url = next((host for host in self.foreign if host != hub), None)
        if prefix not in ("openai", "text-completion-openai"):
            bases = [name for name in bases if not name.startswith("OPENAI_")]
            url = None if url == "https://api.openai.com" else url
        with contextlib.suppress(Exception), environment(_PLAIN):
            told = imported().get_llm_provider(model, api_key=NO_KEY)[3]
            url = told if told.startswith(url or "http://") else url
        return bases, url

    async def _client(self, model: str) -> str | None:
        from stretto.providers.litellm_clients import sdk_client

        pool: Any = sys.modules["litellm.llms.custom_httpx.http_handler"].AsyncHTTPHandler
        for kind in ("openai", "http"):
            self._clear()
            handler, used = pool(timeout=10.0), list[str]()

            async def note(request: Any, used: list[str] = used) -> None:
                used.append(str(request.url))

            handler.client.event_hooks["request"].append(note)
            given = handler
            if kind == "openai":
                url = self.server.url
                given = sdk_client()(api_key=NO_KEY, base_url=url, http_client=handler.client, max_retries=0)
            with environment(self.credentials):
                for stream in (False, True):
                    await ask(model, api_base=self.server.url, api_key=NO_KEY, client=given, stream=stream)
            sent = len(self.server.requests)
            await handler.close()
            if sent and sent == len(used):
                return kind
        return "own" if await self._found(model) else None

    async def _found(self, model: str) -> bool:
        """Tell whether all that is sent for a model goes over our session, although litellm is given no client."""
        from stretto.providers.litellm_transport import Client

        entry = {"keys": [], "bases": [], "url": None, "client": "own", "movable": False}
        known: Any = litellm_setup._services()
        known[model.partition("/")[0]] = entry
        used, send = list[str](), Client.send

        async def note(self: Any, request: Any, **options: Any) -> Any:
            used.append(str(request.url))
            return await send(self, request, **options)

        setattr(Client, "send", note)  # noqa: B010
        self._clear()
        async with LiteLLM() as provider:
            for stream in (False, True):
                endpoint = Endpoint(self.server.url, Secret(NO_KEY))
                call = a_call(stream, model=model, messages=MESSAGES, endpoint=endpoint)
                with environment(self.credentials):
                    await quietly(lambda call=call: provider(call))
        setattr(Client, "send", send)  # noqa: B010
        here = [url for url in used if url.startswith(self.server.origin)]
        elsewhere = {urlsplit(url).hostname for url in self.foreign} <= {urlsplit(url).hostname for url in used}
        return bool(used) and len(here) == len(self.server.requests) and elsewhere

    async def moves(self, prefix: str) -> list[str]:
        """Send every model elsewhere, through our provider; give what speaks against it."""
        known = models(prefix)
        against: list[str] = []
        reached = 0
        async with LiteLLM() as provider:
            for number, model in enumerate(known):
                for params in VARIANTS if number in (0, len(known) - 1) else ({},):
                    for stream in (False, True):
                        self._clear()
                        endpoint = Endpoint(self.server.url)
                        call = a_call(stream, model=model, messages=MESSAGES, params=params, endpoint=endpoint)
                        with environment(self.credentials):
                            await quietly(lambda call=call: provider(call))
                        reached += len(self.server.requests)
                        against += [f"{model} sends {name}" for name in arrived(self.server.requests)]
                        against += [f"{model} calls {host}" for host in self.foreign]
        return sorted(set(against)) if reached else ["nothing arrives"]


_FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"tools": [{"type": "function", "function": _FUNCTION}]},
    {"response_format": {"type": "json_object"}},
    {"reasoning_effort": "low", "max_tokens": 100},
    {"web_search_options": {}},
    {"user": "somebody", "metadata": {"user_id": "somebody"}},
)


async def make() -> None:
    """Learn all, and write it."""
    await LiteLLM().prepare()
    entries: dict[str, Any] = {}
    with Wire() as server:
        probe = Probe(server, guard())
        known = prefixes()
        for prefix in known:
            entries[prefix] = await probe.entry(prefix)
            print(prefix, entries[prefix])
        _write(entries)
        litellm_setup._services.cache_clear()
        for prefix in known:  # now that `LiteLLM` knows which client to give
            if entries[prefix]["movable"]:
                against = await probe.moves(prefix)
                entries[prefix]["movable"] = not against
                print(prefix, against or "movable")
    _write(entries)


def _write(entries: Mapping[str, Any]) -> None:
    lines = (f"  {json.dumps(name)}: {json.dumps(entries[name])}" for name in sorted(entries))
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    for variable in set(os.environ) - {"HOME", "LANG", "PATH", "PYTHONPATH"}:
        del os.environ[variable]
    logging.disable(logging.CRITICAL)
    asyncio.run(make())
