"""The forms of the pages."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings

from apps.datasets.access.sharing import Sharing
from apps.datasets.models import Dataset, Membership
from apps.pipeline.images.selection import PatternsRefused, Selection, clean_patterns
from apps.pipeline.schedules import Schedule

# For how many days a new token is valid; empty: until it is revoked.
_LIFETIMES = [("", "Never"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year")]


def _disable_text_help(form: forms.BaseForm, *names: str) -> None:
    """Turn off the browser's spelling, capitals and completion for the fields that hold identifiers."""
    for name in form.fields.keys() & set(names):
        form.fields[name].widget.attrs |= {"spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}


class PatternsField(forms.CharField):
    """Patterns in gitignore's syntax, one a line."""

    widget = forms.Textarea(attrs={"rows": 3})

    def __init__(self, help_text: str) -> None:
        super().__init__(required=False, max_length=20_000, help_text=help_text, strip=False)

    def clean(self, value: Any) -> str:
        try:
            return clean_patterns(super().clean(value).splitlines())
        except PatternsRefused as refusal:
            raise forms.ValidationError(str(refusal)) from None


class PatternsForm(forms.Form):
    """Which files of a dataset's folder are looked at."""

    exclude = PatternsField("Files and folders to leave out, in the syntax of .gitignore, one pattern a line: raw/")
    include = PatternsField("Only these files, in the same syntax: *.png. Empty: all images.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _disable_text_help(self, "include", "exclude")

    def selection(self) -> Selection:
        """Return what a valid form says."""
        return Selection(include=self.cleaned_data.get("include", ""), exclude=self.cleaned_data.get("exclude", ""))


class NewDatasetForm(PatternsForm, forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """ID, name, folder, patterns and visibility. The pipeline checks whether the folder may be read."""

    folder = forms.CharField(max_length=4096, required=False)

    field_order = ["dataset_id", "name", "folder", "exclude", "include", "visibility"]

    class Meta:
        model = Dataset
        fields = ["dataset_id", "name", "visibility"]
        widgets = {"visibility": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        visibility = self.fields["visibility"]
        visibility.initial = Dataset.Visibility.of_new()
        visibility.choices = _visibility_choices()  # type: ignore[attr-defined]  # a choice field
        self.fields["folder"].help_text = f"{_folder_help()} Leave it empty to report from your own code."
        if not settings.IMPORT_ROOTS:
            for name in ("folder", "include", "exclude"):
                del self.fields[name]
        _disable_text_help(self, "dataset_id", "folder")


def _folder_help() -> str:
    roots = " or ".join(settings.IMPORT_ROOTS)
    return f"The absolute path of a folder of images on this server, in {roots}. Files are only read."


def _visibility_choices() -> list[tuple[str, str]]:
    return [(choice.value, f"{choice.label}: {choice.seen_by}") for choice in Dataset.Visibility]


class EditForm(forms.Form):
    """The name of a dataset, who sees it, and its folder."""

    name = forms.CharField(max_length=Dataset._meta.get_field("name").max_length, required=False)
    visibility = forms.ChoiceField(widget=forms.RadioSelect)
    owner = forms.CharField(max_length=150, required=False, help_text="A user name. The owner may do everything.")
    members = forms.CharField(
        required=False,
        max_length=20_000,
        help_text="User names, separated by blanks or commas. Members see the dataset and may report on it. "
        "ada:steer may also pause, cancel, process and retry it; ada:view may only see it.",
    )
    folder = forms.CharField(max_length=4096, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["visibility"].choices = _visibility_choices()  # type: ignore[attr-defined]  # a choice field
        folder = self.fields["folder"]
        # A folder can be changed, and not be taken away: the samples are those of its files.
        folder.required = bool(self.initial.get("folder"))
        folder.help_text = f"{_folder_help()} Samples whose files are not in it become missing with the next run."
        if not settings.IMPORT_ROOTS:
            del self.fields["folder"]
        _disable_text_help(self, "owner", "members", "folder")

    def clean(self) -> dict[str, Any]:
        """Split the members into their names and their roles."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if "members" in data:
            text = data["members"].strip(", \n\r\t")
            pairs = [part.partition(":") for part in re.split(r"[\s,]+", text)] if text else []
            data["members"] = [name for name, _, _ in pairs]
            data["roles"] = {name: role or Membership.Role.REPORT.value for name, _, role in pairs}
        return data


def members_text(sharing: Sharing) -> str:
    """Return the members as `EditForm` reads them; that a member may report goes without saying."""
    return ", ".join(
        name if role == Membership.Role.REPORT else f"{name}:{role}" for name, role in sharing.roles.items()
    )


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


class BatchForm(forms.Form):
    """The name, the limit and the datasets of a batch, and the ID of a new one."""

    batch_id = forms.CharField(
        label="ID",
        max_length=128,
        help_text="Letters, digits, dots, dashes and underscores. It is part of the address of the batch's page.",
    )
    name = forms.CharField(max_length=200, required=False, help_text="Shown instead of the ID.")
    datasets = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text="The IDs of its datasets, separated by blanks, commas or line breaks.",
    )
    limit = forms.IntegerField(
        label="At once",
        required=False,
        min_value=0,
        max_value=10_000,
        help_text="How many of them this site's workers process at the same time. Empty: as many as there are workers.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _disable_text_help(self, "batch_id", "datasets")

    def clean_datasets(self) -> list[str]:
        """Return the IDs, each once."""
        return list(dict.fromkeys(self.cleaned_data["datasets"].replace(",", " ").split()))

    def clean_limit(self) -> int:
        return self.cleaned_data["limit"] or 0


class ScheduleForm(forms.Form):
    """When a dataset's folder is processed again by itself."""

    NEVER, EVERY, DAILY = "never", "every", "daily"

    when = forms.ChoiceField(
        choices=[(NEVER, "Only when somebody asks"), (EVERY, "Every so many hours"), (DAILY, "Every day at a time")],
        widget=forms.RadioSelect,
    )
    hours = forms.FloatField(required=False, min_value=0.1, max_value=8784, widget=forms.NumberInput({"step": "any"}))
    at = forms.TimeField(required=False, label="Time of day", widget=forms.TimeInput({"type": "time"}, format="%H:%M"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["at"].help_text = f"In the time zone {settings.TIME_ZONE}."

    @classmethod
    def initial_of(cls, schedule: Schedule) -> dict[str, Any]:
        """Return the values of the form that stand for a schedule."""
        if schedule.every is not None:
            return {"when": cls.EVERY, "hours": schedule.every / timedelta(hours=1)}
        return {"when": cls.NEVER if schedule.daily_at is None else cls.DAILY, "at": schedule.daily_at}

    def clean(self) -> dict[str, Any]:
        """Make the schedule of what was chosen."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        when = data.get("when")
        needed = {self.EVERY: "hours", self.DAILY: "at"}.get(when or "")
        if needed and data.get(needed) is None and needed not in self.errors:
            self.add_error(needed, "This field is required.")
        elif not self.errors:
            every = timedelta(minutes=round(data["hours"] * 60)) if when == self.EVERY else None
            data["schedule"] = Schedule(every, data["at"] if when == self.DAILY else None)
        return data
