"""A project laid out as llm-orc has it, for tests of what becomes of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stretto import Agent, ConfigError, Ensemble, load

TOP = "name: e\ndescription: d\n"
PROFILES = """model_profiles:
  fast: {model: small, provider: openai-compatible/here, base_url: "http://127.0.0.1:9/v1"}
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with `.llm-orc/config.yaml`, and ensembles below it.

    Args:
        folder: its root.
        profiles: text of the `config.yaml`.
    """

    folder: Path
    profiles: str = PROFILES

    @property
    def file(self) -> Path:
        """Where the ensemble `e` stands."""
        return self.folder / ".llm-orc" / "ensembles" / "e.yaml"

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, by their paths below the folder."""
        for name, text in {".llm-orc/config.yaml": self.profiles, **files}.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def load(self, text: str, files: Mapping[str, str] | None = None, **options: Any) -> Ensemble:
        """Load an ensemble of this text."""
        self.write({".llm-orc/ensembles/e.yaml": text, **(files or {})})
        return load(self.file, **options)

    def agents(self, *agents: str, top: str = TOP, files: Mapping[str, str] | None = None, **options: Any) -> Ensemble:
        """Load an ensemble of agents, each a mapping in one line: the first stands in line 4."""
        return self.load(f"{top}agents:\n" + "".join(f"  - {agent}\n" for agent in agents), files, **options)

    def agent(self, agent: str, **options: Any) -> Agent:
        """Load an ensemble and give its last agent."""
        return self.agents(agent, **options).agents[-1]

    def notes(self, ensemble: Ensemble) -> list[str]:
        """Give what an ensemble warns of, without the folder."""
        return [self._short(note) for note in ensemble.warnings]

    def said(self, *agents: str, text: str | None = None, **options: Any) -> list[str]:
        """Give the errors of a file as people read them, without the folder; hold that each has its place."""
        with pytest.raises(ConfigError) as caught:
            self.agents(*agents, **options) if text is None else self.load(text, **options)
        errors = caught.value.errors or (caught.value,)
        for error in errors:
            assert error.file is not None
            assert error.line is not None
            assert error.column is not None
        return [self._short(str(error)) for error in errors]

    def _short(self, text: str) -> str:
        return text.replace(f"{self.file.parent}/", "").replace(f"{self.folder}/", "")
