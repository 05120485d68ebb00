"""Images for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_images(folder: Path, count: int, *, size: tuple[int, int] = (64, 48), seed: int = 0) -> list[Path]:
    """Write ``count`` different JPEGs of soft colours, 000000.jpg and so on. Return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        colours = Image.fromarray(random.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        path = folder / f"{number:06}.jpg"
        colours.resize(size, Image.Resampling.BICUBIC).save(path, quality=85)
        paths.append(path)
    return paths
