"""Do the work of one agent: write its prompt, make its call, send it through the layers, read the reply."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import telemetry
from .call import Call, Endpoint, Services
from .event_log import EventLog
from .inputs import Inputs, as_text, chat_messages
from .outcome import Outcome, plain
from .params import CALL_FIELDS
from .prompt import Composer, check_picked, data, system
from .reply import Delta, Reply
from .thread import in_thread

if TYPE_CHECKING:
    from .agent import Agent
    from .call import Kind, Work
    from .drive import Drive
    from .supervisor import Supervisor

_NOWHERE = Endpoint()
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Desk:
    """What all agents of a run work with.

    Args:
        run_id, ensemble, metadata: of the run.
        services: providers, addresses, keys, prices.
        composer: writes the text of agents without a prompt.
        input: of the run, as it was given.
        log: where pieces go.
        stream: whether replies are streamed, where the agent does not say.
    """

    run_id: str
    ensemble: str
    metadata: Mapping[str, Any]
    services: Services
    composer: Composer
    input: Any
    log: EventLog
    stream: bool


class Sink:
    """Take the pieces of one agent: into the log, and together as partial text."""

    __slots__ = ("_log", "_reasoning", "_supervisor", "_text", "_tool_calls")

    def __init__(self, log: EventLog, supervisor: Supervisor) -> None:
        self._log = log
        self._supervisor = supervisor
        self._forget()

    def _forget(self) -> None:
        self._text = io.StringIO()
        self._reasoning = io.StringIO()
        self._tool_calls = 0

    async def __call__(self, delta: Delta) -> None:
        """Take a piece; this is the call's `emit`."""
        self._take(delta)

    def _take(self, delta: Delta) -> None:
        if self._supervisor.over:  # it was abandoned: its last event was its outcome
            return
        if delta.restart:
            self._forget()
        elif delta.text is not None:
            self._text.write(delta.text)
        elif delta.reasoning is not None:
            self._reasoning.write(delta.reasoning)
        elif delta.tool_call is not None:
            self._tool_calls = max(self._tool_calls, delta.tool_call.index + 1)
        self._log.piece(self._supervisor.phase, self._supervisor.agent.name, delta)

    def seen(self) -> str:
        """Give the text so far."""
        return self._text.getvalue()

    def complete(self, reply: Reply) -> None:
        """Emit what the reply has and was not emitted; where they differ the reply wins after a restart."""
        text, reasoning = self._text.getvalue(), self._reasoning.getvalue()
        if not (reply.text.startswith(text) and reply.reasoning.startswith(reasoning)):
            self._take(Delta(restart=True))
            text = reasoning = ""
        if len(reply.reasoning) > len(reasoning):
            self._take(Delta(reasoning=reply.reasoning[len(reasoning) :]))
        if len(reply.text) > len(text):
            self._take(Delta(text=reply.text[len(text) :]))
        for call in reply.tool_calls[self._tool_calls :]:
            self._take(Delta(tool_call=call))


async def work(drive: Drive, supervisor: Supervisor) -> Outcome:
    """Do the work of one agent that makes a call, from its inputs to its outcome.

    Raises:
        BaseException: whatever ended it; the supervisor makes an outcome of it.
    """
    desk, agent, outcomes = drive.desk, supervisor.agent, drive.visible
    given = drive.inputs[agent.name]
    inputs = drive.composed(agent)
    if drive.compat and isinstance(agent.prompt, str):
        check_picked(agent.prompt, inputs, outcomes)
    llm = agent.model is not None
    messages = chat_messages(given, inputs.text, system(agent, inputs, outcomes) if llm else None)
    supervisor.prompt_digest = digest(messages)
    if supervisor.span is not None:
        telemetry.capture(supervisor.span, desk.services, telemetry.INPUT_VALUE, inputs.text)
    sink: Sink | None = None
    if desk.stream if agent.stream is None else agent.stream:
        sink = Sink(desk.log, supervisor)
        supervisor.seen = sink.seen
    call = _call(drive, supervisor, messages, inputs, sink)
    reply = await drive.stage.pipelines[agent.name](call)
    if not isinstance(reply, Reply):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"a layer gave a {type(reply).__name__} instead of a Reply: does it return what call_next gave?"
        )
    if sink is not None:
        sink.complete(reply)
    raw = not llm and (reply.raw is not None or not reply.text or reply.route == "script")  # a script may say null
    value = reply.raw if raw else reply.text
    messages_added = (reply.message,) if llm else _said(reply.text)
    return supervisor.outcome("ok", value=value, text=reply.text, reply=reply, messages=messages_added)


