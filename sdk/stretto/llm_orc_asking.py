"""Translate the keys of an agent that asks a model: which one, with what, and what stands in for it."""

from __future__ import annotations

from typing import Any

from .findings import Findings
from .llm_orc_models import FALLBACK, Choice, Models
from .llm_orc_params import LLAMA_SERVER, WishReader
from .llm_orc_provider import Reached
from .unavailable import Unavailable
from .yaml_text import Origin, Section, kind_of

MODEL = ("model_profile", "provider", FALLBACK)
WISHES = ("temperature", "max_tokens", "options", "response_format")
# What `put_asking` translates; `model` as well, which is one of stretto's own words.
KEYS = (*MODEL, *WISHES)


def put_asking(section: Section, made: Section, models: Models, findings: Findings, agent: str | None) -> None:
    """Put model, address, parameters and substitutes into `made`, which has the agent's own of stretto's keys."""
    if not _texts(section, findings, agent):
        return
    chosen = models.chosen(section, agent)
    if not chosen:
        return
    own, usable = chosen[0], [one for one in chosen if one.usable]
    _put_own(own, made)
    if not usable:
        _put_unavailable(own, section, made)
        return
    wishes, first = WishReader(findings, agent).read(section), usable[0]
    if first.reached is not None:
        _put_reached(first, section, made, carried=first is own)
    asked = wishes.over(first.wishes)
    if asked.think is not None and first.provider != LLAMA_SERVER:
        place = section.keys_at.get("options", section.keys_at.get("model_profile", section.place))
        findings.warn("options.think is not sent: llama-server alone understands it", place, "options.think", agent)
    own_params: Any = made.get("params")
    sent = _under(own_params, asked.given_to(first.provider))
    _put_params(sent, section, made)
    if made.get("fallback") is not None:
        if section.get(FALLBACK) is not None:
            findings.warn(f"{FALLBACK} has no effect beside fallback", section.keys_at[FALLBACK], FALLBACK, agent)
    elif usable[1:]:
        asks = [_under(own_params, wishes.over(one.wishes).given_to(one.provider)) for one in usable[1:]]
        rest = [_substitute(one, params, sent) for one, params in zip(usable[1:], asks, strict=True)]
        key = FALLBACK if section.get(FALLBACK) is not None else "model_profile"
        made.put("fallback", rest, section.keys_at[key], Origin(key))


def _texts(section: Section, findings: Findings, agent: str | None) -> bool:
    sound = True
    for key in (*MODEL, "model"):
        value = section.get(key)
        if value is not None and not isinstance(value, str):
            quote = ": quote it" if isinstance(value, (bool, int, float)) else ""
            findings.wrong(f"{key} must be a text, got {kind_of(value)}{quote}", section.keys_at[key], key, agent)
            sound = False
    return sound


def _put_own(own: Choice, made: Section) -> None:
    """Put in what an agent has of its own profile, also when another's model takes its place."""
    if own.name is None:
        return
    for key, ours in (("system_prompt", "system_prompt"), ("timeout_seconds", "timeout")):
        if made.get(ours) is None and own.values.get(key) is not None:
            made.put(ours, own.values[key], own.values.keys_at[key], Origin(key, own.file))


def _put_unavailable(own: Choice, section: Section, made: Section) -> None:
    key = "provider" if own.name is None else "model_profile"
    for needless in ("model", "base_url", "api_key_env", "fallback", "params"):
        made.pop(needless, None)
    made.put("function", Unavailable(str(own.reached)), section.keys_at[key], Origin(key))


def _put_reached(first: Choice, section: Section, made: Section, *, carried: bool) -> None:
    """Put in where a model is reached.

    Args:
        first: the model.
        section: the agent's keys.
        made: gets them.
        carried: whether the agent's own address and key belong to this model.
    """
    assert isinstance(first.reached, Reached)
    made.put("model", first.reached.model, first.place("model"), Origin("model", first.file))
    if carried and section.get("base_url") is not None:
        return  # to which no key of a profile goes
    given = {"base_url": first.reached.base_url}
    if first.name is not None:
        given["api_key_env"] = first.values.get("api_key_env")
    for key, value in given.items():
        if not carried:
            made.pop(key, None)
        if value is not None and made.get(key) is None:
            made.put(key, value, first.place(key), Origin(key, first.file))


def _under(own: Any, sent: dict[str, Any]) -> dict[str, Any]:
    """Lay parameters under those that the agent has in stretto's own words."""
    if not isinstance(own, Section):
        return sent
    inside = own.get("extra_body")
    if "extra_body" not in sent or not isinstance(inside, Section):
        return {**sent, **own}
    return {**sent, **own, "extra_body": {**sent["extra_body"], **inside}}


def _put_params(sent: dict[str, Any], section: Section, made: Section) -> None:
    own: Any = made.get("params")
    if not sent or not (own is None or isinstance(own, Section)):
        return  # what is no mapping is refused where it stands
    place = made.keys_at.get("params", section.place)
    laid = Section(place)
    for name, value in sent.items():
        written = section.keys_at.get(name, section.keys_at.get("options", place))
        laid.put(name, value, written if own is None else own.keys_at.get(name, written))
    made.put("params", laid, place)


def _substitute(one: Choice, params: dict[str, Any], instead_of: dict[str, Any]) -> dict[str, Any]:
    """Give a substitute whose parameters make of the first model's those that are meant for this one."""
    assert isinstance(one.reached, Reached)
    given: dict[str, Any] = {"model": one.reached.model}
    if one.reached.base_url is not None:
        given["base_url"] = one.reached.base_url
    if one.values.get("api_key_env") is not None:
        given["api_key_env"] = one.values["api_key_env"]
    changed: dict[str, Any] = {name: None for name in instead_of if name not in params}
    changed |= {name: value for name, value in params.items() if instead_of.get(name) != value}
    return {**given, "params": changed} if changed else given
