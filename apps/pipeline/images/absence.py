"""Tell whether files that a scan did not find are gone. What cannot be seen to be gone is not.

A directory that cannot be read says nothing of its files. Nor does one that is empty, or on another file system than
before: it may be the mount point of a disk that is not mounted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from apps.core.beneath import Folder, OutsideFolder

from .scanning import LEAVES, reason_of
from .selection import Selection

EMPTY: Final = "it is empty, and had samples before: they are kept"
OTHER_FILE_SYSTEM: Final = "it is on another file system than before: samples that are not found there are kept"

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_DIRECTORIES_KEPT: Final = 1024


class Sight(NamedTuple):
    """What can be seen of a file. If it is not gone because of a directory: which, and why, as people are shown it."""

    is_gone: bool
    directory: str = ""
    reason: str = ""


class Absence:
    """Looks for files that a scan of an open folder did not find. It remembers what it saw of directories.

    ``remounted``: the directories that are on another file system than before; "" is the folder itself. A file that
    ``selection`` leaves out counts as gone.
    """

    def __init__(self, folder: Folder, remounted: Collection[str], selection: Selection | None = None) -> None:
        self._selection = selection or Selection()
        self._follows = bool(folder.reach.roots)
        self._folder = folder
        self._remounted = remounted
        self._remembered = lru_cache(_DIRECTORIES_KEPT)(self._look_at_directory)

    def look(self, path: str) -> Sight:
        """Look for the file at ``path``, relative to the folder. Raises `OSError` if the folder cannot be listed."""
        if self._selection.leaves_out(path):
            return Sight(True)
        directory, _, name = path.rpartition("/")
        sight = self._remembered(directory)
        if sight is not None:
            return sight
        try:
            with self._folder.directory(directory, through_links=self._follows) as descriptor:
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
        except OutsideFolder:
            return Sight(False, directory, LEAVES)
        except OSError as error:
            if error.errno not in _GONE:
                return Sight(False, directory, reason_of(error))
        else:
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                return Sight(False)  # it is there, and the run lists why it is not a sample of it
        return self._gone_from(directory)

    def _look_at_directory(self, directory: str) -> Sight | None:
        """Return what a directory says of all its files; None if it can be read and has entries."""
        try:
            with (
                self._folder.directory(directory, through_links=self._follows) as descriptor,
                os.scandir(descriptor) as entries,
            ):
                if any(not entry.name.startswith(".") for entry in entries):
                    return None
            return Sight(False, directory, EMPTY)
        except OutsideFolder:
            return Sight(False, directory, LEAVES)
        except OSError as error:
            if not directory:
                raise
            if error.errno not in _GONE:
                return Sight(False, directory, reason_of(error))
        # It is gone itself, if that can be seen.
        parent = directory.rpartition("/")[0]
        return self._remembered(parent) or self._gone_from(parent)

    def remounted_above(self, path: str) -> str | None:
        """Return the directory at or above ``path`` that is on another file system than before, if there is one."""
        return next((one for one in self._remounted if not one or f"{path}/".startswith(f"{one}/")), None)

    def _gone_from(self, directory: str) -> Sight:
        """Return what is said of a file that is not in ``directory``, which exists."""
        remounted = self.remounted_above(directory)
        return Sight(True) if remounted is None else Sight(False, remounted, OTHER_FILE_SYSTEM)
