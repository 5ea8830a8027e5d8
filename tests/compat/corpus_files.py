"""Cases on what a file may hold: each key of each kind of agent, with values good and bad."""

from __future__ import annotations

from collections.abc import Iterator

from compat.case import CONFIG, ENSEMBLE, Case, Fix, case, child, config, ensemble

_EITHER = Fix("an accepted file with this value would hide a mistake", ours=False)
_OWN = Fix("a key of stretto's own", ours=True)
_RETIRED = Fix("retired keys are translated", ours=True)
_GUARD = Fix("a guard that is not ${...} is refused", ours=False)
_CLOCK = Fix("a timeout is above 0", ours=False)
_EMPTY = Fix("a key that is empty would hide a mistake", ours=False)
_TRUTH = Fix("true is no number", ours=False)
_LIST = Fix("a plain text is a list of one", ours=True)

# Keys at the top, with how stretto differs.
_TOP: dict[str, Fix | None] = {
    "x-own: 1": None,
    "nonsense: 1": None,
    "seat_contract: {a: 1}": None,
    "version: 1": None,
    "raw_output: true": None,
    "output_schema: {type: object}": None,
    "output_substrate: artifact": None,
    "output_retention: session": None,
    "calibration_substrate_access: summary": None,
    "topaz_skill: sorting": None,
    "serves: chat": None,
    "validation: {structural: {required_agents: [a]}}": None,
    "validation: {nothing: 1}": None,
    "test_mode: {enabled: false}": None,
    "task: t": None,
    "default_task: t": None,
    "message_protocol: plain": None,
}

# Keys of an agent whose work is `model_profile: a`, beside another agent named b.
_LLM: dict[str, Fix | None] = {
    "type: llm": _RETIRED,
    "role: reviewer": _RETIRED,
    "ollama_format: json": _RETIRED,
    "message_protocol: x": _RETIRED,
    "output_format: json": None,
    "output_format: weird": None,
    "output_format: 5": None,
    "temperature: 0.5": None,
    "temperature: hot": None,
    'temperature: "0.5"': None,
    "temperature: 0": None,
    "temperature: null": None,
    "temperature: [1]": None,
    "temperature: true": _TRUTH,
    "max_tokens: 5": None,
    'max_tokens: "5"': None,
    "max_tokens: 5.0": None,
    "max_tokens: 1.5": None,
    "max_tokens: many": None,
    "options: {seed: 3}": None,
    "options: {}": None,
    "options: x": None,
    "options: null": None,
    "response_format: json": None,
    "response_format: yaml": None,
    "response_format: 5": None,
    "response_format: [a]": None,
    "fallback_model_profile: b": None,
    "fallback_model_profile: 5": None,
    "timeout_seconds: 30": None,
    'timeout_seconds: "30"': None,
    "timeout_seconds: 2.0": None,
    "timeout_seconds: 1.5": Fix("seconds may have a fraction", ours=True),
    "timeout_seconds: x": None,
    "timeout_seconds: null": None,
    "timeout_seconds: true": _TRUTH,
    "timeout_seconds: 0": _CLOCK,
    "timeout_seconds: -1": _CLOCK,
    "when: always": _GUARD,
    "when: 5": None,
    "when: true": None,
    "when: null": None,
    "when: ''": None,
    "input_scope: dependencies": None,
    "input_scope: null": None,
    "input_scope: all": None,
    "input_key: null": None,
    "input_key: 5": None,
    "on_dependency_failure: skip": None,
    "on_dependency_failure: run": None,
    "on_dependency_failure: explode": None,
    "depends_on: [b]": None,
    "depends_on: []": None,
    "depends_on: [{agent_name: b}]": None,
    "depends_on: [{agent_name: b, condition: often}]": None,
    "depends_on: [{agent_name: nobody}]": None,
    "depends_on: [{other: b}]": None,
    "depends_on: [nobody]": None,
    "depends_on: [a]": None,
    "depends_on: [5]": None,
    "depends_on: [null]": None,
    "depends_on: {agent_name: b}": None,
    "depends_on: b": _LIST,
    "depends_on: null": None,
    "fan_out: false": None,
    "fan_out: true": None,
    "fan_out: 5": None,
    "system_prompt: 'Role: critic'": None,
    "system_prompt: ''": None,
    "system_prompt: null": None,
    "system_prompt: 5": None,
    "system_prompt: [a]": None,
    "provider: openai-compatible/x": None,
    "model: m": None,
    "parameters: {a: 1}": None,
    "loop: null": None,
    "tools: []": None,
    "description: d": None,
    "enabled: false": None,
    "x-own: 1": _OWN,
    "prompt: 'Say ${input}'": _OWN,
    "timeout: 5": _OWN,
    "stream: false": _OWN,
    "params: {seed: 3}": _OWN,
}

