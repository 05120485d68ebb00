"""The environment of the tests: a pytest plugin that is loaded before Django's settings are (`-p` in pyproject.toml).

What is set here is inherited by every process that a test starts: nothing is read from or written to the developer's
own ``var/``. ``DATABASE_URL`` is left as it is, so that the whole suite can be run on PostgreSQL.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def _own_data_dir() -> str:
    folder = tempfile.mkdtemp(prefix="dataset-progress-tests-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child leaves by the same door
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    Path(folder, "static").mkdir()
    return folder


os.environ["DATA_DIR"] = _own_data_dir()
os.environ["SECRET_KEY"] = "a-key-for-tests-only-" + "0123456789" * 5
# What a developer's shell or .env says of the site is not meant for its tests.
for name in (
    "DEBUG", "HTTPS", "BEHIND_PROXY", "REDIS_URL", "IMPORT_ROOTS", "DATASETS_PUBLIC", "ALLOWED_HOSTS",
    "ALLOWED_ORIGINS", "SOCKETS_PER_ADDRESS",
):  # fmt: skip
    os.environ.pop(name, None)
