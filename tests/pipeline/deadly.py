"""An embedder that takes its process down when it meets an image wider than high."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Deadly:
    name = "deadly"
    dimensions = 2

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        if any(image.width > image.height for image in images):
            os._exit(1)
        return np.tile(np.asarray([[1, 0]], dtype=np.float32), (len(images), 1))
