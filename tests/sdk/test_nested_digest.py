"""The digest of an ensemble: what runs within counts, and what was there before has the digest that it had."""

from __future__ import annotations

from typing import Any

import pytest

from nesting import child, echo
from stretto import Agent, Ensemble
from stretto.loop import Loop
from stretto.substitute import Substitute


def f(inputs: Any) -> str:
    return "x"


f.__module__, f.__qualname__ = "m", "f"


@pytest.mark.parametrize(
    ("ensemble", "digest"),
    [
        (
            Ensemble("e", [Agent("a", model="t/m")]),
            "967c83002fffdcbc14e417f55cbe0333cbb730fac0d3d4920cf387db0ae8eecc",
        ),
        (
            Ensemble(
                "e",
                [
                    Agent("a", function=f, depends_on=["b"], when="${b}", timeout=3, prompt="${b}"),
                    Agent(
                        "b",
                        model="t/m",
                        params={"temperature": 1},
                        system_prompt="s",
                        base_url="http://h/v1",
                        api_key_env="X_API_KEY",
                        stream=True,
                        on_dependency_failure="run",
                    ),
                ],
                schedule="ready",
                on_failure="fail_fast",
                composer="plain",
            ),
            "e991ccc636812ce4632c521b938e13882e9f44920b5a234f7af9c8c57d72a661",
        ),
        (
            Ensemble("e", [Agent("a"), Agent("ü")], model="t/m", defaults={"params": {"n": 1}, "prompt": "${input}"}),
            "c7de6dd6b7c5817c48302cee48a083612e7b9d3ad97eeca589f2beac27d35e3d",
        ),
    ],
)
def test_an_ensemble_of_plain_agents_has_the_digest_that_it_always_had(ensemble: Ensemble, digest: str) -> None:
    assert ensemble.digest == digest


def leaf(**fields: Any) -> Ensemble:
    return child(Agent("a", **{"model": "t/m", **fields}), name="leaf")


def around(**fields: Any) -> str:
    return Ensemble("e", [Agent("me", **fields)]).digest


ALL: list[dict[str, Any]] = [
    {"function": echo},
    {"function": echo, "fan_out": "${input}"},
    {"function": echo, "fan_out": "${input.x}"},
    {"model": "t/m"},
    {"model": "t/m", "fallback": "t/n"},
    {"model": "t/m", "fallback": ["t/n", "t/o"]},
    {"model": "t/m", "fallback": {"model": "t/n", "params": {"seed": 1}}},
    {"script": "s.py"},
    {"script": "s.py", "parameters": {"n": 1}},
    {"script": "s.py", "env": ["A"]},
    {"dispatch": "x"},
    {"dispatch": "y"},
    {"ensemble": "leaf"},
    {"ensemble": leaf()},
    {"ensemble": leaf(timeout=3)},
    {"ensemble": leaf(), "fan_out": "${input}"},
    {"loop": Loop(leaf(), 2)},
    {"loop": Loop(leaf(), 3)},
    {"loop": Loop(leaf(timeout=3), 2)},
    {"loop": Loop(leaf(), 2, "${body.x}")},
    {"loop": Loop(leaf(), 2, carry="${body.x}")},
    {"loop": Loop("leaf", 2)},
]


def test_whatever_is_asked_for_otherwise_has_another_digest() -> None:
    digests = [around(**fields) for fields in ALL]
    assert len(set(digests)) == len(ALL)


@pytest.mark.parametrize("fields", ALL, ids=lambda fields: "-".join(fields))
def test_the_same_has_the_same_digest(fields: dict[str, Any]) -> None:
    assert around(**fields) == around(**fields)


def test_equal_children_have_equal_digests_whichever_objects_they_are() -> None:
    assert around(ensemble=leaf()) == around(ensemble=leaf())
    assert around(loop=Loop(leaf(), 2)) == around(loop={"body": leaf(), "max_iterations": 2})
    assert around(model="t/m", fallback="t/n") == around(model="t/m", fallback=[Substitute("t/n")])


def test_what_is_deep_within_counts() -> None:
    def deep(**fields: Any) -> str:
        return around(ensemble=child(Agent("b", loop=Loop(child(Agent("c", ensemble=leaf(**fields))), 2))))

    assert deep() == deep()
    assert deep() != deep(timeout=3)


def test_keys_and_layers_within_do_not_count() -> None:
    async def layer(call: Any, call_next: Any) -> Any:
        return await call_next(call)

    assert around(ensemble=leaf(api_key="k" * 8)) == around(ensemble=leaf())
    assert around(ensemble=leaf(middleware=[layer])) == around(ensemble=leaf())


def test_an_ensemble_that_is_named_often_is_digested_once() -> None:
    level = leaf()
    for number in range(40):
        level = child(*(Agent(f"a{n}", ensemble=level) for n in range(10)), name=f"level {number}")
    assert len(level.digest) == 64
