"""Say for a program that has died that it has left its run.

A program that is killed cannot say so itself. So while it shares a run, it holds a lock on a file in the temporary
folder, which contains the report to be made for it. The system releases the lock however the program ends. The next
program on this machine that reports on the dataset finds the file without a lock, makes the report and deletes the
file. Where files cannot be locked, nothing is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # nothing that is a module can stand for it

MAX_BYTES = 1 << 20

# The names of this process's own files. It could lock them again, and would lose the lock if it closed one of them.
_own: set[str] = set()


class Presence:
    """The file of one program in one run.

    ``about``: identifies server and dataset. ``report``: the one to be made if this program dies.
    """

    def __init__(self, about: str, report: dict[str, Any]) -> None:
        self._path: Path | None = None
        with suppress(OSError):
            folder = _folder()
            name = f"{_prefix(about)}{secrets.token_hex(8)}"
            hidden = folder / f".{name}"  # others find it only once it is locked
            self._descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            _own.add(name)
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path = folder / name
            self.change(report)
            hidden.rename(self._path)

    def change(self, report: dict[str, Any]) -> None:
        """Have another report made if this program dies."""
        if self._path is not None:
            with suppress(OSError):
                text = json.dumps(report).encode()
                os.pwrite(self._descriptor, text, 0)
                os.truncate(self._descriptor, len(text))

    def end(self) -> None:
        """Delete the file: nothing is to be said for this program any more."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            _own.discard(self._path.name)
            self._path = None


class Dead:
    """The programs on this machine that have died in a run about ``about``. Use it in a ``with`` block.

    ``reports``: those to be made for them. Leaving the block without an exception deletes their files.
    """

    def __init__(self, about: str) -> None:
        self.reports: list[dict[str, Any]] = []
        self._files: list[tuple[Path, int]] = []
        with suppress(OSError):
            for path in sorted(_folder().glob(f"{_prefix(about)}*")):
                if path.name not in _own:
                    self._open(path)

    def _open(self, path: Path) -> None:
        """Take the file, unless its program lives."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return
        self._files.append((path, descriptor))
        with suppress(ValueError):  # it was killed while it wrote
            self.reports.append(json.loads(os.pread(descriptor, MAX_BYTES, 0)))

    def __enter__(self) -> Dead:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        for path, descriptor in self._files:
            if error is None:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            os.close(descriptor)


def _prefix(about: str) -> str:
    return f"{hashlib.sha256(about.encode(errors='surrogatepass')).hexdigest()[:16]}-"


def _folder() -> Path:
    """Return this user's folder, which is made if there is none. Raises `OSError` if others could write to it."""
    # httpx has imported both by now. Without a server nobody needs them.
    import tempfile
    from pathlib import Path

    if fcntl is None:
        raise OSError("files cannot be locked")
    folder = Path(tempfile.gettempdir(), f"dataset-progress-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"others can write to {folder}")
    return folder


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own.clear)
