"""Cases on where profiles, ensembles and settings come from, and on keys that newer releases retired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compat.case import CONFIG, ENSEMBLE, Case, Fix, case, config, ensemble, profile

_TWO = "- {name: one, model_profile: p1}\n- {name: two, model_profile: p2}\n- {name: three, model_profile: p3}"
_GLOBAL = "~/.config/llm-orc"


_PROFILE_FIXES = {
    "a temperature as a text": {"requests": Fix("what a profile says is sent")},
    "max_tokens as a text": {"requests": Fix("what a profile says is sent")},
    "no tokens": {"accepted": Fix("what a profile says is sent, and no model answers with nothing", ours=False)},
}
_FEWER = Fix("max_concurrent_agents is 0 or more, and 0 has no limit", ours=False)
_DEPTH = Fix("max_ensemble_depth is 1 or more", ours=False)


def _file(name: str, model: str) -> str:
    return f"name: {name}\nmodel: {model}\nprovider: openai-compatible/x\nbase_url: BASE_URL\n"


def _only(profiles: str) -> str:
    return f"model_profiles:\n{profiles}"


def cases() -> Iterator[Case]:
    """Give the cases of this file."""
    yield from _tiers()
    yield from _performance()
    yield from _retired()


def _tiers() -> Iterator[Case]:
    far = _only(f"  p1: {profile('far-1')}\n  p2: {profile('far-2')}\n  p3: {profile('far-3')}\n")
    yield Case(
        "profiles: the project's over the user's, files over config.yaml",
        {
            f"{_GLOBAL}/config.yaml": far,
            CONFIG: _only(f"  p2: {profile('near-2')}\n  p3: {profile('near-3')}\n"),
            ".llm-orc/profiles/three.yaml": _file("p3", "file-3"),
            ENSEMBLE: ensemble(_TWO),
        },
    )
    yield Case(
        "profiles: one that is local comes last",
        {
            CONFIG: _only(f"  p1: {profile('near-1')}\n"),
            ".llm-orc/profiles/a.local.yaml": _file("p2", "local-2"),
            ".llm-orc/profiles/z.yaml": _file("p2", "file-2"),
            ".llm-orc/profiles/p3.yaml": _file("p3", "file-3"),
            ENSEMBLE: ensemble(_TWO),
        },
    )
    yield Case(
        "profiles: an entry replaces the other whole",
        {f"{_GLOBAL}/config.yaml": far, CONFIG: _only("  p2: {model: near-2}\n"), ENSEMBLE: ensemble(_TWO)},
    )
    yield Case(
        "profiles: of a profiles folder of the user",
        {
            f"{_GLOBAL}/profiles/x.yaml": _file("p1", "far-1"),
            CONFIG: _only(f"  p2: {profile('near-2')}\n  p3: {profile('near-3')}\n"),
            ENSEMBLE: ensemble(_TWO),
        },
    )
    yield Case(
        "profiles: without a config.yaml",
        {".llm-orc/profiles/x.yaml": _file("p", "file"), ENSEMBLE: ensemble("- {name: one, model_profile: p}")},
    )
    inner = "name: away\ndescription: d\nagents: [{name: g1, model_profile: a}]\n"
    yield case(
        "ensembles: a child of the user's folder",
        "- {name: one, ensemble: away}",
        files={f"{_GLOBAL}/ensembles/away.yaml": inner},
    )
    near = inner.replace("g1", "near")
    yield case(
        "ensembles: the project's over the user's",
        "- {name: one, ensemble: away}",
        files={f"{_GLOBAL}/ensembles/away.yaml": inner, ".llm-orc/ensembles/away.yaml": near},
    )
    for text in (
        "{model: m}",
        "{provider: openai-compatible/x, base_url: BASE_URL}",
        "{model: m, provider: ollama-like}",
    ):
        yield case(
            f"profile: {text}",
            "- {name: one, model_profile: q}\n- {name: two, model_profile: a}",
            settings=config(f"q: {text}"),
        )
    for name, more in {
        "an unknown key": {"nonsense": 1},
        "timeout as a text": {"timeout_seconds": "'5'"},
        "prices": {"cost_per_token": 0.1, "description": "d"},
        "a temperature as a text": {"temperature": "'0.2'"},
        "max_tokens as a text": {"max_tokens": "'50'"},
        "no tokens": {"max_tokens": 0},
    }.items():
        settings, agent = config(f"q: {profile('m', **more)}"), "- {name: one, model_profile: q}"
        yield case(f"profile: {name}", agent, settings=settings, fixes=_PROFILE_FIXES.get(name, {}))
    yield Case(
        "config.yaml: not YAML", {CONFIG: "model_profiles: [\n", ENSEMBLE: ensemble("- {name: one, model_profile: a}")}
    )


def _performance() -> Iterator[Case]:
    sections: dict[str, Fix | None] = {
        "concurrency: {max_concurrent_agents: 1}": None,
        "concurrency: {max_concurrent_agents: 0}": None,
        "concurrency: {max_concurrent_agents: -1}": _FEWER,
        "concurrency: {max_concurrent_agents: 'four'}": None,
        "concurrency:": None,
        "execution: {default_timeout: 30}": None,
        "execution: {monitoring_enabled: false, streaming_enabled: true}": None,
        "execution: {max_ensemble_depth: 3}": None,
        "execution: {max_ensemble_depth: 0}": _DEPTH,
        "streaming_enabled: true": None,
        "memory: {limit: 1}": None,
        "nonsense: 1": None,
    }
    for section, fix in sections.items():
        agents = "- {name: one, model_profile: a}\n- {name: two, model_profile: b, depends_on: [one]}"
        fixes = {} if fix is None else {"accepted": fix}
        yield case(f"performance: {section}", agents, settings=config(performance=section), fixes=fixes)


def _retired() -> Iterator[Case]:
    translated = Fix("a coordinator becomes a last agent that depends on all others")
    agents = "- {name: one, model_profile: a}\n- {name: two, model_profile: my-prof}"
    fixes = {
        **dict.fromkeys(("agents", "usage", "requests", "deliverable"), translated),
        "order": replace(translated, ours=["one", "two", "coordinator"]),
        "phases": replace(translated, ours=[["one", "two"], ["coordinator"]]),
    }
    yield case(
        "retired: a coordinator",
        agents,
        top="coordinator: {model_profile: b, system_prompt: 'Role: sum up'}",
        fixes=fixes,
    )
    yield case(
        "retired: a coordinator with its own timeout",
        agents,
        top="coordinator: {model_profile: b, synthesis_timeout_seconds: 20, output_format: json}",
        fixes=fixes,
    )
    yield case(
        "retired: keys of the coordinator elsewhere",
        agents,
        top="synthesis_timeout_seconds: 20\nmessage_protocol: plain",
    )
