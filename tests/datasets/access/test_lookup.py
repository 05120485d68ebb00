"""The datasets that a request names, while others create them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from apps.datasets.access.errors import AccessDenied, NotAllowed, UnknownDataset
from apps.datasets.access.lookup import create_or_find, get_or_create_writable
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.datasets.services import issue_token


@pytest.mark.parametrize(("visibility", "refusal"), [("public", NotAllowed), ("private", UnknownDataset)])
def test_a_dataset_that_somebody_made_a_moment_sooner_is_not_ours(
    db: None, visibility: str, refusal: type[AccessDenied]
) -> None:
    # What is new and has no run is deleted again: it must not be taken for that.
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    theirs = Dataset.objects.create(dataset_id="cats", visibility=visibility, owner=ada)

    def caller(user: User) -> Caller:
        return Caller(user, issue_token("test", user=user)[0])

    found, is_new = create_or_find(caller(bob), "cats")
    assert (type(found), is_new) == (refusal, False)
    assert create_or_find(caller(ada), "cats") == (theirs, False)
    assert create_or_find(caller(bob), "dogs") == (Dataset.objects.get(dataset_id="dogs"), True)


@pytest.mark.parametrize("queries", range(2))  # those before it is made
def test_a_dataset_that_another_process_makes_meanwhile_is_found(db: None, queries: int) -> None:
    ada = User.objects.create_user("ada")
    caller = Caller(ada, issue_token("test", user=ada)[0])
    left = queries

    def make_meanwhile(execute: Callable[..., Any], *statement: Any) -> Any:
        nonlocal left
        left -= 1
        if left == -1:
            Dataset.objects.create(dataset_id="cats", owner=ada)
        return execute(*statement)

    with connection.execute_wrapper(make_meanwhile):
        found = get_or_create_writable(caller, "cats")
    assert found == Dataset.objects.get()
