"""`manage.py build_client`: builds the wheel of the client package into ``CLIENT_DIST``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from flit_core.wheel import make_wheel_in


class Command(BaseCommand):
    help = "Build the client package, which pages offer for installation. Run it at every update of the server."

    def handle(self, *, verbosity: int, **options: Any) -> None:
        dist: Path = settings.CLIENT_DIST
        dist.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=dist) as folder:
            built = make_wheel_in(settings.BASE_DIR / "client" / "pyproject.toml", Path(folder)).file
            wheel = built.replace(dist / built.name)  # at once, so that no half of a file is served
        for other in set(dist.glob("*.whl")) - {wheel}:
            other.unlink(missing_ok=True)
        if verbosity:
            self.stdout.write(f"Built {wheel}.")