def _said(text: str) -> tuple[dict[str, Any], ...]:
    return ({"role": "assistant", "content": text},) if text else ()


def _call(
    drive: Drive,
    supervisor: Supervisor,
    messages: tuple[Mapping[str, Any], ...],
    inputs: Inputs,
    sink: Sink | None,
) -> Call:
    desk, stage, agent = drive.desk, drive.stage, supervisor.agent
    name, endpoint = agent.name, stage.endpoints.get(agent.name, _NOWHERE)
    kind: Kind = "llm" if agent.model is not None else "function" if agent.function is not None else "script"
    params = agent.params or _NOTHING
    headers, body = params.get("extra_headers", _NOTHING), params.get("extra_body", _NOTHING)
    if headers or body:
        params = MappingProxyType({key: value for key, value in params.items() if key not in CALL_FIELDS})
    return Call(
        agent=name,
        ensemble=desk.ensemble,
        run_id=desk.run_id,
        kind=kind,
        model="" if agent.model is None else desk.services.named(agent.model, endpoint.base_url),
        messages=messages,
        params=params,
        extra_headers=headers,
        extra_body=body,
        endpoint=endpoint,
        fallback=stage.targets.get(name, ()),
        metadata=desk.metadata,
        emit=sink,
        deadline=drive.nearest_deadline(),
        record=supervisor.record,
        services=desk.services,
        clock=supervisor.clock,
        work=None if kind == "llm" else _own_work(drive, agent, inputs),
    )


def _own_work(drive: Drive, agent: Agent, inputs: Inputs) -> Work:
    stage = drive.stage
    if agent.script is None:
        return FunctionWork(agent.function, inputs)
    from .script_input import Given  # with what they need, for those who have scripts
    from .script_work import ScriptWork

    asked = data(agent, inputs, drive.visible)
    given = Given(agent, inputs, asked, stage.ensemble.strictness, drive.excused, drive.handled())
    return ScriptWork(stage.scripts[agent.name], given, stage.environ)


def digest(messages: tuple[Mapping[str, Any], ...]) -> str:
    """Give SHA-256 of messages, hexadecimal."""
    sha = hashlib.sha256()
    for message in messages:
        content = message.get("content")
        text = content if isinstance(content, str) else json.dumps(dict(message), sort_keys=True, default=str)
        sha.update(f"{message.get('role')}\0{text}\0".encode("utf-8", "surrogatepass"))
    return sha.hexdigest()


class FunctionWork:
    """Call a user's function as if it were a provider; a plain one runs in a thread."""

    __slots__ = ("_function", "_inputs")

    def __init__(self, function: Any, inputs: Inputs) -> None:
        self._function = function
        self._inputs = inputs

    async def __call__(self, call: Call) -> Reply:
        inputs = self._inputs
        text = as_text(call.messages[-1:])
        if text != inputs.text:  # a layer has changed it
            inputs = replace(inputs, text=text)
        if _is_async(self._function):
            value = await self._function(inputs)
        else:
            value = await in_thread(self._function, inputs)
            if inspect.isawaitable(value):
                value = await value
        if isinstance(value, Reply):
            return value
        text = (
            value if isinstance(value, str) else "" if value is None else json.dumps(plain(value), ensure_ascii=False)
        )
        return Reply(text, raw=value, route="function")


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
