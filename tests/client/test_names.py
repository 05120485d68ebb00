"""Ids that no dataset may have are changed and told once; a missing address or token is named."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dataset_progress import Run, simulate, track, watch
from dataset_progress.tqdm import capture_tqdm, tqdm
from tqdm import tqdm as plain

from apps.datasets.models import Dataset
from tests.processes import Server
from tests.repository import ROOT

from .conftest import ended, program, script, shown


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("acme/cats", "acme.cats"),
        ("my  cats", "my.cats"),
        ("/data/raw/cats/", "data.raw.cats"),
        ("s3://acme/cats:v2", "s3.acme.cats.v2"),
        ("../secrets", "secrets"),
        ("_cats", "cats"),
        ("Füchse", "F.chse"),
        ("x" * 129, "x" * 119 + ".0ec9eb33"),
    ],
)
def test_an_id_is_made_valid(given: str, called: str, address: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert list(track(range(3), dataset=given, linger=1)) == [0, 1, 2]
    assert (ended(called).run, shown(called).state, shown(called).current) == (1, "ready", 6)
    told = [record.getMessage() for record in caplog.records if record.name == "dataset_progress"]
    assert told == [f"the dataset {given!r} is called {called!r}, because an id consists of letters, digits, . _ -"]


def test_wherever_an_id_comes_in_it_is_the_same(address: str) -> None:
    given, called = "acme/dogs", "acme.dogs"
    Dataset.objects.create(dataset_id=called, visibility="public")
    with Run(given) as run:
        run.advance()
        assert run.dataset == called
        assert list(track(range(2), dataset=given, stage="more")) == [0, 1]
        assert list(track(range(2), dataset=called, stage="even more")) == [0, 1]
    assert shown(called).run == 1
    list(tqdm(range(2), dataset=given, file=io.StringIO(), linger=0))
    with capture_tqdm(given):
        list(plain(range(2), file=io.StringIO()))
    assert simulate(given, items=2, seconds=0)
    assert [progress.state for progress in watch(given, "polling")] == ["ready"]

    assert ended(called).dataset_id == called
    assert Dataset.objects.count() == 1


@pytest.mark.parametrize("given", ["", "///", "猫", 5, None, ["cats"]])
def test_what_cannot_be_made_an_id_is_told_once_and_harms_nothing(
    given: Any, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert list(track(range(3), dataset=given)) == [0, 1, 2]
        with Run(given) as run:
            run.advance()
    told = [record.getMessage() for record in caplog.records if record.name == "dataset_progress"]
    assert told == [f"progress is not reported: {given!r} is not a valid dataset id (letters, digits, . _ -)"]
    assert not Dataset.objects.exists()


def test_it_is_told_on_standard_error(address: str) -> None:
    ended = program('from dataset_progress import track\nfor _ in track(range(3), dataset="acme/mice"): pass')
    assert ended.stderr.splitlines() == [
        "the dataset 'acme/mice' is called 'acme.mice', because an id consists of letters, digits, . _ -"
    ]
    assert shown("acme.mice").state == "ready"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dataset_progress", *arguments], capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT / "client/src")}, input="a\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["report", "acme/cows", "--state", "ready"], ["pipe", "acme/cows"], ["simulate", "acme/cows", "--seconds", "0"]],
)
def test_the_command_line_takes_it_and_tells(arguments: list[str], address: str) -> None:
    ended = command(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("is called 'acme.cows'") == 1
    assert shown("acme.cows").state == "ready"
    ended = command("watch", "acme/cows", "--poll", "0.1")
    assert "acme.cows: ready" in ended.stdout


# --- What is missing --------------------------------------------------------------------------------------------------

LOOPS = """
from dataset_progress import Run, track
from dataset_progress.tqdm import capture_tqdm, tqdm
for _ in track(range(3), dataset="cats"): pass
for _ in tqdm(range(3), dataset="cats", disable=True): pass
with Run("cats"), capture_tqdm("cats"): pass
"""


def test_a_missing_address_is_named_once() -> None:
    assert script(LOOPS).stderr == (
        "progress is not reported: set DATASET_PROGRESS_URL to the server's address, or to nothing\n"
    )
    assert script(LOOPS, DATASET_PROGRESS_URL="").stderr == ""
    assert script("from dataset_progress.tqdm import tqdm\nfor _ in tqdm(range(3), disable=True): pass").stderr == ""


def test_a_missing_token_is_named_once(server: Server, transactional_db: None) -> None:
    assert script(LOOPS, DATASET_PROGRESS_URL=server.url).stderr == (
        "progress is not reported: Unauthorized; set DATASET_PROGRESS_TOKEN "
        "(the job goes on; further errors are not logged)\n"
    )


def test_the_command_line_names_a_missing_token(
    server: Server, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_URL", server.url)
    monkeypatch.delenv("DATASET_PROGRESS_TOKEN", raising=False)
    ended = command("report", "cats", "--state", "ready")
    assert ended.returncode == 3
    assert "set DATASET_PROGRESS_TOKEN" in ended.stderr


def test_what_the_readme_installs_is_what_its_examples_need() -> None:
    readme = Path(ROOT, "client/README.md").read_text()
    for line in readme.splitlines():
        if line.startswith("pip install"):
            assert "[cli,tqdm,websocket]" in line
