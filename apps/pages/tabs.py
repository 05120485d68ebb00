"""The tabs of a dataset's page, which are links: what each has to show, and which is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.http import QueryDict
from django.utils.http import urlencode


class Tab(StrEnum):
    """In the order in which they stand."""

    SAMPLES = "samples"
    FAILURES = "failures"
    RUNS = "runs"
    CODE = "code"


LABELS = {Tab.SAMPLES: "Samples", Tab.FAILURES: "Failures", Tab.RUNS: "Runs", Tab.CODE: "Report from code"}


@dataclass(frozen=True, slots=True)
class TabLink:
    """A tab with how many things it has; ``figure`` is empty where it is not counted.

    ``is_hidden``: nothing is there yet, and the page's script shows the tab with the first that comes.
    """

    tab: Tab
    figure: str
    is_current: bool
    is_hidden: bool

    @property
    def label(self) -> str:
        return LABELS[self.tab]

    @property
    def address(self) -> str:
        return f"?{urlencode({'tab': self.tab.value})}"


def chosen_tab(params: QueryDict, figures: dict[Tab, str]) -> Tab:
    """Return the tab that the query parameters ask for, by name or by what they narrow; else the first that there is.

    ``figures``: those of the tabs that there are.
    """
    word = params.get("tab", "")
    if word in figures:
        return Tab(word)
    if any(name.startswith("failures_") for name in params) and Tab.FAILURES in figures:
        return Tab.FAILURES
    return next(iter(figures))


def links(figures: dict[Tab, str], current: Tab) -> list[TabLink]:
    """Return a link for each tab that there is, and one for the failures that may come."""
    return [
        TabLink(tab, figures.get(tab, ""), tab is current, is_hidden=tab not in figures)
        for tab in Tab
        if tab in figures or tab is Tab.FAILURES
    ]
