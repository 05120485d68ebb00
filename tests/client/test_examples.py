"""Each example of the client runs and reports what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.progress.models import ItemFailure, WorkerShare
from tests.services import Redis, running

from .conftest import shown

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "client/examples"
SOURCES = str(EXAMPLES.parent / "src")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a program that knows nothing of this project."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**kept, "PYTHONPATH": SOURCES, **more}


def run(*command: str | Path, **env: str) -> str:
    """Run an example. Return its standard error."""
    ended = subprocess.run(
        [*command, "cats"], env=environment(**env), cwd=EXAMPLES, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


@pytest.mark.parametrize(("name", "total"), [("loop.py", 2000), ("workers.py", 400)])
def test_python(address: str, name: str, total: int) -> None:
    assert run(sys.executable, name) == ""
    assert (shown().state, shown().current, shown().total) == ("ready", total, total)
    if name == "workers.py":
        assert ItemFailure.objects.count() == shown().failed == 4
        assert sorted(WorkerShare.objects.exclude(current=0).values_list("current", flat=True)) == [100] * 4


def test_curl(address: str) -> None:
    assert run("sh", "report.sh") == ""
    assert (shown().state, shown().current, shown().message) == ("ready", 5, "")


def test_celery(address: str, redis: Redis, tmp_path: Path) -> None:
    log = tmp_path / "celery.log"
    env = environment(CELERY_BROKER_URL=redis.url)
    command = [
        sys.executable, "-m", "celery", "--app", "celery_tasks", "worker", "--concurrency", "2", "--loglevel", "INFO",
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    with running(command, ready=lambda: " ready." in log.read_text(), log=log, env=env, cwd=EXAMPLES):
        run(sys.executable, "celery_tasks.py", CELERY_BROKER_URL=redis.url)
    assert (shown().state, shown().current, shown().total, shown().run) == ("ready", 600, 600, 1)
    assert dict(WorkerShare.objects.values_list("worker", "current")) == {
        f"from {first}": 100 for first in range(0, 600, 100)
    }


def test_hugging_face_datasets(address: str, tmp_path: Path) -> None:
    run(sys.executable, "hf_datasets.py", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert shown().state == "ready"
    assert [(stage.name, stage.current, stage.total) for stage in shown().stages] == [
        ("Measure (num_proc=2)", 1000, 1000),
        ("Choose", 1000, 1000),
    ]


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.iterdir() if path.is_file() and f'"{path.name}"' not in here] == []
