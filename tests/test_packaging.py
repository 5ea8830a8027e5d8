"""The wheel, built from the sdist, holds the three folders and nothing else."""

import configparser
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"stretto": "sdk/stretto", "stretto/middleware": "middleware", "stretto/providers": "providers"}
MADE = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info", "build", "dist", "site")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, folder / "checkout", symlinks=True, ignore=MADE)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "checkout")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.parametrize("name", ["middleware", "providers"])
def test_the_tools_find_the_outer_folders_through_a_link(name: str) -> None:
    link = ROOT / "sdk/stretto" / name
    assert link.is_symlink()
    assert link.readlink() == Path("../..") / name


def test_the_wheel_holds_every_module_once_and_nothing_else(built: tuple[Path, Path]) -> None:
    expected = [
        f"{package}/{file.name}"
        for package, folder in FOLDERS.items()
        for file in (ROOT / folder).iterdir()
        if file.suffix == ".py" or (package == "stretto" and (file.suffix == ".json" or file.name == "py.typed"))
    ]
    assert "stretto/py.typed" in expected
    with zipfile.ZipFile(built[1]) as wheel:
        found = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert sorted(found) == sorted(expected)


def test_the_wheel_brings_the_command(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
        entry_points = configparser.ConfigParser()
        entry_points.read_string(wheel.read(name).decode())
    assert dict(entry_points["console_scripts"]) == {"stretto": "stretto.__main__:main"}


def test_what_the_wheel_holds_can_be_imported(built: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(tmp_path)
    code = "import sys; sys.path.insert(0, '.'); import stretto.middleware, stretto.providers; print(stretto.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stderr, Path(done.stdout.strip())) == ("", tmp_path / "stretto" / "__init__.py")


def test_the_sdist_brings_the_tests_the_docs_and_the_licence(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    here = {str(file.relative_to(ROOT)) for folder in ("tests", "docs") for file in (ROOT / folder).rglob("*.??")}
    assert {"LICENSE", "README.md", "Makefile", "requirements/run.txt", "docs/index.md"} | here <= names
