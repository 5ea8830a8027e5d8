"""Cases on guards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from compat.case import Case, Fix, case

_EDGE = Fix("a reference in a guard is an edge")

# Guards that see `_VALUES`, the answer of the agent `one`.
_VALUES = {
    "text": "hello",
    "number": 3,
    "yes": True,
    "no": False,
    "none": None,
    "word": "false",
    "zero": 0,
    "empty": "",
    "list": [1],
    "nothing": [],
    "object": {"key": "v"},
    "half": 1.5,
    "two": "a b",
    "digits": "3",
    "one": 1,
}
_GUARDS = [
    *("${one.text}", "${one.number}", "${one.yes}", "${one.no}", "${one.none}", "${one.word}", "${one.zero}"),
    *("${one.empty}", "${one.list}", "${one.nothing}", "${one.missing}", "${one.object.key}", "${one.text.key}"),
    *("${one.text} == hello", "${one.text} == 'hello'", '${one.text} == "hello"', "${one.text}==hello"),
    *("${one.text} == other", "${one.two} == a b", '${one.two} == "a b"', "${one.object.key} == v"),
    *("${one.number} == 3", "${one.number} == 3.0", '${one.number} == "3"', "${one.number} == 4", "${one.half} == 1.5"),
    *("${one.digits} == 3", "${one.digits} == '3'", "${one.yes} == true", "${one.no} == false", "${one.yes} == false"),
    *(
        "${one.no} == true",
        "${one.missing} == x",
        "${one.missing} == null",
        "${one.none} == null",
        "${one.empty} == ''",
    ),
]


def cases() -> Iterator[Case]:
    """Give the cases of this file."""
    agents = [
        f"- {{name: g{n}, script: echo ran, depends_on: [one], when: {json.dumps(w)}}}" for n, w in enumerate(_GUARDS)
    ]
    yield case(
        "when: values and literals", "- {name: one, model_profile: j}\n" + "\n".join(agents), answers={"j": _VALUES}
    )
    yield case(
        "when: dependants of a skipped agent",
        """
        - {name: one, model_profile: j}
        - {name: bad, model_profile: bad}
        - {name: skipped, model_profile: a, depends_on: [one], when: "${one.no}"}
        - {name: alone, model_profile: b, depends_on: [skipped]}
        - {name: beside, model_profile: b, depends_on: [skipped, one]}
        - {name: failed, model_profile: b, depends_on: [skipped, bad]}
        - {name: further, model_profile: b, depends_on: [alone]}
        - {name: both, model_profile: b, depends_on: [failed, skipped]}
        - {name: anyway, model_profile: b, depends_on: [skipped], on_dependency_failure: run}
        """,
        answers={"j": _VALUES},
    )
    yield case(
        "when: the source failed, or is no object",
        """
        - {name: bad, model_profile: bad}
        - {name: text, model_profile: a}
        - {name: one, model_profile: b, depends_on: [bad, text], when: "${bad.x}"}
        - {name: two, model_profile: b, depends_on: [text], when: "${text.x}"}
        - {name: three, model_profile: b, depends_on: [bad], when: "${bad.x}"}
        - {name: four, model_profile: b, depends_on: [bad], when: "${bad.x}", on_dependency_failure: run}
        """,
    )
    yield case(
        "when: an agent of an earlier phase that is no dependency",
        """
        - {name: one, model_profile: j}
        - {name: two, model_profile: a}
        - {name: three, model_profile: b, depends_on: [two], when: "${one.yes}"}
        """,
        answers={"j": _VALUES},
    )
    yield case(
        "when: an agent of the same phase",
        """
        - {name: two, model_profile: b, when: "${one.yes}"}
        - {name: one, model_profile: j}
        """,
        answers={"j": _VALUES},
        fixes={
            **dict.fromkeys(("agents", "requests", "usage", "deliverable"), _EDGE),
            "phases": replace(_EDGE, ours=[["one"], ["two"]]),
        },
    )
    yield case(
        "when: another comparison",
        """
        - {name: one, model_profile: j}
        - {name: two, model_profile: b, depends_on: [one], when: "${one.number} > 5"}
        """,
        answers={"j": _VALUES},
    )
    yield case(
        "when: not equal",
        """
        - {name: one, model_profile: j}
        - {name: same, model_profile: b, depends_on: [one], when: "${one.text} != hello"}
        - {name: other, model_profile: b, depends_on: [one], when: "${one.text} != world"}
        """,
        answers={"j": _VALUES},
        fixes={
            "agents.same": Fix("stretto knows !=, to them the guard is a text that is not empty"),
            **dict.fromkeys(("requests", "usage"), Fix("as above")),
            "phases": Fix("as above", ours=[["one"], ["other"]]),
        },
    )
