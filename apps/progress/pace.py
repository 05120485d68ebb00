"""How long the items ahead will take, from the readings of those that are done: pure functions.

*Bins.* The readings are grouped into at most `BINS` bins, which are about equal in the mean of their shares of the
items and of the time, so that a fast and a slow part are both resolved. A bin has its items n, its seconds d and its
pace d/n.

*Candidates.* Five models say how the pace goes on, each fitted to the logarithms of the bins' paces:

- the mean of all: d₁+…+dₖ over n₁+…+nₖ;
- a straight line of the pace over the items, by least squares weighted with n, between `LOWEST` and `HIGHEST` times the
  pace that it has reached;
- a pace that returns to the mean: a part φ of what a bin is off the mean, the correlation of neighbours, goes over to
  the next one (an autoregression of order 1);
- the mean since the last change of pace. Changes are found by binary segmentation: a segment is cut where that lowers
  m·ln(RSS/m), m its bins, by `PENALTY`·2·ln k (RSS: the sum of squared residuals);
- a straight line since the last change.

*Weights.* A model of p parameters has the score k·ln(RSS/k + `FLOOR`²) + `PENALTY`·p·ln k: a Bayesian information
criterion with a heavier penalty, because the places of changes are searched for. The mean counts as half a parameter,
the lines and the return as two, a mean since the last of c changes as 2·c + 1. The logarithms of the candidates' times
are averaged with the weights exp(−score/2).

*Spread.* The variance of the logarithm is the sum of: that between the candidates; that of the bins, over their number
and over the number of bins ahead; and 1.5 times the squared error of the same method when it foretold the last 50, 35,
20 and 10 % of the bins from those before them, times the ratio of both horizons, ¼ to `FURTHEST`. A horizon is the
items ahead over those that are done.

Sources: Schwarz, "Estimating the dimension of a model", 1978 (the criterion); Scott and Knott, "A cluster analysis
method for grouping means", 1974 (binary segmentation); Buckland, Burnham and Augustin, "Model selection: an integral
part of inference", 1997 (weights from criteria, and the variance between models); Tashman, "Out-of-sample tests of
forecasting accuracy", 2000 (tests on what came later). The penalty, the factor 1.5 and the bounds were chosen on the
generated traces of `make bench-eta`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

BINS: Final = 32
# The fewest bins of a segment.
LEAST: Final = 2
PENALTY: Final = 3.0
# The noise that is expected of even the steadiest work.
FLOOR: Final = 0.05
# A line of paces stays between these multiples of the pace that it has reached.
LOWEST: Final = 0.5
HIGHEST: Final = 4.0
# Where it is fitted, a line counts as at least this share of the mean pace.
CLAMP: Final = 0.33
# Up to what ratio of horizons the squared error of a guess grows in proportion.
FURTHEST: Final = 4.0
# The largest spread of a guess.
MOST: Final = 0.8
# After so many bins a pace has returned to the mean.
RETURNED: Final = 40
BACKTESTS: Final = (0.5, 0.65, 0.8, 0.9)

Point = tuple[float, float]  # seconds, items


@dataclass(frozen=True, slots=True)
class Guess:
    """A log-normal guess of seconds: its median, and the standard deviation of its logarithm."""

    seconds: float
    spread: float


class Pace:
    """The pace of work, in bins."""

    def __init__(self, points: Sequence[Point]) -> None:
        """``points``: at least two, in order, whose items grow from the first to the last."""
        items, seconds = _bins(points)
        self.bins = len(items)
        self._items = items
        self._paces = [spent / done for spent, done in zip(seconds, items, strict=True)]
        logs = self._logs = [math.log(pace) for pace in self._paces]
        self._items_until = [0.0, *accumulate(items)]
        self._seconds_until = [0.0, *accumulate(seconds)]
        self._sums = [0.0, *accumulate(logs)]
        self._squares = [0.0, *accumulate(value * value for value in logs)]

    @property
    def scatter(self) -> float:
        """The variance of the logarithms of the bins' paces."""
        return self._rss(0, self.bins) / max(self.bins - 1, 1)

    def guess(self, ahead: float) -> Guess:
        """Guess how long ``ahead`` more items take."""
        if ahead <= 0:
            return Guess(0.0, 0.0)
        bins, done = self.bins, self._items_until[-1]
        ahead = max(ahead, 1e-9 * done)  # less has no logarithm
        told, between = self._foretell(bins, ahead)
        horizon = ahead / done
        sampled = self.scatter * (1 / bins + 1 / max(horizon * bins, 0.5))
        tested = []
        for share in BACKTESTS:
            known = round(bins * share)
            if 2 <= known < bins:
                then = done - self._items_until[known]
                error = self._foretell(known, then)[0] - math.log(self._seconds_until[-1] - self._seconds_until[known])
                further = horizon * self._items_until[known] / then
                tested.append(error * error * min(max(further, 1 / FURTHEST), FURTHEST))
        backtest = sum(tested) / len(tested) if tested else 0.25
        variance = between + sampled + 1.5 * backtest + 0.5 / bins**2
        return Guess(math.exp(told), min(math.sqrt(0.03**2 + variance), MOST))

    def _foretell(self, bins: int, ahead: float) -> tuple[float, float]:
        """Foretell the seconds of ``ahead`` items from the first ``bins``: their logarithm, and its variance between
        the candidates.
        """
        candidates = [
            (bins * math.log(rss / bins + FLOOR**2) + PENALTY * parameters * math.log(bins), math.log(seconds))
            for rss, parameters, seconds in self._candidates(bins, ahead)
        ]
        best = min(score for score, _ in candidates)
        weights = [math.exp((best - score) / 2) for score, _ in candidates]
        total = sum(weights)
        middle = sum(weight * told for weight, (_, told) in zip(weights, candidates, strict=True)) / total
        variance = sum(w * (told - middle) ** 2 for w, (_, told) in zip(weights, candidates, strict=True)) / total
        return middle, variance

    def _candidates(self, bins: int, ahead: float) -> Iterator[tuple[float, float, float]]:
        """Yield the RSS, the number of parameters, and the seconds of ``ahead`` items of each candidate."""
        mean = self.pace(0, bins)
        yield self._rss(0, bins), 0.5, ahead * mean
        if bins >= 5:
            rss, seconds = self._line(0, bins, ahead)
            yield rss, 2, seconds
        if bins >= 6:
            rss, seconds = self._returning(bins, ahead)
            yield rss, 2, seconds
        segments = self._segments(bins, PENALTY * 2 * math.log(bins))
        if len(segments) == 1:
            return
        start, end = segments[-1]
        before = sum(self._rss(*segment) for segment in segments[:-1])
        parameters = 2 * len(segments) - 1
        yield before + self._rss(start, end), parameters, ahead * self.pace(start, end)
        if end - start >= 5:
            rss, seconds = self._line(start, end, ahead)
            yield before + rss, parameters + 1, seconds

    def _returning(self, bins: int, ahead: float) -> tuple[float, float]:
        """Return the RSS of a pace that returns to the mean, and the seconds of ``ahead`` items by it."""
        mean = self._sums[bins] / bins
        off = [log - mean for log in self._logs[:bins]]
        square = sum(value * value for value in off[:-1])
        kept = sum(one * other for one, other in pairwise(off)) / square if square else 0.0
        kept = min(max(kept, 0.0), 0.98)
        rss = sum((later - kept * earlier) ** 2 for earlier, later in pairwise(off)) * bins / (bins - 1)
        size = (self._items_until[bins] - self._items_until[bins - 3]) / 3  # items of a bin, as they are now
        rest, value, seconds = ahead / size, (2 * off[-1] + off[-2]) / 3, 0.0
        for _ in range(RETURNED):
            if rest <= 0:
                break
            value *= kept
            seconds += min(rest, 1.0) * math.exp(value)
            rest -= 1
        return rss, (seconds + max(rest, 0.0)) * size * self.pace(0, bins)

    def _rss(self, start: int, end: int) -> float:
        total = self._sums[end] - self._sums[start]
        return max(self._squares[end] - self._squares[start] - total * total / (end - start), 0.0)

    def pace(self, start: int, end: int) -> float:
        return (self._seconds_until[end] - self._seconds_until[start]) / (
            self._items_until[end] - self._items_until[start]
        )

    def _segments(self, bins: int, penalty: float) -> list[tuple[int, int]]:
        found, todo = [], [(0, bins)]
        while todo:
            start, end = todo.pop()
            length = end - start
            if length >= 2 * LEAST:
                parts = (
                    (self._rss(start, at) + self._rss(at, end), at) for at in range(start + LEAST, end - LEAST + 1)
                )
                best, at = min(parts)
                noise = FLOOR * FLOOR * length
                if length * math.log((self._rss(start, end) + noise) / (best + noise)) >= penalty:
                    todo += [(start, at), (at, end)]
                    continue
            found.append((start, end))
        return sorted(found)

    def _line(self, start: int, end: int, ahead: float) -> tuple[float, float]:
        """Return the RSS of a straight line of the pace, and the seconds of ``ahead`` items along it."""
        weights, paces = self._items[start:end], self._paces[start:end]
        places = [(self._items_until[k] + self._items_until[k + 1]) / 2 for k in range(start, end)]
        weight = sum(weights)
        place = sum(w * x for w, x in zip(weights, places, strict=True)) / weight
        pace = sum(w * p for w, p in zip(weights, paces, strict=True)) / weight
        square = sum(w * (x - place) ** 2 for w, x in zip(weights, places, strict=True))
        slope = sum(w * (x - place) * p for w, x, p in zip(weights, places, paces, strict=True)) / square
        lowest = CLAMP * pace
        residuals = [math.log(p / max(pace + slope * (x - place), lowest)) for x, p in zip(places, paces, strict=True)]
        mean = sum(residuals) / len(residuals)
        rss = sum((residual - mean) ** 2 for residual in residuals)
        here = max(pace + slope * (self._items_until[end] - place), lowest)
        bound = here * (LOWEST if slope < 0 else HIGHEST)
        if slope and (reach := (bound - here) / slope) < ahead:
            return rss, reach * (here + bound) / 2 + (ahead - reach) * bound
        return rss, ahead * (here + slope * ahead / 2)


def _bins(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Return the items and the seconds of each bin. A bin is made of whole readings, and has items."""
    (begin, first), (end, last) = points[0], points[-1]
    by_time, by_items = 0.5 / (end - begin), 0.5 / (last - first)
    items, seconds = list[float](), list[float]()
    before, fewer = begin, first
    for moment, done in points[1:]:
        if done > fewer and (moment - before) * by_time + (done - fewer) * by_items >= 1 / BINS:
            items.append(done - fewer)
            seconds.append(moment - before)
            before, fewer = moment, done
    if last > fewer and (not items or (end - before) * by_time + (last - fewer) * by_items >= 0.5 / BINS):
        items.append(last - fewer)
        seconds.append(end - before)
    else:
        items[-1] += last - fewer
        seconds[-1] += end - before
    return items, seconds
