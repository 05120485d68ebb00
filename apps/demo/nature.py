"""Painters of landscapes, night skies and stone. Equal generators give equal pictures."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Size = tuple[int, int]
"""Width and height in pixels."""

Painter = Callable[[Generator, Size], Image.Image]
"""Paints an RGB image of that size. All randomness comes from the generator."""

Floats = NDArray[np.float32]

_SKIES = (
    # (zenith … horizon), haze, foreground
    ("#1d2b53 #4a3f78 #c2577a #f79d65 #ffd9a0", "#f3a27d", "#1a1430"),
    ("#24446b #5b86b0 #a9c7d9 #f3e3cf", "#c9d6de", "#1d2f3a"),
    ("#3a1c4a #8a3563 #e0605e #fba94c #fff0b8", "#e7815f", "#210f28"),
    ("#0f3a52 #2c7a86 #86c2ac #f2ecc4", "#a5cdb8", "#0c2a30"),
    ("#6d8fb3 #a8c0d8 #dbe3e8 #f6efe6", "#dfe5e8", "#44566a"),
    ("#2b2e4a #535d87 #9d8fb0 #e3b7b4 #fbe3d0", "#cfb0bd", "#1c1d33"),
    ("#123a6b #2f74b5 #7fb4de #dff0f7", "#b7d6e6", "#16351f"),
)
_NIGHTS = ("#03040f #0b1233 #23305f #4b4f86", "#020a12 #06263a #0f5560 #3d8f86", "#07030f #1c1038 #46225c #8b4a6e")
_STONES = (
    "#20333f #3d6470 #9ec1b8 #efe6d0 #c98d5b #6d3a2b",
    "#1b1f3b #3f4c8a #8fa6d8 #f2f0ea #d7a9b8 #7a4664",
    "#17301f #3f6b45 #a2c08a #f3edcf #d9b25f #7c5326",
    "#2a1a1f #7c2f3c #d9777a #f8d9c8 #e8b49a #59363d",
    "#111820 #2f4858 #5f8aa0 #d4e2e4 #f4f1ea #9aa6a8",
)


def colours(words: str) -> Floats:
    """Turn "#rrggbb #rrggbb …" into shape (n, 3), 0..255."""
    return np.array([[int(word[i : i + 2], 16) for i in (1, 3, 5)] for word in words.split()], dtype=np.float32)


def ramp(values: NDArray[np.floating] | np.floating, stops: Floats) -> Floats:
    """Colour values of 0..1 by interpolation between equidistant stops: shape (…) to (…, 3)."""
    positions, fine = np.linspace(0, 1, len(stops)), np.linspace(0, 1, 512)
    table = np.stack([np.interp(fine, positions, stops[:, channel]) for channel in range(3)], axis=-1, dtype=np.float32)
    coloured: Floats = table[(np.clip(values, 0, 1) * 511).astype(np.intp)]
    return coloured


def picture(pixels: Floats) -> Image.Image:
    """Turn (height, width, 3) of 0..255 into an image."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def clouds(rng: Generator, size: Size, coarse: Size, octaves: int = 5) -> Floats:
    """Return fractal noise, shape (height, width), 0..1: random grids, each finer and weaker than the one before."""
    total = np.zeros((size[1], size[0]), dtype=np.float32)
    for octave in range(octaves):
        columns, rows = (min(n * 2**octave + 3, limit) for n, limit in zip(coarse, size, strict=True))
        grid = Image.fromarray(rng.random((rows, columns), dtype=np.float32))
        total += np.asarray(grid.resize(size, Image.Resampling.BICUBIC)) * np.float32(0.5**octave)
    return (total - total.min()) / (np.ptp(total) + np.float32(1e-6))


def ridge(rng: Generator, width: int, waves: float, roughness: float = 0.5) -> Floats:
    """Return a skyline, shape (width,), about -1..1: sines, each faster and smaller than the one before."""
    x = np.linspace(0, 1, width, dtype=np.float32)
    line = np.zeros(width, dtype=np.float32)
    for octave in range(7):
        phase = rng.uniform(0, 2 * np.pi)
        speed = waves * 2**octave * rng.uniform(0.85, 1.15)
        line += np.float32(roughness**octave) * np.sin(2 * np.pi * speed * x + phase).astype(np.float32)
    return line / np.float32(1.5)


def landscape(rng: Generator, size: Size) -> Image.Image:
    """Mountains behind mountains under a low sun, sometimes over a lake, sometimes with a forest in front."""
    width, height = size
    sky, haze, near = _SKIES[rng.integers(len(_SKIES))]
    horizon = rng.uniform(0.5, 0.68)
    canvas = _sky(rng, size, colours(sky), horizon)
    haze_colour, near_colour = colours(haze)[0], colours(near)[0]
    layers = int(rng.integers(4, 7))
    lake = rng.random() < 0.35
    for layer in range(layers):
        depth = (layer + 1) / layers
        base = horizon + (0.24 if lake else 0.42) * depth**1.4 - 0.1
        skyline = (base + ridge(rng, width, rng.uniform(0.6, 1.6), 0.46) * (0.075 - 0.03 * depth)) * height
        if depth == 1 and not lake and rng.random() < 0.6:
            skyline = _pines(rng, skyline, height)
        tone = haze_colour + (near_colour - haze_colour) * np.float32(0.12 + 0.88 * depth**1.2)
        _fill_below(canvas, skyline, tone, tone + (haze_colour - tone) * np.float32(0.5 * (1 - 0.6 * depth)))
    return _mirrored(rng, canvas, int(height * (horizon + 0.17))) if lake else canvas


