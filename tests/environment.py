"""The environment of the tests: a pytest plugin that is loaded before Django's settings are (`-p` in pyproject.toml).

Every process that a test starts inherits it. Tests read and write nothing in the developer's own ``var/``, and what the
developer's shell says about a site does not reach them. Only ``DATABASE_URL`` stays, to run the suite on PostgreSQL.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

from scripts.settings_table import ROOT, read_settings

KEPT = {"DATABASE_URL"}
# The programs that read the environment themselves: `make demo` and the client.
READERS = [*(ROOT / "progress_site" / "demo").glob("*.py"), *(ROOT / "client" / "src").rglob("*.py")]


def _own_data_dir() -> str:
    folder = tempfile.mkdtemp(prefix="dataset-progress-tests-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child runs this as well
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    Path(folder, "static").mkdir()
    return folder


def variables() -> set[str]:
    """Return the names of all environment variables that the settings, `make demo` and the client read."""
    read = re.compile(r'environ(?:\.\w+)?[\[(]"(\w+)"')
    return {one.name for one in read_settings()} | {name for path in READERS for name in read.findall(path.read_text())}


for name in variables() - KEPT:
    os.environ.pop(name, None)
os.environ["DATA_DIR"] = _own_data_dir()
os.environ["SECRET_KEY"] = "a-key-for-tests-only-" + "0123456789" * 5
