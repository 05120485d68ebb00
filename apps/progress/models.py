"""Runs, their stages and their history. Only `store` writes these tables.

A dataset that ever ran has a `Head`. Every writer locks it first, so the versions of a dataset are committed in order.
"""

from __future__ import annotations

import secrets
from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q, Value
from django.urls import reverse

from apps.datasets.models import Dataset

from .listening import Listening as Listening
from .transitions import UNFINISHED, StageState, State


def new_epoch() -> str:
    """Return an epoch that no dataset has had."""
    return secrets.token_hex(8)


def _choices(words: type[State] | type[StageState]) -> list[tuple[str, str]]:
    return [(word.value, word.value.capitalize()) for word in words]


class Retry(models.TextChoices):
    """What of the last run is asked to be done again."""

    ALL = "all", "Everything"
    FAILED = "failed", "Only what failed"


class RunQuerySet(models.QuerySet["Run"]):
    def unfinished(self) -> RunQuerySet:
        return self.filter(state__in=UNFINISHED)


class Run(models.Model):
    """One pass of a pipeline over a dataset, from pending to ready or error."""

    class Control(models.TextChoices):
        """What the reporter is asked to do. It learns of it with the answer to its next report."""

        RUN = "run", "Run"
        PAUSE = "pause", "Pause"
        CANCEL = "cancel", "Cancel"

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField(help_text="Counts the runs of this dataset, from 1.")
    state = models.CharField(max_length=9, choices=_choices(State), default=State.PENDING)
    control = models.CharField(max_length=6, choices=Control, default=Control.RUN)
    control_at = models.DateTimeField(null=True, blank=True, help_text="When something was last asked of it.")
    control_by = models.CharField(max_length=200, blank=True, default="", db_default="", help_text="Who asked.")
    control_seen_at = models.DateTimeField(
        null=True, blank=True, help_text="When the reporter was first told of it; empty: not yet."
    )
    retry = models.CharField(
        max_length=6, choices=Retry, blank=True, default="", db_default="", help_text="What it does again, if asked to."
    )
    cancelled = models.BooleanField(default=False)
    lost_in = models.CharField(
        max_length=9, blank=True, default="", db_default="",
        help_text="The state that it had when it was ended because it was lost; its reporter takes it back.",
    )  # fmt: skip
    idempotency_key = models.CharField(
        max_length=128, blank=True, help_text="Beginning a run with the same key again returns this run."
    )
    message = models.CharField(max_length=1000, blank=True)
    error = models.TextField(blank=True)
    percent = models.FloatField(
        null=True, blank=True, help_text="Over all stages by weight; it never falls. Empty: the plan is not known."
    )
    # A list of `percentage.Expected`, learned from an earlier run; empty where the reporter gave the stages. Where the
    # plan has changed: the percentage that was shown then, and the share of the new plan that was done.
    plan = models.JSONField(default=list, db_default=Value([], models.JSONField()), blank=True)
    plan_percent = models.FloatField(default=0.0, db_default=0.0)
    plan_share = models.FloatField(default=0.0, db_default=0.0)
    failed = models.PositiveBigIntegerField(default=0, help_text="Items that could not be processed.")
    failures_listed = models.PositiveIntegerField(default=0, help_text="How many of them are listed one by one.")
    skipped = models.PositiveBigIntegerField(default=0, help_text="Unchanged items.")
    joined = models.PositiveIntegerField(default=0, help_text="How many members it has had; 0: it is not shared.")
    started_by = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="The user or the token that began it."
    )
    origin = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="Where it runs: host, process, client and python."
    )
    link = models.URLField(max_length=2000, blank=True, default="", db_default="", help_text="The job's own page.")
    message_count = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="How many messages it has had; the last ones are kept."
    )
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(help_text="When anything that pages show last changed.")
    heartbeat_at = models.DateTimeField(null=True, blank=True, help_text="The last time the reporter made contact.")
    progressed_at = models.DateTimeField(
        null=True, blank=True, help_text="When a count last grew, or the work went on after a wait."
    )
    sign_gap = models.FloatField(default=0.0, db_default=0.0, help_text="The usual seconds between signs of life.")
    asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was last taken out of a pause; empty once its reporter was heard."
    )
    queued_at = models.DateTimeField(null=True, blank=True, help_text="Since when it waits for a free worker.")
    lost_at = models.DateTimeField(null=True, blank=True, help_text="When it was announced as lost; empty: it is not.")
    # What the last ready runs of the dataset took, as `history.learned_from` makes it when the run begins.
    learned = models.JSONField(default=list, db_default=[], blank=True)

    objects: ClassVar[RunQuerySet] = RunQuerySet.as_manager()  # type: ignore[assignment]  # the stubs type it as a plain manager

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="run_number_once"),
            models.UniqueConstraint(
                fields=["dataset"],
                condition=Q(state__in=["pending", "indexing", "embedding"]),
                name="run_one_unfinished",
                violation_error_message="This dataset has an unfinished run.",
            ),
            models.UniqueConstraint(
                fields=["dataset", "idempotency_key"], condition=~Q(idempotency_key=""), name="run_idempotency_key_once"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "indexing", "embedding", "ready", "error"]), name="run_state_known"
            ),
            models.CheckConstraint(condition=Q(control__in=["run", "pause", "cancel"]), name="run_control_known"),
            models.CheckConstraint(condition=Q(retry__in=["", "all", "failed"]), name="run_retry_known"),
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lte=100), name="run_percent_in_range"),
            models.CheckConstraint(
                condition=Q(state__in=["ready", "error"], finished_at__isnull=False)
                | Q(state__in=["pending", "indexing", "embedding"], finished_at__isnull=True),
                name="run_finished_has_a_time",
            ),
        ]
        # Among any number of datasets that never ran, it finds those whose run waits.
        indexes = [models.Index(fields=["dataset"], condition=Q(state="pending"), name="run_pending")]

    def __str__(self) -> str:
        return f"run {self.number} of {self.dataset}"

    def get_absolute_url(self) -> str:
        return reverse("run", args=[self.dataset.dataset_id, self.number])

    @property
    def is_finished(self) -> bool:
        return State(self.state) not in UNFINISHED