def night_sky(rng: Generator, size: Size) -> Image.Image:
    """Stars over black hills, with the band of the galaxy, an aurora or a moon."""
    width, height = size
    kind = rng.integers(3)
    small = (width // 2, height // 2)
    y, x = np.mgrid[0 : 1 : small[1] * 1j, 0 : width / height : small[0] * 1j].astype(np.float32)
    shade = y * np.float32(0.85) + clouds(rng, small, (2, 2), 3) * np.float32(0.15)
    pixels = ramp(shade, colours(_NIGHTS[rng.integers(len(_NIGHTS))]))
    moon = (rng.uniform(0.25, 1.0), rng.uniform(0.15, 0.4))
    radius = rng.uniform(0.05, 0.11)
    if kind == 0:
        angle, middle = rng.uniform(-0.9, 0.9), rng.uniform(0.35, 0.65)
        across = (y - np.float32(middle)) * np.float32(np.cos(angle)) + (x - np.float32(0.66)) * np.float32(
            np.sin(angle)
        )
        glow = np.exp(-((across / np.float32(0.16)) ** 2)) * (np.float32(0.25) + clouds(rng, small, (5, 4), 6) ** 2)
        pixels += glow[..., None] * np.array([150, 140, 185], dtype=np.float32)
    elif kind == 1:
        pixels += _aurora(rng, small)
    else:
        distance = np.hypot(x - np.float32(moon[0]), y - np.float32(moon[1]))
        pixels += np.exp(-distance / np.float32(radius * 1.6))[..., None] * np.array([90, 95, 120], dtype=np.float32)
    canvas = _with_stars(rng, picture(pixels).resize(size, Image.Resampling.BICUBIC), width * height // 420)
    if kind == 2:
        side = int(2 * radius * height)
        face = ramp(clouds(rng, (side, side), (3, 3), 4), colours("#a9a596 #efe9d6 #fbf7e8"))
        canvas.paste(picture(face), (int(moon[0] * height) - side // 2, int(moon[1] * height) - side // 2), disc(side))
    for layer in range(2):
        skyline = (0.8 + 0.09 * layer + ridge(rng, width, 1.2, 0.45) * 0.05) * height
        if layer == 1:
            skyline = _pines(rng, skyline, height)
        tone = np.array([13, 17, 33], dtype=np.float32) * np.float32(1 - 0.7 * layer)
        _fill_below(canvas, skyline, tone, tone)
    return canvas


def stone(rng: Generator, size: Size) -> Image.Image:
    """Agate and marble: bands of colour along noise that is bent by other noise."""
    small = (size[0] // 2, size[1] // 2)
    bend = clouds(rng, small, (3, 2), 4)
    field = clouds(rng, small, (2, 2), 6) + np.float32(0.6) * bend
    rows, columns = np.mgrid[0 : small[1], 0 : small[0]]
    shift = ((bend - np.float32(0.5)) * small[1] * 0.7).astype(np.intp)
    field = field[(rows + shift) % small[1], (columns - shift) % small[0]]
    bands = float(rng.uniform(2.5, 6))
    wave = np.float32(0.5) + np.float32(0.5) * np.sin(field * np.float32(2 * np.pi * bands) / 2)
    values = np.float32(0.72) * wave + np.float32(0.28) * field
    pixels = ramp(values, colours(_STONES[rng.integers(len(_STONES))]))
    pixels += (clouds(rng, small, (60, 45), 2)[..., None] - np.float32(0.5)) * np.float32(14)
    return picture(pixels).resize(size, Image.Resampling.BICUBIC)


def disc(side: int) -> Image.Image:
    """Return the mask of a filled circle with a smooth edge, `side` pixels across."""
    large = Image.new("L", (side * 4, side * 4))
    ImageDraw.Draw(large).ellipse((0, 0, side * 4 - 1, side * 4 - 1), fill=255)
    return large.reduce(4)


def _sky(rng: Generator, size: Size, stops: Floats, horizon: float) -> Image.Image:
    # Half the size is enough: nothing in a sky is sharp except the sun, which is added afterwards.
    small = (size[0] // 2, size[1] // 2)
    y, x = np.mgrid[0 : 1 : small[1] * 1j, 0 : 1 : small[0] * 1j].astype(np.float32)
    sun_x, sun_y = np.float32(rng.uniform(0.2, 0.8)), np.float32(horizon - rng.uniform(0.08, 0.3))
    distance = np.hypot((x - sun_x) * np.float32(size[0] / size[1]), y - sun_y)
    pixels = ramp(y / np.float32(horizon) + np.float32(0.22) * np.exp(-distance * 3) - np.float32(0.04), stops)
    cover = clouds(rng, small, (2, 7), 5) * np.clip(np.float32(1.15) - y / np.float32(horizon) * np.float32(0.6), 0, 1)
    veil = np.clip((cover - np.float32(rng.uniform(0.38, 0.6))) * np.float32(2.2), 0, np.float32(0.75))
    lit = stops[-1] * np.float32(0.6) + stops[len(stops) // 2] * np.float32(0.4)
    pixels += (lit - pixels) * veil[..., None]
    pixels += np.exp(-distance * np.float32(7))[..., None] * (stops[-1] - 60) * np.float32(0.45)
    canvas = picture(pixels).resize(size, Image.Resampling.BICUBIC)
    side = int(size[1] * rng.uniform(0.05, 0.12))
    canvas.paste((255, 249, 230), (int(sun_x * size[0]) - side // 2, int(sun_y * size[1]) - side // 2), disc(side))
    return canvas


def _fill_below(canvas: Image.Image, skyline: Floats, top: Floats, bottom: Floats) -> None:
    """Paint everything below a skyline (in rows), from the colour `top` at its peak to `bottom` at its lowest."""
    width, height = canvas.size
    first = max(0, int(skyline.min()) - 1)
    rows = np.arange(first, height, dtype=np.float32)[:, None]
    mask = np.clip((rows - skyline) * 255, 0, 255).astype(np.uint8)
    fade = np.clip((rows - first) / np.float32(0.2 * height), 0, 1)
    column = picture((top + (bottom - top) * fade)[:, None, :])
    canvas.paste(column.resize((width, height - first), Image.Resampling.NEAREST), (0, first), Image.fromarray(mask))


def _pines(rng: Generator, skyline: Floats, height: int) -> Floats:
    """Raise a skyline (in rows) by a row of conifers."""
    columns = np.arange(len(skyline), dtype=np.float32)
    result = skyline.copy()
    for _ in range(int(rng.integers(25, 70))):
        tall, at = height * rng.uniform(0.04, 0.15), rng.uniform(0, len(skyline))
        near = np.abs(columns - np.float32(at))
        # The sawtooth turns the straight sides of a triangle into branches.
        saw = np.float32(tall * 0.06) * ((near * np.float32(14 / tall)) % 1)
        crown = np.float32(tall) * (1 - near / np.float32(tall * 0.2)) + saw
        result = np.where(crown > 0, np.minimum(result, skyline[int(at)] + 3 - crown), result)
    return result


def _mirrored(rng: Generator, canvas: Image.Image, shore: int) -> Image.Image:
    """Turn everything below the row `shore` into water that reflects what is above it."""
    pixels = np.array(canvas)
    depth = np.arange(len(pixels) - shore)
    ripple = np.sin(depth**0.62 * 2.2 + rng.uniform(0, 6)) * (1 + depth * 0.035)
    calm = pixels[np.clip(shore - 1 - depth + ripple.astype(np.intp), 0, shore - 1)]
    water = calm.reshape(-1, 3).mean(axis=0, dtype=np.float32) * np.float32(0.12)
    pixels[shore:] = (calm * np.float32(0.84) + water).astype(np.uint8)
    return Image.fromarray(pixels)


def _aurora(rng: Generator, size: Size) -> Floats:
    """Return the light to be added to a sky, shape (height, width, 3)."""
    width, height = size
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    light = np.zeros((height, width, 3), dtype=np.float32)
    for tint in colours("#35e0a0 #4fd6c0 #9a6be0")[: int(rng.integers(2, 4))]:
        foot = np.float32(rng.uniform(0.42, 0.66)) + ridge(rng, width, 0.7, 0.3) * np.float32(0.1)
        rays = np.float32(0.45) + np.float32(0.55) * np.abs(ridge(rng, width, 9, 0.75))
        above = foot - y
        curtain = np.exp(np.where(above > 0, above / np.float32(-0.16), above / np.float32(0.02))) * rays
        light += curtain[..., None] * tint * np.float32(0.55)
    return light


def _with_stars(rng: Generator, canvas: Image.Image, count: int) -> Image.Image:
    pixels = np.asarray(canvas).astype(np.float32)
    height, width = pixels.shape[:2]
    rows, columns = rng.integers(4, height - 4, count), rng.integers(4, width - 4, count)
    light = np.minimum(30 * rng.pareto(1.3, count) + 18, 255).astype(np.float32)
    warmth = rng.random((count, 1), dtype=np.float32) * np.array([70, 30, 0], dtype=np.float32)
    tint = np.float32(255) - warmth
    pixels[rows, columns] += light[:, None] * tint / 255
    glow = np.exp(np.hypot(*np.mgrid[-4:5, -4:5]) / -0.9).astype(np.float32)[..., None]
    for star in np.argsort(-light)[:40]:
        row, column = rows[star], columns[star]
        strength = np.float32(rng.uniform(0.3, 0.9))
        pixels[row - 4 : row + 5, column - 4 : column + 5] += glow * tint[star] * strength
    return picture(pixels)
