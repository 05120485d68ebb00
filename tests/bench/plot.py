"""Plot lines over two logarithmic axes, as an SVG for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 90, 150, 24, 52
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #3f3f46 }
  .grid { stroke: #e4e4e7 } .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
  .a { stroke: #4f46e5 } .b { stroke: #d97706 } .dot.a { fill: #4f46e5 } .dot.b { fill: #d97706 }
  @media (prefers-color-scheme: dark) {
    text { fill: #d4d4d8 } .grid { stroke: #3f3f46 }
    .a { stroke: #a5b4fc } .b { stroke: #fbbf24 } .dot.a { fill: #a5b4fc } .dot.b { fill: #fbbf24 }
  }
"""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from ``least`` to ``most``, both above 0, in pixels from ``start`` to ``end``."""

    least: float
    most: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = math.log(value / self.least) / math.log(self.most / self.least)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """The powers of ten."""
        powers = range(math.ceil(math.log10(self.least)), math.floor(math.log10(self.most)) + 1)
        return [10.0**power for power in powers]


def plot(lines: Mapping[str, Sequence[Point]], *, title: str, across: str, up: str) -> str:
    """Up to two named lines through points (x, y), all above 0."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_axis = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_axis = Axis(10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys))), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
    ]
    for tick in y_axis.ticks():
        y = y_axis.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{tick:,g}</text>')
    for tick in sorted(set(xs)):
        x = x_axis.place(tick)
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{tick:,g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(18 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    for (name, points), colour in zip(lines.items(), "ab", strict=False):
        placed = [(x_axis.place(x), y_axis.place(y)) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in placed)
        parts.append(f'<polyline class="line {colour}" points="{path}"/>')
        parts += [f'<circle class="dot {colour}" cx="{x}" cy="{y}" r="4"/>' for x, y in placed]
        x, y = placed[-1]
        parts.append(f'<text x="{x + 12}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])
