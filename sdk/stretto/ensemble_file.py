"""Read one ensemble's file: its sections become arguments, what is wrong with them is collected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import llm_orc
from .agent import Agent
from .agent_rules import KINDS
from .ensemble import Ensemble, blindness
from .errors import ConfigError
from .file_keys import TOP_KEYS, fits, unknown_at_top, unknown_to_agents
from .findings import MOST_NOTES, Findings, place_in
from .inline_secrets import without_secrets
from .llm_orc_retired import COORDINATOR
from .named_layer import read_layers
from .performance import read_settings
from .script import find_script
from .settings import Settings
from .surroundings import Surroundings
from .unavailable import Unavailable
from .yaml_text import Items, Place, Section, kind_of

VERSION = 1


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a file has for an ensemble.

    Args:
        name: a relative path, or a stem.
        place: where it stands.
        key: whose value it is.
        agent: whose key that is.
    """

    name: str
    place: Place
    key: str
    agent: str | None


# Gives the ensemble; None when its own file is wrong, or the name is, which is said then.
Find = Callable[[Reference], Ensemble | Unavailable | None]


class EnsembleFile:
    """One file, on its way to an ensemble.

    Args:
        section: what it holds.
        findings: gets what is wrong with it.
        around: what stands around it.
        environ: the environment.
        find: loads the ensembles that it names.
    """

    def __init__(
        self,
        section: Section,
        findings: Findings,
        around: Surroundings,
        environ: Mapping[str, str],
        find: Find,
    ) -> None:
        self._findings = findings
        self._around = around
        self._find = find
        self._section = llm_orc.translated(section, findings, around, environ)

    def ensemble(self) -> Ensemble | None:
        """Give the ensemble; None when something is wrong, which the findings hold."""
        section, findings, performance = self._section, self._findings, self._around.performance
        given = self._top()
        agents = self._agents() if "agents" in given else []
        if "defaults" in given:
            defaults = without_secrets(given["defaults"], findings, what="defaults: ")
            given["defaults"] = self._keywords(defaults, None, shared=True)
            self._try_each(_trial_agent, given["defaults"], defaults, None)
        given["middleware"] = read_layers(section, findings, None) if "middleware" in given else ()
        settings = Settings()
        if "settings" in given:
            settings = read_settings(given["settings"], findings.file, findings.errors)
        for doubt in self._around.doubts if findings.strict else ():
            findings.add(doubt)
        if findings.errors:
            return None
        for note in self._around.notes:
            findings.note(note)
        for said, at in ((blindness(one), place_in(_of_agent(section, one.name), "prompt")) for one in agents):
            if said is not None:
                findings.note(f"{findings.file}:{at.line}: {said}")
        given.update(agents=agents, settings=settings.over(performance.settings), prices=performance.prices)
        given.update(strictness="strict" if findings.strict else "compat", source=findings.file)
        try:
            made = Ensemble(**given, notes=findings.notes)
            made.plan()
        except ConfigError as error:
            findings.add(placed(error, findings.file, section))
            return None
        for agent in made.agents:
            if agent.model is not None and "/" not in agent.model and agent.base_url is None:
                cure = "write provider/model, or give the base_url of its server"
                wrong = ConfigError(f"{agent.model!r} names no provider: {cure}", agent=agent.name, key="model")
                findings.add(placed(wrong, findings.file, section))
        return made

    def _top(self) -> dict[str, Any]:
        """Check the keys at the top, and give those of an ensemble that have a value."""
        section, findings, given, ignored = self._section, self._findings, dict[str, Any](), 0
        for key, value in section.items():
            if key.startswith("x-"):
                continue
            if key not in TOP_KEYS:
                ignored += 1
                if ignored <= MOST_NOTES:  # to look for the nearest key of each costs time
                    unknown_at_top(section, key, findings)
            elif key == "stretto":
                if isinstance(value, bool) or value != VERSION:
                    message = f"stretto must be {VERSION}, the only version of the format, got {kind_of(value)}"
                    findings.wrong(message, section.keys_at[key], key)
            elif fits(section, key, findings, None):
                given[key] = value
        if ignored > MOST_NOTES:
            findings.warn(f"{ignored - MOST_NOTES} more keys are ignored", section.place)
        single = {key: value for key, value in given.items() if not isinstance(value, (Section, list))}
        self._try_each(_trial_ensemble, single, section, None)
        if "default_input" in given:
            self._try_each(_trial_ensemble, {"default_input": given["default_input"]}, section, None)
        for key, what in (("name", "a name"), ("agents", "agents: a list, `- name: ...` for each")):
            if key not in section:
                findings.wrong(f"the ensemble needs {what}", section.place, key)
        return given

    def _try_each(
        self, make: Callable[..., object], given: Mapping[str, Any], section: Section, agent: str | None
    ) -> bool:
        """Let each key's class check it alone, so that several errors are said together."""
        sound = True
        for key, value in given.items():
            try:
                make(**{key: value})
            except ConfigError as error:
                self._findings.refused(error, section, key, agent)
                sound = False
        return sound

    def _agents(self) -> list[Agent]:
        items, made = self._section["agents"], list[Agent]()
        for section, place in zip(items, items.items_at, strict=True):
            if self._findings.full:
                break
            if not isinstance(section, Section):
                message = f"an agent must be a mapping with a name, got {kind_of(section)}"
                self._findings.wrong(message, place, "agents")
                continue
            name = section.get("name")
            label = name if isinstance(name, str) else None
            if "name" not in section:
                self._findings.wrong("the agent needs a name", place, "name", label)
            before = len(self._findings.errors)
            given = self._keywords(section, label)
            self._resolve(given, section, label)
            agent = self._agent(given, section, label)
            if agent is not None and "name" in given and len(self._findings.errors) == before:
                made.append(agent)
        return made

    def _agent(self, given: dict[str, Any], section: Section, label: str | None) -> Agent | None:
        """Make an agent; what is wrong with it is said key by key."""
        try:
            return _trial_agent(**given)
        except ConfigError as error:
            if self._try_each(_trial_agent, given, section, label):
                self._findings.refused(error, section, error.key or "name", label)
        return None

    def _keywords(self, section: Section, agent: str | None, *, shared: bool = False) -> dict[str, Any]:
        """Check the keys of an agent or of `defaults`, and give those that have a value."""
        given: dict[str, Any] = {}
        for key, value in section.items():
            if key.startswith("x-"):
                continue
            if isinstance(value, Unavailable):
                given[key] = value
            elif not unknown_to_agents(section, key, self._findings, agent, shared=shared) and fits(
                section, key, self._findings, agent
            ):
                given[key] = read_layers(section, self._findings, agent) if key == "middleware" else _read(key, value)
        return given

    def _resolve(self, given: dict[str, Any], section: Section, agent: str | None) -> None:
        """Find scripts and ensembles where the agent names them."""
        if sum(given.get(kind) is not None for kind in KINDS) > 1:
            return  # which is refused
        if given.get("script"):
            self._look_for_script(given["script"], section, agent)
        if given.get("ensemble"):
            found = self._find(Reference(given["ensemble"], section.keys_at["ensemble"], "ensemble", agent))
            _take(found, given, "ensemble")
        if "loop" in given and self._try_each(_trial_agent, {"loop": given["loop"]}, section, agent):
            self._resolve_loop(given, given["loop"], agent)
        dispatch = given.get("dispatch")
        if dispatch and dispatch.strip() and "${" not in dispatch:
            self._find(Reference(dispatch.strip(), section.keys_at["dispatch"], "dispatch", agent))

    def _look_for_script(self, text: str, section: Section, agent: str | None) -> None:
        findings = self._findings
        try:
            script = find_script(
                text,
                agent=agent or "",
                source=findings.file,
                strictness="strict" if findings.strict else "compat",
                suggest=findings.suggestions.take,
            )
        except ConfigError as error:
            findings.refused(error, section, "script", agent)
            return
        if script.note:
            after = "the agent fails without a process"
            findings.warn(script.note, section.keys_at["script"], "script", agent, after=after)

    def _resolve_loop(self, given: dict[str, Any], loop: Section, agent: str | None) -> None:
        found = self._find(Reference(loop["body"], loop.keys_at["body"], "loop.body", agent))
        if isinstance(found, Unavailable):
            _take(found, given, "loop")
        elif found is not None:
            given["loop"] = {**loop, "body": found}


