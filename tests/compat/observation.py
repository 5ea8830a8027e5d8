"""Bring what a side did into one form: structure, labels and our own texts; no sentence of either side, no timing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from compat.case import Case

Observation = dict[str, Any]

SAID = "..."  # stands for a sentence: that there is one counts, not how it reads
SENTENCES = ("error", "reason", "handled_failure_reason", "stderr")
STATES = "failed|skipped|timed_out|cancelled"
HANDLED = "handled failure"

_BESIDE = ("status", "has_errors", "input", "deliverable")
_UNCOMPARED = ("agent_requests",)  # of scripts that ask the caller for something: left out
_DEPENDANT = re.compile(
    r"[^\n]+\n\nOriginal Input:\n(?P<input>.*?)\n\n"
    r"Previous Agent Results \(for your reference\):\n(?P<blocks>.*)\n\n[^\n]+",
    re.DOTALL,
)
_INSTANCE = re.compile(
    r"[^\n\d]*(?P<number>\d+)[^\n\d]*(?P<of>\d+)[^\n\d]*\n\n"
    r"Original task: (?P<task>.*?)\n\nChunk content:\n(?P<item>.*)",
    re.DOTALL,
)
_BLOCK = re.compile(
    rf"(?:^|\n\n)Agent (?P<name>[\w-]+)(?: \((?!(?:{STATES})\)|{HANDLED})[^()\n]*\))?"
    rf"(?::\n| \((?P<state>{STATES})\): | \((?P<handled>{HANDLED})[^\n]*\)(?=\n\n|$))"
)
_ENTRY = re.compile(rf"^([\w\[\]-]+ \((?:{STATES})\)): .*$", re.MULTILINE)
_SELECTION = re.compile(r"input_key error.*", re.DOTALL)


def observation(
    case: Case, result: Mapping[str, Any], phases: list[list[str]], requests: list[dict[str, Any]]
) -> Observation:
    """Observe a run.

    Args:
        case: that was run.
        result: of llm-orc's shape.
        phases: names of the agents of each phase.
        requests: bodies, in any order.
    """
    records = {name: record(name, what, case) for name, what in result["results"].items()}
    seen: Observation = {"accepted": True, **{key: told(result[key]) for key in _BESIDE if key in result}}
    if case.unsaid:
        seen.pop("deliverable", None)
    usage = result["metadata"].get("usage") or {}
    return {
        **seen,
        "order": list(result.get("execution_order", [])),
        "phases": _ran(phases, records),
        "agents": records,
        "usage": {name: [u["input_tokens"], u["output_tokens"]] for name, u in usage.get("agents", {}).items()},
        "requests": sorted((request(body, case) for body in requests), key=_sorting),
    }


def _ran(phases: list[list[str]], records: Mapping[str, Any]) -> list[list[str]]:
    """Give the phases of the agents that have a result: one that never started is in no phase of theirs."""
    ran = {
        name for name, what in records.items() if what["status"] in ("success", "partial") and what["response"] != []
    }
    whole = [sorted({name.partition("[")[0] for name in names} & ran) for names in phases]
    return [names for names in whole if names]


def _sorting(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def record(name: str, what: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """Observe the record of one agent."""
    said: dict[str, Any] = told({key: value for key, value in what.items() if key not in _UNCOMPARED})
    if name in case.unsaid:
        said["response"] = SAID
    return said


def request(body: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """Observe a request: all fields, and the messages by their structure; no system prompt that a side made up."""
    messages = [
        {"role": message["role"], "content": _content(message)}
        for message in body["messages"]
        if message["role"] != "system" or any(message["content"] in file for file in case.files.values())
    ]
    return {**{key: _number(value) for key, value in body.items() if key != "messages"}, "messages": messages}


def _content(message: Mapping[str, Any]) -> Any:
    return message["content"] if message["role"] == "system" else told(message["content"])


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def told(value: Any) -> Any:
    """Take sentences and timings out of data, and out of texts that hold data."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [told(item) for item in value]
    if not isinstance(value, dict):
        return value
    if {"ensemble", "results", "metadata"} <= value.keys():  # the result of a child, in text or data
        value = {key: kept for key, kept in value.items() if key != "metadata"}
        value["results"] = dict(sorted(value["results"].items()))
    if _later(value):  # stretto adds the parameters
        value = {key: kept for key, kept in value.items() if key != "parameters"}
    return {
        key: SAID if key in SENTENCES and isinstance(kept, str) and kept else told(kept)
        for key, kept in value.items()
        if key not in _UNCOMPARED
    }


def _text(text: str) -> Any:
    if text[:1] in ("{", "[") and (data := _parsed(text)) is not None:
        said = told(data)
        return json.dumps(data, ensure_ascii=False) if said == data and not _later(data) else {"json": said}
    if whole := _DEPENDANT.fullmatch(text):
        return {"input": told(whole["input"]), "blocks": _blocks(whole["blocks"])}
    if whole := _INSTANCE.fullmatch(text):
        return {"instance": [int(whole["number"]), int(whole["of"])], "task": whole["task"], "item": whole["item"]}
    if _SELECTION.fullmatch(text):
        return SAID
    if first := _BLOCK.search(text):
        return {"before": text[: first.start()], "blocks": _blocks(text[first.start() :])}
    return "\n".join(_line(line) for line in _ENTRY.sub(r"\1", text).split("\n"))


def _line(text: str) -> str:
    """Take out of a line that is data what `told` takes out."""
    data = _parsed(text) if text[:1] == "{" else None
    said = told(data)
    return text if said == data else json.dumps(said, sort_keys=True)


def _later(data: Any) -> bool:
    """Tell whether data is what a script with dependencies is told."""
    return isinstance(data, dict) and {"agent_name", "dependencies"} <= data.keys()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _blocks(text: str) -> list[Any]:
    found = list(_BLOCK.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    blocks: list[Any] = [text[: found[0].start()]] if found and found[0].start() else []
    for match, end in zip(found, ends, strict=False):
        state = match["state"] or match["handled"] or "ok"
        # An empty fan-out is told in a sentence that names the agent.
        inner = text[match.end() : end]
        empty = inner.startswith(f"Agent {match['name']}: ")
        blocks.append([match["name"], state, SAID if state != "ok" or empty else told(inner)])
    return blocks or [text]
