"""Misconfiguration is told by name before anything is done with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("EMBEDDER", "apps.nothing.Here", "pipeline.E001"),
        ("IMPORT_ROOTS", "pictures", "pipeline.E002"),
        ("IMPORT_ROOTS", "/no/such/folder", "pipeline.W001"),
        ("LEASE_SECONDS", "0", "pipeline.E003"),
        ("PIPELINE_PROCESSES", "-1", "pipeline.E004"),
        ("MAX_IMAGE_PIXELS", "0", "pipeline.E005"),
        ("DATA_DIR", "/no/such/folder", "pipeline.E006"),
        ("ALLOWED_ORIGINS", "https://app.example/path", "live.E001"),
        ("SECRET_KEY_FILE", "/no/such/file", "Set SECRET_KEY"),
        ("LEASE_SECONDS", "soon", "LEASE_SECONDS"),
    ],
)
def test_misconfiguration_is_told(name: str, value: str, told: str) -> None:
    env = {**os.environ, name: value}
    if name == "SECRET_KEY_FILE":
        del env["SECRET_KEY"]
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert told in result.stderr
