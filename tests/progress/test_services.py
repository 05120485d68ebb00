"""Each verb: it works first, then one refusal a test. What all verbs promise together is in `test_machine`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.core import text as texts
from apps.datasets.models import Dataset
from apps.progress import selectors, services
from apps.progress.errors import IllegalTransition, ProgressError, RunFinished, RunUnfinished, UnknownStage
from apps.progress.models import Head, ItemFailure, Run, Stage, Transition
from apps.progress.services import StagePlan
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import State

from .conftest import EMBED, INDEX

VersionOf = Callable[[Run], int]


def seen(run: Run) -> DatasetProgress:
    return selectors.progress_of(run.dataset_id)


def history(run: Run) -> list[tuple[str, str, str]]:
    return list(Transition.objects.filter(run=run).values_list("stage", "old", "new"))


def heard_of(run: Run, *, seconds_ago: float) -> None:
    moment = timezone.now() - timedelta(seconds=seconds_ago)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=moment, progressed_at=moment)


# --- begin_run ------------------------------------------------------------------------------------------------------


def test_begin_run_opens_a_pending_run_with_its_stages_waiting(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [INDEX, EMBED], message="Queued")
    progress = seen(run)
    assert (progress.state, progress.run, progress.message, progress.percent) == ("pending", 1, "Queued", 0)
    assert [(s.name, s.counts_as, s.total, s.state) for s in progress.stages] == [
        ("index", "indexing", 100, "waiting"),
        ("embed", "embedding", 100, "waiting"),
    ]
    assert history(run) == [("", "", "pending")]


def test_begin_run_counts_the_runs_of_each_dataset(dataset: Dataset) -> None:
    other = Dataset.objects.create(dataset_id="dogs")
    for number in (1, 2, 3):
        assert services.begin_run(dataset).number == number
        services.finish(Run.objects.unfinished().get().pk)
    assert services.begin_run(other).number == 1


def test_begin_run_is_refused_beside_an_unfinished_run(run: Run, version_of: VersionOf) -> None:
    before = version_of(run)
    with pytest.raises(RunUnfinished, match="Run 1 is not finished") as refusal:
        services.begin_run(run.dataset)
    assert refusal.value.code == "run_unfinished"
    assert version_of(run) == before
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    "plans",
    [
        [StagePlan("a"), StagePlan("a")],
        [StagePlan("a", weight=0)],
        [StagePlan("a", total=-1)],
        [StagePlan("a", counts_as=State.READY)],
    ],
)
def test_begin_run_with_an_impossible_plan_leaves_nothing_behind(dataset: Dataset, plans: list[StagePlan]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        services.begin_run(dataset, plans)
    assert not Run.objects.exists()
    assert selectors.progress_of(dataset.pk).run is None


# --- start_stage ----------------------------------------------------------------------------------------------------


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
    assert [(s.name, s.state, s.current, s.total) for s in progress.stages] == [
        ("index", "done", 100, 100),
        ("embed", "active", 0, 100),
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
    assert (scan.current, scan.total, scan.state) == (303, 303, "done")


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


# --- report ---------------------------------------------------------------------------------------------------------


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
def test_report_of_an_impossible_count_is_refused(indexing: Run, version_of: VersionOf, name: str, count: int) -> None:
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
    for seconds, count in ((60, 20), (30, 30), (0, 40)):
        Stage.objects.filter(run=indexing, name="index").update(
            started_at=timezone.now() - timedelta(seconds=70 - seconds)
        )
        services.report(indexing.pk, current=count)
    progress = seen(indexing)
    assert progress.rate == pytest.approx(1 / 3, rel=0.05)
    assert progress.eta_seconds is not None
    # 60 images here and 3 × 100 later, at one in three seconds
    assert progress.eta_seconds.low < 1080 < progress.eta_seconds.high


# --- heartbeat ------------------------------------------------------------------------------------------------------


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


# --- record_failures ------------------------------------------------------------------------------------------------


def test_record_failures_lists_and_counts_them(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated"), ("b.jpg", "not an image")])
    assert seen(indexing).failed == 2
    assert version_of(indexing) == before + 1
    assert seen(indexing).state == "indexing"
    listed = ItemFailure.objects.filter(run=indexing).values_list("stage", "item", "reason")
    assert list(listed) == [("index", "a.jpg", "truncated"), ("index", "b.jpg", "not an image")]


def test_record_failures_again_lists_and_counts_nothing_twice(indexing: Run, version_of: VersionOf) -> None:
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    before = version_of(indexing)
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    assert (seen(indexing).failed, version_of(indexing)) == (1, before)
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated"), ("b.jpg", "empty"), ("b.jpg", "empty")])
    assert (seen(indexing).failed, ItemFailure.objects.count()) == (2, 2)


def test_record_failures_of_one_item_in_two_stages_are_two(indexing: Run) -> None:
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    services.record_failures(indexing.pk, "embed", [("a.jpg", "no vector")])
    assert seen(indexing).failed == 2


def test_record_failures_of_very_long_names_keeps_their_ends(indexing: Run) -> None:
    names = [f"{'深い' * 2000}/{number}.jpg" for number in (1, 2)]
    for _ in range(2):
        services.record_failures(indexing.pk, "index", [(name, "x" * 5000) for name in names])
    items = ItemFailure.objects.values_list("item", flat=True)
    assert [(item[0], item[-6:]) for item in items] == [("…", "/1.jpg"), ("…", "/2.jpg")]
    assert all(len(item.encode()) <= texts.ITEM_BYTES for item in items)
    assert seen(indexing).failed == 2


def test_record_failures_of_nothing_is_a_sign_of_life(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    services.record_failures(indexing.pk, "index", [])
    assert version_of(indexing) == before


# --- finish, fail, cancel -------------------------------------------------------------------------------------------


def test_finish_makes_the_run_ready(indexing: Run) -> None:
    services.report(indexing.pk, current=60)
    services.finish(indexing.pk, message="100 images")
    progress = seen(indexing)
    assert (progress.state, progress.percent, progress.message, progress.error) == ("ready", 100, "100 images", None)
    assert progress.current == progress.total == 100
    assert [s.state for s in progress.stages] == ["done", "skipped"]
    assert progress.is_finished
    assert not progress.is_working
    indexing.refresh_from_db()
    assert indexing.finished_at is not None


def test_finish_with_failures_is_ready(indexing: Run) -> None:
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    services.finish(indexing.pk)
    assert (seen(indexing).state, seen(indexing).failed, seen(indexing).error) == ("ready", 1, None)


def test_finish_of_a_run_that_never_began_is_ready_0_of_0(run: Run) -> None:
    services.finish(run.pk)
    assert (seen(run).state, seen(run).current, seen(run).total) == ("ready", 0, 0)


def test_fail_keeps_the_count_and_tells_why(indexing: Run) -> None:
    services.report(indexing.pk, current=60, message="Indexing samples... 60/100")
    services.fail(indexing.pk, "disk full")
    progress = seen(indexing)
    assert (progress.state, progress.error, progress.message, progress.cancelled) == ("error", "disk full", "", False)
    assert (progress.current, progress.total, progress.percent) == (60, 100, 15)
    assert [s.state for s in progress.stages] == ["failed", "waiting"]
    assert Transition.objects.filter(run=indexing, new="error").values_list("note", flat=True).get() == "disk full"


def test_fail_without_a_reason_says_at_least_that(indexing: Run) -> None:
    services.fail(indexing.pk, "")
    assert seen(indexing).error == "Failed, and no reason was given."


def test_fail_with_a_whole_log_keeps_its_beginning(indexing: Run) -> None:
    services.fail(indexing.pk, "x" * 10**6)
    assert seen(indexing).error == "x" * texts.ERROR_LENGTH


def test_cancel_is_an_error_on_the_wire_with_cancelled_beside_it(indexing: Run) -> None:
    services.cancel(indexing.pk)
    progress = seen(indexing)
    assert (progress.state, progress.cancelled, progress.error) == ("error", True, "Cancelled.")
    assert [s.state for s in progress.stages] == ["skipped", "waiting"]


def test_an_end_takes_back_what_was_asked_of_the_reporter(indexing: Run) -> None:
    services.request_pause(indexing.pk)
    services.finish(indexing.pk)
    assert not seen(indexing).paused


EVERY_VERB: dict[str, Callable[[int], object]] = {
    "start_stage": lambda pk: services.start_stage(pk, "index"),
    "report": lambda pk: services.report(pk, current=1),
    "record_failures": lambda pk: services.record_failures(pk, "index", [("a.jpg", "truncated")]),
    "finish": lambda pk: services.finish(pk),
    "fail": lambda pk: services.fail(pk, "again"),
    "cancel": lambda pk: services.cancel(pk),
    "request_pause": lambda pk: services.request_pause(pk),
    "request_resume": lambda pk: services.request_resume(pk),
    "request_cancel": lambda pk: services.request_cancel(pk),
}


@pytest.mark.parametrize("verb", EVERY_VERB)
@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_a_run_that_is_over_takes_nothing_more(indexing: Run, version_of: VersionOf, verb: str, end: str) -> None:
    EVERY_VERB[end](indexing.pk)
    before = version_of(indexing), history(indexing)
    with pytest.raises(RunFinished) as refusal:
        EVERY_VERB[verb](indexing.pk)
    assert refusal.value.code == "run_finished"
    assert isinstance(refusal.value, ProgressError)
    assert (version_of(indexing), history(indexing)) == before


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_a_late_reporter_of_the_last_run_does_not_touch_the_next(indexing: Run, verb: str) -> None:
    services.finish(indexing.pk)
    services.begin_run(indexing.dataset, [INDEX])
    before = seen(indexing)
    with pytest.raises(RunFinished):
        EVERY_VERB[verb](indexing.pk)
    assert seen(indexing) == before


# --- request_pause, request_resume, request_cancel ------------------------------------------------------------------


def test_pause_and_resume(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    assert services.request_pause(indexing.pk, "by ann")
    assert (seen(indexing).paused, seen(indexing).state, version_of(indexing)) == (True, "indexing", before + 1)
    assert services.report(indexing.pk, current=3).control == "pause"  # which is how the reporter learns of it
    assert services.request_resume(indexing.pk, "by bob")
    assert (seen(indexing).paused, services.report(indexing.pk, current=4).control) == (False, "run")
    asked = Transition.objects.filter(run=indexing, new__in=["pause", "run"]).values_list("old", "new", "note")
    assert list(asked) == [("run", "pause", "by ann"), ("pause", "run", "by bob")]


def test_pause_of_a_pending_run_is_kept_until_it_begins(run: Run) -> None:
    assert services.request_pause(run.pk)
    assert seen(run).paused
    assert services.start_stage(run.pk, "index").control == "pause"


def test_pause_again_is_a_normal_no(indexing: Run, version_of: VersionOf) -> None:
    services.request_pause(indexing.pk)
    before = version_of(indexing)
    assert not services.request_pause(indexing.pk)
    assert version_of(indexing) == before


def test_resume_of_what_was_not_paused_is_a_normal_no(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    assert not services.request_resume(indexing.pk)
    assert version_of(indexing) == before


def test_resume_after_a_long_pause_is_not_called_stalled(indexing: Run) -> None:
    services.request_pause(indexing.pk)
    heard_of(indexing, seconds_ago=1000)
    services.heartbeat(indexing.pk)
    services.request_resume(indexing.pk)
    assert seen(indexing).health == "live"


def test_cancel_is_asked_of_a_reporter_that_lives(indexing: Run) -> None:
    assert services.request_cancel(indexing.pk, "by ann")
    assert (seen(indexing).state, seen(indexing).cancelled) == ("indexing", False)
    assert services.report(indexing.pk, current=3).control == "cancel"
    services.cancel(indexing.pk)
    assert (seen(indexing).state, seen(indexing).cancelled) == ("error", True)


def test_cancel_overrides_a_pause(indexing: Run) -> None:
    services.request_pause(indexing.pk)
    assert services.request_cancel(indexing.pk)
    assert not seen(indexing).paused


def test_cancel_cannot_be_taken_back(indexing: Run) -> None:
    services.request_cancel(indexing.pk)
    assert not services.request_cancel(indexing.pk)
    assert not services.request_pause(indexing.pk)
    assert not services.request_resume(indexing.pk)
    assert Run.objects.get().control == "cancel"


def test_cancel_of_a_run_that_nobody_began_ends_it_at_once(run: Run) -> None:
    assert services.request_cancel(run.pk)
    assert (seen(run).state, seen(run).cancelled) == ("error", True)


def test_cancel_of_a_silent_run_ends_it_at_once(indexing: Run) -> None:
    heard_of(indexing, seconds_ago=16)
    assert services.request_cancel(indexing.pk)
    assert (seen(indexing).state, seen(indexing).cancelled) == ("error", True)
    with pytest.raises(RunFinished):  # the reporter that comes back is told so
        services.report(indexing.pk, current=50)


def test_cancel_asked_again_ends_a_run_that_fell_silent_meanwhile(indexing: Run) -> None:
    services.request_cancel(indexing.pk)
    assert seen(indexing).state == "indexing"
    heard_of(indexing, seconds_ago=16)
    assert not services.request_cancel(indexing.pk)
    assert (seen(indexing).state, seen(indexing).cancelled) == ("error", True)


# --- History --------------------------------------------------------------------------------------------------------


def test_the_history_of_a_whole_run(run: Run) -> None:
    services.start_stage(run.pk, "index")
    services.report(run.pk, current=50)
    services.start_stage(run.pk, "embed")
    services.finish(run.pk)
    rows = list(Transition.objects.filter(run=run).values_list("version", "stage", "old", "new"))
    assert rows == [
        (1, "", "", "pending"),
        (2, "index", "waiting", "active"),
        (2, "", "pending", "indexing"),
        (4, "index", "active", "done"),
        (4, "embed", "waiting", "active"),
        (4, "", "indexing", "embedding"),
        (5, "embed", "active", "done"),
        (5, "", "embedding", "ready"),
    ]


def test_versions_go_on_over_the_runs_of_a_dataset(indexing: Run, version_of: VersionOf) -> None:
    services.finish(indexing.pk)
    before = version_of(indexing)
    services.begin_run(indexing.dataset)
    assert version_of(indexing) == before + 1


def test_each_dataset_counts_its_own_versions(indexing: Run) -> None:
    other = Dataset.objects.create(dataset_id="dogs")
    services.begin_run(other)
    assert Head.objects.get(dataset=other).version == 1
