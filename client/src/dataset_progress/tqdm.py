"""`tqdm`, with its bar in the terminal and its count on the server.

    from dataset_progress.tqdm import tqdm, trange
    for item in tqdm(items, dataset="cats", desc="Indexing"):
        ...

The dataset may also be named by ``DATASET_PROGRESS_DATASET``; without one, or without an address, this is `tqdm` as it
is. `capture_tqdm` does the same for bars that are made in libraries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tqdm.auto import tqdm as _auto
from tqdm.std import tqdm as _std

from ._run import Run, Stage, _Share

__all__ = ["capture_tqdm", "tqdm", "trange"]


class tqdm(_auto):  # type: ignore[type-arg]  # noqa: N801 -- the name that it stands in for
    """A bar that reports. ``dataset``: of which dataset; ``run``: as a part of that run; all else is `tqdm`'s own."""

    def __init__(
        self, iterable: Any = None, *args: Any, dataset: str | None = None, run: Run | None = None, **options: Any
    ) -> None:
        super().__init__(iterable, *args, **options)
        name = self.desc.rstrip(": ") if getattr(self, "desc", "") else str(options.get("desc") or "indexing")
        dataset = dataset or os.environ.get("DATASET_PROGRESS_DATASET", "")
        self._owns = run is None
        self._is_in_loop = False
        self.run = run
        if run is None and dataset:
            self.run = Run(dataset, stages=[Stage(name[:64])])
        if self.run is not None:
            total = None if self.total is None else int(self.total)
            self.run.stage(name[:64], total if iterable is None else None)
            if iterable is not None:
                self.iterable = self.run.track(iterable, stage=name[:64], total=total)

    def __iter__(self) -> Iterator[Any]:
        self._is_in_loop = True
        try:
            yield from super().__iter__()
        except GeneratorExit:
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def update(self, n: float | None = 1) -> bool | None:
        if self.run is not None:
            self.run.advance(int(n or 0))
        told: bool | None = super().update(n)
        return told

    def close(self) -> None:
        super().close()
        # A loop that is left early closes its bar too, and does not say why: its run ends with the program.
        if not getattr(self, "_is_in_loop", True):
            self._end()

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._end(error)
        super().__exit__(kind, error, traceback)

    def _end(self, error: BaseException | None = None) -> None:
        if self._owns and self.run is not None:
            self.run.close(error)


def trange(*args: int, **options: Any) -> tqdm:
    """``tqdm(range(*args), **options)``"""
    return tqdm(range(*args), **options)


class _BarCell:
    """What a bar of somebody else's has counted."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    @property
    def done(self) -> int:
        return int(self._bar.n)


class _Capture:
    """Follows one bar at a time: the outermost. Bars within it are details of what it counts."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.bar: Any = None
        self.share: _Share | None = None
        self.cell: _BarCell | None = None

    def opened(self, bar: Any) -> None:
        if self.bar is not None or isinstance(bar, tqdm):
            return
        name = str(getattr(bar, "desc", "") or "indexing").rstrip(": ")[:64] or "indexing"
        total = None if bar.total is None else int(bar.total)
        self.bar, self.cell = bar, _BarCell(bar)
        self.share = self.run._follow(name, self.cell, total)

    def closed(self, bar: Any) -> None:
        if bar is self.bar and self.share is not None and self.cell is not None:
            self.run._fold(self.share, self.cell)
            self.bar = None


@contextmanager
def capture_tqdm(dataset: str, **options: Any) -> Iterator[Run]:
    """Report the bars that are made in the block, by whatever library, each as a stage of one run.

    Bars that are not shown (``disable=True``) are counted too. ``options`` are those of `Run`.
    """
    begin, close, go, count = _std.__init__, _std.close, _std.__iter__, _std.update
    with Run(dataset, **options) as run:
        capture = _Capture(run)

        def opened(bar: Any, *args: Any, **values: Any) -> None:
            begin(bar, *args, **values)
            if getattr(bar, "disable", False) and values.get("desc"):
                bar.desc = values["desc"]
            capture.opened(bar)

        def closed(bar: Any) -> None:
            capture.closed(bar)
            close(bar)

        def through(bar: Any) -> Iterator[Any]:
            if not bar.disable:
                yield from go(bar)
                return
            try:
                for item in bar.iterable:
                    yield item
                    bar.n += 1
            finally:
                bar.close()

        def counted(bar: Any, n: float | None = 1) -> bool | None:
            if bar.disable:
                bar.n += n or 0
            told: bool | None = count(bar, n)
            return told

        with (
            patch.object(_std, "__init__", opened), patch.object(_std, "close", closed),
            patch.object(_std, "__iter__", through), patch.object(_std, "update", counted),
        ):  # fmt: skip
            yield run