# Whole agents, each the only one of its file.
_AGENTS: dict[str, Fix | None] = {
    "{name: a}": None,
    "{model_profile: a}": None,
    "{name: null, model_profile: a}": None,
    "{name: '', model_profile: a}": _EMPTY,
    "{name: 5, model_profile: a}": None,
    "{name: a, model_profile: null}": None,
    "{name: a, model_profile: 5}": None,
    "{name: a, model: m}": None,
    "{name: a, provider: openai}": None,
    "{name: a, script: null}": None,
    "{name: a, script: 5}": None,
    "{name: a, script: ''}": _EMPTY,
    "{name: a, script: echo hi}": None,
    "{name: a, script: echo hi, parameters: {p: 1}}": None,
    "{name: a, script: echo hi, parameters: x}": None,
    "{name: a, script: echo hi, system_prompt: idle}": Fix("kept without effect", ours=True),
    "{name: a, script: echo hi, model_profile: a}": None,
    "{name: a, script: echo hi, temperature: 1}": None,
    "{name: a, script: echo hi, ensemble: other}": None,
    "{name: a, script: echo hi, timeout_seconds: 5}": None,
    "{name: a, script: echo hi, fan_out: true}": None,
    "{name: a, type: script, script: echo hi}": _RETIRED,
    "{name: a, ensemble: null}": None,
    "{name: a, ensemble: 5}": None,
    "{name: a, ensemble: ''}": _EMPTY,
    "{name: a, ensemble: e}": None,
    "{name: a, ensemble: other}": None,
    "{name: a, ensemble: nobody}": None,
    "{name: a, ensemble: other, model_profile: a}": None,
    "{name: a, ensemble: other, temperature: 1}": None,
    "{name: a, dispatch: null}": None,
    "{name: a, dispatch: other}": None,
    "{name: a, dispatch: nobody}": None,
    "{name: a, dispatch: ''}": _EMPTY,
    "{name: a, dispatch: '${nobody.x}'}": None,
    "{name: a, dispatch: other, ensemble: other}": None,
    "{name: a, loop: other}": None,
    "{name: a, loop: {}}": None,
    "{name: a, loop: null}": None,
    "{name: a, loop: {body: other, max_iterations: 2}}": Fix("a loop without until runs all rounds", ours=True),
    "{name: a, loop: {until: '${done}', max_iterations: 2}}": None,
    "{name: a, loop: {body: other, until: '${done}'}}": None,
    "{name: a, loop: {body: other, until: '${done}', max_iterations: 0}}": None,
    "{name: a, loop: {body: other, until: '${done}', max_iterations: 2.5}}": None,
    "{name: a, loop: {body: other, until: '${done}', max_iterations: '2'}}": None,
    "{name: a, loop: {body: other, until: true, max_iterations: 2}}": None,
    "{name: a, loop: {body: other, until: '', max_iterations: 2}}": None,
    "{name: a, loop: {body: other, until: '${done}', max_iterations: 2, carry: null}}": None,
    "{name: a, loop: {body: other, until: '${done}', max_iterations: 2, often: 1}}": None,
    "{name: a, loop: {body: nobody, until: '${done}', max_iterations: 2}}": None,
    "{name: a, loop: {body: other, until: done, max_iterations: 2}}": _GUARD,
    "just a text": None,
    "5": None,
}

# Whole files.
_FILES: dict[str, tuple[str, Fix | None]] = {
    "empty": ("", None),
    "a list": ("- a\n", None),
    "not YAML": ("name: [\n", None),
    "no name": ("description: d\nagents: [{name: a, model_profile: a}]\n", None),
    "no agents": ("name: e\ndescription: d\n", None),
    "agents without content": ("name: e\ndescription: d\nagents:\n", None),
    "no agent at all": ("name: e\ndescription: d\nagents: []\n", None),
    "agents as a mapping": ("name: e\ndescription: d\nagents: {name: a}\n", None),
    "agents as a text": ("name: e\ndescription: d\nagents: a\n", None),
    "agents as an empty mapping": ("name: e\ndescription: d\nagents: {}\n", None),
    "a name without content": (
        "name:\ndescription: d\nagents: [{name: a, model_profile: a}]\n",
        Fix("an ensemble has a name", ours=False),
    ),
    "a thousand agents and one": (
        ensemble("\n".join(f"- {{name: a{n}, dispatch: nobody}}" for n in range(1001))),
        Fix("a file has 1,000 agents at most", ours=False),
    ),
    "a name that is a number": ("name: 5\ndescription: d\nagents: [{name: a, model_profile: a}]\n", None),
    "a key twice": ("name: e\nname: e\ndescription: d\nagents: [{name: a, model_profile: a}]\n", _EITHER),
    "the same name twice": (
        ensemble("- {name: a, model_profile: a}\n- {name: a, model_profile: b}"),
        Fix("names are unique", ours=False),
    ),
    "a cycle": (
        ensemble("- {name: a, model_profile: a, depends_on: [b]}\n- {name: b, model_profile: b, depends_on: [a]}"),
        None,
    ),
    "a longer cycle": (
        ensemble("""
            - {name: a, model_profile: a, depends_on: [c]}
            - {name: b, model_profile: b, depends_on: [a]}
            - {name: c, model_profile: b, depends_on: [b]}
        """),
        None,
    ),
}


def cases() -> Iterator[Case]:
    """Give the cases of this file."""
    for key, fix in _TOP.items():
        yield case(f"top: {key}", "- {name: a, model_profile: a}", top=key, fixes=_accepted(fix))
    for key, fix in _LLM.items():
        other = "- {name: b, model_profile: b}\n" if key.startswith(("depends_on", "when", "fan_out")) else ""
        agents = f"{other}- {{name: a, model_profile: a, {key}}}"
        yield case(f"llm: {key}", agents, fixes=_accepted(fix))
    body = child("other", "- {name: inner, model_profile: a}")
    for agent, fix in _AGENTS.items():
        yield case(f"agent: {agent}", f"- {agent}", files=body, fixes=_accepted(fix))
    for name, (text, fix) in _FILES.items():
        yield Case(f"file: {name}", {CONFIG: config(), ENSEMBLE: text}, fixes=_accepted(fix))


def _accepted(fix: Fix | None) -> dict[str, Fix]:
    return {} if fix is None else {"accepted": fix}
