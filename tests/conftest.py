"""What all tests have in common: nobody's own configuration counts."""

from __future__ import annotations

import os
from pathlib import Path

# The folder does not exist: no profiles, no ensembles, no settings.
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).parent / "no-configuration")
os.environ.pop("LLM_ORC_LIBRARY_PATH", None)
