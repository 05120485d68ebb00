"""What the default descriptor promises, and how an embedder is found and held to its word."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from apps.pipeline.images.embedders import ColourLayout, embed_chunk, load_embedder
from apps.pipeline.images.scanning import FoundFile
from apps.pipeline.images.verify import Indexed, Limits, index_chunk

DEFAULT = "apps.pipeline.images.embedders.ColourLayout"


def photo(seed: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    """Something with the soft shapes and the fine grain of a photograph."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for octave in range(5):
        grid = Image.fromarray(rng.integers(0, 256, (3 * 2**octave, 4 * 2**octave, 3), dtype=np.uint8))
        total += np.asarray(grid.resize(size, Image.Resampling.BICUBIC)) * 0.5**octave / 1.94
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 80) -> Image.Image:
    """The image as it comes out of a file: not yet decoded."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((image.width // 25, image.height // 25, image.width * 24 // 25, image.height * 24 // 25))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_shape_is_one_row_for_each_image(count: int) -> None:
    embedder = ColourLayout()
    rows = embedder.embed([photo(seed) for seed in range(count)])
    assert rows.shape == (count, embedder.dimensions)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        *(Image.new("RGB", (1, 1), (grey, grey, grey)) for grey in (0, 127, 128, 255)),
        *(Image.new("RGB", (256, 192), (grey, grey, grey)) for grey in (0, 128, 255)),
        Image.new("RGB", (2, 1), (255, 0, 0)),
        Image.new("RGB", (256, 1), (10, 200, 30)),
        photo(1, (1, 256)),
        photo(1, (5000, 2)),
        *(photo(1).convert(mode) for mode in ("1", "L", "P", "RGBA", "CMYK", "YCbCr", "LA", "HSV")),
    ],
    ids=lambda image: f"{image.mode}-{image.width}x{image.height}",
)
def test_every_image_has_a_direction(image: Image.Image) -> None:
    for given in (image, jpeg(image.convert("RGB"))):
        (row,) = ColourLayout().embed([given])
        assert np.isfinite(row).all()
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_a_row_does_not_depend_on_the_batch() -> None:
    embedder = ColourLayout()
    images = [photo(seed) for seed in range(9)]
    alone = np.concatenate([embedder.embed([image]) for image in images])
    assert np.array_equal(embedder.embed(images), alone)


def test_a_jpeg_that_is_decoded_reduced_is_described_like_the_whole_one() -> None:
    lazy, decoded = jpeg(photo(3)), jpeg(photo(3))
    decoded.load()
    rows = ColourLayout().embed([lazy, decoded])
    # What `draft` did shows in the size: without it, a chunk costs several times as much.
    assert lazy.size == (64, 48)
    assert rows[0] @ rows[1] > 0.99


@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, 25),
        cropped,
        lambda image: ImageEnhance.Brightness(image).enhance(1.2),
        lambda image: ImageEnhance.Color(image).enhance(0.6),
        lambda image: image.resize((100, 75)),
        lambda image: image.rotate(2, fillcolor=(128, 128, 128)),
    ],
    ids=["recompressed", "cropped", "brighter", "paler", "smaller", "tilted"],
)
def test_a_near_duplicate_is_nearest_to_its_original(change: Callable[[Image.Image], Image.Image]) -> None:
    images = [photo(seed) for seed in range(40)]
    embedder = ColourLayout()
    cosines = embedder.embed([change(image) for image in images]) @ embedder.embed(images).T
    assert np.array_equal(cosines.argmax(axis=1), np.arange(40))
    others = np.where(np.eye(40, dtype=bool), -1, cosines).max(axis=1)
    assert (np.diag(cosines) - others).min() > 0.05


def test_colour_and_edges_both_count() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, (np.arange(64) // 8) % 2 == 0] = 255
    upright, level = Image.fromarray(stripes), Image.fromarray(stripes.transpose(1, 0, 2).copy())
    red, green = Image.new("RGB", (64, 64), (200, 40, 40)), Image.new("RGB", (64, 64), (40, 200, 40))
    rows = ColourLayout().embed([upright, level, red, green])
    cosines = rows @ rows.T
    assert cosines[0, 1] < 0.6
    assert cosines[2, 3] < 0.6


def test_a_chunk_keeps_its_order(tmp_path: Path) -> None:
    for seed in range(5):
        photo(seed, (500, 400)).save(tmp_path / f"{seed}.jpg", quality=90)
    files = [FoundFile(f"{seed}.jpg", 0, 0) for seed in range(5)]
    results = index_chunk(str(tmp_path), files, str(tmp_path / "t"), Limits(10**7))
    hashes = [result.sha256 for result in results if isinstance(result, Indexed)]
    rows = embed_chunk(DEFAULT, str(tmp_path / "t"), [hashes[i] for i in (3, 1, 4, 1)])
    assert rows.shape == (4, ColourLayout.dimensions)
    assert np.array_equal(rows[1], rows[3])
    whole = ColourLayout().embed([photo(seed, (500, 400)) for seed in (3, 1, 4)])
    assert (whole @ rows[:3].T).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_thumbnail_that_is_missing_or_damaged_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        embed_chunk(DEFAULT, str(tmp_path), ["ab" * 32])
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / f"{'ab' * 32}.jpg").write_bytes(b"no JPEG")
    with pytest.raises(OSError, match="cannot identify"):
        embed_chunk(DEFAULT, str(tmp_path), ["ab" * 32])


def test_an_embedder_is_made_once() -> None:
    assert load_embedder(DEFAULT) is load_embedder(DEFAULT)
    assert load_embedder(DEFAULT).name == "colour-layout-1"


PLUGIN = """
import numpy as np

