"""`make bench-pipeline`: measure a whole run of the pipeline beside a bare loop over the same images.

The peer is a plain loop: one process, Pillow's draft decode, a resize, the same descriptor, and no database, hash,
thumbnail, resume or page. Memory is the peak of the worker and its processes for 50,000 images, less that for 1,000.

The pool's processes import this module, so it imports Django only once it runs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

REPEATS = int(os.environ.get("REPEATS", "3"))
IMAGES = int(os.environ.get("IMAGES", "2000"))
MANY = int(os.environ.get("MANY", "50000"))
FEW = 1000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as name, _site(Path(name)):
        folder = Path(name, "images")
        _photographs(folder / "photographs", IMAGES)
        ours, loop = [], []
        two = []
        for repeat in range(REPEATS):
            loop.append(IMAGES / _seconds(lambda: _bare_loop(folder / "photographs")))
            with _kept(f"bench-{repeat}"):
                ours.append(IMAGES / _seconds(lambda: _run(folder / "photographs", f"bench-{repeat}")))  # noqa: B023 -- called at once
            two.append(2 * IMAGES / _seconds(lambda: _two_loops(folder / "photographs")))
        _photographs(folder / "few", FEW, size=(160, 120))
        _copies(folder / "few", folder / "many", MANY)
        with _kept("few"), _kept("many"):
            few = _peak_mb(lambda: _run(folder / "few", "few"))
            many = _peak_mb(lambda: _run(folder / "many", "many"))
    _report(statistics.median(ours), statistics.median(loop), statistics.median(two), few, many)


@contextmanager
def _site(data_dir: Path) -> Iterator[None]:
    """Set up a site with its own data folder, on SQLite."""
    os.environ |= {"DATA_DIR": str(data_dir), "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "progress_site.settings"}
    os.environ["LOG_LEVEL"] = "WARNING"
    os.environ.pop("DATABASE_URL", None)
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    yield


def _photographs(folder: Path, count: int, size: tuple[int, int] = (800, 600)) -> None:
    """Write JPEGs of quality 90 with large shapes and fine grain, like photographs, each different."""
    folder.mkdir(parents=True)
    grain = np.random.default_rng(0).normal(0, 5, (size[1] + 64, size[0] + 64, 1)).round().astype(np.int16)

    def write(number: int) -> None:
        random = np.random.default_rng(number)
        shapes = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        y, x = random.integers(0, 64, 2)
        pixels = np.asarray(shapes) + grain[y : y + size[1], x : x + size[0]]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write, range(count)))


def _copies(source: Path, folder: Path, count: int) -> None:
    """Write ``count`` copies of the pictures in ``source``. A number after the end of the JPEG makes each different."""
    folder.mkdir()
    originals = [path.read_bytes() for path in sorted(source.iterdir())]
    for number in range(count):
        Path(folder, f"{number:06}.jpg").write_bytes(originals[number % len(originals)] + number.to_bytes(4, "big"))


def _bare_loop(folder: Path) -> None:
    from apps.pipeline.images.embedders import ColourLayout

    embedder = ColourLayout()
    vectors = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            image.draft("RGB", (256, 256))
            image.thumbnail((256, 256))
            vectors.append(embedder.embed([image.convert("RGB")])[0])
    np.stack(vectors)


def _two_loops(folder: Path) -> None:
    """Run two bare loops side by side, to see what two cores do on this machine at this hour."""
    loops = [multiprocessing.Process(target=_bare_loop, args=(folder,)) for _ in range(2)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()


def _run(folder: Path, dataset_id: str) -> None:
    """Process a folder from queued to ready, with its processes started and stopped."""
    from apps.pipeline.services import process_folder
    from apps.pipeline.work.runner import Outcome, Runner

    outcome = Runner(process_folder(folder, dataset_id=dataset_id).pk).process()
    if outcome is not Outcome.READY:
        sys.exit(f"the run ended {outcome}")


@contextmanager
def _kept(dataset_id: str) -> Iterator[None]:
    """Delete the dataset that the block creates, after it: deleting is no part of a run."""
    from apps.datasets.models import Dataset
    from apps.datasets.services import delete_dataset
    from apps.pipeline.work.removal import remove_deleted_datasets

    yield
    delete_dataset(Dataset.objects.get(dataset_id=dataset_id))
    remove_deleted_datasets(threading.Event())


def _seconds(work: Callable[[], None]) -> float:
    os.sync()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak_mb(work: Callable[[], None]) -> float:
    """Return the peak memory of this process and its children while ``work`` runs, in MB.

    Pages of files are left out: the kernel may drop them at any time.
    """
    import psutil

    over = threading.Event()
    peak = 0.0

    def sample() -> None:
        nonlocal peak
        me = psutil.Process()
        while not over.wait(0.2):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory = process.memory_info()
                    total += memory.rss - memory.shared
                except psutil.Error:
                    continue
            peak = max(peak, total / 1e6)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        work()
    finally:
        over.set()
        sampler.join()
    return peak


def _report(ours: float, loop: float, two: float, few: float, many: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{IMAGES} JPEGs of 800 × 600, {os.cpu_count()} cores, medians of {REPEATS}")
    table.add_column("")
    table.add_column("images/s", justify="right")
    table.add_row("bare loop, one process", f"{loop:.0f}")
    table.add_row("the whole run", f"{ours:.0f}")
    table.add_row("ratio", f"{ours / loop:.2f}")
    table.add_row("two bare loops side by side", f"{two:.0f}")
    table.add_row("ratio of those", f"{two / loop:.2f}")
    memory = Table(title="Memory of the worker and its processes at its highest")
    memory.add_column("images")
    memory.add_column("MB", justify="right")
    memory.add_row(f"{FEW:,}", f"{few:.0f}")
    memory.add_row(f"{MANY:,}", f"{many:.0f}")
    Console().print(table, memory)
    print(json.dumps({"ratio_vs_loop": round(ours / loop, 3), "rss_growth_mb": round(many - few, 1)}))


if __name__ == "__main__":
    if shutil.disk_usage(tempfile.gettempdir()).free < 2e9:
        sys.exit("2 GB of free disk are needed.")
    main()
