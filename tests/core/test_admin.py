"""The forms of the admin write what they have changed, and nothing that is not in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Model
from django.db.models.signals import pre_save
from django.forms import PasswordInput
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.batches.models import Batch
from apps.datasets.models import Dataset, Token
from apps.datasets.services import issue_token
from apps.notifications.models import Subscription


@contextmanager
def meanwhile(model: type[Model], **values: object) -> Iterator[None]:
    """Let somebody else write these values once a form was checked, and before it is saved."""

    def write(instance: Any, **_: object) -> None:
        model._base_manager.filter(pk=instance.pk).update(**values)

    pre_save.connect(write, sender=model)
    try:
        yield
    finally:
        pre_save.disconnect(write, sender=model)


def change(client: Client, row: Model, **values: object) -> Any:
    """Send the form of a row as a browser does, with these values in it."""
    address = reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])
    form = client.get(address).context["adminform"].form
    shown = {
        name: "" if isinstance(field.widget, PasswordInput) else form.get_initial_for_field(field, name)
        for name, field in form.fields.items()
    }
    filled = {**shown, "memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0, **values}
    sent = {name: value for name, value in filled.items() if value is not None and value is not False}
    return client.post(address, sent)


LATER = timezone.now() + timedelta(days=1)


@pytest.mark.parametrize(
    ("row", "meanwhile_written"),
    [
        ("dataset", {"deleted_at": LATER, "state_order": 4, "changed_at": LATER, "sample_count": 7}),
        ("token", {"revoked_at": LATER, "last_used_at": LATER}),
        ("batch", {"version": 9, "changed_at": LATER}),
        ("subscription", {"lease_token": "held", "lease_until": LATER, "address": "https://example.com/other"}),
    ],
)
def test_form_takes_nothing_back(admin_client: Client, row: str, meanwhile_written: dict[str, object]) -> None:
    instance: Any
    match row:
        case "dataset":
            instance = Dataset.objects.create(dataset_id="cats")
        case "token":
            instance, _ = issue_token("nightly")
        case "batch":
            instance = Batch.objects.create(batch_id="nightly")
        case _:
            instance = Subscription.objects.create(
                name="chat", channel="webhook", address="https://example.com/", events=["ready"]
            )
    model = type(instance)
    with meanwhile(model, **meanwhile_written):
        assert change(admin_client, instance, name="another name").status_code == 302
    found = model._base_manager.get(pk=instance.pk)
    assert found.name == "another name"
    assert {name: getattr(found, name) for name in meanwhile_written} == meanwhile_written


def test_row_that_was_deleted_meanwhile_is_not_found(admin_client: Client) -> None:
    token, _ = issue_token("nightly")

    def delete(instance: Any, **_: object) -> None:
        Token.objects.filter(pk=instance.pk).delete()

    pre_save.connect(delete, sender=Token)
    try:
        assert change(admin_client, token, name="another name").status_code == 404
    finally:
        pre_save.disconnect(delete, sender=Token)
