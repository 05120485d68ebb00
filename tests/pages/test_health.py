"""What load balancers and monitors ask. `tests/servers` has what they are told without a database."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.django_db
def test_a_server_with_its_database_is_well(client: Client) -> None:
    answer = client.get("/health/")
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert answer.headers["Cache-Control"] == "no-store"
