"""What one address may read without saying who it is."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.core.addresses import client_address
from apps.datasets.models import Dataset
from apps.datasets.services import issue_token

PROGRESS = "/api/datasets/cats/progress"
# A bucket that no other test has used.
_addresses = (f"10.1.{number // 250}.{number % 250}" for number in count())


@pytest.fixture
def address(settings: Any) -> str:
    """An address that may read 2 a second, and 10 at once."""
    settings.READS_PER_ADDRESS = 2
    return next(_addresses)


@pytest.fixture
def cats(db: None) -> Dataset:
    return Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)


def status(address: str, path: str = PROGRESS, client: Client | None = None, **headers: str) -> int:
    return (client or Client()).get(path, REMOTE_ADDR=address, headers=headers).status_code


def test_requests_are_counted_by_address(cats: Dataset, address: str) -> None:
    assert {status(address) for _ in range(10)} == {200}
    refused = Client().get(PROGRESS, REMOTE_ADDR=address)
    assert (refused.status_code, refused.json()["code"], refused["Retry-After"]) == (429, "too_many", "1")
    assert status(next(_addresses)) == 200


def test_rows_are_counted(cats: Dataset, address: str) -> None:
    assert status(address, "/api/datasets?limit=100") == 200  # 1 + 5
    refused = Client().get("/api/datasets?limit=100", REMOTE_ADDR=address)
    assert (refused.status_code, refused.json()["code"], refused["Retry-After"]) == (429, "too_many", "1")
    assert status(address, "/api/datasets/cats/runs?limit=1") == 200


def test_wrong_tokens_are_counted(cats: Dataset, address: str) -> None:
    assert {status(address, Authorization="Bearer wrong") for _ in range(10)} == {401}
    assert status(address, Authorization="Bearer wrong") == 429


def test_who_says_who_it_is_has_no_such_limit(cats: Dataset, address: str) -> None:
    user = User.objects.create_user("ada")
    client = Client()
    client.force_login(user)
    bearer = f"Bearer {issue_token('x', user=user)[1]}"
    assert {status(address, client=client) for _ in range(12)} == {200}
    assert {status(address, Authorization=bearer) for _ in range(12)} == {200}


def test_header_for_a_proxy_is_no_token(cats: Dataset, address: str) -> None:
    user = User.objects.create_user("ada")
    secret = Dataset.objects.create(dataset_id="dogs", owner=user, visibility=Dataset.Visibility.PRIVATE)
    client = Client()
    client.force_login(user)
    path = f"/api/datasets/{secret.dataset_id}/progress"
    for header in ("Basic YTpi", "basic YTpi", "Negotiate x", 'Digest username="a"'):
        assert status(address, path, client, Authorization=header) == 200
        assert status(address, Authorization=header) == 200
    for header in ("Bearer wrong", "Token wrong", "wrong"):
        assert status(address, path, client, Authorization=header) == 401


def test_no_limit(cats: Dataset, address: str, settings: Any) -> None:
    settings.READS_PER_ADDRESS = 0
    assert {status(address) for _ in range(30)} == {200}


@pytest.mark.parametrize(
    ("is_behind_proxy", "forwarded", "address"),
    [
        (False, "10.0.0.2", "10.0.0.1"),
        (True, "10.0.0.2", "10.0.0.2"),
        (True, "10.0.0.9, 10.0.0.2", "10.0.0.2"),
        (True, "2001:db8::1:2", "2001:db8::/64"),
        (True, "", "10.0.0.1"),
    ],
)
def test_address_behind_a_proxy(settings: Any, is_behind_proxy: bool, forwarded: str, address: str) -> None:
    settings.BEHIND_PROXY = is_behind_proxy
    assert client_address("10.0.0.1", forwarded) == address
