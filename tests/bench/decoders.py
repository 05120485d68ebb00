"""`python -m tests.bench.decoders`: thumbnails of JPEGs by simplejpeg, Pillow and libvips, one process each.

libvips is measured where pyvips is installed. The last line is one JSON object: images per second of processor time.
"""

from __future__ import annotations

import importlib.util
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from apps.pipeline.images.jpeg import decode_jpeg, read_plain
from apps.pipeline.images.scaling import scaled, thumbnail_size

from .pipeline import _photographs

SIZES = {"800 × 600": ((800, 600), 200), "4000 × 3000": ((4000, 3000), 16)}
REPEATS = 3


def _encoded(small: Image.Image) -> bytes:
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80, subsampling="4:2:0")
    return stream.getvalue()


def by_simplejpeg(content: bytes) -> bytes:
    plain = read_plain(content)
    assert plain is not None
    size = thumbnail_size(plain.size)
    picture, _ = decode_jpeg(content, plain.mode, size)
    assert picture is not None
    return _encoded(scaled(picture, size))


def by_pillow(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        size = thumbnail_size(image.size)
        image.draft("RGB", size)
        return _encoded(scaled(image, size))


def by_libvips(content: bytes) -> bytes:
    import pyvips  # type: ignore[import-not-found]  # measured where it is installed

    small = pyvips.Image.thumbnail_buffer(content, 300, height=300, size="down", fail_on="warning")
    encoded: bytes = small.jpegsave_buffer(Q=80)
    return encoded


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "simplejpeg": by_simplejpeg, "pillow": by_pillow, "libvips": by_libvips,
}  # fmt: skip


def _measure(name: str, folder: Path, answers: multiprocessing.Queue[tuple[float, float]]) -> None:
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    decoder = DECODERS[name]
    decoder(contents[0])
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        for content in contents:
            decoder(content)
        seconds.append(time.process_time() - began)
    # Not `ru_maxrss`, which begins with that of the parent.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    answers.put((len(contents) / min(seconds), peak))


def main() -> None:
    os.environ["VIPS_CONCURRENCY"] = "1"
    context = multiprocessing.get_context("spawn")
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-decoders-") as name:
        for words, (size, count) in SIZES.items():
            folder = Path(name, words)
            _photographs(folder, count, size=size)
            for decoder in DECODERS:
                if decoder == "libvips" and importlib.util.find_spec("pyvips") is None:
                    print("libvips is not measured: pyvips is not installed.", file=sys.stderr)
                    continue
                answers = context.Queue()
                process = context.Process(target=_measure, args=(decoder, folder, answers))
                process.start()
                speed, peak = answers.get()
                process.join()
                print(f"{words:12} {decoder:12} {speed:8.1f} images/s of processor time, at most {peak:.0f} MB")
                results[f"{decoder}_{size[0]}"] = round(speed, 1)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
