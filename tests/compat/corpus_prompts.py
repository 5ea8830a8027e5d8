"""Cases on what an agent is asked: dependencies, failures, `input_key`, `input_scope`, requests, fallbacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compat.case import Case, Fix, case, config, profile

_DATA = {
    "items": ["x", {"k": 1}, 3],
    "text": "picked",
    "object": {"z": [1, "é"]},
    "number": 5,
    "no": False,
    "none": None,
}
_NOT_FOUND = Fix("an input_key that is not found fails the agent")
_FAILED = replace(_NOT_FOUND, ours="failed")


_RESULT = Fix("an agent that ran although its dependencies had failed has a result: others see it and build on it")
_AT_LOAD = Fix("a profile that nothing defines is replaced when the file is read: no request failed")
_REPLACED = ("for an unknown profile", "for half a profile")


def cases() -> Iterator[Case]:
    """Give the cases of this file."""
    yield from _dependencies()
    yield from _selections()
    yield from _requests()
    yield from _fallbacks()


def _dependencies() -> Iterator[Case]:
    yield case("prompt: one agent", "- {name: one, model_profile: a}")
    yield case(
        "prompt: an empty input",
        "- {name: one, model_profile: a}\n- {name: two, model_profile: b, depends_on: [one]}",
        input="",
    )
    yield case(
        "prompt: an input of several paragraphs",
        "- {name: one, model_profile: a}\n- {name: two, model_profile: b, depends_on: [one]}",
        input="first\n\nsecond: {x}\n",
    )
    yield case(
        "prompt: blocks in the order of depends_on",
        """
        - {name: three, model_profile: b, depends_on: [two, one], system_prompt: "Role: judge"}
        - {name: one, model_profile: a}
        - {name: two, model_profile: my-prof, system_prompt: ""}
        - {name: four, model_profile: b, depends_on: [three]}
        """,
    )
    yield case(
        "prompt: failed and skipped dependencies",
        """
        - {name: one, model_profile: bad}
        - {name: two, model_profile: my-prof}
        - {name: three, model_profile: b, depends_on: [two, one]}
        - {name: four, model_profile: b, depends_on: [one]}
        - {name: five, model_profile: b, depends_on: [four, two]}
        """,
    )
    yield case(
        "prompt: running although all dependencies failed",
        """
        - {name: one, model_profile: bad}
        - {name: two, model_profile: a, depends_on: [one]}
        - {name: three, model_profile: b, depends_on: [two, one], on_dependency_failure: run}
        - {name: four, model_profile: b, depends_on: [three]}
        - {name: five, model_profile: b, depends_on: [three], on_dependency_failure: run}
        """,
        fixes=dict.fromkeys(("agents.four", "agents.five", "requests", "usage", "phases"), _RESULT),
    )
    yield case(
        "prompt: a handled failure beside another dependency",
        """
        - {name: bad, model_profile: bad}
        - {name: good, model_profile: a}
        - {name: handled, model_profile: j, depends_on: [bad], on_dependency_failure: run}
        - {name: llm, model_profile: b, depends_on: [handled, good]}
        - {name: script, script: cat, depends_on: [handled, good]}
        - {name: guarded, model_profile: b, depends_on: [handled, good], when: "${handled.text}"}
        """,
        answers={"j": _DATA},
        fixes={"requests": _RESULT},
    )
    yield case("prompt: a run whose only agent fails", "- {name: one, model_profile: bad}")
    yield case(
        "prompt: a dependency that is named twice, once as a mapping",
        """
        - {name: one, model_profile: a}
        - {name: two, model_profile: b, depends_on: [{agent_name: one}]}
        """,
    )


def _selections() -> Iterator[Case]:
    keys = ("text", "object", "number", "no", "items")
    agents = "\n".join(
        f"- {{name: {key}-key, model_profile: b, depends_on: [one, two], input_key: '{key}'}}" for key in keys
    )
    yield case(
        "input_key: values",
        f"- {{name: one, model_profile: j}}\n- {{name: two, model_profile: a}}\n{agents}",
        answers={"j": _DATA},
    )
    yield case(
        "input_key: not found, or not an object",
        """
        - {name: one, model_profile: j}
        - {name: two, model_profile: a}
        - {name: absent, model_profile: b, depends_on: [one], input_key: absent}
        - {name: text, model_profile: b, depends_on: [two], input_key: absent}
        - {name: dotted, model_profile: b, depends_on: [one], input_key: object.z}
        - {name: script, script: cat, depends_on: [one], input_key: absent}
        """,
        answers={"j": _DATA},
        fixes={
            **dict.fromkeys(("agents", "requests", "has_errors", "deliverable", "usage"), _NOT_FOUND),
            **{f"agents.{name}.status": _FAILED for name in ("absent", "text", "dotted", "script")},
            "status": replace(_NOT_FOUND, ours="completed_with_errors"),
            "phases": replace(_NOT_FOUND, ours=[["one", "two"]]),
        },
    )
    yield case(
        "input_key: null",
        "- {name: one, model_profile: j}\n- {name: two, model_profile: b, depends_on: [one], input_key: none}",
        answers={"j": _DATA},
    )
    yield case("input_key: without dependencies", "- {name: one, model_profile: b, input_key: text}")
    yield case(
        "input_key: of a dependency that failed",
        """
        - {name: one, model_profile: bad}
        - {name: two, model_profile: a}
        - {name: three, model_profile: b, depends_on: [one, two], input_key: text}
        """,
    )
    yield case(
        "input_scope: dependencies alone",
        """
        - {name: one, model_profile: j}
        - {name: two, model_profile: a}
        - {name: three, model_profile: b, depends_on: [two, one], input_scope: dependencies}
        - {name: key, model_profile: b, depends_on: [one, two], input_scope: dependencies, input_key: text}
        - {name: none, model_profile: b, input_scope: dependencies}
        """,
        answers={"j": _DATA},
    )
    yield case(
        "input_scope: a failed dependency",
        """
        - {name: one, model_profile: bad}
        - {name: two, model_profile: a}
        - {name: three, model_profile: b, depends_on: [one, two], input_scope: dependencies}
        """,
    )


_PROFILES = f"""
prof: {profile("pm", system_prompt="'Role: of the profile'", options="{top_p: 0.9, seed: 3}")}
hot: {profile("hm", temperature=0.9, max_tokens=77)}
local: {{model: lm, provider: llama-server, base_url: BASE_URL, options: {{think: false}}}}
plain: {{model: om, provider: openai-compatible, base_url: BASE_URL}}
"""


def _requests() -> Iterator[Case]:
    agents = {
        "temperature and max_tokens": "model_profile: a, temperature: 0.5, max_tokens: 7",
        "options": "model_profile: a, options: {top_p: 0.5, seed: 1, stop: [x]}",
        "options never win over fields": "model_profile: a, temperature: 0, options: {temperature: 1, top_p: 0.5}",
        "options over the profile's": "model_profile: prof, options: {top_p: 0.1}",
        "a schema": "model_profile: prof, response_format: {type: object, properties: {q: {type: string}}}",
        "JSON": "model_profile: a, response_format: json",
        "another format": "model_profile: a, response_format: text",
        "a system prompt over the profile's": "model_profile: prof, system_prompt: 'Role: own'",
        "an empty system prompt over the profile's": "model_profile: prof, system_prompt: ''",
        "the profile's system prompt": "model_profile: prof",
        "thinking on llama-server": "model_profile: local",
        "a provider without a name": "model_profile: plain",
    }
    for name, keys in agents.items():
        yield case(f"request: {name}", f"- {{name: one, {keys}}}", settings=config(_PROFILES))
    honoured = Fix("temperature and max_tokens of a profile are honoured")
    yield case(
        "request: temperature of a profile",
        "- {name: one, model_profile: hot}",
        settings=config(_PROFILES),
        fixes={"requests": honoured},
    )
    yield case(
        "request: temperature of a profile and an agent",
        "- {name: one, model_profile: hot, temperature: 0.1}",
        settings=config(_PROFILES),
        fixes={"requests": honoured},
    )
    yield case(
        "request: a mock model",
        "- {name: one, model: mock-a, provider: anything}",
        unsaid=("one",),
        fixes={"usage.one": Fix("mock models are simulated/echo, which counts")},
    )


_CHAIN = f"""
first: {profile("bad", fallback_model_profile="second", system_prompt="'Role: of the first'", options="{seed: 1}")}
second: {profile("worse", fallback_model_profile="a", system_prompt="'Role: of the second'", options="{top_p: 0.3}")}
third: {profile("a", system_prompt="'Role: of the third'", options="{top_p: 0.3}")}
fourth: {profile("bad", system_prompt="'Role: of the fourth'", options="{seed: 1}")}
circle: {profile("bad", fallback_model_profile="square")}
square: {profile("worse", fallback_model_profile="circle")}
half: {{model: m}}
"""


def _fallbacks() -> Iterator[Case]:
    agents = {
        "of the agent": "model_profile: bad, fallback_model_profile: a",
        "of the agent, further no": "model_profile: bad, fallback_model_profile: second",
        "chain of profiles": "model_profile: first",
        "the agent's before the profile's": "model_profile: first, fallback_model_profile: b",
        "an agent's own fields": "model_profile: fourth, fallback_model_profile: third, max_tokens: 2, options: {n: 1}",
        "unknown": "model_profile: bad, fallback_model_profile: nobody",
        "for an unknown profile": "model_profile: nobody, fallback_model_profile: a",
        "for half a profile": "model_profile: half, fallback_model_profile: a",
        "not needed": "model_profile: a, fallback_model_profile: b",
    }
    for name, keys in agents.items():
        yield case(
            f"fallback: {name}",
            f"- {{name: one, {keys}}}\n- {{name: two, model_profile: b, depends_on: [one]}}",
            settings=config(_CHAIN),
            answers={"worse": 400},
            fixes={"agents.one.model_substituted": _AT_LOAD} if name in _REPLACED else {},
        )
    yield case(
        "fallback: in a circle",
        "- {name: one, model_profile: circle}",
        settings=config(_CHAIN),
        answers={"worse": 400},
        fixes={"requests": Fix("a circle ends where it closes")},
    )
    yield case("profile: unknown", "- {name: one, model_profile: nobody}\n- {name: two, model_profile: a}")
    yield case(
        "profile: half of one",
        "- {name: one, model_profile: half}\n- {name: two, model_profile: a}",
        settings=config(_CHAIN),
    )
    yield case(
        "profile: unknown provider", "- {name: one, model: m, provider: nobody}\n- {name: two, model_profile: a}"
    )
