"""A server with what is attacked: a large file, many vectors, an account, and a dataset that is watched meanwhile."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import services
from tests.repository import ROOT

FILE_MB = int(os.environ.get("FILE_MB", "95"))
VECTORS = int(os.environ.get("VECTORS", "200000"))
BLOCK = 1000
DIMENSIONS = 64
USER = "ada"


@dataclass(frozen=True, slots=True)
class Site:
    port: int
    token: str


@contextmanager
def site() -> Iterator[Site]:
    """Run a server on a new SQLite database. Its token may report on ``watched``; ``attacked`` has one sample, 1."""
    with tempfile.TemporaryDirectory(prefix="bench-fairness-") as folder:
        Path(folder, "static").mkdir()
        os.environ.pop("DATABASE_URL", None)
        os.environ |= {
            "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "LOG_LEVEL": "ERROR", "REDIS_URL": "", "TOKEN_REQUESTS_A_SECOND": "0",
        }  # fmt: skip
        token = _prepare(Path(folder))
        port = services.free_port()
        command = [
            sys.executable, "-m", "progress_site.servers.daphne", "-b", "127.0.0.1", "-p", str(port),
            "progress_site.asgi:application",
        ]  # fmt: skip
        with services.running(command, ready=lambda: services.answers(port), log=Path(folder, "log"), cwd=ROOT):
            yield Site(port, token)


def _prepare(folder: Path) -> str:
    """Fill the database. Returns the secret of a token of the site's own."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    import numpy as np
    from django.contrib.auth.models import User
    from django.db import connection

    from apps.datasets.models import Dataset, EmbeddingBlock, Sample
    from apps.datasets.services import issue_token
    from apps.pipeline.models import Source
    from apps.progress import services as progress

    watched, attacked = (
        Dataset.objects.create(dataset_id=name, visibility="public") for name in ("watched", "attacked")
    )
    run = progress.begin_run(watched, [progress.StagePlan("index", total=10**9)])
    progress.start_stage(run.pk, "index")
    images = folder / "images"
    images.mkdir()
    with (images / "large.jpg").open("wb") as file:
        file.truncate(FILE_MB << 20)
    Source.objects.create(dataset=attacked, folder=str(images))
    vectors = np.random.default_rng(1).standard_normal((BLOCK, DIMENSIONS)).astype("<f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    blocks = EmbeddingBlock.objects.bulk_create(
        [
            EmbeddingBlock(
                dataset=attacked, embedder="bench", dimensions=DIMENSIONS, vectors=vectors.tobytes(),
                sample_ids=np.arange(start + 1, start + 1 + BLOCK, dtype="<i8").tobytes(),
            )
            for start in range(0, VECTORS, BLOCK)
        ],
        batch_size=10,
    )  # fmt: skip
    Sample.objects.create(
        pk=1, dataset=attacked, path="large.jpg", size=FILE_MB << 20, mtime_ns=0, sha256="0" * 64, format="JPEG",
        width=1, height=1, thumbnail_width=1, thumbnail_height=1, seen_in_run=1, embedding_block=blocks[0],
    )  # fmt: skip
    User.objects.create_user(USER, password="a password that nobody knows")
    secret = issue_token("bench")[1]
    connection.close()
    return secret
