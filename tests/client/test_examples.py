"""Each example does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.progress.models import ItemFailure, Share

from .conftest import shown

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "client/examples"


def run(*command: str | Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent / "src")}
    ended = subprocess.run([*command, "cats"], env=env, cwd=EXAMPLES, capture_output=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize(("name", "total"), [("loop.py", 2000), ("workers.py", 400)])
def test_python(address: str, name: str, total: int) -> None:
    run(sys.executable, name)
    assert (shown().state, shown().current, shown().total) == ("ready", total, total)
    if name == "workers.py":
        assert ItemFailure.objects.count() == shown().failed == 4
        assert sorted(Share.objects.exclude(current=0).values_list("current", flat=True)) == [100] * 4


def test_curl(address: str) -> None:
    run("sh", "report.sh")
    assert (shown().state, shown().current, shown().message) == ("ready", 5, "")


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {"loop.py", "workers.py", "report.sh"}
