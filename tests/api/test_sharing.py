"""Visibility, owner and members over the API, by themselves and with a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from apps.datasets.models import Dataset
from apps.progress.models import Run

from .conftest import Pipeline

SHARING = "datasets/cats/sharing"


def test_the_owner_reads_and_changes_it(dataset: Dataset, token_of: Callable[..., str]) -> None:
    pipeline = Pipeline(token_of("owner"))
    User.objects.create_user("ada")
    assert pipeline.get(SHARING).json() == {"visibility": "public", "owner": "owner", "members": [], "roles": {}}
    after = {"visibility": "private", "owner": "owner", "members": ["ada"], "roles": {"ada": "steer"}}
    response = pipeline.send("PATCH", SHARING, {"visibility": "private", "members": ["ada"], "roles": {"ada": "steer"}})
    assert (response.status_code, response.json()) == (200, after)
    assert pipeline.get(SHARING).json() == after
    assert Pipeline("").get("datasets/cats").status_code == 404


def test_names_of_users_are_for_those_who_may_manage(dataset: Dataset, token_of: Callable[..., str]) -> None:
    member = Pipeline(token_of("ada"))
    dataset.members.add(User.objects.get(username="ada"))
    for pipeline, status in ((member, 403), (Pipeline(token_of("bob")), 403), (Pipeline(""), 403)):
        assert pipeline.get(SHARING).status_code == status
    assert member.send("PATCH", SHARING, {"visibility": "private"}).status_code == 403
    assert Pipeline("").send("PATCH", SHARING, {"visibility": "private"}).status_code == 401
    dataset.refresh_from_db()
    assert dataset.visibility == "public"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"visibility": "secret"}, "visibility"),
        ({"members": ["nobody"]}, "members"),
        ({"owner": "nobody", "visibility": "private"}, "owner"),
        ({"name": "x"}, "name"),
    ],
)
def test_a_mistake_is_told_and_nothing_changed(pipeline: Pipeline, dataset: Dataset, body: object, path: str) -> None:
    for response in (pipeline.send("PATCH", SHARING, body), pipeline.post("datasets/cats/runs", body)):
        assert (response.status_code, response.json()["code"]) == (422, "invalid")
        assert response.json()["errors"][0]["path"] == path
    dataset.refresh_from_db()
    assert dataset.visibility == "public"
    assert not Run.objects.exists()


def test_a_run_says_who_sees_the_dataset_that_it_makes(token_of: Callable[..., str]) -> None:
    User.objects.create_user("ada")
    body = {"visibility": "private", "owner": "ada", "members": ["ada"], "idempotency_key": "job"}
    pipeline = Pipeline(token_of())
    assert pipeline.post("datasets/cats/runs", body).status_code == 201
    assert pipeline.post("datasets/cats/runs", body).status_code == 200
    dataset = Dataset.objects.get()
    assert (dataset.visibility, dataset.owner and dataset.owner.username) == ("private", "ada")


def test_a_run_of_a_member_changes_nothing_of_it(dataset: Dataset, token_of: Callable[..., str]) -> None:
    member = Pipeline(token_of("ada"))
    dataset.members.add(User.objects.get(username="ada"))
    refused = member.post("datasets/cats/runs", {"visibility": "private"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert not Run.objects.exists()
    assert member.post("datasets/cats/runs", {"visibility": "public"}).status_code == 201
