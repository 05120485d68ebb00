"""No statement grows with the data: none has more parameters than SQLite takes by default, 32,766."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from apps.core import sql
from apps.datasets.access import identities
from apps.datasets.models import Dataset, Sample
from apps.datasets.tokens import active_tokens
from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import selectors, services
from apps.progress.models import ItemFailure, Run, UnlistedFailures
from apps.progress.reports import Report, accept_reports
from tests.images import make_images

pytestmark = pytest.mark.django_db(transaction=True)

MOST_PARAMETERS = 32_766
TOO_MANY = MOST_PARAMETERS + 234


@contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Fail each statement that has more parameters."""

    def count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        for one in params or () if many else [params or ()]:
            assert len(one) <= parameters, sql[:200]
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        yield


def test_folder_of_links_that_lead_elsewhere(tmp_path: Path, settings: Settings) -> None:
    settings.MOST_FAILURES = 1100
    folder = tmp_path / "images"
    make_images(folder, 100)
    for number in range(1200):
        (folder / f"{number}.jpg").symlink_to("../elsewhere.jpg")
    run = process_folder(folder, dataset_id="cats")
    # In the pipeline, chunks and batches are small. 999 is what SQLite took before 3.32.
    with at_most(999):
        assert Runner(run.pk).process() is Outcome.READY
    assert Sample.objects.count() == 100
    assert selectors.progress_of(run.dataset_id).failed == 1200
    assert ItemFailure.objects.filter(run=run).count() == 1100
    [unlisted] = UnlistedFailures.objects.filter(run=run)
    assert unlisted.count == 100
    assert unlisted.reason.startswith("a link that leads outside the folder is not followed: FOLLOW_LINKS_TO")


def test_report_of_many_failures(settings: Settings) -> None:
    settings.MOST_FAILURES = 2000
    dataset = Dataset.objects.create(dataset_id="cats")
    failures = [(f"{number}.jpg", "truncated") for number in range(TOO_MANY)]
    with at_most(MOST_PARAMETERS):
        accept_reports([(dataset.pk, Report(current=1, failures=failures))])
    assert Run.objects.get().failed == TOO_MANY


def test_reads_of_many_rows() -> None:
    dataset = Dataset.objects.create(dataset_id="cats")
    services.begin_run(dataset)
    pks = range(dataset.pk, dataset.pk + TOO_MANY)
    with at_most(MOST_PARAMETERS):
        assert list(selectors.facts_of(pks)) == list(selectors.versions_of(pks)) == [dataset.pk]
        assert [row.pk for row in sql.rows_in(Dataset, "id", pks)] == [dataset.pk]
        assert active_tokens([f"{number:064}" for number in range(TOO_MANY)]) == []
        assert identities.users_of(f"{number:032}" for number in range(TOO_MANY)) == {}
        assert identities.revoked_datasets({"": set(pks)}) == {"": set(pks)}
