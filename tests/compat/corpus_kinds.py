"""Cases on the other kinds of agent: scripts, child ensembles, loops, dispatch, and fan-out of each."""

from __future__ import annotations

import json
from collections.abc import Iterator

from compat.case import ByText, Case, Fix, InTurn, case, child

_PROBE = """
import json, os, sys

names = ("INPUT_DATA", "INPUT_TEXT", "AGENT_PARAMETERS")
print(json.dumps({"stdin": sys.stdin.read(), "env": {name: os.environ.get(name) for name in names}}))
"""
_FILES = {
    ".llm-orc/scripts/probe.py": _PROBE,
    ".llm-orc/scripts/deep/hello.sh": "echo hello",
    "tools/bye.sh": "echo bye",
}
_INLINE = 'printf %s "$AGENT_PARAMETERS|$INPUT_DATA|$INPUT_TEXT"'
_DATA = {"text": "picked", "object": {"z": 1}, "items": ["p", {"q": 1}]}

_CHILDREN = {
    **child("body", "- {name: b1, model_profile: a}"),
    **child(
        "pair",
        "- {name: c1, model_profile: a}\n- {name: c2, model_profile: my-prof, depends_on: [c1]}\n- {name: c3, model_profile: b}",
    ),
    **child("broken", "- {name: c1, model_profile: bad}"),
    **child("partly", "- {name: c1, model_profile: bad}\n- {name: c2, model_profile: a}"),
    **child(
        "guarded", "- {name: c1, model_profile: a}\n- {name: c2, model_profile: a, depends_on: [c1], when: '${c1.no}'}"
    ),
    **child("listing", "- {name: s, script: \"echo '[1, 2]'\"}"),
    **child(
        "spread",
        "- {name: s, script: \"echo '[1, 2]'\"}\n- {name: f, model_profile: a, depends_on: [s], fan_out: true}",
    ),
    **child("nested", "- {name: n1, ensemble: pair}"),
    **child("sub/deep", "- {name: d1, model_profile: b}"),
}

_OUTPUTS = {
    "an object": "echo '{\"a\": 1}'",
    "a list": "echo '[1, 2]'",
    "a number": "echo 5",
    "a JSON text": "echo '\"quoted\"'",
    "null": "echo null",
    "text": "echo plain text",
    "two lines": "echo one; echo two",
    "nothing": "true",
    "an exit code": "echo out; exit 3",
    "an exit code after JSON": "echo '{\"a\": 1}'; exit 2",
    "success false": "echo '{\"success\": false}'",
    "success false with an error": 'echo \'{"success": false, "error": "why", "x": 1}\'',
    "an error": 'echo \'{"error": "why"}\'',
    "an empty error": 'echo \'{"error": "", "v": 1}\'',
    "success true": 'echo \'{"success": true, "output": "o"}\'',
    "words on stderr": "echo oops >&2; echo fine",
}


def cases() -> Iterator[Case]:
    """Give the cases of this file."""
    yield from _scripts()
    yield from _fan_outs()
    yield from _children()
    yield from _loops()
    yield from _dispatches()


def _scripts() -> Iterator[Case]:
    parameters = Fix("parameters reach inline scripts after phase 0 as well")
    yield case(
        "script: what a file is told",
        """
        - {name: first, script: probe.py, parameters: {p: 1}}
        - {name: llm, model_profile: j}
        - {name: later, script: probe.py, parameters: {p: 1}, depends_on: [llm, first]}
        - {name: key, script: probe.py, depends_on: [llm], input_key: text}
        - {name: object, script: probe.py, depends_on: [llm], input_key: object}
        - {name: scope, script: probe.py, depends_on: [llm], input_scope: dependencies}
        """,
        files=_FILES,
        answers={"j": _DATA},
    )
    yield case(
        "script: what an inline text is told",
        f"""
        - {{name: first, script: {json.dumps(_INLINE)}, parameters: {{p: 1}}}}
        - {{name: stdin, script: cat, parameters: {{p: 1}}}}
        - {{name: llm, model_profile: a}}
        - {{name: later, script: {json.dumps(_INLINE)}, parameters: {{p: 1}}, depends_on: [llm]}}
        - {{name: told, script: cat, parameters: {{p: 1}}, depends_on: [llm]}}
        """,
        fixes={"agents.later.response": parameters, "deliverable": parameters, "agents.told.response": parameters},
    )
    yield case(
        "script: a failed dependency",
        """
        - {name: bad, model_profile: bad}
        - {name: good, model_profile: a}
        - {name: s, script: cat, depends_on: [bad, good]}
        - {name: alone, script: cat, depends_on: [bad], on_dependency_failure: run}
        - {name: never, script: cat, depends_on: [bad]}
        """,
    )
    for name, script in _OUTPUTS.items():
        yield case(
            f"script: {name}",
            f"""
            - {{name: llm, model_profile: a}}
            - {{name: first, script: {json.dumps(script)}}}
            - {{name: later, script: {json.dumps(script)}, depends_on: [llm]}}
            - {{name: reader, model_profile: b, depends_on: [first, later, llm]}}
            """,
        )
    yield case(
        "script: where files are found",
        """
        - {name: deep, script: deep/hello.sh}
        - {name: prefixed, script: scripts/deep/hello.sh}
        - {name: project, script: tools/bye.sh}
        - {name: dotted, script: ./tools/bye.sh}
        - {name: missing, script: nobody.py}
        - {name: missing-deep, script: scripts/nobody.sh}
        """,
        files=_FILES,
    )
    yield case("script: too slow", "- {name: slow, script: sleep 5, timeout_seconds: 1}")


