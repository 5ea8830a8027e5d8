"""The public face: what it shows, what it costs to import, and that all of it is documented."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import stretto
import stretto.errors
import stretto.middleware
import stretto.providers
import stretto.providers.wire
import stretto.testing

FACES = [stretto, stretto.middleware, stretto.providers, stretto.providers.wire, stretto.testing]
PUBLIC = sorted(
    {(face.__name__, name) for face in FACES for name in face.__all__ if name not in ("MAX_RESPONSE_BYTES", "wire")}
)
HEAVY = ("litellm", "openai", "aiohttp", "opentelemetry.sdk", "yaml", "click", "rich")


def public(face: str, name: str) -> Any:
    return getattr(sys.modules[face], name)


# ---- what is visible


def test_the_names_are_those_of_the_design() -> None:
    names = """Agent, Attempt, Call, CallError, ConfigError, Delta, Ensemble, Inputs, Middleware, Next, Outcome, Plan,
        Record, Reply, Run, Runner, Secret, Settings, StrettoError, Timings, ToolCall, Usage, default_stack, load"""
    assert stretto.__all__ == re.split(r",\s+", names)
    assert len(stretto.__all__) <= 25


@pytest.mark.parametrize("face", FACES)
def test_all_is_sorted_and_has_no_name_twice(face: Any) -> None:
    assert face.__all__ == sorted(set(face.__all__))


@pytest.mark.parametrize("face", FACES)
def test_all_equals_what_is_visible(face: Any) -> None:
    for name in face.__all__:
        getattr(face, name)
    ours = ("Any", "TYPE_CHECKING", "annotations", "import_module")
    visible = {name for name in vars(face) if not name.startswith("_")} - set(ours)
    visible -= {name for name in visible if inspect.ismodule(getattr(face, name))}
    assert visible <= set(face.__all__)
    assert set(face.__all__) <= set(dir(face))


@pytest.mark.parametrize("face", FACES)
def test_a_name_that_does_not_exist_is_an_attribute_error(face: Any) -> None:
    with pytest.raises(AttributeError, match=f"module '{face.__name__}' has no attribute 'Retyr'"):
        _ = face.Retyr


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert stretto.__version__ == version("stretto")


# ---- what it costs


def imported(code: str) -> set[str]:
    """Run code in a fresh interpreter, and give the modules that are then loaded."""
    show = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    command = [sys.executable, "-W", "error", "-c", show]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


EVERY_NAME = "import stretto\nfor name in stretto.__all__:\n    name == 'load' or getattr(stretto, name)"
EVERY_LAYER = "import stretto.middleware as m\nfor name in m.__all__:\n    getattr(m, name)"
A_RUN = """
import stretto
agents = [stretto.Agent("a", model="simulated/echo"), stretto.Agent("b", model="simulated/echo", depends_on=["a"])]
assert stretto.Ensemble("e", agents).run_sync("hi").ok
"""


@pytest.mark.parametrize("code", ["import stretto", EVERY_NAME, "import stretto.middleware, stretto.providers", A_RUN])
def test_nothing_heavy_is_imported(code: str) -> None:
    assert {name for name in imported(code) if name in HEAVY or name.startswith(tuple(f"{h}." for h in HEAVY))} == set()


def test_no_layer_imports_what_it_does_not_need() -> None:
    assert not imported(EVERY_LAYER) & {"litellm", "openai", "aiohttp", "opentelemetry.sdk", "yaml", "click", "rich"}


def test_importing_stretto_loads_none_of_its_modules() -> None:
    assert {name for name in imported("import stretto") if name.startswith("stretto")} == {"stretto"}


# ---- what is documented


def sections(thing: Any) -> dict[str, str]:
    """Divide a docstring into its summary and its sections."""
    text = inspect.getdoc(thing) or ""
    parts = re.split(r"^(Args|Attributes|Raises|Source):$", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def named(section: str) -> set[str]:
    """Give the names that a section explains: `name: what it is`, several before one colon."""
    lines = re.findall(r"^ {4}(\w[\w, ]*):", section, flags=re.MULTILINE)
    return {name.strip() for line in lines for name in line.split(",")}


def parameters(thing: Any) -> set[str]:
    """Give the names that its caller has to know."""
    if dataclasses.is_dataclass(thing):
        return {f.name for f in dataclasses.fields(thing) if f.init and not f.name.startswith("_")}
    called = thing.__init__ if inspect.isclass(thing) else thing
    if called is object.__init__ or getattr(thing, "_is_protocol", False):
        return set()
    found = inspect.signature(called).parameters.values()
    hidden = ("self", "args", "kwargs")
    keywords = [p for p in found if p.kind is p.VAR_KEYWORD and p.name == "given"]  # their names are the class's
    return {p.name for p in found if p.name not in hidden} - {p.name for p in keywords}


def members(thing: type) -> Iterator[tuple[str, Any]]:
    """Give the public methods and properties that a class of ours defines itself."""
    for name, value in vars(thing).items():
        plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if isinstance(value, property):
            plain = value.fget
        if not name.startswith("_") and inspect.isfunction(plain):
            yield name, plain


@pytest.mark.parametrize(("face", "name"), PUBLIC)
def test_a_public_name_has_a_first_line(face: str, name: str) -> None:
    first = sections(public(face, name))[""].partition("\n")[0]
    assert first.endswith("."), first
    assert not first.startswith(f"{name}("), "a docstring does not repeat the signature"


# Their callers are the core, or nobody makes them.
MADE_BY_THE_CORE = {"Attempt", "CallForTests", "CallTimeout", "Record", "Response", "Run"}


@pytest.mark.parametrize(("face", "name"), [key for key in PUBLIC if key[1] not in MADE_BY_THE_CORE])
def test_every_argument_of_a_public_name_is_explained(face: str, name: str) -> None:
    thing = public(face, name)
    found = sections(thing)
    explained = named(found.get("Args", ""))
    assert parameters(thing) <= explained
    if name != "Settings":  # its keywords are typed apart
        assert explained <= parameters(thing) | {"given"}


@pytest.mark.parametrize("name", ["Attempt", "Record", "Run"])
def test_every_attribute_of_what_the_core_makes_is_explained(name: str) -> None:
    thing = public("stretto", name)
    attributes = {slot for slot in getattr(thing, "__slots__", ()) if not slot.startswith("_")}
    assert attributes - {"estimate"} <= named(sections(thing).get("Attributes", ""))


def raising(function: Any) -> bool:
    """Tell whether a function raises an error of ours itself, or checks something that does."""
    source = inspect.getsource(function)
    return bool(re.search(r"raise (ConfigError|RuntimeError|ValueError|\w+Error\()|\bcheck_\w+\(|_check\w*\(", source))


@pytest.mark.parametrize(("face", "name"), PUBLIC)
def test_a_public_name_says_what_it_raises(face: str, name: str) -> None:
    thing = public(face, name)
    if not inspect.isclass(thing):
        assert not raising(thing) or "Raises" in sections(thing)
    elif not issubclass(thing, Exception):
        made = [vars(thing)[m] for m in ("__init__", "__post_init__") if inspect.isfunction(vars(thing).get(m))]
        made = [function for function in made if function.__code__.co_filename == inspect.getfile(thing)]
        assert not any(map(raising, made)) or "Raises" in sections(thing)


@pytest.mark.parametrize(("face", "name"), [key for key in PUBLIC if inspect.isclass(public(*key))])
def test_the_methods_of_a_public_class_are_documented(face: str, name: str) -> None:
    for method, function in members(public(face, name)):
        found = sections(function)
        assert found[""].strip(), f"{name}.{method} has no docstring"
        assert not raising(function) or "Raises" in found, f"{name}.{method} does not say what it raises"


def test_every_error_is_documented() -> None:
    for name, kind in inspect.getmembers(stretto.errors, inspect.isclass):
        if issubclass(kind, Exception) and kind.__module__ == "stretto.errors":
            assert vars(kind).get("__doc__"), name