class Stage(models.Model):
    """A part of a run with a count of its own. The active stage gives the run its working state."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="stages")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=64)
    label = models.CharField(max_length=100, blank=True, help_text="Shown in place of the state's label.")
    counts_as = models.CharField(
        max_length=9,
        choices=[(State.INDEXING.value, "Indexing"), (State.EMBEDDING.value, "Embedding")],
        default=State.INDEXING,
    )
    unit = models.CharField(max_length=32, default="items", help_text="What is counted, in the plural.")
    weight = models.FloatField(default=1.0, validators=[MinValueValidator(0.001)])
    is_planned = models.BooleanField(
        default=False, db_default=False, help_text="Whether the reporter named it before it began."
    )
    state = models.CharField(max_length=7, choices=_choices(StageState), default=StageState.WAITING)
    current = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(default=0, help_text="As planned; once the stage is done, as counted.")
    planned = models.PositiveBigIntegerField(default=0, help_text="How many there should be; 0: not known yet.")
    workers = models.PositiveIntegerField(default=0, help_text="How many workers report a share.")
    workers_done = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How many of them have done their share, or have left."
    )
    # Of the others, how many gave their last sign of life when: pairs [step, workers], see `workers`.
    signs = models.JSONField(default=list, db_default=[], blank=True)
    shared = models.PositiveBigIntegerField(default=0, help_text="The sum of the workers' shares; part of `current`.")
    shared_total = models.PositiveBigIntegerField(default=0, help_text="The sum of the totals of the workers' shares.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    worked_seconds = models.FloatField(
        default=0.0,
        db_default=0.0,
        help_text="Seconds of work up to `worked_until`, without pauses.",
    )
    worked_until = models.DateTimeField(null=True, blank=True)
    gap = models.FloatField(default=0.0, db_default=0.0, help_text="The usual seconds between higher counts.")
    usual = models.FloatField(default=0.0, db_default=0.0, help_text="The items per second that it usually does.")
    not_read = models.BigIntegerField(
        default=0, db_default=0, help_text="What of `current` is not in the readings: done before, or skipped."
    )
    skips_read = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="The run's skipped items at the last reading."
    )
    # At most `readings.KEPT` pairs [seconds of work, items done in them], thinned as they age. The rate, the time left,
    # a chart, and what later runs learn come from them, without another query.
    readings = models.JSONField(default=list, blank=True)
    # Where the total has changed since the stage began: pairs [seconds of work, total].
    totals = models.JSONField(default=list, db_default=[], blank=True)

    class Meta:
        ordering = ["run", "position"]
        constraints = [
            models.UniqueConstraint(fields=["run", "position"], name="stage_position_once"),
            models.UniqueConstraint(fields=["run", "name"], name="stage_name_once"),
            models.UniqueConstraint(fields=["run"], condition=Q(state="active"), name="stage_one_active"),
            models.CheckConstraint(condition=Q(counts_as__in=["indexing", "embedding"]), name="stage_counts_as_known"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "active", "done", "failed", "skipped"]), name="stage_state_known"
            ),
            models.CheckConstraint(condition=Q(weight__gt=0), name="stage_weight_positive"),
            models.CheckConstraint(condition=Q(planned=0) | Q(current__lte=F("planned")), name="stage_count_in_range"),
            models.CheckConstraint(
                condition=Q(state="done", total=F("current")) | (~Q(state="done") & Q(total=F("planned"))),
                name="stage_total_is_counted_when_done",
            ),
            models.CheckConstraint(condition=Q(shared__lte=F("current")), name="stage_shares_are_counted"),
        ]

    def __str__(self) -> str:
        return f"{self.label or self.name} of {self.run}"


class WorkerShare(models.Model):
    """What one of several workers has done of a stage. Its counts never fall, and stay when the worker is gone."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="shares")
    worker = models.CharField(max_length=128)
    current = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(default=0, help_text="0: not known.")
    failed = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    rate = models.FloatField(default=0.0, db_default=0.0, help_text="Items per second of late; 0: not known.")
    heard_at = models.DateTimeField(null=True, blank=True, help_text="Its last sign of life, to within 5 seconds.")
    progressed_at = models.DateTimeField(null=True, blank=True, help_text="When its count last grew.")
    left_at = models.DateTimeField(null=True, blank=True, help_text="When it said that it was done.")

    class Meta:
        verbose_name = "worker"
        ordering = ["stage", "worker"]
        constraints = [
            models.UniqueConstraint(fields=["stage", "worker"], name="share_once_a_worker"),
        ]

    def __str__(self) -> str:
        return f"{self.worker}: {self.current} of {self.stage}"


