"""Translate an agent as llm-orc has it to stretto's own keys; each keeps the place where it was written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from . import llm_orc_asking, llm_orc_inputs, llm_orc_retired
from .findings import Findings
from .inline_secrets import without_secrets
from .llm_orc_asking import put_asking
from .llm_orc_inputs import put_dependencies, put_input
from .llm_orc_marks import guard, literal, names_one, of_body
from .llm_orc_models import Models
from .marks import INDEX, ITEM
from .unavailable import Unavailable
from .written_number import number
from .yaml_text import Origin, Section, excerpt, kind_of

# By which llm-orc tells an agent's kind, in this order; without any it asks a model.
KINDS = ("script", "loop", "dispatch", "ensemble")
_ONLY_MODELS = (*llm_orc_asking.KEYS, "output_format")
# The keys of an agent that are llm-orc's alone.
CURRENT_KEYS = ("timeout_seconds", "output_format", *llm_orc_asking.KEYS, *llm_orc_inputs.KEYS)
KEYS = (*CURRENT_KEYS, *llm_orc_retired.KEYS)
MOST_WALKED = 3_000_000  # dependencies, to find what marks may show
MOST_LOOKED_AT = 10_000  # characters of a dispatch
_MARK = re.compile(r"(?<!\$)\$\{([^{}]+)\}")
_WITHOUT_EFFECT = {"output_format": "llm-orc never used it either: response_format asks the model for JSON"}


class Agents:
    """What the agents of one file have in common.

    Args:
        findings: of the file.
        models: what they ask.
        composer: of the ensemble.
        before: for each agent, by its name, the names in its `depends_on`.
        prompted: whether they have a system prompt from `defaults`.
    """

    def __init__(
        self,
        findings: Findings,
        models: Models,
        composer: str,
        before: Mapping[str, Collection[str]],
        *,
        prompted: bool,
    ) -> None:
        self._findings = findings
        self._models = models
        self._composer = composer
        self._before = before
        self._prompted = prompted
        self._walked = 0

    def translated(self, section: Section) -> Section:
        """Give an agent in stretto's own keys; what is no key at all is left in, and refused where keys are checked."""
        name = section.get("name")
        agent = name if isinstance(name, str) else None
        section = llm_orc_retired.agent(without_secrets(section, self._findings, agent=agent), self._findings, agent)
        made = Section(section.place)
        for key, value in section.items():
            if key not in KEYS:
                made.put(key, value, section.keys_at[key], section.origins.get(key))
        kind = next((kind for kind in KINDS if section.get(kind) is not None), "llm")
        put_dependencies(section, made, self._findings, agent)
        self._put_timeout(section, made, agent)
        if kind == "llm":
            put_asking(section, made, self._models, self._findings, agent)
        self._put_literal_prompt(made, agent)
        if kind == "llm" and agent is not None and not self._findings.strict and not self._prompted:
            _put_generated_prompt(section, made, agent)
        put_input(section, made, self._findings, agent, kind=kind, composer=self._composer)
        self._check_keys(section, agent, kind)
        self._check_failure(section, agent)
        if not self._findings.strict:
            self._put_guards(made, agent)
            self._put_dispatch(made, agent)
        return made

    def _put_timeout(self, section: Section, made: Section, agent: str | None) -> None:
        given = section.get("timeout_seconds")
        if given is None:
            return
        place, key = section.keys_at["timeout_seconds"], "timeout_seconds"
        seconds = number(given, whole=False)
        if section.get("timeout") is not None:
            self._findings.wrong("timeout and timeout_seconds say the same: leave one of them out", place, key, agent)
        elif seconds is None or not seconds > 0:
            self._findings.wrong(f"{key} must be seconds above 0, got {kind_of(given)}", place, key, agent)
        else:
            made.put("timeout", seconds, place, Origin(key))

    def _put_literal_prompt(self, made: Section, agent: str | None) -> None:
        """Keep in a system prompt as it stands what is a mark in stretto alone and names nothing here."""
        text = made.get("system_prompt")
        if self._findings.strict or not isinstance(text, str) or "${" not in text:
            return
        kept = literal(text, self._shown(agent))
        if kept != text:
            place, origin = made.keys_at["system_prompt"], made.origins.get("system_prompt")
            message = "a ${...} in system_prompt names nothing that it could show: it stays as it is"
            file = None if origin is None else origin.file
            self._findings.warn(message, place, "system_prompt", agent, file=file)
            made.put("system_prompt", kept, place)

    def _shown(self, agent: str | None) -> Collection[str]:
        """Give the names that a mark of an agent may show: of its direct and indirect dependencies."""
        if self._walked > MOST_WALKED:  # what a mark shows besides is refused later on, then
            return self._before
        found, left = set[str](), list(self._before.get(agent or "", ()))
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left.extend(self._before.get(name, ()))
        self._walked += len(found)
        return found

    def _check_keys(self, section: Section, agent: str | None, kind: str) -> None:
        for key, value in section.items():
            place = section.keys_at[key]
            if key in _ONLY_MODELS and kind != "llm":
                self._findings.wrong(f"{key} belongs to an agent with a model: this one has {kind}", place, key, agent)
            elif value is None:
                continue
            elif key in _WITHOUT_EFFECT and not isinstance(value, str):
                self._findings.wrong(f"{key} must be a text, got {kind_of(value)}", place, key, agent)
            elif key in _WITHOUT_EFFECT:
                self._findings.warn(f"{key} has no effect: {_WITHOUT_EFFECT[key]}", place, key, agent)
            elif key == "system_prompt" and kind != "llm":
                self._findings.warn(f"{key} has no effect on an agent with {kind}", place, key, agent)

    def _check_failure(self, section: Section, agent: str | None) -> None:
        key = "on_dependency_failure"
        if section.get(key) == "run" and not section.get("depends_on") and not self._findings.strict:
            message = "on_dependency_failure: run needs depends_on: without it there is nothing that could fail"
            self._findings.wrong(message, section.keys_at[key], key, agent)

    def _put_guards(self, made: Section, agent: str | None) -> None:
        when: Any = made.get("when")
        if when == "":  # a text that is empty is false
            place = made.keys_at["when"]
            self._findings.warn("when is empty: this agent is always skipped", place, "when", agent)
            made.put("when", f"${{{_free_name(self._before)}}}", place)
        elif isinstance(when, str):
            place = made.keys_at["when"]
            read = guard(when, self._before)
            if read.warning:
                self._findings.warn(f"when: {read.warning}", place, "when", agent)
            elif read.text is not None and (unknown := self._unknown(read.text)) is not None:
                message = f"when names {excerpt(unknown)}, which is no agent here: this one is always skipped"
                self._findings.warn(message, place, "when", agent)
            made.pop("when")
            if read.text is not None:
                made.put("when", read.text, place)
        loop: Any = made.get("loop")
        if isinstance(loop, Section):
            made.put("loop", self._loop(loop, agent), made.keys_at["loop"])

    def _put_dispatch(self, made: Section, agent: str | None) -> None:
        """Let an agent fail whose dispatch names no agent, as llm-orc does when its turn comes."""
        text: Any = made.get("dispatch")
        if not isinstance(text, str) or len(text) > MOST_LOOKED_AT:
            return
        for match in _MARK.finditer(text):
            if names_one(match[1].strip(), (*self._before, ITEM, INDEX)):
                continue
            place = made.keys_at["dispatch"]
            message = f"dispatch names {excerpt(match[1].strip())}, which is no agent here"
            self._findings.warn(message, place, "dispatch", agent, after="the agent fails without a call")
            made.pop("dispatch")
            made.put("function", Unavailable(message), place, Origin("dispatch"))
            return

    def _unknown(self, text: str) -> str | None:
        inside = text.partition("${")[2].partition("}")[0].strip()
        return None if not inside or names_one(inside, self._before) else inside

    def _loop(self, loop: Section, agent: str | None) -> Section:
        made = Section(loop.place)
        for key, value in loop.items():
            place = loop.keys_at[key]
            if key == "max_iterations":
                whole = number(value, whole=True)
                value = value if whole is None else whole
            elif key == "carry" and isinstance(value, str):
                value = of_body(value)
            made.put(key, value, place)
        until = loop.get("until")
        if until == "":  # it never holds
            place, message = loop.keys_at["until"], "loop.until is empty: the loop runs all its rounds"
            self._findings.warn(message, place, "loop.until", agent)
            made.put("until", None, place)
        elif isinstance(until, str):
            place, read = loop.keys_at["until"], guard(of_body(until), ("body",))
            if read.warning:
                self._findings.warn(f"loop.until: {read.warning}", place, "loop.until", agent)
            made.put("until", read.text, place)
            if read.text is None:
                made.put("max_iterations", 1, place)  # it holds after the first round
        return made


def _free_name(names: Collection[str]) -> str:
    name = "nobody"
    while name in names:
        name += "-"
    return name


def _put_generated_prompt(section: Section, made: Section, agent: str) -> None:
    """Put in a system prompt where an agent in llm-orc's words has none: llm-orc writes one as well, with its own."""
    in_its_words = section.get("model_profile") is not None or section.get("provider") is not None
    if in_its_words and made.get("system_prompt") is None:
        made.put("system_prompt", f"You are {agent.replace('${', '$${')}. Do your part of the task.", section.place)
