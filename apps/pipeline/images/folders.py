"""Which folders may be read: from the command line any readable folder, in the browser those under ``IMPORT_ROOTS``."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from apps.core.beneath import Reach
from apps.pipeline.models import Source

from .selection import Selection


class FolderRefused(ValueError):
    """A folder that cannot or may not be read. The message is for the person who named it."""


def readable_folder(folder: str | Path) -> Path:
    """Return the real, absolute path of a folder that can be read. Raises `FolderRefused`."""
    text = str(folder)
    if not text.strip() or "\0" in text:
        raise FolderRefused("Name a folder.")
    try:
        path = Path(text).expanduser().resolve(strict=True)
        is_folder = path.is_dir()
    except PermissionError:
        raise FolderRefused(f"The folder {folder} cannot be read.") from None
    except (OSError, RuntimeError):
        raise FolderRefused(f"There is no folder {folder}.") from None
    if not is_folder:
        raise FolderRefused(f"{folder} is not a folder.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise FolderRefused(f"The folder {folder} cannot be read.")
    return path


def is_in_data_dir(path: Path) -> bool:
    """Return whether a folder is the program's own, or in it."""
    return path.resolve().is_relative_to(Path(settings.DATA_DIR).resolve())


def importable_folder(folder: str) -> Path:
    """Return the real path of a folder under one of ``IMPORT_ROOTS``. Raises `FolderRefused`.

    A folder that holds ``DATA_DIR``, or is in it, is outside too. Links and ``..`` are resolved before the comparison.
    The message for a folder outside is the same whether it exists or not, so the form reveals nothing about the
    server's files.
    """
    roots = [Path(root).resolve() for root in settings.IMPORT_ROOTS]
    if not roots:
        raise FolderRefused("No folder may be imported in the browser: IMPORT_ROOTS is not set on this server.")
    if "\0" in folder or not Path(folder).is_absolute():
        raise FolderRefused("Name the folder by its absolute path.")
    try:
        path = Path(folder).resolve()
    except (OSError, RuntimeError):
        path = Path("/")
    has_data = is_in_data_dir(path) or Path(settings.DATA_DIR).resolve().is_relative_to(path)
    if has_data or not any(path.is_relative_to(root) for root in roots):
        allowed = ", ".join(str(root) for root in settings.IMPORT_ROOTS)
        raise FolderRefused(f"Choose a folder under {allowed}.")
    return readable_folder(path)


def reach_of(source: Source) -> Reach:
    """Return where the links of a dataset's folder may lead: never into ``DATA_DIR``."""
    everywhere = source.follow_links and not source.from_browser
    roots = ["/"] if everywhere else settings.FOLLOW_LINKS_TO
    return Reach(tuple(str(Path(root).resolve()) for root in roots), str(Path(settings.DATA_DIR).resolve()))


def selection_of(source: Source) -> Selection:
    """Return which files of a dataset's folder are looked at."""
    return Selection(include=source.include, exclude=source.exclude)


def source_folder(source: Source) -> Path:
    """Return the folder of a dataset, if it may still be read: a link, or a change of ``IMPORT_ROOTS``, may forbid it.

    Raises `FolderRefused`.
    """
    root = importable_folder(source.folder) if source.from_browser else readable_folder(source.folder)
    if str(root) != source.folder:
        raise FolderRefused(f"The folder {source.folder} has become a link, which is not followed.")
    return root
