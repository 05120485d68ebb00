"""System checks of settings that depend on this machine. The settings themselves check types and ranges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error

from apps.pipeline.images.embedders import load_embedder
from apps.pipeline.images.folders import is_in_data_dir


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    return list(_messages())


def _messages() -> Iterator[CheckMessage]:
    try:
        load_embedder(settings.EMBEDDER)
    except ValueError as error:
        yield Error(
            str(error),
            hint="EMBEDDER is the dotted path of a class as described in docs/pipeline.md.",
            id="pipeline.E001",
        )
    for root in settings.IMPORT_ROOTS:
        if not Path(root).is_dir():
            yield checks.Warning(
                f"IMPORT_ROOTS has {root!r}, which is not a folder on this machine.",
                hint="Nothing can be imported from it until it is mounted.",
                id="pipeline.W001",
            )
        elif is_in_data_dir(Path(root)):
            yield checks.Warning(
                f"IMPORT_ROOTS has {root!r}, which is in DATA_DIR.",
                hint="Nothing is imported from the program's own folder. Move the images elsewhere.",
                id="pipeline.W002",
            )
    if exposed := _exposed():
        yield checks.Warning(
            f"Other accounts of this machine may open {', '.join(exposed)}.",
            hint=f"Run `chmod -R go= {settings.DATA_DIR}`.",
            id="pipeline.W003",
        )
    if not os.access(settings.DATA_DIR, os.W_OK):
        yield Error(
            f"The data folder {settings.DATA_DIR} is missing or cannot be written to.",
            hint="Set DATA_DIR to a folder that this user owns.",
            id="pipeline.E006",
        )


def _exposed() -> list[str]:
    """Return the data folder and its files (not those of its folders) that others than their owner may open."""
    folder = Path(settings.DATA_DIR)
    with suppress(OSError):
        found = [folder, *(path for path in folder.iterdir() if path.is_file())]
        return [str(path) for path in found if path.stat().st_mode & 0o077]
    return []
