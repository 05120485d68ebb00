"""The form in which users say of what they want to be told, and where."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from apps.notifications import channels
from apps.notifications.models import KINDS, Subscription, parse_names
from apps.progress.events import EventKind

USUAL: Final = [EventKind.READY.value, EventKind.FAILED.value, EventKind.LOST.value, EventKind.BACK.value]


class SubscriptionForm(forms.Form):
    """A new subscription. It checks the form of an address; whether it may be sent to is told by a test."""

    name = forms.CharField(max_length=100, help_text="For example: team chat.")
    channel = forms.ChoiceField(choices=Subscription.Channel.choices, widget=forms.RadioSelect, initial="page")
    address = forms.CharField(
        max_length=2000, required=False,
        help_text="Of a webhook: https://… Of a chat service: as Apprise writes it, for example ntfy://ntfy.sh/topic. "
        "Email goes to the address of your account. It is not shown again.",
    )  # fmt: skip
    datasets = forms.CharField(
        max_length=1000, required=False, initial="*",
        help_text="IDs or patterns, separated by commas: team-a-* is every ID that starts with team-a-; * is all.",
    )  # fmt: skip
    batches = forms.CharField(
        max_length=1000, required=False, initial="*",
        help_text="IDs or patterns of batches: of each you are told once, when all of its datasets are done.",
    )  # fmt: skip
    events = forms.MultipleChoiceField(choices=KINDS, widget=forms.CheckboxSelectMultiple, initial=USUAL)
    failures_over = forms.IntegerField(
        min_value=0, max_value=99, initial=5, label="Too many failed items: more than, in percent"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("address", "datasets", "batches"):
            self.fields[name].widget.attrs |= {"spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}

    def clean_datasets(self) -> str:
        return parse_names(self.cleaned_data["datasets"])

    def clean_batches(self) -> str:
        return parse_names(self.cleaned_data["batches"])

    def clean(self) -> dict[str, Any]:
        """Check that something is named, and the address, which only webhooks and chat services have."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if not data.get("datasets", "?") and not data.get("batches", "?"):
            self.add_error("datasets", "Name datasets, batches, or both.")
        channel, address = data.get("channel"), data.get("address", "")
        if channel in (Subscription.Channel.WEBHOOK, Subscription.Channel.CHAT):
            channels.check_address(channel, address)
        else:
            data["address"] = ""
        return data
