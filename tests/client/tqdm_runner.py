"""Run tqdm's own tests on another bar: ``tqdm_runner.py BAR ARGUMENT...``, in the folder that has them.

``BAR``: ``plain`` (`tqdm.auto`), ``drop-in``, or ``captured`` (`tqdm.auto` within `capture_tqdm`). The arguments are
pytest's.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import numpy
import pytest
import tqdm
import tqdm.asyncio
import tqdm.auto
from dataset_progress.tqdm import capture_tqdm
from dataset_progress.tqdm import tqdm as drop_in


def replace_by(bar: Any) -> None:
    """Put ``bar`` wherever the tests import tqdm from."""

    def over_range(*args: int, **options: Any) -> Any:
        return bar(range(*args), **options)

    for module in (tqdm, tqdm.auto):
        vars(module).update(tqdm=bar, trange=over_range)
    vars(tqdm.asyncio).update(tqdm_asyncio=bar)


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    numpy.random.seed(0)  # some of the tests expect that 1,000 random numbers under 100 leave none out
    replace_by(drop_in if kind == "drop-in" else tqdm.auto.tqdm)
    sys.path.insert(0, "")  # the folder's package `tests`
    with capture_tqdm("cats") if kind == "captured" else nullcontext():
        status = pytest.main(arguments)
    sys.exit(status)
