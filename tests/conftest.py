"""What all tests have in common: nobody's own configuration counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The folder does not exist: no profiles, no ensembles, no settings.
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).parent / "no-configuration")
os.environ.pop("LLM_ORC_LIBRARY_PATH", None)


@pytest.fixture
def empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and an empty working folder to stand in, which is given."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("LLM_ORC_LIBRARY_PATH", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"
