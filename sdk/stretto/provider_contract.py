"""Hold a provider to the contract of the pipeline: everything that a run may do to it, in real time.

Virtual time would overtake the sockets, threads and models of a provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from .attempt import Record
from .bench import a_call
from .call import Call, Endpoint
from .contract import Next, layer_name
from .errors import CallError, ConfigError
from .inspection import Findings, accepts, in_a_thread, in_two_threads, maker, said
from .layer_trial import read_slowly
from .provider_trial import ProviderTrial
from .reply import Reply
from .secret import Secret
from .steps import ordinal
from .trial import Outcome, no_blocking
from .usage import Price, Usage

# Seconds of each call, in most of several: it keeps the loop from going on without computing, or it computes.
BLOCKED = 0.1
BUSY = 0.25
# Awaits of one call at which it is cancelled, at most.
AWAITS = 40
# Seconds that tasks have to end when they were cancelled.
PATIENCE = 1.0
# Seconds that a reader takes with each piece.
SLOW = 0.005

_LET_THROUGH = "let CancelledError through: catch Exception, never BaseException, and raise again what was caught"
_ANSWER = "it must answer the model that it is tried with: name one with model=, its address and key with the others"
_PER_LOOP = "keep what belongs to an event loop (locks, sessions, tasks) in a stretto.per_loop.PerLoop"
_USABLE = "a call that was cancelled must leave nothing in the way of the next one"


def assert_provider_contract(
    make: Callable[[], Next] | Next,
    *,
    model: str = "simulated/echo",
    base_url: str | None = None,
    api_key: str | None = None,
    failing: Iterable[str | Mapping[str, Any]] = (),
    usage: bool = True,
    timeout: float = 10.0,
    **fields: Any,
) -> None:
    """Hold a provider to the contract: complete and streamed, many at once, cancelled at every await, two loops.

    It takes real time, some forty to two hundred calls, and may also be called inside of a running loop.

    Args:
        make: a class, a function without arguments that gives a provider, or a provider.
        model: that it answers.
        base_url, api_key: of the calls. None: what the provider says itself.
        failing: calls that must fail: models, or fields of a call.
        usage: it reports tokens. False: its service tells none.
        timeout: seconds that one call may take, above 0.
        fields: of all calls, as of `a_call`.

    Raises:
        AssertionError: one sentence: what the provider did, when, and what to do instead.
    """
    findings = Findings("the provider")
    given = {"model": model, **fields}
    trials = _Trials(findings, maker(make, 1), given, (base_url, api_key), usage, timeout)
    in_a_thread(findings, lambda: trials.all(list(failing)))


class _Trials:
    """All that is tried with one provider."""

    def __init__(
        self,
        findings: Findings,
        fresh: Callable[[], Any],
        fields: dict[str, Any],
        endpoint: tuple[str | None, str | None],
        usage: bool,
        timeout: float,
    ) -> None:
        self._findings = findings
        self._fresh = fresh
        self._fields = fields
        self._endpoint = endpoint
        self._usage = usage
        self._timeout = timeout
        self._numbers = count(1)
        self._provider: Any = None

    def all(self, failing: list[str | Mapping[str, Any]]) -> None:
        self._findings.trying("as it is made", hangs=_ANSWER, raises=_ANSWER)
        self._provider = self._fresh()
        self._look_at_it()
        self._findings.subject = f"the provider {layer_name(self._provider)}"
        asyncio.run(self._on_one_loop(failing))
        self._on_two_loops()

    def _look_at_it(self) -> None:
        """Refuse what can be seen without a call."""
        provider, report = self._provider, self._findings.report
        base_url, keys = getattr(provider, "base_url", None), getattr(provider, "key_names", ())
        api_key = getattr(provider, "api_key", None)
        if isinstance(provider, type) or not callable(provider) or accepts(provider, 1) is False:
            report("cannot be called as provider(call)", "take a Call, and nothing else that has no default")
        elif not (base_url is None or (isinstance(base_url, str) and urlsplit(base_url).scheme in ("http", "https"))):
            report(f"has the base_url {base_url!r}", "it is an http(s) address, or None")
        elif isinstance(keys, str) or not all(isinstance(name, str) for name in keys):
            report(f"has the key_names {keys!r}", 'they are a tuple of variables, such as ("SHOUT_API_KEY",)')
        elif not isinstance(api_key, str | Secret | None):
            report(f"has an api_key of type {type(api_key).__name__}", "it is a Secret, a text or None")
        elif hasattr(provider, "__aenter__") != hasattr(provider, "__aexit__"):
            report("has only one of __aenter__ and __aexit__", "write both, or none")
        self._findings.check()
        self._look_at_model()

    def _look_at_model(self) -> None:
        provider, model = self._provider, self._fields["model"]
        if hasattr(provider, "price"):
            price: Any = provider.price(model)
            if not isinstance(price, Price | None):
                self._findings.report(f"gave {price!r} as a price", "it is a Price, or None when it is unknown")
        if hasattr(provider, "check"):
            try:
                provider.check(model, self._call(stream=False).endpoint)
            except ConfigError as error:
                self._findings.report(f"refused its model: {error.message}", _ANSWER, error)
        self._findings.check()

    def _call(self, stream: bool, **fields: Any) -> Call:
        """Make a call like no other one."""
        base_url, key = self._endpoint
        own = getattr(self._provider, "api_key", None)
        secret = Secret(key) if key else Secret(own) if isinstance(own, str) else own
        given: dict[str, Any] = {
            "messages": ({"role": "user", "content": f"Say one two three {next(self._numbers)}"},),
            "endpoint": Endpoint(base_url or getattr(self._provider, "base_url", None), secret),
            "record": Record(),
        }
        return a_call(stream, **{**given, **self._fields, **fields})

    def _trial(self, when: str, cure: str, provider: Any = None) -> ProviderTrial:
        self._findings.trying(when, hangs=cure, raises=cure)
        subject = provider if provider is not None else self._fresh()
        return ProviderTrial(self._findings, subject, self._timeout, PATIENCE)

    async def _on_one_loop(self, failing: list[str | Mapping[str, Any]]) -> None:
        await self._plain(False)
        await self._opened_twice()
        await self._plain(True)
        await self._slowly_read()
        for fields in failing:
            await self._failing({"model": fields} if isinstance(fields, str) else dict(fields))
        await self._many()
        for late in (False, True):
            for stream in (False, True):
                await self._cancelled(stream, late)

    async def _plain(self, stream: bool) -> None:
        outcomes: list[Outcome] = []
        async with self._trial("streamed" if stream else "called", _ANSWER) as trial:
            if hasattr(trial.subject, "prepare"):
                await trial.lifetime("prepare")  # once more: each run does it
            for _ in range(4):
                call = self._call(stream)
                outcomes.append(await trial.sent(call))
                trial.fine(outcomes[-1])
                self._look_at_usage(call, trial.heard[-1].reply)
        no_blocking(self._findings, BLOCKED, BUSY, outcomes[1:])

    def _look_at_usage(self, call: Call, reply: Reply | None) -> None:
        if self._usage and (reply is None or reply.usage is None) and call.attempt.usage in (None, Usage()):
            cure = "put a Usage into the reply; where the service tells none, say so with usage=False"
            self._findings.report("told no tokens", cure)
        self._findings.check()

    async def _slowly_read(self) -> None:
        async with self._trial("read slowly", "await emit as long as it takes") as trial:
            call = self._call(True)
            read_slowly(call, SLOW)
            trial.fine(await trial.sent(call))

    async def _failing(self, fields: dict[str, Any]) -> None:
        name = fields.get("model", "a call that must fail")
        for stream in (False, True):
            cure = "raise one of stretto.errors, by status and cause"
            async with self._trial(f"asked for {name}{', streamed' if stream else ''}", cure) as trial:
                outcome = await trial.sent(self._call(stream, **fields))
                self._findings.check()
                if outcome.error is None:
                    self._findings.report("gave a reply, though it must fail", "raise a CallError")
                elif not isinstance(outcome.error, CallError):
                    self._findings.report(f"raised {said(outcome.error)}", cure, outcome.error)
                self._findings.check()

    async def _many(self) -> None:
        for stream in (False, True):
            async with self._trial("with 8 calls at once", _ANSWER) as trial:
                for outcome in await asyncio.gather(*(trial.sent(self._call(stream)) for _ in range(8))):
                    trial.fine(outcome)

    async def _opened_twice(self) -> None:
        provider = self._fresh()
        if not hasattr(provider, "__aenter__"):
            return
        for when in ("opened and closed", "opened again after it was closed"):
            cure = "__aenter__, or the next call, makes anew what __aexit__ has ended"
            async with self._trial(when, cure, provider) as trial:
                trial.fine(await trial.sent(self._call(False)))

    async def _cancelled(self, stream: bool, late: bool) -> None:
        """Cancel a call at each of its awaits, those in which a piece is read among them."""
        provider = self._fresh()
        async with self._trial("cancelled", _LET_THROUGH, provider) as trial:
            for at in range(1, AWAITS):
                place = f"as its {ordinal(at)} await ended" if late else f"at its {ordinal(at)} await"
                when = f"cancelled {place}{', streamed' if stream else ''}"
                self._findings.trying(when, hangs=_LET_THROUGH, raises=_LET_THROUGH)
                call = self._call(stream)
                read_slowly(call)
                outcome = await trial.sent(call, cancel_at=at, late=late)
                if outcome.awaits < at:
                    break
                trial.cancelled(outcome)
                await trial.nothing_runs_on()
                if at in (1, 2, AWAITS - 1):
                    self._findings.trying(f"asked again after it was {when}", hangs=_USABLE, raises=_USABLE)
                    trial.fine(await trial.sent(self._call(stream)))
            self._findings.trying("asked again after it was cancelled", hangs=_USABLE, raises=_USABLE)
            trial.fine(await trial.sent(self._call(stream)))

    def _on_two_loops(self) -> None:
        """One object on a loop, on another one after it, and on two at the same time."""
        findings, provider = self._findings, self._fresh()

        async def used(trial: ProviderTrial) -> None:
            async with trial:
                for outcome in await asyncio.gather(*(trial.sent(self._call(i % 2 == 0)) for i in range(3))):
                    trial.fine(outcome)

        def on_a_loop(when: str) -> Coroutine[Any, Any, None]:
            return used(self._trial(when, _PER_LOOP, provider))

        for _ in range(2):
            asyncio.run(on_a_loop("on one event loop and then on another"))
        in_two_threads(lambda: asyncio.run(on_a_loop("on two event loops at the same time, in two threads")))
        findings.check()
