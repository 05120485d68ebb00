"""The client package that pages offer for installation: built beforehand, served as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from apps.datasets.models import Dataset


def test_pages_offer_the_wheel_that_was_built(client: Client, public: Dataset, client_wheel: Path) -> None:
    page = client.get(public.get_absolute_url()).text
    [address] = set(re.findall(r"http://testserver(/client/dataset_progress-[\w.]+-py3-none-any\.whl)", page))
    assert client.get(address).content == client_wheel.read_bytes()
    assert client.get(address.replace("py3", "py2")).status_code == 404


def test_without_a_wheel_pages_say_what_to_run(
    client: Client, public: Dataset, settings: Settings, tmp_path: Path
) -> None:
    settings.CLIENT_DIST = tmp_path / "not built"
    page = client.get(public.get_absolute_url()).text
    assert "# This server does not offer the client yet: run `manage.py build_client` on it.\n# export" in page
    assert "pip install" not in page
    assert client.get("/client/dataset_progress-0.1.0-py3-none-any.whl").status_code == 404


def test_a_deployment_without_a_wheel_is_warned(settings: Settings, tmp_path: Path, client_wheel: Path) -> None:
    def warned() -> bool:
        return "pages.W001" in [complaint.id for complaint in run_checks(include_deployment_checks=True)]

    assert not warned()
    settings.CLIENT_DIST = tmp_path
    assert warned()


def test_building_again_replaces_what_was_there(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.CLIENT_DIST = tmp_path / "client"
    settings.CLIENT_DIST.mkdir()
    (settings.CLIENT_DIST / "dataset_progress-0.0.1-py3-none-any.whl").write_bytes(b"old")
    for _ in range(2):
        call_command("build_client")
        [wheel] = settings.CLIENT_DIST.iterdir()
        assert wheel.read_bytes().startswith(b"PK")
        assert capsys.readouterr().out == f"Built {wheel}.\n"
