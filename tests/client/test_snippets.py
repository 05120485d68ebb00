"""The code that pages offer to copy works: it is installed from this server, and run."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.datasets.models import Dataset
from apps.progress.models import Run
from tests.processes import Server

from .conftest import shown

PIP = f"{sys.executable} -m pip --quiet --disable-pip-version-check --python"


@pytest.fixture
def codes(server: Server, client_wheel: Path, transactional_db: None) -> dict[str, str]:
    """The snippets on the page Tokens, after a token was created."""
    client = Client()
    client.force_login(User.objects.create_user("ann", is_staff=True))
    page = client.post("/tokens/", {"name": "laptop", "datasets": "*"}, headers={"host": server.host}).text
    found = re.findall(r'<pre[^>]* id="code-(\w+)"[^>]*>(.*?)</pre>', page, re.DOTALL)
    return {name: html.unescape(code).replace("my-dataset", "cats") for name, code in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    return tmp_path


def shell(folder: Path, script: str) -> str:
    env = {**os.environ, "PATH": f"{folder}/env/bin:{os.environ['PATH']}"}
    script = re.sub(r"^pip ", f"{PIP} {folder}/env ", script, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def uncommented(code: str) -> str:
    return "".join(f"{line[2:]}\n" for line in code.splitlines() if line.startswith("# "))


@pytest.mark.parametrize("name", ["python", "tqdm"])
def test_code_reports(codes: dict[str, str], folder: Path, name: str) -> None:
    (folder / "job.py").write_text("items = range(100)\n" + codes[name])
    shell(folder, uncommented(codes[name]) + "python job.py")
    assert (shown().state, shown().current) == ("ready", 100)


def test_curl_reports(codes: dict[str, str], folder: Path) -> None:
    assert '"control":"run"' in shell(folder, codes["curl"])
    assert (shown().state, shown().current, shown().total) == ("indexing", 45, 100)


def test_the_command_line_reports(codes: dict[str, str], folder: Path) -> None:
    (folder / "rows.csv").write_text("row\n" * 5000)
    assert "cats: ready" in shell(folder, codes["shell"])
    piped = Run.objects.get(number=1)
    assert (piped.state, piped.stages.get().current) == ("ready", 5000)
    assert (shown().run, shown().state, shown().current) == (2, "indexing", 45)


def test_the_page_of_a_dataset_offers_the_same_for_itself(server: Server, transactional_db: None) -> None:
    Dataset.objects.create(dataset_id="cats", visibility="public")
    page = html.unescape(Client().get("/datasets/cats/", headers={"host": server.host}).text)
    for part in (f"{server.url}/api/datasets/cats/progress", f"export DATASET_PROGRESS_URL={server.url}", "YOUR_TOKEN"):
        assert part in page
