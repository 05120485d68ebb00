"""Embedders turn thumbnails into vectors. The setting EMBEDDER is the dotted path of one.

Django is not imported: pool processes run this.
"""

import importlib
import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .thumbnails import thumbnail_path


class Embedder(Protocol):
    """The interface of embedders. EMBEDDER names a class or function that returns one when called without arguments.

    `name` is stored with every vector. It must change whenever the vectors of the same image would. An embedder may
    have a method `turns` besides, as `ColourLayout` has: with it, similar images are found mirrored and rotated too.
    """

    name: str
    dimensions: int

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return an array of shape (len(images), dimensions) whose rows have the Euclidean length 1.

        The images can have any mode and size. They may not be decoded yet, so `draft` can make a JPEG decode faster.
        """


class ColourLayout:
    """Describes the colours of an image and the directions of its edges, by place.

    Finds look-alikes: copies, recompressed or slightly cropped versions, shots of one series, the same colours in the
    same places. It does not compare meaning: two photographs of the same cat on different sofas are not similar.

    The image is scaled to 32 × 32 pixels in YCbCr (ITU-R BT.601, full range, as in JPEG) and cut into 4 × 4 cells.
    Each cell gives the mean of each channel (a coarser relative of MPEG-7's colour layout descriptor, ISO/IEC 15938-3)
    and a histogram of 8 edge orientations over 180°, weighted by the gradient's magnitude, each pixel shared by the two
    nearest orientations (Dalal and Triggs, CVPR 2005), then square-rooted (Arandjelović and Zisserman, CVPR 2012). The
    last element is a constant, so that an image of plain mid-grey has a direction too.
    """

    name = "colour-layout-1"
    dimensions = 4 * 4 * (3 + 8) + 1

    _SIDE = 32
    _GRID = 4
    _BINS = 8
    # These make edges weigh more than colours, so that a copy is found even if its brightness was changed.
    _CHANNEL_WEIGHTS = np.array([0.3, 0.6, 0.6], dtype=np.float32)
    _CONSTANT = np.float32(0.2)
    # Keeps gradients as weak as JPEG noise from counting as structure. In luma of 0..1, summed over an image.
    _EDGE_FLOOR = np.float32(4.0)

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return shape (len(images), 177), rows of length 1. Decodes unloaded JPEGs at a reduced size."""
        count = len(images)
        side = self._SIDE
        raw = b"".join(self._scaled(image) for image in images)
        pixels = np.frombuffer(raw, dtype=np.uint8).reshape(count, side, side, 3).astype(np.float32)
        rows = np.empty((count, self.dimensions), dtype=np.float32)
        split = self._GRID**2 * 3
        rows[:, :split] = self._colours(pixels)
        rows[:, split:-1] = self._edges(pixels[..., 0] / np.float32(255))
        rows[:, -1] = self._CONSTANT
        rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        return rows

    def turns(self, row: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors that the image of a vector has when it is mirrored or rotated, by what was done to it.

        They come from the vector alone: its cells change places, and its orientations turn. Those of the image itself
        differ a little at the borders.
        """
        cells = self._GRID
        split = cells**2 * 3
        colours = row[:split].reshape(cells, cells, 3)
        edges = row[split:-1].reshape(cells, cells, self._BINS)
        kept = np.arange(self._BINS)
        quarter = (kept + self._BINS // 2) % self._BINS
        mirrored = -kept % self._BINS
        across = (self._BINS // 2 - kept) % self._BINS
        moves: dict[str, tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], NDArray[np.int_]]] = {
            "mirrored": (lambda grid: grid[:, ::-1], mirrored),
            "rotated by 90°": (lambda grid: np.rot90(grid, -1), quarter),
            "rotated by 180°": (lambda grid: grid[::-1, ::-1], kept),
            "rotated by 270°": (np.rot90, quarter),
            "mirrored top to bottom": (lambda grid: grid[::-1], mirrored),
            "mirrored, rotated by 90°": (lambda grid: grid.swapaxes(0, 1), across),
            "mirrored, rotated by 270°": (lambda grid: grid.swapaxes(0, 1)[::-1, ::-1], across),
        }
        return {
            words: np.concatenate([move(colours).ravel(), move(edges)[..., bins].ravel(), row[-1:]])
            for words, (move, bins) in moves.items()
        }

    def _scaled(self, image: Image.Image) -> bytes:
        """Return 32 × 32 × 3 bytes of YCbCr."""
        size = (self._SIDE, self._SIDE)
        image.draft("YCbCr", size)
        if image.mode not in ("YCbCr", "RGB", "L"):
            image = image.convert("RGB")
        small = image.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)
        return small.convert("YCbCr").tobytes()

    def _colours(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn (n, 32, 32, 3) of 0..255 into (n, 48): the weighted cell means, -1..1."""
        count, grid, cell = len(pixels), self._GRID, self._SIDE // self._GRID
        means = pixels.reshape(count, grid, cell, grid, cell, 3).mean(axis=(2, 4))
        weighted = (means - np.float32(128)) / np.float32(128) * self._CHANNEL_WEIGHTS
        return weighted.reshape(count, grid * grid * 3)

    def _edges(self, luma: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn (n, 32, 32) of 0..1 into (n, 128): the orientation histograms of the cells, of length below 1."""
        count, side, bins = len(luma), self._SIDE, self._BINS
        across, down = np.zeros_like(luma), np.zeros_like(luma)
        across[:, :, 1:-1] = luma[:, :, 2:] - luma[:, :, :-2]
        down[:, 1:-1] = luma[:, 2:] - luma[:, :-2]
        strength = np.hypot(across, down)
        turn = np.arctan2(down, across) * np.float32(bins / np.pi) + np.float32(bins)
        lower = np.floor(turn)
        upper_share = turn - lower
        first = lower.astype(np.intp)
        cell = np.arange(side) * self._GRID // side
        cells = np.arange(count)[:, None, None] * self._GRID**2 + cell[:, None] * self._GRID + cell
        length = count * self._GRID**2 * bins
        lower_sums = np.bincount((cells * bins + first % bins).ravel(), (strength * (1 - upper_share)).ravel(), length)
        upper_sums = np.bincount((cells * bins + (first + 1) % bins).ravel(), (strength * upper_share).ravel(), length)
        sums = (lower_sums + upper_sums).astype(np.float32).reshape(count, self._GRID**2 * bins)
        # The square root makes the sum of a histogram the square of its length.
        return np.sqrt(sums / (sums.sum(axis=1, keepdims=True) + self._EDGE_FLOOR))


@lru_cache(maxsize=8)
def load_embedder(dotted: str) -> Embedder:
    """Return the embedder at `dotted` ("package.module.Class"). It is created once in a process, as models are large.

    Raises `ValueError` if it cannot be imported or created, or lacks one of the attributes of `Embedder`.
    """
    module_name, _, attribute = dotted.rpartition(".")
    if not module_name:
        raise ValueError(
            f"EMBEDDER {dotted!r} is not a dotted path such as apps.pipeline.images.embedders.ColourLayout"
        )
    try:
        embedder = getattr(importlib.import_module(module_name), attribute)()
    except Exception as error:
        raise ValueError(f"EMBEDDER {dotted!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(getattr(embedder, "name", None), str) and embedder.name):
        raise ValueError(f"EMBEDDER {dotted!r} has no `name`, a string that is not empty")
    dimensions = getattr(embedder, "dimensions", None)
    if not isinstance(dimensions, int) or dimensions < 1:
        raise ValueError(f"EMBEDDER {dotted!r} has no `dimensions`, a positive integer")
    if not callable(getattr(embedder, "embed", None)):
        raise ValueError(f"EMBEDDER {dotted!r} has no method `embed`")
    return cast(Embedder, embedder)


def embed_chunk(dotted: str, thumbnails: str, sha256s: Sequence[str]) -> NDArray[np.float32]:
    """Embed the thumbnails of these contents, in a process of the pool.

    Returns shape (len(sha256s), dimensions), rows in the order given and of length 1. Raises `OSError` if a thumbnail
    is gone or damaged, `ValueError` if the embedder cannot be loaded or its result has the wrong shape or lengths.
    """
    embedder = load_embedder(dotted)
    # Each file is read in full, so that no more than one is open at a time.
    images = [_open(Path(thumbnail_path(thumbnails, sha256))) for sha256 in sha256s]
    rows = np.ascontiguousarray(embedder.embed(images), dtype=np.float32)
    if rows.shape != (len(images), embedder.dimensions):
        expected = (len(images), embedder.dimensions)
        raise ValueError(f"embedder {embedder.name} returned the shape {rows.shape} instead of {expected}")
    lengths = np.linalg.norm(rows, axis=1)
    # Refuses NaN as well, which is close to nothing.
    if not np.allclose(lengths, 1.0, atol=1e-3):
        raise ValueError(f"embedder {embedder.name} returned rows whose length is not 1")
    return rows


def _open(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()), formats=("JPEG",))