class RunMember(models.Model):
    """One of several programs that share a run, which ends when the last of them has left.

    An empty ``worker`` is whoever began the run without joining it, and has no row until another joins.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="members")
    worker = models.CharField(max_length=128, blank=True)
    joined_at = models.DateTimeField()
    heard_at = models.DateTimeField(help_text="The last time it made contact, to within 5 seconds.")
    left_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Why it left, if it failed.")

    class Meta:
        verbose_name = "joined program"
        ordering = ["run", "id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "worker"], name="member_once_a_run"),
            models.CheckConstraint(condition=Q(heard_at__gte=F("joined_at")), name="member_heard_after_joining"),
            models.CheckConstraint(
                condition=Q(left_at__isnull=True) | Q(left_at__gte=F("joined_at")), name="member_left_after_joining"
            ),
            models.CheckConstraint(
                condition=Q(error="") | Q(left_at__isnull=False), name="member_that_failed_has_left"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.worker or 'the first'} of {self.run}"


class ItemFailure(models.Model):
    """One item that could not be processed, and why. The run goes on without it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="failures")
    stage = models.CharField(max_length=64)
    item = models.CharField(max_length=1024)
    reason = models.CharField(max_length=500)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "failed item"
        ordering = ["id"]
        constraints = [
            # A chunk that is done again after a crash reports its failures again.
            models.UniqueConstraint(fields=["run", "stage", "item"], name="failure_once_an_item"),
        ]

    def __str__(self) -> str:
        return f"{self.item}: {self.reason}"


class UnlistedFailures(models.Model):
    """How many items of a run failed for one reason, beside those that are listed."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="unlisted_failures")
    stage = models.CharField(max_length=64)
    reason = models.CharField(max_length=500)
    count = models.PositiveBigIntegerField()

    class Meta:
        verbose_name = "failed item count"
        ordering = ["-count", "id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "stage", "reason"], name="unlisted_once_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.reason}: {self.count:,}"


class Transition(models.Model):
    """The history of a run: every change of its state or of a stage's, and every request to pause, resume or cancel."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="transitions")
    version = models.PositiveBigIntegerField(help_text="The version of the dataset after this change.")
    stage = models.CharField(max_length=64, blank=True, help_text="Empty: the run's own state.")
    old = models.CharField(max_length=9, blank=True)
    new = models.CharField(max_length=9)
    note = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "run event"
        ordering = ["id"]
        indexes = [models.Index(fields=["run", "id"], name="transition_history")]

    def __str__(self) -> str:
        return f"{self.stage or 'run'}: {self.old} → {self.new}"


class RunMessage(models.Model):
    """One of the last messages of a run's reporter. A new one takes the slot of the oldest."""

    KEPT: ClassVar = 200

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="messages")
    slot = models.PositiveSmallIntegerField(help_text="The message's number within the run, modulo `KEPT`.")
    number = models.PositiveBigIntegerField()
    text = models.CharField(max_length=1000)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "message"
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["run", "slot"], name="message_once_a_slot"),
        ]

    def __str__(self) -> str:
        return self.text


class Head(models.Model):
    """The current version of a dataset and its latest run, as the head of a branch is its latest commit.

    Every change that watchers see raises the version by one. Writers lock this row.

    Versions of two epochs are not compared. A head that is made anew has another epoch, and so has every head of a
    database that was restored, so no reader takes what it is shown for outdated.
    """

    dataset = models.OneToOneField(Dataset, primary_key=True, on_delete=models.CASCADE, related_name="head")
    epoch = models.CharField(max_length=16, default=new_epoch)
    version = models.PositiveBigIntegerField(default=0)
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")
    retry = models.CharField(
        max_length=6, choices=Retry, blank=True, default="", db_default="", help_text="What the next run is asked."
    )
    retry_by = models.CharField(max_length=200, blank=True, default="", db_default="")
    retry_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "dataset version"
        constraints = [
            models.CheckConstraint(
                condition=Q(retry="", retry_at__isnull=True) | Q(retry__in=["all", "failed"], retry_at__isnull=False),
                name="head_retry_has_a_time",
            ),
        ]
        indexes = [models.Index(fields=["retry_at"], condition=~Q(retry=""), name="head_to_retry")]

    def __str__(self) -> str:
        return f"{self.dataset} at version {self.version}"
