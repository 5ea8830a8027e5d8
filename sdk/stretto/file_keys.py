"""The keys of an ensemble's file, and what each holds."""

from __future__ import annotations

from collections.abc import Mapping

from . import llm_orc, llm_orc_agents
from .agent import AGENT_KEYS
from .findings import OF_KEYS, Findings, nearest
from .inline_secrets import CURE
from .yaml_text import Items, Section, excerpt, kind_of

TOP_KEYS = (
    "stretto",
    "name",
    "description",
    "model",
    "defaults",
    "default_input",
    "schedule",
    "on_failure",
    "composer",
    "settings",
    "middleware",
    "agents",
)
# `function` is code, `api_key` would be a secret in a file: both come from Python only.
FILE_KEYS = tuple(key for key in AGENT_KEYS if key not in ("function", "api_key"))
_TRUST = "who runs the file decides that: Runner(%s), or %s on the command line"
ONLY_PYTHON = {
    "function": "a function comes from Python: Agent(..., function=...)",
    "api_key": f"a key does not belong into a file: {CURE}",
    "allow_scripts": _TRUST % ("allow_scripts=True", "--allow-scripts"),
    "trusted_origins": _TRUST % ("trusted_origins=[...]", "--trust"),
}
UNSHARED = ("name", "depends_on")  # of an agent's keys, what `defaults` cannot hold

# What each key holds, in a file. A key that is missing here holds whatever its class accepts.
_TEXTS = (
    *("name", "description", "model", "schedule", "on_failure", "composer", "script", "ensemble", "dispatch"),
    *("system_prompt", "prompt", "on_dependency_failure", "when", "fan_out", "base_url", "api_key_env"),
)
_SHAPES: Mapping[str, tuple[type, str]] = {
    "agents": (Items, "a list: write `- name: ...` for each"),
    "depends_on": (Items, "a list of names"),
    "env": (Items, "a list of names of environment variables"),
    "middleware": (Items, "a list of layers"),
    "defaults": (Section, "a mapping"),
    "loop": (Section, "a mapping of body, max_iterations, until and carry"),
    "parameters": (Section, "a mapping"),
    "settings": (Section, "a mapping"),
    "params": (Section, "a mapping"),
}
_OF_ANY_SHAPE = ("default_input", "fallback")


def fits(section: Section, key: str, findings: Findings, agent: str | None) -> bool:
    """Tell whether a value has the shape of its key, and is there: an empty text key is as one left out."""
    value, message = section[key], None
    kind, what = _SHAPES.get(key, (None, ""))
    if kind is not None:
        if not isinstance(value, kind):
            listable = key == "depends_on" and isinstance(value, str) and value.isprintable()
            cure = f", such as [{value}]" if listable else ""
            message = f"{key} must be {what}{cure}, got {kind_of(value)}"
            if value is None:
                message += ": leave the key out, or give it content"
        elif key == "agents" and not value and findings.strict:
            message = "agents must hold one agent at least: write `- name: ...` for each"
    elif key in _TEXTS and not isinstance(value, str) and (value is not None or key == "name"):
        if callable(value):
            return True  # it was translated
        quote = ": quote it" if isinstance(value, (bool, int, float)) else ""
        message = f"{key} must be a text, got {kind_of(value)}{quote}"
    elif key not in _OF_ANY_SHAPE and isinstance(value, (Section, Items)):
        message = f"{key} must be a single value, got {kind_of(value)}"
    if message is not None:
        origin = section.origins.get(key)
        file = None if origin is None else origin.file
        findings.wrong(message, section.keys_at[key], key if origin is None else origin.key, agent, file=file)
    return message is None and value is not None


def unknown_to_agents(section: Section, key: str, findings: Findings, agent: str | None, *, shared: bool) -> bool:
    """Tell whether a key is none of an agent, or of `defaults`, and say so."""
    known = tuple(one for one in FILE_KEYS if not (shared and one in UNSHARED))
    if key in known:
        return False
    place = section.keys_at[key]
    if key in ONLY_PYTHON:
        findings.wrong(f"{key}: {ONLY_PYTHON[key]}", place, key, agent)
    else:
        what = "defaults" if shared else "an agent"
        words = llm_orc.SHARED if shared else llm_orc_agents.CURRENT_KEYS
        near = findings.suggestions.nearest(key, (*known, *words), OF_KEYS)
        findings.wrong(f"{excerpt(key)} is not a key of {what}", place, key, agent, near=near)
    return True


def unknown_at_top(section: Section, key: str, findings: Findings) -> None:
    """Say what is wrong with a key at the top that is none."""
    place = section.keys_at[key]
    if key in ONLY_PYTHON and (findings.strict or key != "api_key"):
        findings.wrong(f"{key}: {ONLY_PYTHON[key]}", place, key)
        return
    if key == "api_key":
        findings.warn(f"{key} holds a key, which is not used: {CURE}", place, key)
        return
    # Not counted: whether such a key is an error must not hang on how many mistakes were made before.
    near = nearest(key, (*TOP_KEYS, *llm_orc.KEYS), 0.75)
    if near is not None or findings.strict:
        findings.wrong(f"{excerpt(key)} is not a key of an ensemble", place, key, near=near)
    else:
        findings.warn(f"the key {excerpt(key)} is ignored", place, key)
