"""Fixtures of the pipeline's tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.progress.selectors import progress_of
from apps.progress.signals import Change, progress_changed
from apps.progress.snapshot import DatasetProgress
from tests.services import find_program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the images. It does not exist yet."""
    return tmp_path / "images"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, which can be full."""
    mount, unmount = (find_program(name, package="mount") for name in ("mount", "umount"))
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run([unmount, "--lazy", str(disk)], check=True)


@pytest.fixture
def on_change() -> Iterator[Callable[[Callable[[DatasetProgress], None]], None]]:
    """Register a function that is called with every state that is announced."""
    listeners: list[Any] = []

    def register(act: Callable[[DatasetProgress], None]) -> None:
        def listen(change: Change, **_: Any) -> None:
            act(progress_of(change.dataset_pk))

        listeners.append(listen)
        progress_changed.connect(listen, weak=False)

    yield register
    for listen in listeners:
        progress_changed.disconnect(listen)
