"""The forms of the pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from apps.datasets.models import Dataset

_VISIBLE_TO = {
    Dataset.Visibility.PUBLIC: "anyone who can open this site",
    Dataset.Visibility.PRIVATE: "the owner, members and staff",
}
# For how many days a new token is valid; empty: until it is revoked.
_LIFETIMES = [("", "Never"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year")]


def _disable_text_help(form: forms.BaseForm, *names: str) -> None:
    """Turn off the browser's spelling, capitals and completion for the fields that hold identifiers."""
    for name in form.fields.keys() & set(names):
        form.fields[name].widget.attrs |= {"spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}


class NewDatasetForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """ID, name, folder and visibility. The pipeline checks whether the folder may be read."""

    folder = forms.CharField(max_length=4096, required=False)

    field_order = ["dataset_id", "name", "folder", "visibility"]

    class Meta:
        model = Dataset
        fields = ["dataset_id", "name", "visibility"]
        widgets = {"visibility": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        visibility = self.fields["visibility"]
        visibility.initial = Dataset.Visibility.of_new()
        visibility.choices = [(choice, f"{choice.label}: {who}") for choice, who in _VISIBLE_TO.items()]  # type: ignore[attr-defined]  # a choice field
        self.fields["folder"].help_text = (
            f"The absolute path of a folder of images on this server, in {' or '.join(settings.IMPORT_ROOTS)}. Files "
            "are only read. Leave it empty to report from your own code."
        )
        if not settings.IMPORT_ROOTS:
            del self.fields["folder"]
        _disable_text_help(self, "dataset_id", "folder")


class TokenForm(forms.Form):
    """The name of a new token and what it gives access to."""

    name = forms.CharField(max_length=100, help_text="For example: nightly embedding.")
    datasets = forms.CharField(
        max_length=1000,
        initial="*",
        help_text="Dataset IDs, separated by commas. team-a-* covers every ID that starts with team-a-; * covers all.",
    )
    days = forms.TypedChoiceField(
        choices=_LIFETIMES, coerce=int, empty_value=None, required=False, label="Expires after"
    )
    read_only = forms.BooleanField(required=False, label="Read only")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _disable_text_help(self, "name", "datasets")
