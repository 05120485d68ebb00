"""The forms of the pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from apps.datasets.models import Dataset

_WHO = {
    Dataset.Visibility.PUBLIC: "anyone who can open this site",
    Dataset.Visibility.PRIVATE: "the owner, members and staff",
}


def _no_prose(form: forms.BaseForm, *names: str) -> None:
    """Have browsers correct and complete nothing in these fields."""
    for name in form.fields.keys() & set(names):
        form.fields[name].widget.attrs |= {"spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}


class NewDatasetForm(forms.ModelForm):  # type: ignore[type-arg]
    """Id, name, folder and visibility. Whether the folder may be read is for the pipeline to say."""

    folder = forms.CharField(max_length=4096, required=False)

    field_order = ["key", "name", "folder", "visibility"]

    class Meta:
        model = Dataset
        fields = ["key", "name", "visibility"]
        widgets = {"visibility": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        visibility = self.fields["visibility"]
        visibility.initial = Dataset.Visibility.of_new()
        visibility.choices = [(choice, f"{choice.label}: {who}") for choice, who in _WHO.items()]  # type: ignore[attr-defined]
        self.fields["folder"].help_text = (
            "Of images, by its absolute path on this server. It is only read, with all folders inside it. It has to "
            f"be, or be under, {' or '.join(settings.IMPORT_ROOTS)}. Leave it out to report from your own code."
        )
        if not settings.IMPORT_ROOTS:
            del self.fields["folder"]
        _no_prose(self, "key", "folder")


class TokenForm(forms.Form):
    """What a new token is for, and what it may."""

    name = forms.CharField(max_length=100, help_text="What it is for: “nightly embedding”, say.")
    datasets = forms.CharField(
        max_length=1000,
        initial="*",
        help_text="Ids, divided by commas. team-a-* stands for all that begin so, * for all.",
    )
    days = forms.IntegerField(
        min_value=1, max_value=36_500, required=False, help_text="How many days it holds. Empty: until it is revoked."
    )
    read_only = forms.BooleanField(required=False, label="It may read, and not report")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _no_prose(self, "name", "datasets")
