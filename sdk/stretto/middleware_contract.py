"""Hold a layer to the contract of the pipeline: everything that a run may do to it, in virtual time.

Each scenario below is one way in which a run uses a layer; each fault is one sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from .contract import KINDS, Middleware, check_layer, layer_kinds, layer_name
from .errors import CallError, ConfigError, Overloaded, RequestRejected
from .inspection import Findings, WatchedLoop, accepts, in_a_thread, in_two_threads, maker, said
from .layer_trial import LayerTrial, Plan
from .reply import Reply
from .stand_ins import Leave, OwnError, Sending, Service
from .steps import ordinal
from .trial import Outcome, no_blocking
from .virtual_loop import WaitsForEver

# Seconds of each call, in most of several: it keeps the loop from going on without computing, or it computes.
BLOCKED = 0.02
BUSY = 0.25
# Seconds of real time to wait for a thread or a socket of the layer's own when nothing else is left to do.
PATIENCE = 5.0
# Awaits of one call at which it is cancelled, at most.
AWAITS = 100

_LET_GO = "give back in `finally` what a call holds, also when it is cancelled"
_LET_THROUGH = "let CancelledError through: catch Exception, never BaseException, and raise again what was caught"
_ANSWER = (
    "a layer answers, passes on what came from below, or refuses with a CallError; what it needs of a call can be "
    "given as a field, assert_middleware_contract(make, metadata=...)"
)
_WAITS = "await only what will come, and give back what a call holds"
_PER_LOOP = "keep what belongs to an event loop (locks, events, clients, tasks) in a stretto.per_loop.PerLoop"


def assert_middleware_contract(make: Callable[[], Middleware] | Middleware, **fields: Any) -> None:
    """Hold a layer to the contract: complete and streamed, retried, cancelled at every await, many at once, two loops.

    It takes no real time, needs no network, and may also be called inside of a running loop. A factory is better than
    an object: each scenario then begins with a new layer, as small as the tests need it (`lambda: ConcurrencyLimit(2)`
    shows a slot that leaks; one of 100 slots does not).

    Args:
        make: a class, a function without arguments that gives a layer, or a layer.
        fields: of the calls that it is tried with, as of `a_call`; what the layer needs, such as `metadata`.

    Raises:
        AssertionError: one sentence: what the layer did, when, and what to do instead.
    """
    # what is tried must not depend on the caller's context, nor leak into it: a thread has its own
    findings = Findings("the layer")
    in_a_thread(findings, lambda: _all(findings, maker(make, 2), fields))


def _all(findings: Findings, fresh: Callable[[], Any], fields: dict[str, Any]) -> None:
    findings.trying("as it is made", hangs=_WAITS, raises=_ANSWER)
    layer = fresh()
    _look_at(findings, layer)
    findings.subject = f"the layer {layer_name(layer)}"
    kinds = layer_kinds(layer)
    first = True

    def made() -> Any:
        nonlocal first
        again, first = not first, False
        return fresh() if again else layer

    plan = Plan(findings, made, "llm" if "llm" in kinds else kinds[0], fields)
    _on_a_loop(findings, lambda: _on_one_loop(plan, kinds))
    _two_loops(plan)


def _look_at(findings: Findings, layer: Any) -> None:
    """Refuse what can be seen without a call."""
    report = findings.report
    try:
        check_layer(layer)
    except (ConfigError, TypeError) as error:
        report(f"is no layer ({said(error)})", "a layer is called as layer(call, call_next)")
        findings.check()
    name: Any = getattr(layer, "name", None)
    kinds: Any = getattr(layer, "kinds", ("llm",))
    if accepts(layer, 2) is False:
        report("cannot be called as layer(call, call_next)", "take these two, and nothing else that has no default")
    elif hasattr(layer, "name") and not (isinstance(name, str) and name.strip() and name.isprintable()):
        report(f"has the name {name!r}", "a name is a text, or there is none: the class then gives it")
    elif not tuple(kinds):
        report("has no kinds, so that no call would reach it", 'kinds is a tuple such as ("llm", "function")')
    elif hasattr(layer, "__aenter__") != hasattr(layer, "__aexit__"):
        report("has only one of __aenter__ and __aexit__", "write both, or none")
    elif not all(isinstance(model, str) and "/" in model for model in getattr(layer, "models", ())):
        report(f"has the models {layer.models!r}", 'models are texts such as "openai/gpt-5"')
    findings.check()


def _on_a_loop(findings: Findings, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run scenarios on a virtual loop of their own."""
    try:
        with asyncio.Runner(loop_factory=lambda: WatchedLoop(PATIENCE)) as runner, suppress(WaitsForEver):
            runner.run(main())
            return
    except WaitsForEver:
        pass  # what would not end could not be cancelled either
    findings.report("never came to an end", findings.hangs)
    findings.check()


