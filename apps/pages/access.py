"""What pages answer to those who may not: an unknown page, the login page, or 403. `apps.datasets.access` decides."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse

from apps.datasets.access.errors import NotAllowed, UnknownDataset
from apps.datasets.access.lookup import get_manageable, get_steerable, get_visible
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset


class SignInMiddleware(LoginRequiredMiddleware):
    """With ``SIGN_IN_REQUIRED``, show the sign-in page in place of every page to those who are not signed in.

    The views of the API answer for themselves; they and a few others are marked with `login_not_required`.
    """

    def __init__(self, get_response: Any) -> None:
        if not settings.SIGN_IN_REQUIRED:
            raise MiddlewareNotUsed
        super().__init__(get_response)

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> Any:
        if "HX-Request" in request.headers:
            return HttpResponse(status=403)  # a page would be swapped into the page that asks for a fragment
        return super().handle_no_permission(request, view_func)


def rights(request: HttpRequest) -> dict[str, object]:
    """Context processor: what templates ask about the user. Queries are made where they ask."""
    return {"may_add_datasets": Caller(getattr(request, "user", None) or AnonymousUser()).may_add_datasets}


def visible_dataset(request: HttpRequest, dataset_id: str) -> Dataset:
    """Return a dataset that the user may see. Raises `Http404`."""
    try:
        return get_visible(Caller(request.user), dataset_id)
    except UnknownDataset as refusal:
        raise Http404 from refusal


Steered = Callable[[HttpRequest, Dataset], HttpResponseBase]


def steering(view: Steered) -> Callable[[HttpRequest, str], HttpResponseBase]:
    """Call ``view`` with the dataset in place of its id, where the user may steer it.

    Others get a 404 where they may not see it, the login page where they are not signed in, and else a 403.
    """
    return _guarded(view, get_steerable)


def managing(view: Steered) -> Callable[[HttpRequest, str], HttpResponseBase]:
    """Do as `steering`, where the user may delete the dataset and say who sees it."""
    return _guarded(view, get_manageable)


def _guarded(view: Steered, get: Callable[[Caller, str], Dataset]) -> Callable[[HttpRequest, str], HttpResponseBase]:
    @wraps(view)
    def guarded(request: HttpRequest, dataset_id: str) -> HttpResponseBase:
        try:
            dataset = get(Caller(request.user), dataset_id)
        except UnknownDataset as refusal:
            raise Http404 from refusal
        except NotAllowed as refusal:
            if request.user.is_anonymous:
                return redirect_to_login(reverse("dataset", args=[dataset_id]))
            raise PermissionDenied from refusal
        return view(request, dataset)

    return guarded
