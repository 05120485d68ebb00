"""`manage.py restore FILE`"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.pipeline.backup import BackupRefused, restore


class Command(BaseCommand):
    help = "Put a copy that `manage.py backup` made back in place, while the servers and workers go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *, file: Path, **options: Any) -> None:
        try:
            restore(file)
        except BackupRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(f"Restored the database from {file}.")
