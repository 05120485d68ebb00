"""What load balancers and monitors ask."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from django.test import Client

from tests.processes import web_server


@pytest.mark.django_db
def test_a_server_with_its_database_is_well(client: Client) -> None:
    answer = client.get("/health/")
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_server_without_its_database_says_so(django_db_setup: None, tmp_path: Path) -> None:
    unreachable = {"DATABASE_URL": "postgres://nobody@127.0.0.1:9/nothing"}
    with web_server(tmp_path / "log", env=unreachable) as server:
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{server.url}/health/")
        assert refused.value.code == 503
        assert refused.value.read() == b"no database"
