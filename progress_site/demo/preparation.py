"""Bring the data folder up to date: secret key, database, static files, client package, admin user.

Each function may be called again on a folder that was prepared before.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django.contrib.auth.models import User


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


def create_admin() -> tuple[User, str | None]:
    """Return the first admin user. If there was none: a new one, with its password, which is stored nowhere."""
    from django.contrib.auth.models import User

    admin = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if admin is not None:
        return admin, None
    password = secrets.token_urlsafe(12)
    return User.objects.create_superuser("admin", password=password), password


def sign_in_path(admin: User) -> str:
    """Return the path of a link that signs the admin in once."""
    from apps.accounts import sign_in_links

    return sign_in_links.sign_in_path(admin)


def issue_token(admin: User, datasets: str, name: str) -> str:
    """Return the secret of a new token of the admin, in place of the one that an earlier demo made under this name."""
    from apps.datasets import services
    from apps.datasets.models import Token

    services.revoke_tokens(Token.objects.filter(user=admin, name=name))
    return services.issue_token(name, user=admin, datasets=datasets)[1]


def create_datasets(admin: User, names: Mapping[str, str]) -> None:
    """Create public datasets of the admin, by id and name, unless they are there."""
    from apps.datasets import services
    from apps.datasets.models import Dataset

    known = set(Dataset.objects.filter(dataset_id__in=names).values_list("dataset_id", flat=True))
    for dataset_id, name in names.items():
        if dataset_id not in known:
            services.create_dataset(dataset_id, owner=admin, name=name, visibility="public")


def create_batch(admin: User, batch_id: str, name: str, dataset_ids: Collection[str]) -> None:
    """Create a batch of the admin, unless it is there."""
    from apps.batches import services
    from apps.batches.models import Batch
    from apps.datasets.access.rules import Caller

    if not Batch.objects.filter(batch_id=batch_id).exists():
        services.create_batch(Caller(admin), batch_id, name=name, dataset_ids=dataset_ids)
