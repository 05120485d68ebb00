"""The package can be built, installed into an empty environment, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import shown

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def run(*command: str | Path, **env: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, env={**kept, **env}, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def interpreters() -> dict[str, str]:
    """Return this Python, the oldest one that the package supports, and a newer one, as far as they are installed."""
    found = {f"3.{sys.version_info.minor}": sys.executable}
    for version in ("3.10", "3.13"):
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        for path in filter(None, (shutil.which(f"python{version}"), *map(str, pyenv))):
            if subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                found.setdefault(version, path)
    return found


@pytest.fixture(scope="module", params=interpreters().items(), ids=lambda item: item[0])
def python(request: pytest.FixtureRequest, client_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and nothing else."""
    _, interpreter = request.param
    folder = tmp_path_factory.mktemp("environment")
    run(interpreter, "-m", "venv", "--without-pip", folder / "env")
    run(*PIP, "--python", folder / "env", "install", client_wheel)
    return folder / "env/bin/python"


def test_the_wheel_holds_the_package_alone(client_wheel: Path) -> None:
    names = zipfile.ZipFile(client_wheel).namelist()
    assert "dataset_progress/py.typed" in names
    assert not [name for name in names if not name.startswith("dataset_progress")]


def test_it_needs_httpx_and_no_django(python: Path, address: str) -> None:
    code = """
import sys
from dataset_progress import Run, watch
with Run("cats") as run:
    assert sum(run.track(range(100))) == 4950
assert not {name.partition(".")[0] for name in sys.modules} & {"django", "rich", "tqdm", "websockets", "apps"}
print(list(watch("cats", "polling"))[-1].state)
"""
    assert run(python, "-c", code) == "ready\n"
    assert shown().current == 100


def test_the_command_is_there(python: Path, address: str) -> None:
    assert "cats: ready" in run(python.parent / "dataset-progress", "report", "cats", "--state", "ready")
    assert "cats: ready" in run(python.parent / "dataset-progress", "watch", "cats")  # without the extras