def _fan_outs() -> Iterator[Case]:
    yield case(
        "fan-out: a list",
        """
        - {name: one, model_profile: j}
        - {name: two, model_profile: a}
        - {name: f, model_profile: my-prof, depends_on: [one, two], fan_out: true, system_prompt: "Role: part"}
        - {name: after, model_profile: b, depends_on: [f]}
        """,
        answers={"j": ["x", {"k": 1}, 3, "é"]},
    )
    yield case(
        "fan-out: data of an object, and a key",
        """
        - {name: one, model_profile: j}
        - {name: f, model_profile: a, depends_on: [one], fan_out: true}
        - {name: g, model_profile: a, depends_on: [one], fan_out: true, input_key: items}
        """,
        answers={"j": {"data": ["p"], **_DATA}},
    )
    yield case(
        "fan-out: one instance fails",
        """
        - {name: one, model_profile: j}
        - {name: f, model_profile: my-prof, depends_on: [one], fan_out: true}
        - {name: after, model_profile: b, depends_on: [f]}
        - {name: told, script: cat, depends_on: [f]}
        """,
        answers={"j": ["x", "break", "y"], "m": ByText({"break": 400, "": "done"})},
    )
    yield case(
        "fan-out: all instances fail, none, no list, no key",
        """
        - {name: one, model_profile: j}
        - {name: empty, model_profile: my-prof}
        - {name: text, model_profile: a}
        - {name: bad, model_profile: bad}
        - {name: all, model_profile: bad, depends_on: [one], fan_out: true}
        - {name: none, model_profile: b, depends_on: [empty], fan_out: true}
        - {name: no-list, model_profile: b, depends_on: [text], fan_out: true}
        - {name: no-key, model_profile: b, depends_on: [one], fan_out: true, input_key: absent}
        - {name: no-source, model_profile: b, depends_on: [bad, text], fan_out: true}
        - {name: after, model_profile: b, depends_on: [all, none, no-list, no-key]}
        """,
        answers={"j": ["x", "y"], "m": []},
    )
    yield case(
        "fan-out: of a script's list, of a fan-out, guarded",
        """
        - {name: one, script: "echo '[\\"p\\", {\\"é\\": [\\"ü\\"]}]'"}
        - {name: f, model_profile: my-prof, depends_on: [one], fan_out: true}
        - {name: g, model_profile: a, depends_on: [f], fan_out: true}
        - {name: h, model_profile: a, depends_on: [one], fan_out: true, when: "${one.x}"}
        - {name: i, model_profile: b, depends_on: [one]}
        """,
    )
    yield case(
        "fan-out: true and null as items",
        """
        - {name: one, model_profile: j}
        - {name: f, model_profile: a, depends_on: [one], fan_out: true}
        """,
        answers={"j": [True, None, 1.5]},
    )
    yield case(
        "fan-out: scripts",
        """
        - {name: one, model_profile: j}
        - {name: file, script: probe.py, parameters: {p: 1}, depends_on: [one], fan_out: true}
        - {name: inline, script: cat, depends_on: [one], fan_out: true}
        - {name: fails, script: exit 3, depends_on: [one], fan_out: true}
        - {name: lists, script: "echo '[1]'", depends_on: [one], fan_out: true}
        - {name: text, script: echo text, depends_on: [one], fan_out: true}
        - {name: after, model_profile: b, depends_on: [lists, fails, text]}
        """,
        files=_FILES,
        answers={"j": ["p", {"q": 1}]},
    )
    yield case(
        "fan-out: children",
        """
        - {name: one, model_profile: j}
        - {name: child, ensemble: body, depends_on: [one], fan_out: true}
        - {name: chosen, dispatch: body, depends_on: [one], fan_out: true}
        - {name: loop, loop: {body: body, until: "${x}", max_iterations: 1}, depends_on: [one], fan_out: true}
        - {name: after, model_profile: b, depends_on: [child]}
        """,
        files=_CHILDREN,
        answers={"j": ["p", {"q": 1}]},
    )


