"""The site's own subscriptions, and what was sent. Addresses and secrets are shown to nobody."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.admin import PartialSave
from apps.datasets.admin import ReadOnlyAdmin

from .channels import check_address
from .models import KINDS, Delivery, Event, Subscription, parse_names
from .services import send_test, subscribe

# The site has no open pages: those are of users.
CHANNELS = [choice for choice in Subscription.Channel.choices if choice[0] != Subscription.Channel.PAGE]


class KeptField(forms.CharField):
    """A field whose value is not shown. Left empty, it has not changed."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


class SubscriptionForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """An address that is left empty stays as it is."""

    channel = forms.ChoiceField(choices=CHANNELS)
    address = KeptField(
        max_length=2000, required=False, widget=forms.PasswordInput,
        help_text="Of an email, a webhook, or a chat service as Apprise writes it. Never shown; empty: it stays.",
    )  # fmt: skip
    events = forms.MultipleChoiceField(choices=KINDS, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = Subscription
        fields = ["name", "channel", "address", "datasets", "batches", "events", "failures_over", "is_active"]

    def clean_datasets(self) -> str:
        return parse_names(self.cleaned_data["datasets"])

    def clean_batches(self) -> str:
        return parse_names(self.cleaned_data["batches"])

    def clean_address(self) -> str:
        return self.cleaned_data["address"] or (
            Subscription.objects.get(pk=self.instance.pk).address if self.instance.pk else ""
        )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if channel := data.get("channel", self.instance.channel):
            check_address(channel, data.get("address", ""))
        return data


@admin.register(Subscription)
class SubscriptionAdmin(PartialSave[Subscription]):
    """The subscriptions of the site, which are told of all datasets. Those of users are theirs alone."""

    form = SubscriptionForm
    list_display = ("name", "channel", "datasets", "batches", "is_active", "created_at")
    list_filter = ("channel", "is_active")
    search_fields = ("name", "datasets")
    actions = ("send_tests",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        return super().get_queryset(request).filter(user=None)

    def get_readonly_fields(self, request: HttpRequest, obj: Subscription | None = None) -> tuple[str, ...]:
        return ("channel",) if obj else ()  # with another, its address and its secret would be none

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
        elif secret := subscribe(obj):
            messages.warning(request, f"The secret is {secret}. Copy it now: it will not be shown again.")

    @admin.action(description="Send a test", permissions=["change"])
    def send_tests(self, request: HttpRequest, subscriptions: QuerySet[Subscription]) -> None:
        for subscription in subscriptions:
            send_test(subscription)
        messages.success(request, "The list of deliveries says in a moment what came of it.")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """What was sent, what waits, and what could not be delivered and why."""

    list_display = ("__str__", "state", "attempts", "reason", "created_at", "sent_at")
    list_filter = ("state", "created_at")
    list_select_related = ("subscription", "event__dataset", "event__batch")
    search_fields = ("=event__dataset__dataset_id", "reason")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return Delivery.objects.all()  # a test has no dataset


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    dataset_lookup: ClassVar[str] = "dataset"
    list_display = ("at", "kind", "label", "run", "handled_at")
    list_filter = ("kind", "at")
    list_select_related = ("dataset", "batch")
    search_fields = ("=dataset__dataset_id",)
    show_full_result_count = False
