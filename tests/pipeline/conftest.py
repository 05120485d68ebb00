"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.progress.selectors import progress_of
from apps.progress.signals import Change, progress_changed
from apps.progress.snapshot import DatasetProgress


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the images. It does not exist yet."""
    return tmp_path / "images"


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
