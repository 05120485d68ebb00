"""`manage.py restored`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apps.datasets.search import create_index
from apps.datasets.state_counts import create_triggers
from apps.pipeline.services import note_restore


class Command(BaseCommand):
    help = "Say that the database was restored from a backup, so that open pages and programs show what it has now."

    def handle(self, **options: Any) -> None:
        note_restore()
        # A backup of an earlier version has neither.
        create_index()
        create_triggers()
        self.stdout.write("Open pages and programs take what they are shown from now on. No worker holds a run.")
