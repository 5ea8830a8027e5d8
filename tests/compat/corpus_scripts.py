"""Cases on scripts, and on fan-out."""

from __future__ import annotations

import json
from collections.abc import Iterator

from compat.case import ByText, Case, Fix, case

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
_INLINE = 'printf %s "${AGENT_PARAMETERS-}|${INPUT_DATA-}|${INPUT_TEXT-}"'
_DATA = {"text": "picked", "object": {"z": 1}, "items": ["p", {"q": 1}]}

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
        fixes={
            "agents.later.response": parameters,
            "agents.first.response": Fix("INPUT_TEXT is there for inline texts as well"),
        },
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
            fixes={"requests": Fix("constants are shown as JSON")} if name == "null" else {},
        )
    yield case(
        "script: how an inline text is run",
        """
        - {name: llm, model_profile: a}
        - {name: first, script: "false; echo after"}
        - {name: piped, script: "false | cat; echo after"}
        - {name: unset, script: "echo $NOBODY after"}
        - {name: bash, script: "[[ a == a ]] && echo bash"}
        - {name: later, script: "false; echo after $NOBODY", depends_on: [llm]}
        - {name: file, script: loose.sh}
        """,
        files={".llm-orc/scripts/loose.sh": "false; echo after $NOBODY"},
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
        fixes={"requests": Fix("no instance at all is shown as an empty list")},
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
        fixes={"requests": Fix("lists and constants are shown as JSON")},
    )
    items = "- {name: one, model_profile: j}\n- {name: f, model_profile: a, depends_on: [one], fan_out: true}"
    shown = {"requests": Fix("lists and constants are shown as JSON")}
    yield case("fan-out: true as an item", items, answers={"j": [True, 1.5]}, fixes=shown)
    yield case("fan-out: null as an item", items, answers={"j": [None]}, fixes=shown)
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
