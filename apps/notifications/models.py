"""What people want to be told of, the events that happened, and what is to be sent to whom.

An `Event` is written in the transaction of the change, so it exists if and only if the change does. Workers make a
`Delivery` of it for each `Subscription` that wants it, and send those. Each step is done once, whoever is killed.
"""

from __future__ import annotations

from typing import ClassVar, cast

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.batches.models import Batch
from apps.datasets.access.patterns import covers, parse_patterns
from apps.datasets.models import Dataset
from apps.progress.events import EventKind

KINDS = [
    (EventKind.READY.value, "Ready"),
    (EventKind.FAILED.value, "Failed"),
    (EventKind.CANCELLED.value, "Cancelled"),
    (EventKind.LOST.value, "No contact"),
    (EventKind.BACK.value, "Contact again"),
    (EventKind.FAILURES.value, "Too many failed items"),
]


def parse_names(text: str) -> str:
    """Return IDs and patterns as they are stored; empty: none. Raises `ValidationError`."""
    return ",".join(parse_patterns(text)) if text.strip() else ""


class Subscription(models.Model):
    """Whom to tell of what, and where. Without a user it is the site's own, and sees all datasets.

    Only one worker at a time sends for it, under a lease, so its messages arrive in order.
    """

    class Channel(models.TextChoices):
        PAGE = "page", "On open pages of this site, and by the browser"
        EMAIL = "email", "Email"
        CHAT = "chat", "Chat (Slack, Teams, Discord, Telegram, ntfy, …)"
        WEBHOOK = "webhook", "Webhook"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="subscriptions"
    )
    name = models.CharField(max_length=100, help_text="For example: team chat.")
    channel = models.CharField(max_length=7, choices=Channel, default=Channel.PAGE)
    # It may hold a password. Shown to nobody once it is saved.
    address = models.CharField(max_length=2000, blank=True)
    secret = models.CharField(max_length=200, blank=True, editable=False, help_text="Signs the requests of a webhook.")
    datasets = models.CharField(
        max_length=1000, default="*", blank=True, help_text="IDs or patterns, separated by commas."
    )
    batches = models.CharField(
        max_length=1000, default="*", blank=True, help_text="IDs or patterns of batches, whose ends are told."
    )
    events = models.JSONField(default=list, help_text="The kinds of events.")
    failures_over = models.PositiveSmallIntegerField(
        default=0, help_text="Of the kind failures: once more than so many percent of the items of a run have failed."
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    lease_token = models.CharField(max_length=32, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    # The last messages that were sent one by one, as times. More of them become a digest.
    sent_at = models.JSONField(default=list, editable=False)

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(channel__in=["page", "email", "chat", "webhook"]), name="subscription_channel_known"
            ),
            models.CheckConstraint(condition=Q(failures_over__lte=99), name="subscription_percent_in_range"),
            models.CheckConstraint(
                condition=Q(lease_token="", lease_until__isnull=True)
                | (~Q(lease_token="") & Q(lease_until__isnull=False)),
                name="subscription_lease_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def is_of_dataset(self, dataset_id: str) -> bool:
        return covers(self.datasets.split(","), dataset_id)

    def is_of_batch(self, batch_id: str) -> bool:
        return covers(self.batches.split(","), batch_id)


class Event(models.Model):
    """Something that happened to a dataset, or the end of a batch, as it was then.

    People see different datasets of a batch, so its end is an event for each view: each has another epoch.
    """

    dataset = models.ForeignKey(Dataset, null=True, on_delete=models.CASCADE, related_name="+")
    batch = models.ForeignKey(Batch, null=True, on_delete=models.CASCADE, related_name="+")
    run = models.PositiveIntegerField(null=True, help_text="The number of the dataset's run.")
    kind = models.CharField(max_length=9, choices=KINDS)
    version = models.PositiveBigIntegerField(
        help_text="Of the dataset after the change; of a batch, the sum of its runs."
    )
    epoch = models.CharField(max_length=16)
    at = models.DateTimeField()
    failed_percent = models.PositiveSmallIntegerField(default=0)
    progress = models.JSONField(help_text="The `DatasetProgress` or `BatchProgress` object at that time.")
    handled_at = models.DateTimeField(null=True, help_text="When its deliveries were made; empty: not yet.")

    class Meta:
        verbose_name = "event to be told"
        verbose_name_plural = "events to be told"
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "epoch", "version", "kind"], name="event_once"),
            models.UniqueConstraint(fields=["batch", "epoch", "version", "kind"], name="event_of_batch_once"),
            models.CheckConstraint(
                condition=Q(dataset__isnull=False, run__isnull=False, batch__isnull=True)
                | Q(dataset__isnull=True, run__isnull=True, batch__isnull=False),
                name="event_of_run_or_batch",
            ),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(handled_at=None), name="event_to_handle")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}" if self.batch_id else f"{self.kind} of run {self.run} of {self.subject}"

    @property
    def subject(self) -> Dataset | Batch:
        """What it happened to."""
        return self.batch or cast("Dataset", self.dataset)  # one of the two, says a constraint

    @property
    def subject_id(self) -> str:
        subject = self.subject
        return subject.batch_id if isinstance(subject, Batch) else subject.dataset_id

    @property
    def label(self) -> str:
        """What it happened to, in words."""
        return f"Batch {self.subject_id}" if self.batch_id else self.subject_id

    @property
    def key(self) -> str:
        """What tells the event from every other; the same however often it is sent."""
        return f"{self.epoch}-{self.version}-{self.kind}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> DeliveryQuerySet:
        return self.filter(state=Delivery.State.WAITING)


class Delivery(models.Model):
    """One event to be told to one subscription. Without an event it is a test message."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        UNDELIVERED = "failed", "Undelivered"

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="deliveries")
    event = models.ForeignKey(Event, null=True, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=7, choices=State, default=State.WAITING)
    created_at = models.DateTimeField(auto_now_add=True)
    next_at = models.DateTimeField(help_text="Not to be sent before.")
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True, help_text="Why the last attempt failed.")
    digest = models.PositiveBigIntegerField(
        null=True, editable=False, help_text="The first delivery of the digest that it is told in; empty: by itself."
    )

    objects: ClassVar[DeliveryQuerySet] = DeliveryQuerySet.as_manager()  # type: ignore[assignment]  # the stubs type it as a plain manager

    class Meta:
        ordering = ["pk"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["subscription", "event"], name="delivery_once"),
            models.CheckConstraint(condition=Q(state__in=["waiting", "sent", "failed"]), name="delivery_state_known"),
        ]
        indexes = [
            models.Index(fields=["subscription", "id"], condition=Q(state="waiting"), name="delivery_waiting"),
            models.Index(fields=["subscription", "sent_at"], condition=Q(state="sent"), name="delivery_sent"),
        ]

    def __str__(self) -> str:
        return f"{self.event or 'test'} to {self.subscription}"
