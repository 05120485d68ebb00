"""Bring the data folder up to date: secret key, database, static files, client package, admin user.

Each function may be called again on a folder that was prepared before.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def write_secret_key(data_dir: Path) -> None:
    """Write a secret key into the data folder, unless there is one or the environment has one."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data_dir / "secret_key"
        if not os.environ.get("SECRET_KEY") and not (path.exists() and path.read_text().strip()):
            temporary = data_dir / ".secret_key"
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_urlsafe(48) + "\n")
            temporary.replace(path)  # so that the file is written whole or not at all
    except OSError as error:
        raise ImproperlyConfigured(f"The data folder {data_dir} cannot be written to: {error.strerror}.") from None


def load_settings() -> None:
    """Load Django. Raises `ImproperlyConfigured` if the system checks find an error."""
    import django
    from django.core.checks import run_checks

    django.setup()
    if errors := [message.msg for message in run_checks() if message.is_serious()]:
        raise ImproperlyConfigured(" ".join(errors))


def update_database() -> None:
    from django.core.management import call_command

    print("Preparing the database...", flush=True)
    call_command("migrate", verbosity=0, interactive=False)


def collect_static_files() -> None:
    """Collect and compress the static files, unless none has changed since the last time."""
    from django.conf import settings
    from django.contrib.staticfiles.finders import get_finders
    from django.core.management import call_command

    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            status = Path(storage.path(path)).stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return
    print("Collecting static files...", flush=True)
    shutil.rmtree(settings.STATIC_ROOT, ignore_errors=True)
    call_command("collectstatic", verbosity=0, interactive=False)
    stamp.write_text(digest.hexdigest())


def build_client() -> None:
    """Build the wheel of the client, which the server offers for download."""
    from django.core.management import call_command

    call_command("build_client", verbosity=0)


def create_admin() -> str | None:
    """Create an admin user if there is none. Returns the password, which is stored nowhere else."""
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser("admin", password=password)
    return password
