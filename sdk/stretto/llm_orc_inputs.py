"""Translate llm-orc's keys on what an agent gets: `depends_on`, `input_key`, `input_scope`, `fan_out`."""

from __future__ import annotations

from typing import Any

from . import marks
from .findings import Findings
from .picked import Picked
from .yaml_text import Items, Origin, Section, excerpt, kind_of

KEYS = ("input_key", "input_scope")  # `depends_on` and `fan_out` are stretto's own words, too
# Texts and numbers that llm-orc takes for true or false, as YAML itself does.
_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def put_dependencies(section: Section, made: Section, findings: Findings, agent: str | None) -> None:
    """Put `depends_on` in as a list of names."""
    given: Any = section.get("depends_on")
    if isinstance(given, str) and not findings.strict:
        place = section.keys_at["depends_on"]
        findings.warn(f"depends_on is a list of names: [{given}] is meant", place, "depends_on", agent)
        alone = Items(place)
        alone.append(given)
        alone.items_at.append(place)
        made.put("depends_on", alone, place)
    if not isinstance(given, Items):
        return
    names = Items(given.place)
    for item, place in zip(given, given.items_at, strict=True):
        if isinstance(item, Section):
            name = item.get("agent_name")
            if not isinstance(name, str):
                message = "an item of depends_on must be a name, or a mapping with agent_name"
                findings.wrong(message, place, "depends_on", agent)
                continue
            for key in item:
                if key != "agent_name" and not key.startswith("x-"):
                    message = f"{excerpt(key)} in depends_on has no effect: a condition is written as when"
                    findings.warn(message, item.keys_at[key], "depends_on", agent)
            item = name
        names.append(item)
        names.items_at.append(place)
    made.put("depends_on", names, section.keys_at["depends_on"])


def put_input(
    section: Section, made: Section, findings: Findings, agent: str | None, *, kind: str, composer: str
) -> None:
    """Put in what an agent gets: `prompt`, and `fan_out`.

    Args:
        section: the agent's keys.
        made: gets them; `depends_on` is there already.
        findings: gets what is wrong or has no effect.
        agent: its name.
        kind: of its work.
        composer: of the ensemble.
    """
    sources: Any = made.get("depends_on")
    names = sources if isinstance(sources, Items) else ()
    source = next((name for name in names if isinstance(name, str)), None)
    key = _input_key(section, findings, agent, source)
    scope = _input_scope(section, findings, agent, source, kind)
    fans = _fans_out(section, findings, agent, source)
    value: Any
    if fans is not None:
        made.pop("fan_out", None)
    if fans:  # an instance gets its item, whatever the rest of the input
        word, value = "fan_out", _mark(source or "", key)
    elif key is not None and source is not None:
        word, value = "input_key", _mark(source, key)
        if kind == "llm":
            value = Picked(source, key, "plain" if scope else composer)
    elif scope:
        word, value = "input_scope", "${dependencies}"
    else:
        return
    ours, place = "fan_out" if fans else "prompt", section.keys_at[word]
    if made.get(ours) is not None:
        findings.warn(f"{word} has no effect beside {ours}", place, word, agent)
    elif value is None:
        message = f"no mark can name the agent {excerpt(source)}, or that field of it: rename it"
        findings.wrong(message, place, word, agent)
    else:
        made.put(ours, value, place, Origin(word) if word != ours else None)


def _mark(source: str, key: str | None) -> str | None:
    """Give the mark of a result or its field; None when no mark can say it."""
    text = source if key is None else f"{source}.{key}"
    if source in marks.RESERVED or not source.strip() or any(brace in text for brace in "{}"):
        return None
    return f"${{{text}}}"


def _input_key(section: Section, findings: Findings, agent: str | None, source: str | None) -> str | None:
    key = section.get("input_key")
    if key is None or key == "":
        return None
    place = section.keys_at["input_key"]
    if not isinstance(key, str):
        quote = ": quote it" if isinstance(key, (bool, int, float)) else ""
        findings.wrong(f"input_key must be a text, got {kind_of(key)}{quote}", place, "input_key", agent)
    elif source is None:
        findings.warn("input_key has no effect without depends_on", place, "input_key", agent)
    else:
        return key
    return None


def _input_scope(section: Section, findings: Findings, agent: str | None, source: str | None, kind: str) -> bool:
    scope = section.get("input_scope")
    if scope is None:
        return False
    place = section.keys_at["input_scope"]
    if scope != "dependencies":
        findings.wrong(f"input_scope must be 'dependencies', got {kind_of(scope)}", place, "input_scope", agent)
    elif source is None:
        findings.warn("input_scope has no effect without depends_on", place, "input_scope", agent)
    elif kind == "script":
        message = "input_scope has no effect on a script: it gets the input and the results apart"
        findings.warn(message, place, "input_scope", agent)
    else:
        return True
    return False


def _fans_out(section: Section, findings: Findings, agent: str | None, source: str | None) -> bool | None:
    """Tell whether llm-orc's `fan_out` is on; None when it is stretto's own, or not there."""
    given: Any = section.get("fan_out")
    if isinstance(given, (str, int)) and not isinstance(given, bool):
        given = _TRUTHS.get(str(given).lower(), given)
    if not isinstance(given, bool):
        return None
    if given and source is None:
        message = "fan_out: true needs depends_on: the first of them gives the list"
        findings.wrong(message, section.keys_at["fan_out"], "fan_out", agent)
        return False
    return given
