"""The nginx example of the documentation, in front of a real server."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.datasets.models import Dataset, Sample
from apps.pipeline.models import Source
from tests.processes import Server, collect_static, web_server
from tests.repository import ROOT
from tests.services import answers, find_program, free_port, running

from .raw import request

CONTENT = b"x" * 200_000


@pytest.fixture
def original(dataset: Dataset, tmp_path: Path) -> str:
    """The address of an original."""
    folder = tmp_path / "images of cats"
    folder.mkdir()
    (folder / "a%20b.jpg").write_bytes(CONTENT)
    Source.objects.create(dataset=dataset, folder=str(folder))
    sample = Sample.objects.create(
        dataset=dataset, path="a%20b.jpg", sha256="a" * 64, size=len(CONTENT), mtime_ns=0, format="JPEG", width=1,
        height=1, thumbnail_width=1, thumbnail_height=1, seen_in_run=1,
    )  # fmt: skip
    return f"/datasets/{dataset.dataset_id}/samples/{sample.pk}/original/"


@pytest.fixture
def server(dataset: Dataset, tmp_path: Path) -> Iterator[Server]:
    """An nginx as the documentation writes it, in front of a web process that leaves files to it."""
    collect_static()
    program = find_program("nginx", package="nginx", folders=[Path("/usr/sbin")])
    text = Path(ROOT, "docs/deployment.md").read_text()
    example = "".join(re.findall(r"```nginx\n(.*?)```", text, re.DOTALL))
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="nginx-") as folder,
        web_server(tmp_path / "log", env={"X_ACCEL_REDIRECT": "/files/"}) as site,
    ):
        temporary = " ".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(f"""
            user root; daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
            events {{}}
            http {{ access_log off; {temporary}
              server {{ listen 127.0.0.1:{port}; {example.replace("127.0.0.1:8000", site.host)} }}
            }}
        """)
        command = [program, "-p", folder, "-c", str(configuration)]
        with running(command, ready=lambda: answers(port), log=tmp_path / "nginx") as process:
            yield Server(port, process)


def test_nginx_sends_files_once_they_are_allowed(server: Server, dataset: Dataset, original: str) -> None:
    whole = request(server, original)
    assert (whole.status, whole.body) == (200, CONTENT)
    assert whole.headers["Content-Type"] == "image/jpeg"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert whole.headers["Cache-Control"] == "private, max-age=300"
    assert "X-Accel-Redirect" not in whole.headers
    assert request(server, original, Range="bytes=5-9").body == CONTENT[5:10]
    dataset.visibility = Dataset.Visibility.PRIVATE
    dataset.save()
    assert request(server, original).status == 404
    assert request(server, "/files/etc/hostname").status == 404


def test_nginx_refuses_large_bodies_in_json(server: Server) -> None:
    body = b"x" * 4_000_000
    refused = request(server, "/api/progress", "POST", body, Content_Length=str(len(body)))
    assert (refused.status, json.loads(refused.body)["code"]) == (413, "too_large")
