"""Who may: a dataset that one may not see is a dataset that is not there, and steering is for its owner and staff."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404

from apps.datasets.access.callers import Caller
from apps.datasets.models import Dataset


def visible_dataset(request: HttpRequest, dataset_id: str) -> Dataset:
    """The dataset ``dataset_id``, if whoever asks may see it. Raises `Http404`, the same for unknown and invisible."""
    return get_object_or_404(Dataset.objects.visible_to(request.user), dataset_id=dataset_id)


def steering(
    view: Callable[[HttpRequest, Dataset], HttpResponseBase],
) -> Callable[[HttpRequest, str], HttpResponseBase]:
    """Give ``view`` the dataset in place of its id, if whoever asks may steer it.

    404 where it may not be seen, the login page for those who are not logged in, 403 for all others.
    """

    @wraps(view)
    def guarded(request: HttpRequest, dataset_id: str) -> HttpResponseBase:
        dataset = visible_dataset(request, dataset_id)
        if request.user.is_anonymous:
            return redirect_to_login(dataset.get_absolute_url())
        if not Caller(request.user).may_steer(dataset):
            raise PermissionDenied
        return view(request, dataset)

    return guarded
