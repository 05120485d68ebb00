"""The actions of the admin's lists that steer runs."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.progress import services
from apps.progress.control import Action, Outcome
from apps.progress.errors import NoRun

# Rows that a message names before it counts the rest.
NAMED: Final = 10
OVER: Final = "It is over, and another followed."
NEVER_RAN: Final = Outcome.refused(NoRun("It has never run."))


class Steering(admin.ModelAdmin[Any]):
    """Let those who may change runs pause, resume, cancel, end and retry the chosen rows."""

    actions = ("pause", "resume", "cancel", "end_now", "retry", "retry_failed")

    def steered(self, rows: QuerySet[Any]) -> tuple[dict[int, str], list[str]]:
        """Return the chosen rows whose datasets are steered, by the row id of the dataset, and those that are over."""
        raise NotImplementedError

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause, resume and cancel: those with the permission to change runs may."""
        return request.user.has_perm("progress.change_run")

    @admin.action(description="Pause", permissions=["steer"])
    def pause(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._steer(request, rows, Action.PAUSE)

    @admin.action(description="Resume", permissions=["steer"])
    def resume(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._steer(request, rows, Action.RESUME)

    @admin.action(description="Cancel", permissions=["steer"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._steer(request, rows, Action.CANCEL)

    @admin.action(description="End now, where it does not obey", permissions=["steer"])
    def end_now(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._steer(request, rows, Action.END)

    @admin.action(description="Process again", permissions=["steer"])
    def retry(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._steer(request, rows, Action.RETRY)

    @admin.action(description="Process failed items again", permissions=["steer"])
    def retry_failed(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._steer(request, rows, Action.RETRY_FAILED)

    def _steer(self, request: HttpRequest, rows: QuerySet[Any], action: Action) -> None:
        """Do the action, and say what became of each row."""
        by_dataset, over = self.steered(rows)
        outcomes = services.request(action, by_dataset, request.user.get_username())
        told: dict[tuple[bool, str], list[str]] = {(False, OVER): over} if over else {}
        for pk, name in by_dataset.items():
            outcome = outcomes.get(pk)
            told.setdefault((outcome.changed, outcome.detail) if outcome else (False, "It has never run."), []).append(
                name
            )
        for (changed, detail), names in told.items():
            level = messages.SUCCESS if changed else messages.WARNING
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            # The admin begins every message with a capital, which an id may not have.
            self.message_user(request, f"{detail.removesuffix('.')}: {', '.join(names[:NAMED])}{more}.", level)
