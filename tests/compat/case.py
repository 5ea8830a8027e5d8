"""What a case of the corpus is: files, an input, what models answer, and where the two sides are meant to differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import Any

ENSEMBLE = ".llm-orc/ensembles/e.yaml"
CONFIG = ".llm-orc/config.yaml"
# Stands in the files where the address of the case's server belongs.
BASE_URL = "BASE_URL"
ANYTHING = object()


@dataclass(frozen=True, slots=True)
class Fix:
    """A difference that is meant.

    Args:
        why: one line.
        ours: what stretto gives there.
    """

    why: str
    ours: Any = ANYTHING


@dataclass(frozen=True, slots=True)
class InTurn:
    """Answers for one request after the other; the last one stays."""

    answers: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ByText:
    """Answers for requests whose last message holds a text; the first that fits counts."""

    answers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One ensemble, run by both sides.

    Args:
        name: unique.
        files: text by path, relative to the project's folder, or to the home folder after `~/`.
        input: of the run.
        answers: by model: a text, data that is sent as JSON, a status from 400 on, `InTurn` or `ByText`.
        fixes: by dotted path of the observation, or a prefix of one.
        unsaid: agents whose response is the other's own text, and not compared.
    """

    name: str
    files: Mapping[str, str]
    input: str = "the input"
    answers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fixes: Mapping[str, Fix] = field(default_factory=dict[str, Fix])
    unsaid: tuple[str, ...] = ()


def profile(model: str, **more: Any) -> str:
    """Write a profile for the case's server, as a flow mapping."""
    keys = {"model": model, "provider": "openai-compatible/x", "base_url": BASE_URL, **more}
    return "{" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}"


def config(profiles: str = "", performance: str = "") -> str:
    """Write a `config.yaml`: the profiles that most cases use, and `profiles`."""
    usual = {"a": "a", "b": "b", "j": "j", "my-prof": "m", "bad": "bad"}
    lines = [f"{name}: {profile(model)}" for name, model in usual.items()]
    text = "model_profiles:\n" + indent("\n".join([*lines, dedent(profiles).strip()]).strip(), "  ") + "\n"
    return text + (f"performance:\n{indent(dedent(performance).strip(), '  ')}\n" if performance else "")


def ensemble(agents: str, top: str = "", name: str = "e") -> str:
    """Write an ensemble's file."""
    head = f"name: {name}\ndescription: of the corpus\n"
    return f"{head}{dedent(top).strip()}\nagents:\n{indent(dedent(agents).strip(), '  ')}\n"


def case(
    name: str,
    agents: str,
    *,
    top: str = "",
    files: Mapping[str, str] | None = None,
    settings: str | None = None,
    **more: Any,
) -> Case:
    """Make a case of one ensemble with the usual profiles, and perhaps more files."""
    own = {CONFIG: config() if settings is None else settings, ENSEMBLE: ensemble(agents, top)}
    return Case(name, {**own, **(files or {})}, **more)


def child(name: str, agents: str, top: str = "") -> dict[str, str]:
    """Make the file of a child ensemble."""
    return {f".llm-orc/ensembles/{name}.yaml": ensemble(agents, top, name.rpartition("/")[2])}
