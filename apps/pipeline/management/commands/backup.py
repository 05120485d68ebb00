"""`manage.py backup FILE`"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.pipeline.backup import BackupRefused, back_up


class Command(BaseCommand):
    help = "Copy the SQLite database into a file, while the servers and workers go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *, file: Path, **options: Any) -> None:
        try:
            back_up(file)
        except BackupRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(
            f"Copied the database to {file}. Thumbnails and the secret key are files of DATA_DIR: copy them too."
        )
