"""Write a case's files: a project folder and a home folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from compat.case import BASE_URL, ENSEMBLE, Case


@dataclass(frozen=True, slots=True)
class Project:
    """Where a case's files stand."""

    project: Path
    home: Path

    @property
    def ensemble(self) -> Path:
        """The file that is run."""
        return self.project / ENSEMBLE

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this the working folder and the home, for one test."""
        monkeypatch.chdir(self.project)
        for variable, folder in (("HOME", ""), ("XDG_CONFIG_HOME", ".config"), ("XDG_STATE_HOME", "state")):
            monkeypatch.setenv(variable, str(self.home / folder))


def written(case: Case, url: str, folder: Path) -> Project:
    """Write the files of a case into `folder`."""
    at = Project(folder / "project", folder / "home")
    for path, text in case.files.items():
        file = at.home / path[2:] if path.startswith("~/") else at.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace(BASE_URL, url))
    at.home.mkdir(exist_ok=True)
    return at
