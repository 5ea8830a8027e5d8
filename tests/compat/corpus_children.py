"""Cases on agents that run ensembles: children, loops, dispatch, and fan-out of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compat.case import Case, Fix, InTurn, case, child

_DATA = {"text": "picked", "object": {"z": 1}}

_SKIPPING = """
- {name: c1, model_profile: a}
- {name: c2, model_profile: a, depends_on: [c1], when: "${c1.no}"}
"""
_PAIR = """
- {name: c1, model_profile: a}
- {name: c2, model_profile: my-prof, depends_on: [c1]}
- {name: c3, model_profile: b}
"""
_SPREAD = """
- {name: s, script: "echo '[1, 2]'"}
- {name: f, model_profile: a, depends_on: [s], fan_out: true}
"""
_CHILDREN = {
    **child("body", "- {name: b1, model_profile: a}"),
    **child("pair", _PAIR),
    **child("broken", "- {name: c1, model_profile: bad}"),
    **child("partly", "- {name: c1, model_profile: bad}\n- {name: c2, model_profile: a}"),
    **child("guarded", _SKIPPING),
    **child("listing", "- {name: s, script: \"echo '[1, 2]'\"}"),
    **child("spread", _SPREAD),
    **child("nested", "- {name: n1, ensemble: pair}"),
    **child("sub/deep", "- {name: d1, model_profile: b}"),
}


_DEEP = {"accepted": Fix("how deep ensembles are nested is known before the first call", ours=False)}
_SHOWN = {
    "nested": {"requests": Fix("a child of a child is shown by what it delivers, not by its whole result")},
    "spread": {"requests": Fix("lists and constants are shown as JSON")},
}


def cases() -> Iterator[Case]:
    """Give the cases of this file."""
    yield from _children()
    yield from _depths()
    yield from _loops()
    yield from _dispatches()


def _children() -> Iterator[Case]:
    yield case("child: alone", "- {name: c, ensemble: pair}", files=_CHILDREN)
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
        yield case(f"child: {name}", agents, files=_CHILDREN, fixes=_SHOWN.get(name, {}))
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


def _depths() -> Iterator[Case]:
    for name, depth in (("just deep enough", 5), ("too deep", 6)):
        files = child(f"d{depth}", "- {name: x, model_profile: a}")
        for level in range(1, depth):
            files |= child(f"d{level}", f"- {{name: x, ensemble: d{level + 1}}}")
        yield case(
            f"child: {name}", "- {name: c, ensemble: d1}", files=files, unsaid=("c",), fixes=_DEEP if depth > 5 else {}
        )
    circle = {**child("r1", "- {name: x, ensemble: r2}"), **child("r2", "- {name: x, ensemble: r1}")}
    yield case("child: in a circle", "- {name: c, ensemble: r1}", files=circle)


def _loops() -> Iterator[Case]:
    def loop(name: str, keys: str, *answers: Any, more: str = "", rounds: int = 4) -> Case:
        work = f"loop: {{body: body, max_iterations: {rounds}, {keys}}}{more}"
        agents = f"- {{name: one, model_profile: j}}\n- {{name: l, {work}}}"
        return case(f"loop: {name}", agents, files=_CHILDREN, answers={"j": _DATA, "a": InTurn(answers)})

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
        fixes={
            **dict.fromkeys(("agents", "requests", "status", "has_errors", "deliverable"), edge),
            "phases": Fix("as above", ours=[["one"], ["d"]]),
        },
    )
