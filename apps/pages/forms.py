"""The form that makes a dataset of a folder."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from apps.datasets.models import Dataset


class NewDatasetForm(forms.ModelForm):  # type: ignore[type-arg]
    """Id, name, folder and visibility. Whether the folder may be read is for the pipeline to say."""

    folder = forms.CharField(max_length=4096)

    field_order = ["key", "name", "folder", "visibility"]

    class Meta:
        model = Dataset
        fields = ["key", "name", "visibility"]
        widgets = {"visibility": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        visibility = Dataset.Visibility.PUBLIC if settings.DATASETS_PUBLIC else Dataset.Visibility.PRIVATE
        self.fields["visibility"].initial = visibility
        self.fields["folder"].help_text = (
            "Its absolute path on this server. It is only read, with all folders inside it. It has to be, or be under, "
            f"{' or '.join(settings.IMPORT_ROOTS)}."
        )
        for name in ("key", "folder"):
            self.fields[name].widget.attrs |= {"spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}
