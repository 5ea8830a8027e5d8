"""examples/plugin is a package that stretto finds by its entry points, built and installed as a user would."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from venv import EnvBuilder

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"
MADE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "site", "tests", "docs")


def ran(*command: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    none = subprocess.DEVNULL
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, stdin=none)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has stretto and the plugin, both from their wheels."""
    folder = tmp_path_factory.mktemp("plugin")
    sources = {ROOT: folder / "checkout", PLUGIN: folder / "plugin"}
    building = [
        subprocess.Popen(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "wheels", copied],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for copied in (shutil.copytree(source, copy, symlinks=True, ignore=MADE) for source, copy in sources.items())
    ]
    said = [build.communicate(timeout=120)[0] for build in building]
    assert [build.returncode for build in building] == [0, 0], "\n".join(said)
    EnvBuilder(symlinks=True).create(folder / "venv")
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    # What stretto needs comes from here: a test downloads nothing. The editable install of this checkout does not come
    # along, since its .pth file is only read in an environment's own folder.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    made = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", made]
    ran(*pip, "install", "--quiet", "--no-index", "--no-deps", *(folder / "wheels").glob("*.whl"), cwd=folder)
    return made


def test_both_come_from_their_wheels(python: Path, tmp_path: Path) -> None:
    code = "import stretto, stretto_shout; print(stretto.__file__, stretto_shout.__file__)"
    done = ran(python, "-c", code, cwd=tmp_path)
    assert all(str(python.parents[1]) in path for path in done.stdout.split())


def test_a_file_uses_the_layer_and_the_provider_by_name(python: Path, tmp_path: Path) -> None:
    done = ran(python, "-m", "stretto", "run", PLUGIN / "crier.yaml", "rain tomorrow", cwd=tmp_path)
    assert done.stdout == "HEAR YE: RAIN TOMORROW!!!!\nthe crier\n"


def test_a_wrong_keyword_of_the_layer_and_a_wrong_model_are_placed_in_the_file(python: Path, tmp_path: Path) -> None:
    text = (PLUGIN / "crier.yaml").read_text()
    (tmp_path / "keyword.yaml").write_text(text.replace("{text:", "{txet:"))
    (tmp_path / "model.yaml").write_text(text.replace("shout/louder", "shout/softly"))
    done = ran(python, "-m", "stretto", "validate", "keyword.yaml", cwd=tmp_path, code=1)
    assert "keyword.yaml:15:16: agent 'twice': the layer sign has no keyword 'txet'" in done.stdout + done.stderr
    done = ran(python, "-m", "stretto", "run", "model.yaml", "x", cwd=tmp_path, code=1)
    assert "there is no shout/softly: shout knows loud, louder" in done.stdout + done.stderr


def test_its_own_tests_pass(python: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(PLUGIN, tmp_path / "plugin", ignore=shutil.ignore_patterns("src", "__pycache__"))
    done = ran(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=copy)
    assert "6 passed" in done.stdout
