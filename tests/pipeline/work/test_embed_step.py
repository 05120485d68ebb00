"""The embed step: what is stored, and samples or embedders that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction
from pytest_django import Settings

from apps.datasets.models import EmbeddingBlock, Sample
from apps.pipeline.images.media import thumbnail_file
from apps.pipeline.models import Job
from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.models import ItemFailure
from apps.progress.selectors import failure_note, progress_of
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)


def test_vectors_are_stored_with_their_name_and_dimensions(folder: Path) -> None:
    make_images(folder, 70)
    run, _ = process(folder)
    blocks = EmbeddingBlock.objects.filter(dataset=run.dataset)
    pks: list[int] = []
    for block in blocks:
        vectors = np.frombuffer(block.vectors, dtype="<f4").reshape(-1, block.dimensions)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
        assert block.embedder
        pks += np.frombuffer(block.sample_ids, dtype="<i8").tolist()
    assert sorted(pks) == sorted(Sample.objects.values_list("pk", flat=True))
    assert not Sample.objects.filter(embedding_block=None).exists()


def test_unknown_embedder_is_an_error_that_says_so(folder: Path, settings: Settings) -> None:
    make_images(folder, 2)
    settings.EMBEDDER = "tests.nothing.Here"
    run, outcome = process(folder)
    assert outcome is Outcome.ERROR
    assert "tests.nothing" in failure_note(run)


def test_another_embedder_embeds_everything_anew(folder: Path, settings: Settings) -> None:
    make_images(folder, 3, size=(20, 30))
    process(folder)
    settings.EMBEDDER = "tests.pipeline.work.deadly.Deadly"
    process(folder)
    assert {(block.embedder, block.dimensions) for block in EmbeddingBlock.objects.all()} == {("deadly", 2)}


@pytest.mark.parametrize("embedder", ["Deadly", "Picky"])
def test_sample_that_the_embedder_cannot_take_is_one_failure(folder: Path, settings: Settings, embedder: str) -> None:
    make_images(folder, 3, size=(20, 30))
    make_images(folder / "wide", 1, size=(30, 20))
    settings.EMBEDDER = f"tests.pipeline.work.deadly.{embedder}"
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.state, shown.current, shown.total, shown.failed) == ("ready", 4, 4, 1)
    failure = ItemFailure.objects.get(run=run)
    assert (failure.stage, failure.item) == ("embed", "wide/000000.jpg")
    assert embedder.lower() in failure.reason
    [left] = Sample.objects.filter(embedding_block=None)
    assert left.path == "wide/000000.jpg"
    # Once it can be embedded, it is.
    settings.EMBEDDER = "tests.pipeline.work.deadly.Patient"
    process(folder)
    assert not Sample.objects.filter(embedding_block=None).exists()


def test_embedder_that_can_take_nothing_is_an_error(folder: Path, settings: Settings) -> None:
    make_images(folder, 3, size=(30, 20))
    settings.EMBEDDER = "tests.pipeline.work.deadly.Picky"
    run, outcome = process(folder)
    assert outcome is Outcome.ERROR
    assert progress_of(run.dataset_id).error == "The server failed. Whoever may control the dataset sees why."
    assert failure_note(run) == "ValueError: too wide"


def test_a_few_bad_samples_of_a_later_run_are_failures(folder: Path, settings: Settings) -> None:
    make_images(folder, 3, size=(20, 30))
    settings.EMBEDDER = "tests.pipeline.work.deadly.Picky"
    process(folder)
    make_images(folder / "wide", 2, size=(30, 20))
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    assert progress_of(run.dataset_id).failed == 2


def test_sample_whose_thumbnail_is_gone_is_one_failure(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 40)
    run = process_folder(folder, dataset_id="cats")

    def lose(shown: DatasetProgress) -> None:
        if (shown.run, shown.state, shown.current) == (1, "indexing", 40):
            thumbnail_file(Sample.objects.get(path="000007.jpg")).unlink(missing_ok=True)

    on_change(lose)
    assert Runner(run.pk).process() is Outcome.READY
    assert list(ItemFailure.objects.values_list("item", "reason")) == [("000007.jpg", "its thumbnail is gone")]
    assert process(folder)[1] is Outcome.READY  # which makes it anew
    assert not Sample.objects.filter(embedding_block=None).exists()


def test_embedding_is_planned_in_short_transactions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.pipeline.work.embed_step.EMBED_CHUNK", 2)
    monkeypatch.setattr("apps.pipeline.work.chunks.CHUNKS_PER_QUERY", 2)
    make_images(folder, 10)
    happened: list[str] = []

    def look(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.startswith('INSERT INTO "pipeline_chunk"') and Job.Phase.EMBED in params:
            happened.append("planned")
            transaction.on_commit(lambda: happened.append("committed"))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        process(folder)
    assert happened == ["planned", "committed"] * 3
