"""Translate keys of old releases of llm-orc, which its own newest one refuses or drops without a word."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .findings import Findings
from .yaml_text import Items, Place, Section, excerpt, kind_of

# Of an agent.
KEYS = ("type", "role", "ollama_format", "message_protocol", "synthesis_timeout_seconds")
# Of the coordinator; what an agent has as well is taken over as it is.
_SYNTHESIS = ("synthesis_prompt", "synthesis_timeout_seconds")
_AS_OF_AN_AGENT = (
    *("model_profile", "model", "provider", "fallback_model_profile", "system_prompt", "timeout_seconds"),
    *("temperature", "max_tokens", "options", "response_format", "output_format"),
    *("type", "role", "ollama_format", "message_protocol"),
)
COORDINATOR = "coordinator"
# What `type` said, and the key that says it now; an agent with a model needs none.
_TYPES = {"llm": None, "script": "script", "ensemble": "ensemble", "loop": "loop", "dispatch": "dispatch"}


def agent(section: Section, findings: Findings, name: str | None) -> Section:
    """Give an agent's section without retired keys: what they meant is said in the words of today."""
    if not any(key in section for key in KEYS):
        return section
    made = Section(section.place)
    for key, value in section.items():
        if key not in KEYS:
            made.put(key, value, section.keys_at[key])
    for key in KEYS:
        if section.get(key) is not None:
            place = section.keys_at[key]
            _TRANSLATIONS[key](section[key], place, made, findings, name)
    made.origins = section.origins
    return made


def _type(value: Any, place: Place, made: Section, findings: Findings, name: str | None) -> None:
    needed = _TYPES.get(value) if isinstance(value, str) else None
    if needed is not None and made.get(needed) is None:
        message = f"type is a retired key, and this agent has no {needed}: it says what {value} it is"
        findings.wrong(message, place, "type", name)
    elif isinstance(value, str) and value in _TYPES:
        findings.warn("type is a retired key: leave it out, the other keys say as much", place, "type", name)
    else:
        message = f"type is a retired key, and {kind_of(value)} is none of {', '.join(_TYPES)}: it has no effect"
        findings.warn(message, place, "type", name)


def _role(value: Any, place: Place, made: Section, findings: Findings, name: str | None) -> None:
    if not isinstance(value, str) or not value.strip():
        findings.warn(f"role is a retired key, and has no effect: it is {kind_of(value)}", place, "role", name)
        return
    findings.warn("role is a retired key: it goes before the system_prompt, write it there", place, "role", name)
    prompt, sentence = made.get("system_prompt"), f"Your role: {value}"
    if prompt is None or isinstance(prompt, str):
        text = sentence if not prompt else f"{sentence}\n\n{prompt}"
        made.put("system_prompt", text, made.keys_at.get("system_prompt", place))


def _ollama_format(value: Any, place: Place, made: Section, findings: Findings, name: str | None) -> None:
    findings.warn("ollama_format is a retired key: write response_format", place, "ollama_format", name)
    if made.get("response_format") is None:
        made.put("response_format", value, place)


def _message_protocol(value: Any, place: Place, made: Section, findings: Findings, name: str | None) -> None:
    findings.warn("message_protocol is a retired key, and has no effect", place, "message_protocol", name)


def _synthesis_timeout(value: Any, place: Place, made: Section, findings: Findings, name: str | None) -> None:
    message = "synthesis_timeout_seconds is a retired key: write timeout_seconds"
    findings.warn(message, place, "synthesis_timeout_seconds", name)
    if made.get("timeout_seconds") is None:
        made.put("timeout_seconds", value, place)


_TRANSLATIONS = {
    "type": _type,
    "role": _role,
    "ollama_format": _ollama_format,
    "message_protocol": _message_protocol,
    "synthesis_timeout_seconds": _synthesis_timeout,
}


def coordinator(top: Section, findings: Findings, names: Collection[str], *, has_model: bool) -> Section | None:
    """Give the agent that `coordinator` was: the last one, which depends on all others.

    Args:
        top: the keys of the file.
        findings: gets the warnings.
        names: of the other agents, in file order.
        has_model: whether the ensemble has a model for agents without one.

    Returns:
        Its keys as an agent has them; None when there is none, or it says too little.
    """
    value, place = top.get(COORDINATOR), top.keys_at.get(COORDINATOR, top.place)
    if COORDINATOR not in top:
        return None
    retired = f"{COORDINATOR} is a retired key"
    if not isinstance(value, Section) or not (has_model or value.get("model_profile") or value.get("model")):
        why = "names no model" if isinstance(value, Section) else f"is {kind_of(value)}"
        findings.warn(f"{retired}, and has no effect: it {why}", place, COORDINATOR)
        return None
    name = _free_name(names)
    message = f"{retired}: it became the agent {name!r}, which depends on all others; write it as the last of agents"
    findings.warn(message, place, COORDINATOR)
    made = Section(place)
    made.put("name", name, place)
    for key, one in value.items():
        if key in _AS_OF_AN_AGENT:
            made.put(key, one, value.keys_at[key])
        elif key not in _SYNTHESIS and not key.startswith("x-"):
            findings.warn(f"{COORDINATOR}.{excerpt(key)} has no effect", value.keys_at[key], f"{COORDINATOR}.{key}")
    _put_synthesis(value, made)
    if names:
        others = Items(place)
        others.extend(names)
        others.items_at.extend([place] * len(names))
        made.put("depends_on", others, place)
    return made


def _put_synthesis(value: Section, made: Section) -> None:
    prompt = value.get("synthesis_prompt")
    if prompt is not None:
        before = made.get("system_prompt")
        text = f"{before}\n\n{prompt}" if isinstance(before, str) and isinstance(prompt, str) else prompt
        made.put("system_prompt", text, value.keys_at["synthesis_prompt"])
    if value.get("synthesis_timeout_seconds") is not None:
        place = value.keys_at["synthesis_timeout_seconds"]
        made.put("timeout_seconds", value["synthesis_timeout_seconds"], place)


def _free_name(names: Collection[str]) -> str:
    name, number = COORDINATOR, 1
    while name in names:
        number += 1
        name = f"{COORDINATOR}-{number}"
    return name
