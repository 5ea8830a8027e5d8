"""Translate llm-orc's request keys to chat parameters: `temperature`, `max_tokens`, `options`, `response_format`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError
from .findings import Findings
from .params import CHAT_PARAMETERS, check_params
from .shapes import is_mapping
from .written_number import number
from .yaml_text import Place, Section, kind_of

LLAMA_SERVER = "llama-server"


@dataclass(slots=True)
class Wishes:
    """What a request is to hold.

    Args:
        params: chat parameters.
        extra: what only the provider knows: `params.extra_body`.
        think: llm-orc's switch of reasoning, which llama-server alone understands; None: not given.
    """

    params: dict[str, Any] = field(default_factory=dict[str, Any])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    think: Any = None

    def over(self, other: Wishes) -> Wishes:
        """Lay these over `other`: what is wished for here wins, name by name."""
        think = self.think if self.think is not None else other.think
        return Wishes({**other.params, **self.params}, {**other.extra, **self.extra}, think)

    def given_to(self, provider: str | None) -> dict[str, Any]:
        """Give `params` for a provider by llm-orc's name of it."""
        extra = self.extra
        if self.think is not None and provider == LLAMA_SERVER:
            inside = extra.get("chat_template_kwargs")
            kept: Mapping[str, Any] = inside if is_mapping(inside) else {}
            extra = {**extra, "chat_template_kwargs": {**kept, "enable_thinking": self.think}}
        return {**self.params, "extra_body": extra} if extra else dict(self.params)


class WishReader:
    """Read what one section wishes for.

    Args:
        findings: gets what is wrong, and what is not sent.
        agent: whose section it is; None: a profile's.
        file: where it stands; None: the file of the findings.
    """

    def __init__(self, findings: Findings, agent: str | None, file: str | None = None) -> None:
        self._findings = findings
        self._agent = agent
        self._file = file

    def read(self, section: Section) -> Wishes:
        """Read the keys that are there: those of their own win over the same ones in `options`."""
        wishes = self._options(section)
        for key, whole in (("temperature", False), ("max_tokens", True)):
            if section.get(key) is not None:
                value = number(section[key], whole=whole)
                if value is None:
                    what = "a whole number" if whole else "a number"
                    self._wrong(f"{key} must be {what}, got {kind_of(section[key])}", section.keys_at[key], key)
                else:
                    wishes.params[key] = value
        if section.get("response_format") is not None:
            form = self._response_format(section)
            if form is not None:
                wishes.params["response_format"] = form
        return wishes

    def _options(self, section: Section) -> Wishes:
        wishes, options = Wishes(), section.get("options")
        if options is None:
            return wishes
        if not isinstance(options, Section):
            self._wrong(f"options must be a mapping, got {kind_of(options)}", section.keys_at["options"], "options")
            return wishes
        for name, value in options.items():
            place, key = options.keys_at[name], f"options.{name}"
            if name in CHAT_PARAMETERS:
                wishes.params[name] = value
            elif name == "think":
                wishes.think = value
            elif name == "extra_body" and isinstance(value, Section):
                for inner, one in value.items():
                    if self._is_sent(inner, f"{key}.{inner}", value.keys_at[inner]):
                        wishes.extra[inner] = one
            elif name.startswith("extra_"):
                self._warn(f"{key} is not sent: write it under `params`", place, key)
            elif self._is_sent(name, key, place):
                wishes.extra[name] = value
        return wishes

    def _is_sent(self, name: str, key: str, place: Place) -> bool:
        try:
            check_params({"extra_body": {name: None}})
        except ConfigError as error:  # it steers a client; its message ends with the cure
            self._warn(f"{key} is not sent: {error.message.rpartition(': ')[2]}", place, key)
            return False
        return True

    def _response_format(self, section: Section) -> Any:
        form, key = section["response_format"], "response_format"
        place = section.keys_at[key]
        if form == "json":
            return {"type": "json_object"}
        if isinstance(form, str):
            self._warn(f"{key} has no effect: it must be 'json' or a JSON schema, got {kind_of(form)}", place, key)
        elif not isinstance(form, Section):
            self._wrong(f"{key} must be 'json' or a JSON schema, got {kind_of(form)}", place, key)
        elif isinstance(form.get("json_schema"), Section) or form.get("type") in ("json_object", "json_schema"):
            return form  # as the API itself has it
        else:
            return {"type": "json_schema", "json_schema": {"name": "response", "schema": form}}
        return None

    def _wrong(self, message: str, place: Place, key: str) -> None:
        self._findings.wrong(message, place, key, self._agent, file=self._file)

    def _warn(self, message: str, place: Place, key: str) -> None:
        self._findings.warn(message, place, key, self._agent, file=self._file)
