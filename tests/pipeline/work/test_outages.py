"""A worker outlives errors of its database, says so once, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection
from django_tasks_db.models import DBTaskResult

from apps.pipeline.services import process_folder
from apps.progress.selectors import progress_of
from tests.images import make_images
from tests.processes import worker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = DBTaskResult._meta.db_table


def rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_worker_outlives_errors_of_its_database(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 2)
    log = tmp_path / "log"
    with worker(log, {"PIPELINE_PROCESSES": "1"}) as process:
        rename(TABLE, "taken_away")
        try:
            wait_until(lambda: "cannot work" in log.read_text(), seconds=60, what="the worker did not notice")
        finally:
            rename("taken_away", TABLE)
        wait_until(lambda: "works again" in log.read_text(), seconds=60, what="the worker did not go on")
        run = process_folder(tmp_path / "images", dataset_id="cats")
        wait_until(lambda: progress_of(run.dataset_id).state == "ready", seconds=60, what="the run did not end")
        assert process.poll() is None
        assert log.read_text().count("cannot work") == log.read_text().count("works again") == 1
