"""Which datasets a request may touch."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from apps.api.permitted import make_or_find, writable
from apps.datasets import tokens
from apps.datasets.access.callers import Caller
from apps.datasets.models import Dataset


@pytest.mark.parametrize(
    ("visibility", "refusal"), [("public", HTTPStatus.FORBIDDEN), ("private", HTTPStatus.NOT_FOUND)]
)
def test_a_dataset_that_somebody_made_a_moment_sooner_is_not_ours(
    db: None, visibility: str, refusal: HTTPStatus
) -> None:
    # What is new and has no run is deleted again: it must not be taken for that.
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    theirs = Dataset.objects.create(dataset_id="cats", visibility=visibility, owner=ada)

    def caller(user: User) -> Caller:
        return Caller(user, tokens.issue("test", user=user)[0])

    assert make_or_find(caller(bob), "cats") == (refusal, False)
    assert make_or_find(caller(ada), "cats") == (theirs, False)
    assert make_or_find(caller(bob), "dogs") == (Dataset.objects.get(dataset_id="dogs"), True)


@pytest.mark.parametrize("queries", range(2))  # those before it is made
def test_a_dataset_that_another_process_makes_meanwhile_is_found(db: None, queries: int) -> None:
    ada = User.objects.create_user("ada")
    caller = Caller(ada, tokens.issue("test", user=ada)[0])
    left = queries

    def make_meanwhile(execute: Callable[..., Any], *statement: Any) -> Any:
        nonlocal left
        left -= 1
        if left == -1:
            Dataset.objects.create(dataset_id="cats", owner=ada)
        return execute(*statement)

    with connection.execute_wrapper(make_meanwhile):
        found = writable(caller, "cats", make=True)
    assert found == Dataset.objects.get()