def _read(key: str, value: Any) -> Any:
    """Give a value without the keys that are people's own."""
    if key not in ("loop", "fallback"):
        return value
    if isinstance(value, Items):
        return [_read(key, one) for one in value]
    return value.without_own() if isinstance(value, Section) else value


def _take(found: Ensemble | Unavailable | None, given: dict[str, Any], key: str) -> None:
    if isinstance(found, Unavailable):
        given.pop(key)
        given["function"] = found
    elif found is not None:
        given[key] = found


def _trial_agent(**given: Any) -> Agent:
    keywords: dict[str, Any] = {"name": "a", **given}
    return Agent(**keywords)


def _trial_ensemble(**given: Any) -> Ensemble:
    keywords: dict[str, Any] = {"name": "e", "agents": (Agent("a", model="a/b"),), **given}
    return Ensemble(**keywords)


# Where a key of stretto's comes from, in a file that has it in llm-orc's words.
_WRITTEN_AS: Mapping[str, tuple[str, ...]] = {
    "timeout": ("timeout_seconds",),
    "model": ("model_profile",),
    "base_url": ("model_profile", "provider"),
    "api_key_env": ("model_profile",),
    "params": ("options", "model_profile"),
    "fallback": ("fallback_model_profile", "model_profile"),
    "prompt": ("input_key", "input_scope"),
}


def placed(error: ConfigError, file: str, section: Section) -> ConfigError:
    """Give an error of an ensemble the place where its file has the key, or the agent."""
    own, key = _of_agent(section, error.agent), error.key or ""
    defaults = section.get("defaults")
    if own is not section and key not in own and isinstance(defaults, Section) and key in defaults:
        own = defaults  # the agent has it from there
    origin = own.origins.get(key)
    first = key.partition(".")[0]
    place = place_in(own, key if first in own else next((k for k in _WRITTEN_AS.get(first, ()) if k in own), key))
    return error.at(file=file if origin is None else origin.file or file, line=place.line, column=place.column)


def holds(section: Section, error: ConfigError) -> bool:
    """Tell whether an agent has the key that an error is about."""
    own = _of_agent(section, error.agent)
    return own is not section and (error.key or "").partition(".")[0] in own


def _of_agent(section: Section, name: str | None) -> Section:
    """Find the section of an agent; the whole file for no agent, or one that it does not name."""
    agents = section.get("agents")
    named = [one for one in agents if isinstance(one, Section) and one.get("name") == name] if agents and name else []
    last = section.get(COORDINATOR)
    if not named and isinstance(last, Section) and name is not None and name.startswith(COORDINATOR):
        return last
    return named[-1] if named else section
