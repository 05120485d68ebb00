"""Painters of patterns, plants, fractals and colour studies."""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from .nature import Floats, Size, clouds, colours, picture, ramp

Colour = tuple[int, int, int]

_PALETTES = (
    "#f4ecd8 #e4572e #29335c #f3a712 #a8c686",
    "#fdf6ec #264653 #2a9d8f #e9c46a #e76f51",
    "#f7f3ee #d8a48f #bb8588 #5b7b7a #3c4f56",
    "#fff8f0 #1d3557 #457b9d #a8dadc #e63946",
    "#faf3dd #5e6472 #b8f2e6 #ffa69e #aed9e0",
    "#f8f4e9 #6a4c93 #1982c4 #8ac926 #ffca3a",
    "#f2efe9 #22223b #4a4e69 #9a8c98 #c9ada7",
    "#fefae0 #606c38 #283618 #dda15e #bc6c25",
)
_GLOWS = (
    "#05061a #1b1464 #6a1fb0 #e0488b #ffb26b #fff6d6",
    "#031a1f #064e5a #1a9e96 #8fe3b0 #f7ffd9",
    "#140a05 #5a1a0a #c4451c #f5a83c #fff0c2",
    "#0b1026 #20456e #4a90b8 #b7dfe8 #ffffff",
)
_FIELDS = ("#8fae5d #3f6b34 #e8efd2", "#5d8f72 #234d3b #eef1e2", "#b8834a #6b4423 #f6ead7", "#6f8fb3 #2f4a6b #eaf0f5")
_PETALS = "#e4572e #f3a712 #d1495b #8e6bbf #f28482 #f7f0e0 #4f86c6"


def pattern(rng: Generator, size: Size) -> Image.Image:
    """Flat shapes: arcs, quarter circles, triangles, terrazzo, woven bands or rings."""
    kinds = (_arcs, _quarters, _triangles, _terrazzo, _weave, _rings)
    # Draw at twice the size and halve it, which smooths every edge.
    canvas = Image.new("RGB", (size[0] * 2, size[1] * 2))
    kinds[rng.integers(len(kinds))](rng, canvas, _palette(rng))
    return canvas.reduce(2)


