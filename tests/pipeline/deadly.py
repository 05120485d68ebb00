"""Embedders that fail."""

from __future__ import annotations

import os
from collections.abc import Sequence

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


class Deadly(Patient):
    name = "deadly"

    def refuse(self) -> None:
        os._exit(1)