def _children() -> Iterator[Case]:
    yield case("child: alone", "- {name: c, ensemble: pair}", files=_CHILDREN)
    yield case(
        "child: its input",
        """
        - {name: one, model_profile: j}
        - {name: bad, model_profile: bad}
        - {name: blocks, ensemble: body, depends_on: [one]}
        - {name: key, ensemble: body, depends_on: [one], input_key: text}
        - {name: object, ensemble: body, depends_on: [one], input_key: object}
        - {name: scope, ensemble: body, depends_on: [one], input_scope: dependencies}
        - {name: failed, ensemble: body, depends_on: [bad, one]}
        - {name: no-source, ensemble: body, depends_on: [bad, one], input_key: text}
        """,
        files=_CHILDREN,
        answers={"j": _DATA},
    )
    yield case(
        "child: its result as others see it",
        """
        - {name: c, ensemble: pair}
        - {name: llm, model_profile: j, depends_on: [c]}
        - {name: output, model_profile: j, depends_on: [c], input_key: deliverable}
        - {name: script, script: cat, depends_on: [c]}
        - {name: next, ensemble: body, depends_on: [c]}
        - {name: g1, model_profile: a, depends_on: [c], when: "${c.status} == completed"}
        - {name: g2, model_profile: a, depends_on: [c], when: "${c.deliverable}"}
        - {name: g3, model_profile: a, depends_on: [c], when: "${c.results.c1.response} == 'answer of a'"}
        - {name: g4, model_profile: a, depends_on: [c], when: "${c.c1}"}
        - {name: g5, model_profile: a, depends_on: [c], when: "${c.output}"}
        - {name: g6, model_profile: a, depends_on: [c], when: "${c.metadata.agents_used} == 3"}
        """,
        files=_CHILDREN,
    )
    for name in ("broken", "partly", "guarded", "listing", "spread", "nested", "sub/deep", "nobody"):
        agents = f"- {{name: c, ensemble: {name}}}\n- {{name: after, model_profile: my-prof, depends_on: [c]}}"
        yield case(f"child: {name}", agents, files=_CHILDREN)
    yield case(
        "child: an empty input and its own task",
        "- {name: c, ensemble: tasked}",
        input="",
        files=child("tasked", "- {name: t1, model_profile: a}", top="default_task: own task"),
    )
    found = {".llm-orc/ensembles/stem.yml": "name: inner\ndescription: d\nagents: [{name: s1, model_profile: a}]\n"}
    yield case(
        "child: found by stem, not by its name",
        "- {name: stem, ensemble: stem}\n- {name: inner, ensemble: inner}",
        files=found,
    )
    deep = {
        key: text for n in range(1, 8) for key, text in child(f"d{n}", f"- {{name: x, ensemble: d{n + 1}}}").items()
    }
    yield case(
        "child: too deep", "- {name: c, ensemble: d1}", files={**deep, **child("d8", "- {name: x, model_profile: a}")}
    )
    four = {
        key: text for n in range(1, 5) for key, text in child(f"d{n}", f"- {{name: x, ensemble: d{n + 1}}}").items()
    }
    yield case(
        "child: just deep enough",
        "- {name: c, ensemble: d1}",
        files={**four, **child("d5", "- {name: x, model_profile: a}")},
    )
    circle = {**child("r1", "- {name: x, ensemble: r2}"), **child("r2", "- {name: x, ensemble: r1}")}
    yield case("child: in a circle", "- {name: c, ensemble: r1}", files=circle)


