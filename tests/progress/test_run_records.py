"""What a run keeps beside its counts: who began it and where, and the last messages of its reporter."""

from __future__ import annotations

import pytest

from apps.datasets.models import Dataset
from apps.progress import services, store
from apps.progress.models import Run, RunMessage
from apps.progress.origin import LINK_LENGTH, Origin, web_link
from apps.progress.reports import Report, accept_reports

from .helpers import VersionOf


def test_run_keeps_who_began_it_and_where(dataset: Dataset) -> None:
    origin = Origin("ann", "gpu-07", 4711, "dataset-progress 0.1.0", "3.12.1", "https://jobs.example/7")
    run = services.begin_run(dataset, origin=origin)
    run.refresh_from_db()
    assert run.started_by == "ann"
    assert run.origin == {"host": "gpu-07", "process": 4711, "client": "dataset-progress 0.1.0", "python": "3.12.1"}
    assert run.link == "https://jobs.example/7"


def test_report_that_opens_a_run_names_its_sender(dataset: Dataset) -> None:
    accept_reports([(dataset.pk, Report(current=1, total=2))], "token laptop")
    assert Run.objects.get(dataset=dataset).started_by == "token laptop"


def test_worker_that_takes_a_run_over_is_where_it_runs(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    services.note_origin(indexing.pk, Origin(host="gpu-08", process=1))
    indexing.refresh_from_db()
    assert indexing.origin == {"host": "gpu-08", "process": 1}
    assert version_of(indexing) == before


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)", "data:text/html,x", "ftp://h/x", "//host/x", "https://", "https:///x", "http://a b/",
        "https://h/\n", "https://[", "https://h/" + "x" * LINK_LENGTH, "",
    ],
)  # fmt: skip
def test_link_that_is_no_web_page_is_left_out(address: str) -> None:
    assert web_link(address.removesuffix("\n") + "\x00" if address.endswith("\n") else address) == ""


def test_link_to_a_web_page_is_kept() -> None:
    assert web_link(" HTTPS://jobs.example/7?x=1#y ") == "HTTPS://jobs.example/7?x=1#y"


def test_last_messages_are_kept_in_order(indexing: Run) -> None:
    for number in range(RunMessage.KEPT + 5):
        services.report(indexing.pk, message=f"message {number}")
    texts = [message.text for message in RunMessage.objects.filter(run=indexing)]
    assert texts == [f"message {number}" for number in range(5, RunMessage.KEPT + 5)]


def test_messages_of_one_batch_are_kept_too(dataset: Dataset) -> None:
    reports = [(dataset.pk, Report(current=n, total=500, message=f"message {n}")) for n in range(RunMessage.KEPT + 5)]
    accept_reports(reports)
    texts = [message.text for message in RunMessage.objects.filter(run__dataset=dataset)]
    assert texts == [f"message {number}" for number in range(5, RunMessage.KEPT + 5)]


def test_message_that_is_repeated_is_kept_once(indexing: Run) -> None:
    for _ in range(3):
        services.report(indexing.pk, message="the same")
    assert RunMessage.objects.filter(run=indexing).count() == 1


def test_report_that_is_refused_leaves_no_message(indexing: Run) -> None:
    [refused] = accept_reports([(indexing.dataset_id, Report(message="late", run=7))])
    assert isinstance(refused, Exception)
    assert not RunMessage.objects.filter(run=indexing).exists()


def test_messages_go_with_the_details(indexing: Run) -> None:
    services.report(indexing.pk, message="one")
    services.finish(indexing.pk)
    services.begin_run(indexing.dataset)
    finished = Run.objects.get(pk=indexing.pk).finished_at
    assert finished is not None
    while store.prune_details(finished.replace(year=finished.year + 1)):
        pass
    assert not RunMessage.objects.filter(run=indexing).exists()
    assert Run.objects.filter(pk=indexing.pk).exists()
