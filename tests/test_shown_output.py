"""What the pages show of a command's output is what it writes, line by line.

A console block with lines that no `$ ` begins is compared; the files come from the blocks above it, as in test_docs.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(?P<kind>\w+)(?P<options>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (?P<command>[^\n]*)\n(?P<output>(?:(?!\$ )[^\n]*\n)*)", re.MULTILINE)
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if "```console" in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_output_on_the_page_is_the_real_one(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    environment |= {"XDG_CONFIG_HOME": str(tmp_path / "nothing")}
    for block in BLOCK.finditer(page.read_text()):
        named = re.search(r'title="([\w.-]+)"', block["options"]) or re.match(r"# ([\w-]+\.\w+)\n", block["text"])
        if named:
            (tmp_path / named[1]).write_text(block["text"])
        for shown in COMMAND.finditer(block["text"]) if block["kind"] == "console" else ():
            if shown["output"]:
                done = subprocess.run(
                    ["bash", "-c", f"exec 2>&1; {shown['command']}"],
                    cwd=tmp_path,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    text=True,
                    timeout=60,
                    check=False,
                )
                assert lines(done.stdout) == lines(shown["output"]), shown["command"]


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
