"""Which datasets a request may touch."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from django.contrib.auth.models import User

from apps.api.permitted import make_or_find
from apps.datasets import tokens
from apps.datasets.access import Caller
from apps.datasets.models import Dataset


@pytest.mark.parametrize(
    ("visibility", "refusal"), [("public", HTTPStatus.FORBIDDEN), ("private", HTTPStatus.NOT_FOUND)]
)
def test_a_dataset_that_somebody_made_a_moment_sooner_is_not_ours(
    db: None, visibility: str, refusal: HTTPStatus
) -> None:
    # What is new and has no run is deleted again: it must not be taken for that.
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    theirs = Dataset.objects.create(key="cats", visibility=visibility, owner=ada)

    def caller(user: User) -> Caller:
        return Caller(user, tokens.issue("test", user=user)[0])

    assert make_or_find(caller(bob), "cats") == (refusal, False)
    assert make_or_find(caller(ada), "cats") == (theirs, False)
    assert make_or_find(caller(bob), "dogs") == (Dataset.objects.get(key="dogs"), True)
