"""`python -m tests.bench.near_duplicates`: how long near-duplicates are searched for, and the memory that it takes.

The vectors are the default embedder's, of images of random shapes with grain. One in a hundred is that of an earlier
image, a little changed.
"""

from __future__ import annotations

import progress_site  # noqa: F401  # before NumPy: its BLAS has one thread in the product, and many of them are slower

# isort: split
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .pipeline import _site

VECTORS = int(os.environ.get("VECTORS", "500000"))
AT_ONCE: Final = 1024
BLOCK: Final = 64  # vectors, as in a chunk of a run
SIDE: Final = 32


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-near-duplicates-") as name, _site(Path(name)):
        dataset_pk = _dataset()
        from apps.pipeline.work.duplicates_step import _grouped

        before = _peak_mb()
        began, processor = time.perf_counter(), time.process_time()
        found = sum(1 for _ in _grouped(dataset_pk, lambda: None, lambda pairs: None))
        print(json.dumps({
            "vectors": VECTORS,
            "in_groups": found,
            "seconds": round(time.perf_counter() - began, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
            "peak_growth_mb": round(_peak_mb() - before),
        }))  # fmt: skip


def _dataset() -> int:
    """Make a dataset with a sample and a vector of each image. Returns its primary key."""
    from apps.datasets.models import Dataset, EmbeddingBlock, Sample
    from apps.pipeline.images.embedders import ColourLayout

    dataset = Dataset.objects.create(dataset_id="bench")
    random = np.random.default_rng(0)
    pixels = _images(random)
    for start in range(0, VECTORS, AT_ONCE):
        count = min(AT_ONCE, VECTORS - start)
        similar = count // 100
        pixels = np.concatenate([_changed(random, pixels[:similar]), _images(random)[: count - similar]])
        rows = _embedded(pixels)
        for first in range(0, count, BLOCK):
            ids = range(start + first + 1, start + min(first + BLOCK, count) + 1)
            block = EmbeddingBlock.objects.create(
                dataset=dataset, embedder=ColourLayout.name, dimensions=rows.shape[1],
                sample_ids=np.asarray(ids, "<i8").tobytes(),
                vectors=rows[first : first + BLOCK].astype("<f4").tobytes(),
            )  # fmt: skip
            Sample.objects.bulk_create(
                Sample(
                    pk=pk, dataset=dataset, path=f"{pk}", size=1, mtime_ns=1, sha256=f"{pk:064}", format="JPEG",
                    width=1, height=1, thumbnail_width=1, thumbnail_height=1, seen_in_run=1, embedding_block=block,
                )
                for pk in ids
            )  # fmt: skip
    return int(dataset.pk)


def _images(random: np.random.Generator) -> NDArray[np.float32]:
    """Return ``AT_ONCE`` images, shape (n, 32, 32, 3) of 0..255: random shapes, each smaller by half and weaker."""
    images = np.full((AT_ONCE, SIDE, SIDE, 3), 128, np.float32)
    for cells, strength in ((2, 90), (4, 60), (8, 30), (32, 6)):
        shapes = random.normal(0, strength, (AT_ONCE, cells, cells, 3)).astype(np.float32)
        images += shapes.repeat(SIDE // cells, 1).repeat(SIDE // cells, 2)
    return images.clip(0, 255)


def _changed(random: np.random.Generator, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return (images + random.normal(0, 3, images.shape).astype(np.float32)).clip(0, 255)


def _embedded(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    from PIL import Image

    from apps.pipeline.images.embedders import ColourLayout

    return ColourLayout().embed([Image.fromarray(image.astype(np.uint8), "YCbCr") for image in pixels])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
