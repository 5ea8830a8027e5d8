"""Run ensembles: check everything before the first call, then start."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from . import stack as layers
from . import telemetry
from .agent import Agent
from .description import describe
from .drive import Drive
from .ensemble import Ensemble
from .errors import ConfigError
from .event_log import EventLog
from .inputs import check_input
from .lifetimes import Lifetimes
from .per_loop import PerLoop
from .routing import Routing
from .run import Run
from .settings import Settings, check_seconds
from .shapes import is_mapping, told
from .stage import every
from .staging import Staging
from .sync import waited_for
from .usage import Price
from .work import Desk

if TYPE_CHECKING:
    from types import TracebackType

    from .contract import Middleware, Next
    from .stage import Stage

# Layers and providers may be shared by runners, so what is open is counted in one place.
_LIFETIMES = Lifetimes()


class Runner:
    """Run ensembles through one stack of layers.

    Args:
        middleware: the whole stack, outermost first. None: `default_stack()`.
        providers: by model prefix; "*" is every prefix that neither this mapping nor stretto names.
        settings: laid over the ensemble's.
        trusted_origins: addresses that keys of the environment may go to.
        allow_scripts: whether agents may start scripts; no file can say so. "known": those that stand in the ensemble
            and in what it names, as `describe` shows them; none of an ensemble that a dispatch chooses.
        prices: USD per million tokens by model pattern.
        capture_content: True puts prompts and replies into spans, False never does.
            None: as `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says.

    Raises:
        ConfigError: at construction, for a layer, a name or an address that is refused.
    """

    def __init__(
        self,
        *,
        middleware: Iterable[Middleware] | None = None,
        providers: Mapping[str, Next] | None = None,
        settings: Settings | None = None,
        trusted_origins: Sequence[str] = (),
        allow_scripts: bool | Literal["known"] = False,
        prices: Mapping[str, Price] | None = None,
        capture_content: bool | None = None,
    ) -> None:
        self._stack = layers.checked(layers.default_stack() if middleware is None else middleware)
        _check_types(providers, settings, prices, capture_content)
        if allow_scripts not in (True, False, "known"):
            raise ConfigError(
                f"allow_scripts must be True, False or 'known', got {told(allow_scripts)}", key="allow_scripts"
            )
        self._allow_scripts: bool | Literal["known"] = allow_scripts
        self._settings = settings if settings is not None else Settings()
        captured = telemetry.captures_content(os.environ) if capture_content is None else capture_content
        self._routing = Routing(providers, trusted_origins, prices, os.environ, captured)
        self._runs: PerLoop[set[Run]] = PerLoop(set)
        self._held: PerLoop[list[list[Any]]] = PerLoop(list)

    def start(
        self,
        work: Ensemble | Agent,
        input: Any = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        stream: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Start a run; it is live at once.

        Args:
            work: an ensemble, or one agent.
            input: a text, chat messages, or JSON data. None: the ensemble's `default_input`.
            inputs: by agent name, instead of `input`.
            timeout: seconds above 0 for the whole run; wins over `Settings.run_timeout`.
            stream: whether replies are streamed, where the agent does not say.
            metadata: for layers, spans and functions; read-only from here on.

        Raises:
            ConfigError: for whatever is wrong, before any call.
            RuntimeError: when no event loop is running.
        """
        asyncio.get_running_loop()
        ensemble = _ensemble(work)
        if metadata is not None and not is_mapping(metadata):
            raise ConfigError(f"metadata must be a mapping, got {told(metadata)}", key="metadata")
        for name in metadata or {}:
            if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"the names in metadata must be texts, got {told(name)}", key="metadata")
        check_seconds("timeout", timeout)
        staging = self._staging(ensemble, timeout)
        stage = staging.stage(ensemble, self._stack)
        if open_here := self._held.get():
            _LIFETIMES.reserve(staging.providers(stage), open_here[0])
        drive = Drive(
            stage,
            _desk(stage, staging.routing, input, metadata, stream=stream),
            inputs=_inputs(ensemble, input, inputs),
            lifetimes=_LIFETIMES,
            held=staging.held(stage),
            warnings=(*_warnings(stage), *_unasked(ensemble, input, inputs)),
        )
        run = Run(drive, tuple(layers.names(self._stack)))
        runs = self._runs.get()
        runs.add(run)
        run.on_end(runs.discard)
        return run

    def _staging(self, ensemble: Ensemble, timeout: float | None = None, *, planning: bool = False) -> Staging:
        settings = self._settings if timeout is None else Settings(run_timeout=timeout).over(self._settings)
        routing = self._routing.over(ensemble.prices)  # those of its children: Staging
        return Staging(routing, settings, os.environ, self._allow_scripts, planning)

    def describe(self, work: Ensemble | Agent) -> dict[str, Any]:
        """Say what a run would do, as plain data: phases, agents with host and key, layers, settings, warnings.

        Nothing is called, and no key is needed. What runs within an agent stands under its `ensemble`.

        Raises:
            ConfigError: for whatever a run would refuse, missing keys and scripts that are not allowed excepted.
        """
        ensemble = _ensemble(work)
        staging = self._staging(ensemble, planning=True)
        stage = staging.stage(ensemble, self._stack)
        return {
            **describe(stage, staging.routing),
            "middleware": layers.names(layers.merge(self._stack, ensemble.middleware)),
            "settings": stage.settings.to_dict(),
            "warnings": list(_warnings(stage)),
        }

    async def run(
        self,
        work: Ensemble | Agent,
        input: Any = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        stream: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Start a run and wait for its end; the arguments are those of `start`.

        Raises:
            ConfigError: before any call.
        """
        return await self.start(work, input, inputs=inputs, timeout=timeout, stream=stream, metadata=metadata)

    def run_sync(
        self,
        work: Ensemble | Agent,
        input: Any = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Run and wait, in a script or a notebook; inside a running loop a thread of its own does it.

        Raises:
            ConfigError: before any call.
        """

        main = self.run(work, input, inputs=inputs, timeout=timeout, metadata=metadata)
        return waited_for(main)

    async def __aenter__(self) -> Runner:
        self._held.get().append(await _LIFETIMES.open(self._stack))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending = asyncio.ensure_future(self._end())
        cancelled = False
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:  # what was begun is ended first, whatever comes
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    async def _end(self) -> None:
        runs = list(self._runs.get())
        for run in runs:
            run.cancel()
        for run in runs:
            await run.wait()
        await _LIFETIMES.close(self._held.get().pop())


def _check_types(providers: Any, settings: Any, prices: Any, capture_content: Any) -> None:
    for key, value in (("providers", providers), ("prices", prices)):
        if value is not None and not is_mapping(value):
            raise ConfigError(f"{key} must be a mapping, got {value!r}", key=key)
    given: dict[str, Any] = dict(prices or {})
    for pattern, price in given.items():
        if not isinstance(price, Price):
            raise ConfigError(f"the price of {pattern!r} must be a Price, got {price!r}", key="prices")
    given = dict(providers or {})
    for prefix, provider in given.items():
        if not callable(provider) or isinstance(provider, type):
            message = f"the provider of {prefix!r} must be callable as provider(call), got {provider!r}"
            raise ConfigError(message, key="providers")
    if not isinstance(settings, Settings | None):
        raise ConfigError(f"settings must be Settings, got {settings!r}", key="settings")
    if not isinstance(capture_content, bool | None):
        message = f"capture_content must be True, False or None, got {capture_content!r}"
        raise ConfigError(message, key="capture_content")


def _ensemble(work: Ensemble | Agent) -> Ensemble:
    if isinstance(work, Ensemble):
        return work
    if isinstance(work, Agent):  # pyright: ignore[reportUnnecessaryIsInstance]
        return Ensemble(work.name, [work])
    raise ConfigError(f"a runner runs an Ensemble or an Agent, got {type(work).__name__}")


def _desk(stage: Stage, routing: Routing, input: Any, metadata: Mapping[str, Any] | None, *, stream: bool) -> Desk:
    run_id = secrets.token_hex(8)
    return Desk(
        run_id=run_id,
        ensemble=stage.ensemble.name,
        metadata=MappingProxyType(dict(metadata or {})),
        services=routing,
        composer=stage.composer,
        input=stage.ensemble.default_input if input is None else input,
        log=EventLog(run_id),
        stream=stream,
    )


def _inputs(ensemble: Ensemble, input: Any, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    if inputs is not None and not is_mapping(inputs):
        raise ConfigError(f"inputs must be a mapping by agent name, got {told(inputs)}", key="inputs")
    given = dict(inputs or {})
    names = [agent.name for agent in ensemble.agents]
    for name, value in given.items():
        if name not in names:
            nearest = next(iter(get_close_matches(str(name), names, 1)), None)
            raise ConfigError(f"inputs names {name!r}, which is no agent", key="inputs", nearest=nearest)
        check_input(value, agent=name)
    check_input(input)
    shared = ensemble.default_input if input is None else input
    return {name: given.get(name, shared) for name in names}


def _warnings(stage: Stage) -> tuple[str, ...]:
    """Give what the plans and stacks of a stage and of all within it warn of, each once."""
    sources: tuple[Callable[[Stage], tuple[str, ...]], ...] = (_of_plan, _script_notes, _unbounded, _alone)
    found = [warning for one in every(stage) for source in sources for warning in source(one)]
    return tuple(dict.fromkeys(found))


def _of_plan(stage: Stage) -> tuple[str, ...]:
    return stage.plan.warnings


def _script_notes(stage: Stage) -> tuple[str, ...]:
    said = stage.ensemble.notes  # by whoever loaded it, with file and line
    unsaid = {name: script.note for name, script in stage.scripts.items() if not any(script.note in n for n in said)}
    return tuple(f"agent {name!r}: {note}" for name, note in unsaid.items() if note)


def _alone(stage: Stage) -> tuple[str, ...]:
    """Name the agents with other models that no layer will ask."""
    return tuple(
        f"agent {name!r}: its fallback has no effect, the stack has no layer Fallback"
        for name in stage.targets
        if not layers.holds(stage.stacks[name], "fallback")
    )


def _unbounded(stage: Stage) -> tuple[str, ...]:
    settings = stage.settings
    if settings.run_timeout is not None or settings.phase_timeout is not None:
        return ()
    return tuple(
        f"agent {agent.name!r}: nothing bounds an attempt that could be retried: give a timeout, or Timeout(total)"
        for agent in stage.agents
        if agent.name in stage.pipelines
        and layers.unbounded(stage.stacks[agent.name], agent.timeout or settings.default_timeout)
    )


def _unasked(ensemble: Ensemble, input: Any, inputs: Mapping[str, Any] | None) -> tuple[str, ...]:
    if input is not None or inputs or ensemble.default_input is not None:
        return ()
    empty = [a.name for a in ensemble.agents if a.model and a.prompt is None and not a.depends_on]
    return tuple(f"agent {name!r}: the run has no input, so it is asked nothing" for name in empty)