def plant(rng: Generator, size: Size) -> Image.Image:
    """A tree of forking twigs, a spray of leaves, or a flower head in Vogel's spiral (Math. Biosciences 1979)."""
    leaf, stem, ground = (_rgb(colour) for colour in colours(_FIELDS[rng.integers(len(_FIELDS))]))
    wide = (size[0] * 2, size[1] * 2)
    small = (size[0] // 4, size[1] // 4)
    paper = np.asarray(ground, dtype=np.float32) - np.float32(34) * clouds(rng, small, (2, 2), 3)[..., None]
    canvas = picture(paper).resize(wide, Image.Resampling.BILINEAR)
    kinds = (_tree, _spray, _flower)
    kinds[rng.integers(len(kinds))](rng, canvas, leaf, stem)
    return canvas.reduce(2)


def fractal(rng: Generator, size: Size) -> Image.Image:
    """A Julia set, coloured by the smoothed number of steps until escape."""
    small = (size[0] // 2, size[1] // 2)
    angle = rng.uniform(0, 2 * np.pi)
    # Just outside the cardioid of the Mandelbrot set, where the sets are richest.
    constant = np.complex64((np.exp(1j * angle) / 2 - np.exp(2j * angle) / 4) * rng.uniform(1.01, 1.06))
    reach = 1.25
    y, x = np.mgrid[-reach : reach : small[1] * 1j, -reach : reach : small[0] * 1j].astype(np.float32)
    aspect, tilt = np.float32(size[0] / size[1]), np.exp(1j * rng.uniform(0, np.pi)).astype(np.complex64)
    z = ((x * aspect + np.complex64(1j) * y) * tilt).ravel()
    steps = np.full(z.shape, 60, dtype=np.float32)
    alive = np.arange(z.size)
    for step in range(60):
        z = z * z + constant
        away = np.abs(z)
        out = away > 8
        steps[alive[out]] = np.float32(step + 1) - np.log2(np.log2(away[out]))
        alive, z = alive[~out], z[~out]
    steps = steps.reshape(small[1], small[0])
    values = np.log1p(np.maximum(steps, 0)) / np.float32(np.log(61))
    pixels = ramp(
        (values - values.min()) / (np.ptp(values) + np.float32(1e-6)), colours(_GLOWS[rng.integers(len(_GLOWS))])
    )
    return picture(pixels).resize(size, Image.Resampling.BICUBIC)


def colour_study(rng: Generator, size: Size) -> Image.Image:
    """Nested squares, stacked fields, soft clouds of colour, or a wash with contour lines."""
    kinds = (_squares, _fields, _mesh, _wash)
    small = (size[0] // 2, size[1] // 2)
    pixels = kinds[rng.integers(len(kinds))](rng, small, rng.permutation(colours(_PALETTES[rng.integers(8)])))
    pixels += (clouds(rng, small, (90, 70), 2)[..., None] - np.float32(0.5)) * np.float32(10)
    return picture(pixels).resize(size, Image.Resampling.BICUBIC)


def _palette(rng: Generator) -> list[Colour]:
    ground, *others = (_rgb(colour) for colour in colours(_PALETTES[rng.integers(len(_PALETTES))]))
    return [ground, *(others[i] for i in rng.permutation(4))]


def _rgb(colour: Floats) -> Colour:
    red, green, blue = (int(channel) for channel in np.clip(colour, 0, 255))
    return red, green, blue


def _cells(rng: Generator, canvas: Image.Image) -> tuple[int, list[tuple[int, int]]]:
    """Return the side of a square cell and the upper left corners of the grid that covers the canvas."""
    side = int(canvas.height / rng.integers(4, 9))
    return side, [(x, y) for y in range(0, canvas.height, side) for x in range(0, canvas.width, side)]


def _arcs(rng: Generator, canvas: Image.Image, palette: list[Colour]) -> None:
    """Draw Truchet's tiles, as Smith drew them (Leonardo 1987): two quarter rings each, in one of two positions."""
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, *canvas.size), fill=palette[0])
    side, corners = _cells(rng, canvas)
    half, thick = side / 2, side / int(rng.integers(3, 7))
    for x, y in corners:
        colour = palette[1 + int(rng.integers(2))]
        first, second = ((x, y), (x + side, y + side)) if rng.random() < 0.5 else ((x + side, y), (x, y + side))
        for centre_x, centre_y in (first, second):
            reach = half + thick / 2
            box = (centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach)
            start = {(False, False): 0, (True, False): 90, (True, True): 180, (False, True): 270}[
                (centre_x > x, centre_y > y)
            ]
            draw.arc(box, start, start + 90, fill=colour, width=int(thick))


def _quarters(rng: Generator, canvas: Image.Image, palette: list[Colour]) -> None:
    draw = ImageDraw.Draw(canvas)
    side, corners = _cells(rng, canvas)
    for x, y in corners:
        back, front, dot = (palette[i] for i in rng.permutation(5)[:3])
        draw.rectangle((x, y, x + side, y + side), fill=back)
        turn = int(rng.integers(4))
        centre_x, centre_y = x + side * (turn in (1, 2)), y + side * (turn in (2, 3))
        for reach, colour in ((side, front), (side // 2, dot)):
            box = (centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach)
            draw.pieslice(box, turn * 90, turn * 90 + 90, fill=colour)


def _triangles(rng: Generator, canvas: Image.Image, palette: list[Colour]) -> None:
    draw = ImageDraw.Draw(canvas)
    side, _ = _cells(rng, canvas)
    rise = int(side * 0.866)
    light = clouds(rng, (64, 64), (2, 2), 3)
    stops = np.array(palette, dtype=np.float32)
    for row in range(canvas.height // rise + 1):
        for column in range(-1, 2 * canvas.width // side + 1):
            x, y = column * side / 2, row * rise
            upward = (row + column) % 2 == 0
            tip, foot = (y, y + rise) if upward else (y + rise, y)
            value = light[min(63, 64 * y // canvas.height), min(63, max(0, int(64 * x / canvas.width)))]
            colour = _rgb(ramp(np.float32(value + rng.uniform(-0.08, 0.08)), stops))
            draw.polygon([(x, foot), (x + side, foot), (x + side / 2, tip)], fill=colour)


def _terrazzo(rng: Generator, canvas: Image.Image, palette: list[Colour]) -> None:
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, *canvas.size), fill=palette[0])
    for _ in range(int(rng.integers(180, 360))):
        x, y, reach = (
            rng.uniform(0, canvas.width),
            rng.uniform(0, canvas.height),
            canvas.height * rng.uniform(0.008, 0.045),
        )
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
        points = [(x + reach * np.cos(a) * 1.3, y + reach * np.sin(a)) for a in angles]
        draw.polygon(points, fill=palette[1 + int(rng.integers(4))])


def _weave(rng: Generator, canvas: Image.Image, palette: list[Colour]) -> None:
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, *canvas.size), fill=palette[1])
    side, corners = _cells(rng, canvas)
    gap = side // 10
    across = [palette[int(i)] for i in rng.choice((0, 2, 3, 4), 64)]
    down = [palette[int(i)] for i in rng.choice((0, 2, 3, 4), 64)]
    for x, y in corners:
        column, row = x // side, y // side
        level = (x, y + gap, x + side, y + side - gap), across[row]
        plumb = (x + gap, y, x + side - gap, y + side), down[column]
        for box, colour in (level, plumb) if (row + column) % 2 else (plumb, level):
            draw.rectangle(box, fill=colour)


def _rings(rng: Generator, canvas: Image.Image, palette: list[Colour]) -> None:
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, *canvas.size), fill=palette[0])
    side, corners = _cells(rng, canvas)
    shift = side // 2
    for x, y in corners:
        # Overlapping rows, shifted by half a cell, make the scales of the Japanese seigaiha pattern.
        centre = x + (shift if (y // side) % 2 else 0)
        for ring, colour in enumerate(palette[i] for i in (1, 0, 2, 0, 3)):
            reach = side * (0.72 - 0.14 * ring)
            draw.ellipse((centre - reach, y - reach, centre + reach, y + reach), fill=colour)


def _tree(rng: Generator, canvas: Image.Image, leaf: Colour, stem: Colour) -> None:
    draw = ImageDraw.Draw(canvas)
    blossom = _rgb(colours(_PETALS)[rng.integers(7)]) if rng.random() < 0.6 else leaf
    spread, decay = rng.uniform(0.3, 0.5), rng.uniform(0.72, 0.78)
    twigs = [(canvas.width / 2, canvas.height * 0.96, -np.pi / 2, canvas.height * 0.22, 0)]
    while twigs:
        x, y, angle, length, depth = twigs.pop()
        tip_x, tip_y = x + length * np.cos(angle), y + length * np.sin(angle)
        draw.line((x, y, tip_x, tip_y), fill=stem, width=max(2, int(length * 0.1)))
        if depth == 8:
            reach = rng.uniform(4, 11)
            draw.ellipse((tip_x - reach, tip_y - reach, tip_x + reach, tip_y + reach), fill=blossom)
            continue
        for side in (-1, 1):
            turn = side * spread * rng.uniform(0.6, 1.3)
            twigs.append((tip_x, tip_y, angle + turn, length * decay * rng.uniform(0.85, 1.08), depth + 1))


def _spray(rng: Generator, canvas: Image.Image, leaf: Colour, stem: Colour) -> None:
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    for start in np.linspace(0.2, 0.8, int(rng.integers(3, 6))):
        along = np.linspace(0, 1, 22)
        lean, tall = rng.uniform(-0.22, 0.22), rng.uniform(0.6, 0.9)
        xs, ys = width * (start + lean * along**2), height * (1.02 - tall * along)
        draw.line([(float(x), float(y)) for x, y in zip(xs, ys, strict=True)], fill=stem, width=8)
        for step, t in enumerate(along[4:], 4):
            size = height * 0.12 * (1.15 - t)
            angle = -np.pi / 2 + (1 if step % 2 else -1) * rng.uniform(0.7, 1.0) + lean * t * 2
            shade = rng.uniform(0, 1)
            mixed = np.array(leaf) * shade + np.array(stem) * (1 - shade)
            _leaf(draw, (xs[step], ys[step]), angle, size, _rgb(mixed.astype(np.float32)))


def _flower(rng: Generator, canvas: Image.Image, leaf: Colour, stem: Colour) -> None:
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    x, y, reach = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.48), height * rng.uniform(0.13, 0.2)
    petal = colours(_PETALS)[rng.integers(7)]
    draw.line((x, y, x + width * 0.03, height), fill=stem, width=int(reach * 0.14))
    for side in (-1, 1):
        _leaf(draw, (x + width * 0.02, height * 0.9), -np.pi / 2 + side * 1.05, height * 0.26, leaf)
    petals = int(rng.integers(13, 26))
    for ring, shade in ((1.0, 0.8), (0.82, 1.0)):
        for i in range(petals):
            angle = 2 * np.pi * (i + ring * 2.5) / petals
            _leaf(draw, (x, y), angle, reach * 2.2 * ring, _rgb(petal * np.float32(shade)), 0.16)
    for n in range(420):
        away, angle = reach * np.sqrt(n / 420), n * 2.39996  # the golden angle, in radians
        dot = 3 + 5 * n / 420
        tone = _rgb(ramp(np.float32(n / 420), colours("#3b2412 #8a5a24 #e2ab4a")))
        at_x, at_y = x + away * np.cos(angle), y + away * np.sin(angle)
        draw.ellipse((at_x - dot, at_y - dot, at_x + dot, at_y + dot), fill=tone)


def _leaf(
    draw: ImageDraw.ImageDraw, foot: tuple[float, float], angle: float, length: float, colour: Colour, fat: float = 0.2
) -> None:
    t = np.linspace(0, np.pi, 12)
    along, across = (1 - np.cos(t)) / 2 * length, np.sin(t) * length * fat
    ys, xs = np.concatenate([across, -across[::-1]]), np.concatenate([along, along[::-1]])
    cosine, sine = np.cos(angle), np.sin(angle)
    points = zip(foot[0] + xs * cosine - ys * sine, foot[1] + xs * sine + ys * cosine, strict=True)
    draw.polygon([(float(x), float(y)) for x, y in points], fill=colour)


def _squares(rng: Generator, size: Size, palette: Floats) -> Floats:
    pixels = np.empty((size[1], size[0], 3), dtype=np.float32)
    pixels[:] = palette[0]
    for ring in range(1, 4):
        inset_x, inset_y = int(size[0] * 0.13 * ring), int(size[1] * 0.13 * ring)
        drop = int(size[1] * 0.03 * ring)
        pixels[inset_y + drop : size[1] - inset_y + drop, inset_x : size[0] - inset_x] = palette[ring]
    return pixels


def _fields(rng: Generator, size: Size, palette: Floats) -> Floats:
    pixels = np.empty((size[1], size[0], 3), dtype=np.float32)
    pixels[:] = palette[0] * np.float32(0.85)
    y = np.linspace(0, 1, size[1], dtype=np.float32)[:, None]
    x = np.linspace(0, 1, size[0], dtype=np.float32)
    edges = np.sort(rng.uniform(0.2, 0.8, 2))
    frayed = (clouds(rng, size, (20, 20), 4) - np.float32(0.5)) * np.float32(0.03)
    sides = np.minimum(x, 1 - x) - np.float32(0.07) + frayed
    for top, bottom, colour in zip((0.05, *edges), (*edges, 0.95), palette[1:4], strict=True):
        inside = np.minimum(np.minimum(y - np.float32(top), np.float32(bottom) - y) - np.float32(0.015) + frayed, sides)
        pixels += (colour - pixels) * np.clip(inside * 45, 0, np.float32(0.95))[..., None]
    return pixels


def _mesh(rng: Generator, size: Size, palette: Floats) -> Floats:
    y, x = np.mgrid[0 : 1 : size[1] * 1j, 0 : 1 : size[0] * 1j].astype(np.float32)
    total = np.zeros((size[1], size[0], 3), dtype=np.float32)
    weights = np.zeros((size[1], size[0], 1), dtype=np.float32)
    for colour in palette[np.arange(7) % 5]:
        near = np.hypot(x - np.float32(rng.random()), y - np.float32(rng.random()))
        weight = np.exp(-((near / np.float32(0.26)) ** 2))[..., None] + np.float32(1e-4)
        total += weight * colour
        weights += weight
    return total / weights


def _wash(rng: Generator, size: Size, palette: Floats) -> Floats:
    height = clouds(rng, size, (2, 2), 4)
    pixels = ramp(np.floor(height * 9) / 9, palette)
    return pixels * (np.float32(0.88) + np.float32(0.12) * ((height * 9) % 1))[..., None]