async def _on_one_loop(plan: Plan, kinds: tuple[str, ...]) -> None:
    await _plain(plan, False)
    await _opened_twice(plan)
    await _plain(plan, True)
    await _without_pieces(plan)
    await _failing(plan)
    await _left_with_an_error(plan)
    if "function" in kinds or "script" in kinds:
        await _own_error(plan, "function" if "function" in kinds else "script")
    for inside in (False, True):
        await _retried(plan, inside)
    await _many(plan)
    for late in (False, True):
        for stream in (False, True):
            await _cancelled(plan, Service, stream=stream, late=late)
        await _cancelled(plan, lambda: Service(failures=1), stream=False, late=late, how=" after a failure")
        await _cancelled(plan, Service, stream=True, late=late, others=4, how=" with others in flight")


async def _plain(plan: Plan, stream: bool) -> None:
    """Calls one by one: the answer, what is left, what holds the loop."""
    when = "streamed" if stream else "called"
    plan.findings.trying(when, hangs=_WAITS, raises=_ANSWER)
    outcomes: list[Outcome] = []
    async with LayerTrial(plan, Service()) as trial:
        for _ in range(6):
            outcomes.append(await trial.send(stream))
            trial.fine(outcomes[-1])
    plan.answers = all(outcome.error is None for outcome in outcomes)
    no_blocking(plan.findings, BLOCKED, BUSY, outcomes[1:])  # the first one may import what it needs


async def _without_pieces(plan: Plan) -> None:
    for whole in (False, True):
        when = "streamed by a provider that emits nothing" if whole else "streamed with no piece and an empty reply"
        plan.findings.trying(when, hangs=_WAITS, raises=_ANSWER)
        async with LayerTrial(plan, Service(silent=True, empty=not whole)) as trial:
            trial.fine(await trial.send(True))


async def _failing(plan: Plan) -> None:
    """What a provider raises comes out as a CallError, or is answered."""
    cases = (
        ("given an error that no retry cures", RequestRejected("no such model", status=400), 0),
        ("given an error after two pieces", Overloaded("cut off"), 2),
        ("given the same error each time", Overloaded("busy", retry_after=2), 0),
    )
    for when, error, pieces in cases:
        cure = "let a CallError of below through, or raise another CallError"
        plan.findings.trying(when, hangs=_WAITS, raises=cure)
        async with LayerTrial(plan, Service(error=error, failures=99, pieces=pieces)) as trial:
            outcomes = [await trial.send(True) for _ in range(4)]
            for outcome in outcomes:
                trial.fine(outcome)
        no_blocking(plan.findings, BLOCKED, BUSY, outcomes[1:])


async def _left_with_an_error(plan: Plan) -> None:
    """A program that is told to end ends: what is no Exception goes through."""
    leave = Leave()

    async def leaving(call: Any, call_next: Any) -> Reply:
        raise leave

    leaving.kinds = KINDS  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    plan.findings.trying("when a BaseException came from below, as SystemExit is one", hangs=_WAITS, raises=_ANSWER)
    async with LayerTrial(plan, Service(), inside=leaving) as trial:
        outcome = await trial.send(False)
        plan.findings.check()
        if trial.requests() and (outcome.error is not leave or trial.requests() > 1):
            what = outcome.what() if outcome.error is not leave else "sent another request"
            plan.findings.report(f"kept it, and {what}", "catch Exception, never BaseException")
        plan.findings.check()


async def _own_error(plan: Plan, kind: Any) -> None:
    own = OwnError("of the user")
    cure = "let a user's own exception through as it is, or raise a CallError from it"
    plan.findings.trying("when a function raised its own exception", hangs=_WAITS, raises=cure)
    async with LayerTrial(plan, Service(error=own, failures=99), kind=kind) as trial:
        outcome = await trial.send(False)
        plan.findings.check()
        error = outcome.error
        if error not in (own, None) and not (isinstance(error, CallError) and error.__cause__ is own):
            plan.findings.report(f"raised {said(error)} for it", cure, error)
        plan.findings.check()


