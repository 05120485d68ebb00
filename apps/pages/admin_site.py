"""The admin's site: it starts with what needs attention and the ways to the pages, and groups its tables."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from .attention import concerns
from .log_in import AdminLogInForm


class Group(NamedTuple):
    """Tables of the admin that belong together: ``models`` in their order, as app label and name."""

    name: str
    description: str
    models: tuple[str, ...]


GROUPS: Final = (
    Group(
        "Datasets and runs",
        "What is processed, how far it is, and what went wrong.",
        ("datasets.Dataset", "progress.Run", "batches.Batch", "pipeline.Source", "progress.Stage",
         "progress.WorkerShare",
         "progress.ItemFailure", "progress.Transition", "datasets.Sample"),
    ),
    Group(
        "People and access",
        "Who may sign in, and which programs may report.",
        ("auth.User", "auth.Group", "datasets.Token", "datasets.ReservedPrefix"),
    ),
    Group(
        "Notifications",
        "What the site tells, and what became of it.",
        ("notifications.Subscription", "notifications.Delivery"),
    ),
)  # fmt: skip
OTHERS: Final = Group("Behind the scenes", "Rows that the program alone writes: to look into a fault.", ())


class Site(AdminSite):
    site_header = site_title = "Dataset Progress"
    index_title = "Administration"
    index_template = "admin/start.html"
    login_form = AdminLogInForm

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show what needs attention, and the tables."""
        return super().index(request, {**(extra_context or {}), "concerns": concerns(timezone.now())})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the tables that the user may see, in `GROUPS`; those of one app as Django has them."""
        apps = super().get_app_list(request, app_label)
        if app_label is not None:
            return apps
        entries = {f"{app['app_label']}.{model['object_name']}": model for app in apps for model in app["models"]}
        groups = []
        for group in (*GROUPS, OTHERS):
            names = group.models or tuple(entries)
            if models := [entries.pop(name) for name in names if name in entries]:
                label = group.name.lower().replace(" ", "-")
                groups.append(
                    {
                        "name": group.name, "description": group.description, "app_label": label,
                        "app_url": f"{reverse('admin:index')}#{label}", "has_module_perms": True, "models": models,
                    }
                )  # fmt: skip
        return groups
