"""A drop-in for `tqdm.auto`: ``from dataset_progress.tqdm.auto import tqdm, trange``."""

from __future__ import annotations

from . import tqdm, trange

__all__ = ["tqdm", "trange"]
