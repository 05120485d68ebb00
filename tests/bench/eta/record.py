"""Record traces of real work on this machine: ``python -m tests.bench.eta.record [KIND…]`` writes them to ``traces/``.

Each kind of work is done three times; the third trace names the other two as earlier ones. The second has fewer items.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import py_compile
import re
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from .trace import Event, PlannedStage, Trace, thinned

TRACES = Path(__file__).with_name("traces")
LIBRARIES = Path(sysconfig.get_path("purelib"))
EVENTS = 150

Work = Callable[[int, Path], Iterator[None]]  # one yield for each item that is done


def _some[T](items: Iterable[T], run: int) -> list[T]:
    """Return the items of a run: all, but in the second run four of five."""
    return [item for place, item in enumerate(items) if run != 1 or place % 5]


def hashing(run: int) -> tuple[int, Iterator[None]]:
    """Hash every file of the installed libraries, in the order of a walk."""
    files = _some([path for path in LIBRARIES.rglob("*") if path.is_file()], run)

    def work() -> Iterator[None]:
        for path in files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    for _ in range(8):
                        sha256(block)
            yield

    return len(files), work()


def compiling(run: int) -> tuple[int, Iterator[None]]:
    """Compile every fourth module of the installed libraries."""
    files = _some(sorted(LIBRARIES.rglob("*.py"))[::4], run)

    def work() -> Iterator[None]:
        with tempfile.TemporaryDirectory() as name:
            for path in files:
                py_compile.compile(str(path), cfile=f"{name}/module.pyc", doraise=False, quiet=2)
                yield

    return len(files), work()


def compressing(run: int) -> tuple[int, Iterator[None]]:
    """Compress large files of the installed libraries in blocks of 256 KB."""
    large = sorted((path for path in LIBRARIES.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20), key=str)
    blocks = _some(
        [(path, place) for path in large[::9] for place in range(0, path.stat().st_size, 1 << 18)][:250], run
    )

    def work() -> Iterator[None]:
        for path, place in blocks:
            with path.open("rb") as file:
                file.seek(place)
                lzma.compress(file.read(1 << 18), preset=4)
            yield

    return len(blocks), work()


def mapping(run: int) -> tuple[int, Iterator[None]]:
    """Count words with ``Dataset.map`` over the sources of the installed libraries, in batches."""
    import datasets  # type: ignore[import-untyped]  # the package has no types

    datasets.disable_progress_bars()
    texts = [path.read_text(errors="replace") for path in _some(sorted(LIBRARIES.rglob("*.py"))[::2], run)]
    rows = datasets.Dataset.from_dict({"text": texts})

    def work() -> Iterator[None]:
        # An iterable dataset maps as it is read, so each row that comes out is one that was done.
        for _ in rows.to_iterable_dataset().map(_count_words, batched=True, batch_size=16):
            yield

    return len(texts), work()


def _count_words(batch: dict[str, list[str]]) -> dict[str, list[int]]:
    return {"words": [len(Counter(re.findall(r"\w+", text.lower()))) for text in batch["text"]]}


def _one_stage(name: str, work: Callable[[int], tuple[int, Iterator[None]]], run: int) -> Trace:
    total, items = work(run)
    began = time.perf_counter()
    events: list[Event] = [(0.0, name, 0, total)]
    for done, _ in enumerate(items, 1):
        events.append((round(time.perf_counter() - began, 3), name, done, total))
    return _trace(name, run, [PlannedStage(name, 1.0, total)], events, round(time.perf_counter() - began, 3))


def _trace(name: str, run: int, stages: Iterable[PlannedStage], events: Iterable[Event], end: float) -> Trace:
    earlier = (f"{name}-0", f"{name}-1") if run == 2 else ()
    own = f"{name}-again" if run == 2 else f"{name}-{run}"
    return Trace(own, tuple(stages), thinned(events, EVENTS), end, earlier=earlier)


# --- The pipeline -----------------------------------------------------------------------------------------------------


def _pictures(folder: Path) -> None:
    """Write 1,500 JPEGs and PNGs from 0.1 to 12 megapixels, a third of them small and all large ones together."""
    random = np.random.default_rng(0)
    sizes = [(400, 300)] * 500 + [(1600, 1200)] * 600 + [(4000, 3000)] * 100 + [(1024, 768)] * 300
    for number, size in enumerate(sizes):
        shapes = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size)
        shapes.save(folder / f"{number:05}.{'png' if number % 9 == 0 else 'jpg'}")


def _pipeline(run: int, folder: Path) -> Trace:
    """Run the pipeline over a folder, and take down what watchers are told of."""
    from apps.pipeline.services import process_folder
    from apps.pipeline.work.runner import Outcome, Runner
    from apps.progress.models import Stage
    from apps.progress.selectors import progress_of
    from apps.progress.signals import Change, progress_changed

    events: list[Event] = []
    job = process_folder(folder, dataset_id=f"pictures-{run}")
    began = time.perf_counter()

    def take_down(change: Change, **_: object) -> None:
        told = progress_of(change.dataset_pk)
        if told.stage is not None and told.is_working:
            events.append((round(time.perf_counter() - began, 3), told.stage.name, told.current, told.total))

    progress_changed.connect(take_down)
    try:
        outcome = Runner(job.pk).process()
    finally:
        progress_changed.disconnect(take_down)
    if outcome is not Outcome.READY:
        sys.exit(f"the run ended {outcome}")
    end = round(time.perf_counter() - began, 3)
    stages = Stage.objects.filter(run__dataset__dataset_id=f"pictures-{run}").order_by("position")
    # The totals are those that were planned when the run began: none.
    return _trace("pipeline", run, [PlannedStage(one.name, one.weight) for one in stages], events, end)


def _pipelines() -> Iterator[Trace]:
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"DATA_DIR": name, "SECRET_KEY": "x", "DJANGO_SETTINGS_MODULE": "progress_site.settings"}
        os.environ |= {"LOG_LEVEL": "WARNING"}
        os.environ.pop("DATABASE_URL", None)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        folder = Path(name, "pictures")
        folder.mkdir()
        _pictures(folder)
        for run in range(3):
            if run == 1:
                for path in sorted(folder.iterdir())[::5]:
                    path.rename(Path(name, path.name))
            yield _pipeline(run, folder)
            if run == 1:
                for path in Path(name).glob("*.[jp][pn]g"):
                    path.rename(folder / path.name)


KINDS = {"hashing": hashing, "compiling": compiling, "compressing": compressing, "mapping": mapping}


def main() -> None:
    TRACES.mkdir(exist_ok=True)
    wanted = sys.argv[1:] or [*KINDS, "pipeline"]
    for kind in wanted:
        made = _pipelines() if kind == "pipeline" else (_one_stage(kind, KINDS[kind], run) for run in range(3))
        for trace in made:
            lines = io.StringIO()
            json.dump(trace.as_json(), lines)
            (TRACES / f"{trace.name}.json").write_text(lines.getvalue() + "\n")
            print(f"{trace.name}: {trace.end:.1f} s, {len(trace.events)} events")


if __name__ == "__main__":
    main()
