"""Datasets are steered on the command line, and a retry reaches the program that does it."""

from __future__ import annotations

import threading

import pytest
from dataset_progress import Failure, Refused, Run, failures, retry_of, watch

from apps.datasets.models import Dataset
from apps.progress import models, services
from apps.progress.control import Action
from apps.progress.reports import Report, accept_reports
from apps.progress.transitions import State
from tests.services import wait_until

from .test_cli import command


def report(dataset_id: str, **fields: object) -> Dataset:
    dataset, _ = Dataset.objects.get_or_create(dataset_id=dataset_id)
    accept_reports([(dataset.pk, Report(**fields))])  # type: ignore[arg-type]  # of several types
    return dataset


def test_many_are_steered_with_a_line_each(address: str) -> None:
    report("cats", current=1)
    report("dogs", current=1)
    paused = command("pause", "cats", "dogs", "cats")
    assert (paused.returncode, paused.stdout) == (0, b"cats: Pausing.\ndogs: Pausing.\n")
    assert set(models.Run.objects.values_list("control", "control_by")) == {("pause", "token client")}
    mixed = command("resume", "cats", "none")
    assert (mixed.returncode, mixed.stdout) == (1, b"cats: Resumed.\n")
    assert b"none: There is no such dataset. (not_found)" in mixed.stderr
    assert command("cancel", "dogs").stdout == b"dogs: Cancelling.\n"
    assert b"too_early" in command("end", "dogs").stderr


def test_only_what_failed_is_retried(address: str) -> None:
    report("cats", current=2, failures=[(f"{number}.jpg", "bad") for number in range(450)])
    assert b"run_unfinished" in command("retry", "cats").stderr
    report("cats", state=State.READY)
    assert retry_of("cats") is None
    assert command("retry", "cats", "--failed").returncode == 0
    assert retry_of("cats") == "failed"
    failed = list(failures("cats"))
    assert (len(failed), failed[-1]) == (450, Failure("449.jpg", "bad", "indexing"))
    with Run("cats"):
        pass
    wait_until(lambda: models.Run.objects.count() == 2, seconds=60, what="no run began")
    assert (retry_of("cats"), models.Run.objects.latest("pk").retry) == (None, "failed")
    assert len(list(failures("cats", run=1))) == 450
    with pytest.raises(Refused):
        list(failures("cats", run=9))


def test_a_watch_hears_of_each_retry_once_and_goes_on(address: str) -> None:
    dataset = report("cats", state=State.INDEXING, current=2)
    report("cats", state=State.READY)
    asked: list[str] = []
    begun = threading.Event()

    def again(what: str) -> None:
        asked.append(what)
        report("cats", state=State.INDEXING, current=1)
        report("cats", state=State.READY)
        begun.set()
        raise ValueError("of the program's own")

    with watch("cats", on_retry=again) as watched:
        for number in (1, 2):
            wait_until(
                lambda: watched.progress is not None and watched.progress.is_finished, seconds=60, what="it is not over"
            )
            services.request(Action.RETRY, [dataset.pk], "ann")
            assert begun.wait(60)
            begun.clear()
            assert asked == ["all"] * number
            wait_until(
                lambda: watched.progress is not None and watched.progress.details["retry"] is None,
                seconds=60, what="the request was not seen to be taken",
            )  # fmt: skip
        assert not watched.is_over
