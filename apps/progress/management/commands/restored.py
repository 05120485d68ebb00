"""`manage.py restored`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apps.progress.services import renew_epochs


class Command(BaseCommand):
    help = "Say that the database was restored from a backup, so that open pages and programs show what it has now."

    def handle(self, **options: Any) -> None:
        renew_epochs()
        self.stdout.write("Readers of every dataset take what they are shown from now on, whatever its version.")
