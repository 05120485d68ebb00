"""`manage.py process_each PATH --batch ID`: queue a run over each subfolder, each of which is a dataset of a batch."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from apps.core.text import printable
from apps.pipeline.images.folders import FolderRefused, readable_folder
from apps.pipeline.subfolders import process_each


class Command(BaseCommand):
    help = "Queue each subfolder of a folder, as a dataset that is called like it, and follow them as one batch."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", help="the folder of the subfolders")
        parser.add_argument("--batch", required=True, metavar="ID", help="the batch; created if it does not exist")
        parser.add_argument(
            "--limit", type=int, metavar="N", help="how many are processed at once; 0: as many as there are workers"
        )

    def handle(self, *, path: str, batch: str, limit: int | None, **options: Any) -> None:
        if limit is not None and limit < 0:
            raise CommandError("--limit is a number from 0 on.", returncode=2)
        try:
            processed = process_each(readable_folder(path), batch_id=batch, limit=limit)
        except FolderRefused as refusal:
            raise CommandError(printable(str(refusal)), returncode=2) from None
        except ValidationError as refusal:
            raise CommandError(printable(" ".join(refusal.messages)), returncode=2) from None
        self.stdout.write(f"Queued {len(processed.queued)} of the batch {processed.batch.batch_id}.")
        for dataset_id, reason in processed.refused.items():
            self.stderr.write(printable(f"{dataset_id}: {reason}"))
        if processed.refused:
            raise CommandError(f"{len(processed.refused)} were not queued.", returncode=1)
