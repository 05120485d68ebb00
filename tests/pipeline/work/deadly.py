"""Embedders that fail, or wait."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Patient:
    """Takes everything."""

    name = "patient"
    dimensions = 2

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        if any(image.width > image.height for image in images):
            self.refuse()
        return np.tile(np.asarray([[1, 0]], dtype=np.float32), (len(images), 1))

    def refuse(self) -> None:
        """What happens when it meets an image wider than high."""


class Picky(Patient):
    name = "picky"

    def refuse(self) -> None:
        raise ValueError("too wide")


class Held(Patient):
    """Takes one chunk in each process, and the next when the file that GATE names is gone."""

    name = "held"
    has_taken = False

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        while self.has_taken and Path(os.environ.get("GATE", "")).is_file():
            time.sleep(0.02)
        self.has_taken = True
        return super().embed(images)


class Stuck(Patient):
    name = "stuck"

    def refuse(self) -> None:
        time.sleep(600)


class Deadly(Patient):
    name = "deadly"

    def refuse(self) -> None:
        os._exit(1)


def loaded() -> set[str]:
    """The modules that the process has loaded."""
    return set(sys.modules)
