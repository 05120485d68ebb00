"""`make bench-eta`: measure how well the time left is told, beside tqdm and the plain mean.

Traces of runs are replayed: those that `generate` makes and those in ``traces/``, or those of the folder ``TRACES``. At
5, 10, … 95 % of each run the error of what is shown is compared with the true time left, which leaves out pauses. What
is told is the geometric middle of the range. Whoever tells nothing has an error of 1.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import django
from rich.console import Console
from rich.table import Table

from .peers import mean_left, tqdm_left
from .trace import Trace, traces_in

SHARES = [percent / 100 for percent in range(5, 100, 5)]
# The share of moments at which a range should hold the truth.
NOMINAL = 0.8
PEERS = ("tqdm_03", "tqdm_0", "mean")
RECORDED = Path(__file__).with_name("traces")


@dataclass(frozen=True, slots=True)
class Moment:
    """What was told at one moment of a run, and the truth: seconds left."""

    kind: str
    whole: float  # seconds of the whole run
    truth: float
    low: float | None
    high: float | None
    peers: tuple[float | None, ...]

    @property
    def middle(self) -> float | None:
        return math.sqrt(self.low * self.high) if self.low is not None and self.high is not None else None

    @property
    def is_held(self) -> bool:
        return self.low is not None and self.high is not None and self.low <= self.truth <= self.high

    def error(self, told: float | None) -> float:
        return abs(told - self.truth) / self.truth if told is not None else 1.0

    @property
    def width(self) -> float:
        assert self.low is not None
        assert self.high is not None
        return (self.high - self.low) / self.truth

    @property
    def interval_score(self) -> float:
        """The interval score of Winkler (1972), over the time of the whole run: less is better."""
        assert self.low is not None
        assert self.high is not None
        missed = max(self.low - self.truth, self.truth - self.high, 0.0)
        return (self.high - self.low + 2 / (1 - NOMINAL) * missed) / self.whole


def moments_of(trace: Trace, known: dict[str, Trace]) -> list[Moment]:
    """Replay a trace after its earlier ones. Moments within a pause are left out: nothing is told then."""
    from .replay import Replay

    times = [share * trace.end for share in SHARES]
    times = [time for time in times if not trace.is_paused_at(time) and trace.left_at(time) > 0]
    missing = [name for name in trace.earlier if name not in known]
    if missing:
        print(f"{trace.name}: no trace is called {', '.join(missing)}", file=sys.stderr)
    earlier = [Replay(known[name]).stages_at_the_end() for name in reversed(trace.earlier) if name in known]
    ours = list(Replay(trace, earlier).left_at(times))
    peers = zip(tqdm_left(trace, 0.3, times), tqdm_left(trace, 0, times), mean_left(trace, times), strict=True)
    return [
        Moment(
            trace.kind, trace.left_at(0), trace.left_at(time), eta.low if eta else None, eta.high if eta else None, told
        )
        for time, eta, told in zip(times, ours, peers, strict=True)
    ]


def summary(moments: Sequence[Moment]) -> dict[str, float] | None:
    """Return the figures of the last line over these moments; None if there are none."""
    if not moments:
        return None
    ranges = [moment for moment in moments if moment.low is not None]
    figures = {"median_error": median(moment.error(moment.middle) for moment in moments)}
    for index, peer in enumerate(PEERS):
        figures[peer] = median(moment.error(moment.peers[index]) for moment in moments)
    figures["coverage"] = fmean(moment.is_held for moment in ranges) if ranges else 0.0
    figures["width"] = median(moment.width for moment in ranges) if ranges else 0.0
    return {name: round(figure, 4) for name, figure in figures.items()}


def _print(title: str, moments: Sequence[Moment]) -> None:
    table = Table(title=title)
    columns = ("moments", "ours", *PEERS, "of best", "coverage", "width", "interval score", "silent")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    by_kind = defaultdict(list)
    for moment in moments:
        by_kind[moment.kind].append(moment)
    for kind, some in [*by_kind.items(), ("all", moments)]:
        figures = summary(some)
        assert figures is not None
        best = min(figures[peer] for peer in PEERS)
        said = [moment.interval_score for moment in some if moment.low is not None]
        table.add_row(
            kind, str(len(some)), *(f"{figures[name]:.3f}" for name in ("median_error", *PEERS)),
            f"{figures['median_error'] / best:.2f}" if best else "", f"{figures['coverage']:.2f}",
            f"{figures['width']:.2f}", f"{fmean(said):.2f}" if said else "", str(len(some) - len(said)),
        )  # fmt: skip
    Console(width=140).print(table)


def measure(traces: Iterable[Trace]) -> tuple[list[Moment], list[Moment]]:
    """Return the moments of the traces without earlier ones, and of those with some."""
    known = {trace.name: trace for trace in traces}
    alone, learned = list[Moment](), list[Moment]()
    for trace in known.values():
        (learned if trace.earlier else alone).extend(moments_of(trace, known))
    return alone, learned


def main() -> None:
    os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.bench.settings", "SECRET_KEY": "of a benchmark"}
    django.setup()
    from .generate import generated

    if folder := os.environ.get("TRACES"):
        traces = traces_in(Path(folder))
    else:
        held_out = os.environ.get("HELD_OUT", "") == "1"
        traces = [*generated(held_out=held_out), *([] if held_out else traces_in(RECORDED))]
    if not traces:
        sys.exit(f"There are no traces in {folder}.")
    alone, learned = measure(traces)
    for title, moments in (("Without earlier runs", alone), ("After earlier runs", learned)):
        if moments:
            _print(title, moments)
    figures = summary(alone) or dict.fromkeys(("median_error", *PEERS, "coverage", "width"))
    print(json.dumps({**figures, "learned": summary(learned)}))


if __name__ == "__main__":
    main()
