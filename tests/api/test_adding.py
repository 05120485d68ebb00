"""A token adds datasets for those alone who may add them on the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from pytest_django import Settings

from apps.datasets.models import Dataset, ReservedPrefix

from .conftest import Pipeline

TokenOf = Callable[..., str]


def test_every_way_to_report_obeys_the_rule(token_of: TokenOf, settings: Settings) -> None:
    settings.USERS_MAY_ADD_DATASETS = False
    pipeline = Pipeline(token_of("ada"))
    for response in (pipeline.report("cats", current=1), pipeline.post("datasets/cats/runs", {})):
        assert (response.status_code, response.json()["code"]) == (403, "may_not_add")
    batch = pipeline.post("progress", {"updates": [{"dataset_id": "cats", "current": 1}]})
    assert [(one["status"], one["code"]) for one in batch.json()["results"]] == [(403, "may_not_add")]
    assert not Dataset.objects.exists()
    settings.USERS_MAY_ADD_DATASETS = True
    assert pipeline.report("cats", current=1).status_code == 200


def test_a_batch_stops_at_the_quota(token_of: TokenOf, settings: Settings) -> None:
    settings.DATASETS_PER_USER = 2
    updates = [{"dataset_id": f"cats-{i}", "current": 1} for i in range(4)]
    results = Pipeline(token_of("ada")).post("progress", {"updates": updates}).json()["results"]
    assert [one.get("code") for one in results] == [None, None, "quota_reached", "quota_reached"]
    assert Dataset.objects.count() == 2


def test_the_name_of_another_team_is_not_taken(token_of: TokenOf) -> None:
    ReservedPrefix.objects.create(prefix="team-a-", team=Group.objects.create(name="Team A"))
    refused = Pipeline(token_of("ada")).report("team-a-cats", current=1)
    assert (refused.status_code, refused.json()["code"]) == (403, "name_reserved")
    assert Pipeline(token_of()).report("team-a-cats", current=1).status_code == 200  # the site's own


@pytest.mark.parametrize("path", ["datasets", "datasets/cats", "datasets/cats/progress", "docs", "openapi.json"])
def test_with_sign_in_required_nobody_reads_without_a_session_or_a_token(
    token_of: TokenOf, client_of: Callable[..., Client], dataset: Dataset, settings: Settings, path: str
) -> None:
    assert Pipeline("").get(path).status_code == 200
    settings.SIGN_IN_REQUIRED = True
    refused = Pipeline("").get(path)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert Pipeline("dp_unknown").get(path).status_code == 401
    assert Pipeline(token_of("ada")).get(path).status_code == 200
    assert client_of("bob").get(f"/api/{path}").status_code == 200
