"""An agent: a name, one kind of work, and what the work needs.

Python's keywords and the keys of a YAML file are the same words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from . import agent_rules as rules
from .address import check_base_url
from .loop import as_loop
from .params import check_params
from .secret import Secret
from .settings import check_seconds
from .substitute import substitutes

if TYPE_CHECKING:
    from .contract import Middleware
    from .ensemble import Ensemble
    from .inputs import Inputs
    from .loop import Loop
    from .substitute import Substitute

Function = Callable[["Inputs"], Awaitable[Any]] | Callable[["Inputs"], Any]
PromptFunction = Callable[["Inputs"], str]
AgentKind = Literal["llm", "function", "script", "ensemble", "loop", "dispatch"]


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of an ensemble, with exactly one kind of work.

    Args:
        name: 1 to 200 characters, no control characters.
        model: "provider/model"; None: the ensemble's.
        function: `async def f(inputs: Inputs)`, or a plain function, which runs in a thread; gives a text or JSON data.
        script: a file beside the ensemble that is started as a process; `Runner(allow_scripts=True)` is needed.
        ensemble: an Ensemble, or where its file is: a relative path or a stem.
        loop: a `Loop`, or a mapping of `body`, `max_iterations`, `until` and `carry`.
        dispatch: name of the ensemble to run; text with marks, so that an agent may choose it.
        system_prompt: text with marks; None: no system message. Kept without effect where no model is asked.
        prompt: text with marks, or a function of `Inputs`; None: the ensemble's composer writes it. For scripts and
            ensembles it is the input, and a mark alone gives data.
        depends_on: names of agents whose results it needs.
        on_dependency_failure: "skip" (default) when no dependency succeeded, or "run".
        when: `${agent.field}`, alone or `==` / `!=` a literal; the agent is skipped when it does not hold.
        fan_out: `${agent.field}` or `${input.field}`, a list: one instance for each item (`${item}`, `${index}`), each
            with the agent's timeout; the result is the list of theirs, null for those that have none.
        fallback: what stands in when the model fails: a model, a mapping (`model`, `base_url`, `api_key_env`,
            `params`), or a list of those, tried in order.
        params: OpenAI chat parameters, `extra_headers` and `extra_body`.
        timeout: seconds above 0, from its first request's admission to its end; None: `Settings.default_timeout`. Of
            ensembles, loops and dispatches from their start, and None: no bound.
        base_url: http(s) address of the model's provider; None: the provider's own.
        api_key: goes only to this agent's `base_url` or provider.
        api_key_env: the environment variable that holds the key: `*_API_KEY`, or one of the provider's own.
        parameters: JSON data for the script.
        env: names of environment variables that the script gets beside PATH, HOME, LANG, TMPDIR and TZ.
        stream: True or False wins over the run's.
        middleware: layers laid over the ensemble's and the runner's.

    Raises:
        ConfigError: at construction; names the agent, the key, its bound and the value.
    """

    name: str
    _: KW_ONLY
    model: str | None = None
    function: Function | None = None
    script: str | None = None
    ensemble: Ensemble | str | None = None
    loop: Loop | Mapping[str, Any] | None = None
    dispatch: str | None = None
    system_prompt: str | None = None
    prompt: str | PromptFunction | None = None
    depends_on: Sequence[str] = ()
    on_dependency_failure: Literal["skip", "run"] | None = None
    when: str | None = None
    fan_out: str | None = None
    fallback: str | Mapping[str, Any] | Substitute | Sequence[str | Mapping[str, Any] | Substitute] | None = None
    params: Mapping[str, Any] | None = None
    timeout: float | None = None
    base_url: str | None = None
    api_key: Secret | str | None = None
    api_key_env: str | None = None
    parameters: Mapping[str, Any] | None = None
    env: Sequence[str] | None = None
    stream: bool | None = None
    middleware: Sequence[Middleware] | None = None

    def __post_init__(self) -> None:
        rules.check_agent_name(self.name)
        put = object.__setattr__
        rules.check_kind(self)
        rules.check_texts(self)
        put(self, "depends_on", rules.names_in(self, "depends_on"))
        rules.check_choices(self)
        check_seconds("timeout", self.timeout, agent=self.name)
        if self.loop is not None:
            put(self, "loop", as_loop(self.loop, agent=self.name))
        if self.fallback is not None:
            put(self, "fallback", substitutes(self.fallback, agent=self.name))
        if self.params is not None:
            check_params(self.params, agent=self.name)
            put(self, "params", MappingProxyType(dict(self.params)))
        if self.parameters is not None:
            put(self, "parameters", rules.json_mapping(self, "parameters"))
        if self.env is not None:
            put(self, "env", rules.variables(self))
        if self.base_url is not None:
            check_base_url(self.base_url, agent=self.name)
        if self.api_key is not None:
            put(self, "api_key", rules.secret(self))
        if self.middleware is not None:
            put(self, "middleware", rules.layers(self))

    @property
    def kind(self) -> AgentKind:
        """What its work is: "llm", "function", "script", "ensemble", "loop" or "dispatch"."""
        given: Any = next((kind for kind in rules.KINDS[1:] if getattr(self, kind) is not None), "llm")
        kind: AgentKind = given
        return kind

    @property
    def composite(self) -> bool:
        """Whether it makes no call of its own: others work within it."""
        return (self.fan_out or self.ensemble or self.loop or self.dispatch) is not None


AGENT_KEYS = tuple(f.name for f in fields(Agent))
