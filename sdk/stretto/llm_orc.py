"""Translate an ensemble's file as llm-orc has it to stretto's own keys.

One set of checks serves both: what comes out is read as if it had been written in stretto's words, and each key keeps
the place where it stands. Strict files may use llm-orc's words, too, but not what has no effect or was retired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import llm_orc_retired
from .findings import Findings
from .llm_orc_agents import KINDS, Agents
from .llm_orc_models import Models
from .prompt import COMPOSERS
from .surroundings import Surroundings
from .yaml_text import Items, Section

MOST_AGENTS = 1000  # in one file
_TASKS = ("default_task", "task")  # the first wins
_SERVING = "it belongs to llm-orc's server"
_WITHOUT_EFFECT: Mapping[str, str] = {
    "validation": "nothing is checked after the run, and no expression of a file is ever evaluated",
    "test_mode": "the models are asked: models of simulated/ stand in for them",
    "raw_output": "results are never shortened",
    "output_schema": "it is advice, in llm-orc as well",
    "output_substrate": _SERVING,
    "output_retention": _SERVING,
    "calibration_substrate_access": _SERVING,
    "topaz_skill": _SERVING,
    "serves": _SERVING,
    "seat_contract": _SERVING,
    "message_protocol": "it is a retired key",
}
# The keys at the top that are llm-orc's alone.
KEYS = (*_TASKS, *_WITHOUT_EFFECT, llm_orc_retired.COORDINATOR)
# What agents may take from `defaults`, of llm-orc's own words.
_SHARED_MODEL = ("model_profile", "provider", "fallback_model_profile")
SHARED = (*_SHARED_MODEL, "temperature", "max_tokens", "options", "response_format", "timeout_seconds")


def translated(top: Section, findings: Findings, around: Surroundings, environ: Mapping[str, str]) -> Section:
    """Give the whole file in stretto's own keys; what is no key at all is left in.

    Args:
        top: what the file holds.
        findings: gets what is wrong, translated or without effect.
        around: where profiles are found.
        environ: the environment.
    """
    made = Section(top.place)
    for key, value in top.items():
        if key in _WITHOUT_EFFECT:
            if value is not None:
                findings.warn(f"{key} has no effect: {_WITHOUT_EFFECT[key]}", top.keys_at[key], key)
        elif key not in KEYS:
            made.put(key, value, top.keys_at[key])
    _put_task(top, made, findings)
    if not findings.strict:
        _put_names(made, findings)
    shared = _put_defaults(made)
    agents = _listed(made, findings)
    if agents is not None:
        written = _with_coordinator([_with_shared(one, shared) for one in agents], top, shared, findings)
        place = made.keys_at["agents"]
        found = Items(agents.place)
        found.items_at = [*agents.items_at, *[place] * (len(written) - len(agents))]
        translator = _translator(written, made, Models(findings, around, environ), findings)
        found.extend(translator.translated(one) if isinstance(one, Section) else one for one in written)
        made.put("agents", found, place)
        if not agents and not findings.strict:
            findings.warn("the ensemble has no agents: a run of it does nothing", place, "agents")
    return made


def _put_task(top: Section, made: Section, findings: Findings) -> None:
    given = [key for key in _TASKS if top.get(key) is not None]
    for number, key in enumerate(given):
        winner = "default_input" if top.get("default_input") is not None else given[0]
        if number or winner == "default_input":
            findings.warn(f"{key} has no effect beside {winner}", top.keys_at[key], key)
        else:
            made.put("default_input", top[key], top.keys_at[key])


def _put_names(made: Section, findings: Findings) -> None:
    """Take a number for a text, as llm-orc does."""
    for key in ("name", "description"):
        value = made.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            findings.warn(f"{key} is a text: quote {value}", made.keys_at[key], key)
            made.put(key, str(value), made.keys_at[key])


def _put_defaults(made: Section) -> Section:
    """Take llm-orc's words out of `defaults`, and give them."""
    defaults, shared = made.get("defaults"), Section(made.place)
    if not isinstance(defaults, Section):
        return shared
    model = "model" in defaults and "provider" in defaults
    own = Section(defaults.place)
    for key, value in defaults.items():
        to = shared if key in SHARED or (key == "model" and model) else own
        to.put(key, value, defaults.keys_at[key])
    if shared:
        made.put("defaults", own, made.keys_at["defaults"])
        if not own:
            made.pop("defaults")
    return shared


def _listed(made: Section, findings: Findings) -> Items | None:
    """Give the agents, if there are not too many: each costs time to check, and nobody can read them."""
    agents: Any = made.get("agents")
    if isinstance(agents, Section) and not agents and not findings.strict:
        return Items(agents.place)  # as llm-orc takes it
    if not isinstance(agents, Items):
        return None
    if len(agents) > MOST_AGENTS:
        cure = "put parts of it into ensembles of their own (`ensemble: NAME`), fan out, or make it in Python"
        message = f"an ensemble of a file has {MOST_AGENTS} agents at most, this one has {len(agents)}: {cure}"
        findings.wrong(message, agents.items_at[MOST_AGENTS], "agents")
        fewer = Items(agents.place)
        fewer.extend(agents[:MOST_AGENTS])
        fewer.items_at = agents.items_at[:MOST_AGENTS]
        return fewer
    return agents


def _with_coordinator(agents: list[Any], top: Section, shared: Section, findings: Findings) -> list[Any]:
    """Give the agents, and at last the one that a coordinator became."""
    names = dict.fromkeys(one["name"] for one in _named(agents))
    has_model = any(model is not None for model in (top.get("model"), shared.get("model_profile"), shared.get("model")))
    last = llm_orc_retired.coordinator(top, findings, names, has_model=has_model)
    return agents if last is None else [*agents, _with_shared(last, shared)]


def _translator(agents: list[Any], made: Section, models: Models, findings: Findings) -> Agents:
    composer, defaults = made.get("composer"), made.get("defaults")
    return Agents(
        findings=findings,
        models=models,
        composer=composer if isinstance(composer, str) and composer in COMPOSERS else "llm_orc",
        before={one["name"]: _before(one) for one in _named(agents)},
        prompted=isinstance(defaults, Section) and defaults.get("system_prompt") is not None,
    )


def _named(sections: list[Any]) -> list[Section]:
    return [one for one in sections if isinstance(one, Section) and isinstance(one.get("name"), str)]


def _before(section: Section) -> list[str]:
    """Give the names in an agent's `depends_on`, as far as it is sound."""
    given: Any = section.get("depends_on")
    items = [given] if isinstance(given, str) else given if isinstance(given, Items) else []
    names = [one.get("agent_name") if isinstance(one, Section) else one for one in items]
    return [name for name in names if isinstance(name, str)]


def _with_shared(section: Any, shared: Section) -> Any:
    """Give an agent's section with what it takes from `defaults`."""
    if not shared or not isinstance(section, Section):
        return section
    asks = all(section.get(kind) is None for kind in KINDS)
    named = section.get("model_profile") is not None or section.get("model") is not None
    made = Section(section.place)
    for key, value in section.items():
        made.put(key, value, section.keys_at[key])
    for key, value in shared.items():
        of_model = key in _SHARED_MODEL or key == "model"
        wanted = asks and not (of_model and named) if key != "timeout_seconds" else section.get("timeout") is None
        if wanted and section.get(key) is None:
            made.put(key, value, shared.keys_at[key])
    return made