async def _retried(plan: Plan, inside: bool) -> None:
    """The layer around a sender that tries again, and within it; a first request breaks off after a piece."""
    sender = Sending()
    for pieces in (0, 2):
        when = f"{'within' if inside else 'around'} a layer that retries{' after two pieces' if pieces else ''}"
        plan.findings.trying(when, hangs=_WAITS, raises=_ANSWER)
        service = Service(error=Overloaded("busy"), failures=1, pieces=pieces)
        layers = {"outside": sender} if inside else {"inside": sender}
        async with LayerTrial(plan, service, **layers) as trial:
            for _ in range(2):
                trial.fine(await trial.send(True))


async def _many(plan: Plan) -> None:
    for stream in (False, True):
        plan.findings.trying("with 20 calls at once", hangs=_LET_GO, raises=_ANSWER)
        async with LayerTrial(plan, Service()) as trial:
            for outcome in await asyncio.gather(*(trial.send(stream) for _ in range(20))):
                trial.fine(outcome)
            trial.not_mixed_up()


async def _opened_twice(plan: Plan) -> None:
    layer = plan.fresh()
    if not hasattr(layer, "__aenter__"):
        return
    for when in ("opened and closed", "opened again after it was closed"):
        cure = "__aenter__ makes anew what __aexit__ has ended"
        plan.findings.trying(when, hangs=cure, raises=cure)
        async with LayerTrial(plan, Service(), layer=layer) as trial:
            trial.fine(await trial.send(False))


async def _cancelled(
    plan: Plan, service: Callable[[], Service], *, stream: bool, late: bool, others: int = 0, how: str = ""
) -> None:
    """Cancel a call at each of its awaits; three times, so that what a cancel leaks adds up."""
    for at in range(1, AWAITS):
        place = f"as its {ordinal(at)} await ended" if late else f"at its {ordinal(at)} await"
        when = f"cancelled {place}{', streamed' if stream else ''}{how}"
        async with LayerTrial(plan, service()) as trial:
            if not await _cancelled_once(trial, when, at, stream=stream, late=late, others=others):
                return  # it ended before: there is no such await
            for _ in range(2):
                await _cancelled_once(trial, when, at, stream=stream, late=late, others=others)


async def _cancelled_once(trial: LayerTrial, when: str, at: int, *, stream: bool, late: bool, others: int) -> bool:
    """Cancel one call, and send another one after it; tell whether there was anything to cancel."""
    findings = trial.findings
    findings.trying(when, hangs=_LET_THROUGH, raises=_LET_THROUGH)
    before = [asyncio.ensure_future(trial.send(stream)) for _ in range(others)]
    for _ in range(others):
        await asyncio.sleep(0)
    outcome = await trial.send(stream, cancel_at=at, late=late)
    if outcome.awaits >= at:
        trial.cancelled(outcome)
        if not others:
            await trial.nothing_runs_on()
    findings.trying(f"while another call was {when}", hangs=_LET_GO, raises=_LET_GO)
    for other in before:
        trial.fine(await other)
    findings.trying(f"asked again after it was {when}", hangs=_LET_GO, raises=_LET_GO)
    again = await trial.send(stream)
    trial.fine(again)
    if not trial.failing:
        trial.answered(again, _LET_GO)
    findings.when = when
    return outcome.awaits >= at


def _two_loops(plan: Plan) -> None:
    """One object on a loop, on another one after it, and on two at the same time."""
    findings, layer = plan.findings, plan.fresh()

    async def used() -> None:
        async with LayerTrial(plan, Service(), layer=layer) as trial:
            for stream in (False, True):
                for outcome in await asyncio.gather(*(trial.send(stream) for _ in range(5))):
                    trial.fine(outcome)

    findings.trying("on one event loop and then on another", hangs=_PER_LOOP, raises=_PER_LOOP)
    for _ in range(2):
        _on_a_loop(findings, used)
    findings.trying("on two event loops at the same time, in two threads", hangs=_PER_LOOP, raises=_PER_LOOP)

    def three_times() -> None:
        for _ in range(3):
            _on_a_loop(findings, used)

    in_two_threads(three_times)
    findings.check()
