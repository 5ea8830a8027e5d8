"""Every code block of README.md and docs/ is run: those of one page in order, in one folder and one namespace.

    python                 executed; a page is one program, `__main__`
    yaml                   with `agents:` loaded as an ensemble, else read
    json, toml             read
    bash, console          `stretto` and `python` lines are run (in console blocks: what follows `$ `) and must exit
                           with 0, or with what a comment says: `# exits with 2`; `make` must name a target,
                           `pip install` an extra that exists
    text, mermaid          left alone

A block of another kind, or of none, is refused. One whose fence says `title="name.yaml"`, or whose first line is the
comment `# name.yaml`, is kept under that name for the blocks that follow it, beside a copy of examples/.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from sybil import Document, Example, Region
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

import stretto

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
MODEL = re.findall(r"^([\w-]+)==", (ROOT / "requirements" / "model.txt").read_text(), re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_every_block_of_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (ROOT / "examples").is_dir():
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    program = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", program)
    document = Document.parse(str(ROOT / page), blocks)
    document.namespace = program.__dict__
    for block in document.examples():
        block.evaluate()


def test_the_site_names_every_page() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    named = [page for entry in site["nav"] for page in entry.values()]
    assert sorted(named) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def blocks(document: Document) -> Iterable[Region]:
    for region in FencedCodeBlockLexer(language=r"[^\n]*")(document):
        region.parsed = region.lexemes["source"]
        region.evaluator = evaluate
        yield region


def evaluate(block: Example) -> None:
    fence, source = block.region.lexemes["language"].strip(), block.parsed
    language, _, options = fence.partition(" ")
    assert language in KINDS, f"{block.path}:{block.line}: no rule to run a block of kind {fence!r}"
    named = re.search(r'title="([\w.-]+)"', options) or re.match(r"# ([\w-]+\.\w+)$", source, re.MULTILINE)
    if named:
        Path(named[1]).write_text(source)
    KINDS[language](block)


def python(block: Example) -> None:
    lines_above = "\n" * block.line  # so that a traceback names the line of the page
    exec(compile(lines_above + block.parsed, block.path, "exec", dont_inherit=True), block.namespace)


def yaml_file(block: Example) -> None:
    if re.search(r"^agents:", block.parsed, re.MULTILINE):
        file = Path("block.yaml")
        file.write_text(block.parsed)
        stretto.load(file)
    else:
        yaml.safe_load(block.parsed)


def commands(block: Example) -> None:
    lines = block.parsed.replace("\\\n", " ").splitlines()
    if block.region.lexemes["language"].startswith("console"):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        if words:
            command(line, words, f"{block.path}:{block.line}: {line}")


def command(line: str, words: list[str], where: str) -> None:
    match words:
        case ["make", *targets]:
            assert set(targets) <= TARGETS, where
        case [("pip" | "uv"), *rest] | [("python" | "python3"), "-m", "pip", *rest]:
            if rest[-1] in MODEL:
                return
            extras = re.fullmatch(rf"(?:{PROJECT['name']}|\.)(?:\[([\w,]+)\])?", rest[-1])
            assert extras, where
            assert set(filter(None, (extras[1] or "").split(","))) <= PROJECT["optional-dependencies"].keys(), where
        case [("git" | "cd" | "export"), *_]:
            pass
        case _ if {"stretto", "python", ".venv/bin/python", ".venv/bin/stretto"} & set(words):
            exits = re.search(r"# exits with (\d)", line)
            shell = ["bash", "-o", "pipefail", "-c", line]
            done = subprocess.run(shell, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            assert done.returncode == int(exits[1] if exits else 0), f"{where}\n{done.stdout}{done.stderr}"
        case _:
            pytest.fail(f"{where}: no rule to run this")


KINDS: dict[str, Callable[[Example], object]] = {
    "python": python,
    "yaml": yaml_file,
    "json": lambda block: json.loads(block.parsed),
    "toml": lambda block: tomllib.loads(block.parsed),
    "bash": commands,
    "console": commands,
    "text": lambda block: None,
    "mermaid": lambda block: None,
}