class Good:
    name = "good"
    dimensions = 3
    def embed(self, images):
        return [[0, 0.6, 0.8] for image in images]

def factory():
    return Good()

class WrongShape(Good):
    dimensions = 4

class Long(Good):
    def embed(self, images):
        return np.ones((len(images), 3))

class NotANumber(Good):
    def embed(self, images):
        return np.full((len(images), 3), np.nan)

class Nameless(Good):
    name = ""

class Flat(Good):
    dimensions = 0

class Mute:
    name = "mute"
    dimensions = 3

class Failing(Good):
    def __init__(self):
        raise FileNotFoundError("model.onnx")

number = 5
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of somebody else's embedders, and the thumbnail with the hash "00"."""
    (tmp_path / "somebody_s_embedders.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "00").mkdir()
    photo(0).save(tmp_path / "00/00.jpg")
    return tmp_path


@pytest.mark.parametrize("name", ["Good", "factory"])
def test_somebody_else_s_embedder_can_be_named(plugin: Path, name: str) -> None:
    rows = embed_chunk(f"somebody_s_embedders.{name}", str(plugin), ["00", "00"])
    assert rows.dtype == np.float32
    assert np.allclose(rows, [[0, 0.6, 0.8]] * 2)


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("", "not a dotted path"),
        ("ColourLayout", "not a dotted path"),
        ("no.such.Module", "No module named"),
        ("apps.pipeline.images.embedders.NoSuchClass", "NoSuchClass"),
        ("..relative.Class", "cannot be loaded"),
        ("somebody_s_embedders.number", "not callable"),
        ("somebody_s_embedders.Failing", "model.onnx"),
        ("somebody_s_embedders.Nameless", "`name`"),
        ("somebody_s_embedders.Flat", "`dimensions`"),
        ("somebody_s_embedders.Mute", "`embed`"),
    ],
)
def test_a_path_that_names_no_embedder_is_refused(plugin: Path, dotted: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_embedder(dotted)
    assert repr(dotted) in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("WrongShape", "shape"), ("Long", "length"), ("NotANumber", "length")])
def test_an_embedder_that_breaks_its_promise_is_refused(plugin: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embed_chunk(f"somebody_s_embedders.{name}", str(plugin), ["00"])
