"""Verbs on the stage under way: each works first, then one refusal a test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.core import text as texts
from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.errors import IllegalTransition, UnknownStage
from apps.progress.models import ItemFailure, Run, Stage
from apps.progress.services import StagePlan
from apps.progress.transitions import State

from .conftest import EMBED, INDEX
from .helpers import VersionOf, heard_of, history, seen


def test_start_stage_gives_the_run_its_working_state(run: Run) -> None:
    services.start_stage(run.pk, "index", total=250, message="Indexing samples...")
    progress = seen(run)
    assert (progress.state, progress.current, progress.total) == ("indexing", 0, 250)
    assert progress.message == "Indexing samples..."
    assert progress.health == "live"
    assert history(run) == [("", "", "pending"), ("index", "waiting", "active"), ("", "pending", "indexing")]
    run.refresh_from_db()
    assert run.started_at is not None


def test_start_stage_ends_the_one_before_it_as_done(indexing: Run) -> None:
    services.report(indexing.pk, current=97)
    services.start_stage(indexing.pk, "embed")
    progress = seen(indexing)
    assert progress.state == "embedding"
    assert [(s.name, s.state, s.current, s.total, s.planned) for s in progress.stages] == [
        ("index", "done", 97, 97, 100),
        ("embed", "active", 0, 100, 100),
    ]
    assert progress.percent == 25
    assert history(indexing)[-3:] == [
        ("index", "active", "done"), ("embed", "waiting", "active"), ("", "indexing", "embedding"),
    ]  # fmt: skip


def test_start_stage_of_a_stage_of_unknown_total_that_ends_takes_its_count_for_the_total(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [StagePlan("scan"), EMBED])
    services.start_stage(run.pk, "scan")
    services.report(run.pk, current=303)
    services.start_stage(run.pk, "embed")
    scan = seen(run).stages[0]
    assert (scan.current, scan.total, scan.planned, scan.state) == (303, 303, 0, "done")


def test_start_stage_may_alternate_between_the_working_states(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [EMBED, INDEX, StagePlan("again", counts_as=State.EMBEDDING)])
    states = [services.start_stage(run.pk, name).state for name in ("embed", "index", "again")]
    assert states == ["embedding", "indexing", "embedding"]


def test_start_stage_within_one_working_state_moves_the_run_once(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [StagePlan("scan"), StagePlan("index")])
    services.start_stage(run.pk, "scan")
    services.start_stage(run.pk, "index")
    assert [move for move in history(run) if move[0] == ""] == [("", "", "pending"), ("", "pending", "indexing")]


def test_start_stage_again_changes_no_version(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    services.start_stage(indexing.pk, "index")
    assert version_of(indexing) == before


def test_start_stage_of_an_unknown_name_is_refused(run: Run, version_of: VersionOf) -> None:
    before = version_of(run)
    with pytest.raises(UnknownStage, match="no stage 'train'"):
        services.start_stage(run.pk, "train")
    assert (version_of(run), seen(run).state) == (before, "pending")


def test_start_stage_of_a_stage_that_is_over_is_refused(indexing: Run, version_of: VersionOf) -> None:
    services.start_stage(indexing.pk, "embed")
    before = version_of(indexing), seen(indexing)
    with pytest.raises(IllegalTransition, match="done cannot become active"):
        services.start_stage(indexing.pk, "index")
    assert (version_of(indexing), seen(indexing).stages) == (before[0], before[1].stages)


def test_report_sets_counts_and_message(indexing: Run) -> None:
    services.report(indexing.pk, current=45, total=300, message="Indexing samples... 45/300", skipped=2)
    progress = seen(indexing)
    assert (progress.current, progress.total, progress.skipped) == (45, 300, 2)
    assert progress.message == "Indexing samples... 45/300"
    assert progress.percent == pytest.approx(100 * 45 / 300 / 4)


def test_report_counts_are_absolute(indexing: Run) -> None:
    for _ in range(3):
        services.report(indexing.pk, current=45)
    assert seen(indexing).current == 45


def test_report_leaves_what_it_does_not_name(indexing: Run) -> None:
    services.report(indexing.pk, current=45, message="half")
    services.report(indexing.pk, current=46)
    assert (seen(indexing).message, seen(indexing).total) == ("half", 100)


def test_report_of_the_same_again_is_a_sign_of_life_and_changes_no_version(
    indexing: Run, version_of: VersionOf
) -> None:
    services.report(indexing.pk, current=45, total=100, message="half", skipped=1)
    heard_of(indexing, seconds_ago=1000)
    before = version_of(indexing), seen(indexing).updated_at
    assert seen(indexing).health == "lost"
    services.report(indexing.pk, current=45, total=100, message="half", skipped=1)
    assert (version_of(indexing), seen(indexing).updated_at) == before
    assert seen(indexing).health == "stalled"  # it lives, and its count stands


def test_report_of_a_grown_count_is_progress(indexing: Run) -> None:
    heard_of(indexing, seconds_ago=1000)
    services.report(indexing.pk, current=1)
    assert seen(indexing).health == "live"


def test_report_may_say_that_the_work_goes_on_though_no_count_grows(indexing: Run) -> None:
    services.report(indexing.pk, message="half")
    heard_of(indexing, seconds_ago=1000)
    services.report(indexing.pk, message="half", progressed=True)
    assert seen(indexing).health == "live"


def test_report_raises_the_version_by_one(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    services.report(indexing.pk, current=45, total=300, message="45", skipped=2)
    assert version_of(indexing) == before + 1


def test_percent_never_falls_when_the_total_grows_or_the_count_falls(indexing: Run) -> None:
    services.report(indexing.pk, current=80)
    assert seen(indexing).percent == 20
    services.report(indexing.pk, total=1000)
    assert (seen(indexing).percent, seen(indexing).current, seen(indexing).total) == (20, 80, 1000)
    services.report(indexing.pk, current=10)
    assert (seen(indexing).percent, seen(indexing).current) == (20, 10)
    services.report(indexing.pk, current=900)
    assert seen(indexing).percent == 22.5


def test_a_total_under_the_count_grows_to_it(indexing: Run) -> None:
    services.report(indexing.pk, current=130)
    assert (seen(indexing).current, seen(indexing).total) == (130, 130)
    services.report(indexing.pk, total=120)
    assert (seen(indexing).current, seen(indexing).total) == (130, 130)


def test_an_unknown_total_stays_unknown(indexing: Run) -> None:
    services.report(indexing.pk, current=5, total=0)
    assert (seen(indexing).current, seen(indexing).total, seen(indexing).percent) == (5, 0, 0)


def test_report_of_a_message_alone_needs_no_stage(run: Run) -> None:
    services.report(run.pk, message="Waiting for a worker")
    assert (seen(run).message, seen(run).state) == ("Waiting for a worker", "pending")


def test_report_of_a_count_without_a_stage_is_refused(run: Run, version_of: VersionOf) -> None:
    before = version_of(run)
    with pytest.raises(UnknownStage, match="No stage is under way"):
        services.report(run.pk, current=1, message="one")
    assert (version_of(run), seen(run).message) == (before, "")


@pytest.mark.parametrize("name", ["current", "total", "skipped"])
@pytest.mark.parametrize("count", [-1, 2**63])
def test_report_of_an_impossible_count_is_refused(indexing: Run, version_of: VersionOf, name: str, count: Any) -> None:
    before = version_of(indexing)
    with pytest.raises(ValueError, match="A count is a number from 0"):
        services.report(indexing.pk, message="impossible", **{name: count})
    assert (version_of(indexing), seen(indexing).message) == (before, "")


def test_start_stage_with_an_impossible_total_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="A count is a number from 0"):
        services.start_stage(run.pk, "index", total=-1)
    assert seen(run).state == "pending"


def test_the_largest_count_is_counted(indexing: Run) -> None:
    services.report(indexing.pk, current=2**63 - 1, total=2**63 - 1, skipped=2**63 - 1)
    assert seen(indexing).current == seen(indexing).skipped == 2**63 - 1


def test_a_very_long_message_is_cut(indexing: Run) -> None:
    services.report(indexing.pk, message="x" * 5000)
    assert seen(indexing).message == "x" * texts.MESSAGE_LENGTH


@pytest.mark.parametrize(
    ("said", "kept"),
    [("a\0b", "a\N{REPLACEMENT CHARACTER}b"), ("na\udcefve.jpg", r"na\udcefve.jpg"), ("ünï🐈", "ünï🐈")],
)
def test_a_message_may_quote_any_file_name(indexing: Run, said: str, kept: str) -> None:
    services.report(indexing.pk, message=said)
    services.record_failures(indexing.pk, "index", [(said, said)])
    assert seen(indexing).message == kept
    assert ItemFailure.objects.values_list("item", "reason").get() == (kept, kept)
    services.fail(indexing.pk, said)
    assert seen(indexing).error == kept


def test_readings_make_a_rate_and_a_time_left(indexing: Run) -> None:
    for seconds, count in ((10, 20), (30, 30), (30, 40)):
        before = timezone.now() - timedelta(seconds=seconds)
        Stage.objects.filter(run=indexing, name="index").update(worked_until=before)
        services.report(indexing.pk, current=count)
    progress = seen(indexing)
    assert progress.rate == pytest.approx(1 / 3, rel=0.05)
    assert progress.eta_seconds is not None
    # 60 images here and 3 × 100 later, at one in three seconds
    assert progress.eta_seconds.low < 1080 < progress.eta_seconds.high


def test_heartbeat_is_a_sign_of_life_that_watchers_are_not_told_of(indexing: Run, version_of: VersionOf) -> None:
    heard_of(indexing, seconds_ago=1000)
    before = version_of(indexing)
    assert services.heartbeat(indexing.pk)
    assert version_of(indexing) == before
    assert seen(indexing).health == "stalled"


def test_heartbeat_of_a_run_that_is_over_says_so(indexing: Run) -> None:
    services.finish(indexing.pk)
    assert not services.heartbeat(indexing.pk)
    assert not services.heartbeat(0)