def _loops() -> Iterator[Case]:
    def loop(name: str, keys: str, *answers: object, more: str = "", rounds: int = 4, **given: object) -> Case:
        agents = f"- {{name: one, model_profile: j}}\n- {{name: l, loop: {{body: body, max_iterations: {rounds}, {keys}}}{more}}}"
        told = {"j": _DATA, "a": InTurn(answers)}
        return case(f"loop: {name}", agents, files=_CHILDREN, answers=told, **given)  # type: ignore[arg-type]

    yield loop("until a field", "until: '${done}'", {"done": False}, {"done": 0}, {"done": True, "x": 1})
    yield loop("the word false is true", "until: '${done}'", {"done": ""}, {"done": "false"})
    yield loop("until a literal", "until: \"${done} == 'yes'\"", {"done": "no"}, {"done": "yes"})
    yield loop("until a field of a field", "until: '${a.b}'", {"a": 1}, {"a": {"b": 1}})
    yield loop("a field that never comes", "until: '${absent}'", {"done": True}, rounds=2)
    yield loop("a body that gives text", "until: '${done}'", "plain text", rounds=2)
    yield loop(
        "without carry, dependencies each time",
        "until: '${done}'",
        {"done": 0},
        {"done": 1},
        more=", depends_on: [one]",
    )
    yield loop(
        "carry",
        "until: '${done}', carry: '${next}'",
        {"done": 0, "next": "n1"},
        {"done": 0, "next": {"o": 2}},
        {"done": 0, "next": [1, "é"]},
        {"done": 1},
    )
    yield loop("carry of a field of a field", "until: '${done}', carry: '${a.b}'", {"a": {"b": "deep"}}, {"done": 1})
    yield loop("carry that is missing", "until: '${done}', carry: '${next}'", {"next": "n1"}, {"done": 0}, {"done": 1})
    yield loop(
        "input_key",
        "until: '${done}', carry: '${next}'",
        {"next": "n1"},
        {"done": 1},
        more=", depends_on: [one], input_key: text",
    )
    yield loop("a body that fails once", "until: '${done}'", 400, {"done": 1})
    yield loop("a body that fails at the end", "until: '${done}'", {"done": 0}, 400, rounds=2)
    yield case(
        "loop: its result as others see it",
        """
        - {name: l, loop: {body: body, until: "${done}", max_iterations: 2}}
        - {name: llm, model_profile: j, depends_on: [l]}
        - {name: output, model_profile: j, depends_on: [l], input_key: output}
        - {name: g1, model_profile: b, depends_on: [l], when: "${l.terminated} == exhausted"}
        - {name: g2, model_profile: b, depends_on: [l], when: "${l.output.x} == 1"}
        - {name: g3, model_profile: b, depends_on: [l], when: "${l.iterations} == 1"}
        - {name: s, script: cat, depends_on: [l]}
        """,
        files=_CHILDREN,
        answers={"a": {"done": 0, "x": 1}},
    )
    yield case(
        "loop: broken, partly and missing bodies",
        """
        - {name: broken, loop: {body: broken, until: "${done}", max_iterations: 2}}
        - {name: partly, loop: {body: partly, until: "${done}", max_iterations: 2}}
        - {name: listing, loop: {body: listing, until: "${done}", max_iterations: 2}}
        - {name: after, model_profile: b, depends_on: [broken, partly]}
        """,
        files=_CHILDREN,
        answers={"a": {"done": 1}},
    )


def _dispatches() -> Iterator[Case]:
    yield case(
        "dispatch: names",
        """
        - {name: one, model_profile: j}
        - {name: fixed, dispatch: pair}
        - {name: chosen, dispatch: "${one.pick}", depends_on: [one]}
        - {name: missing, dispatch: "${one.absent}", depends_on: [one]}
        - {name: unknown, dispatch: "${one.other}", depends_on: [one]}
        - {name: after, model_profile: b, depends_on: [fixed, chosen]}
        """,
        files=_CHILDREN,
        answers={"j": {"pick": "body", "other": "nobody"}},
    )
    yield case(
        "dispatch: its input",
        """
        - {name: one, model_profile: j}
        - {name: blocks, dispatch: body, depends_on: [one]}
        - {name: key, dispatch: body, depends_on: [one], input_key: text}
        - {name: scope, dispatch: body, depends_on: [one], input_scope: dependencies}
        """,
        files=_CHILDREN,
        answers={"j": _DATA},
    )
    yield case("dispatch: what fails", "- {name: c, dispatch: broken}\n- {name: p, dispatch: partly}", files=_CHILDREN)
    edge = Fix("a reference in a dispatch is an edge")
    yield case(
        "dispatch: an agent of the same phase",
        '- {name: d, dispatch: "${one.pick}"}\n- {name: one, model_profile: j}',
        files=_CHILDREN,
        answers={"j": {"pick": "body"}},
        fixes=dict.fromkeys(("phases", "agents", "requests", "status", "has_errors", "deliverable"), edge),
    )
