"""The time left of a run: a pure function of its stages, their readings, and what earlier runs took.

The model
=========

*The stage under way.* `pace` guesses the seconds of the items ahead from the readings, G₁: a median, and the standard
deviation of the logarithm, its spread. A total that has grown of late is expected to grow on: by `GROWTH` times what
it grew in as much time as has gone, times the share that is not done. What has grown for a time grows on for x times as
long with the probability 1/(1 + x), so for between 1/9 and 9 times as long with 80 %: the range of how many items that
makes is a part of the spread.

*With history*, the last ready runs say what the whole stage takes: the median of their seconds, by item where the
number of items differs. Their profile says which share of those seconds has gone at each share of the items. That gives
two more guesses: what the profile leaves of those seconds, corrected by the pace of this run against the profile, G₂
(`pace` again, with expected seconds in place of items); and the same without the correction, G₃. G₁ and G₂ are mixed by
how much the paces of the bins scatter with and without the profile: the odds are 2·(s₂/s₁)^(−k/2), s the variances of k
bins. The mixture and G₃ are taken for independent, and pooled by their precision, 1/spread². The variance of G₃ takes
in 2·s₂/k. The further G₃ is from the mixture, measured in their spreads, the larger its variance is made, because today
is not as it was.

*Stages that wait* take what they took, times the ratio by which this run is slower than the earlier ones to the power
of `SAME_SPEED`. Without history they take the seconds so far by weight, all of them more or all of them less, and so
does a stage that has just begun. A stage whose total is not known gets that of the last run, in proportion to the total
of the stage under way.

*The range.* The guesses of the stages are added up, and so are their variances. The range goes from the median over
exp(`WIDTH`·spread) to the median times that; its geometric middle is what is most likely. The seconds since the last
reading are taken off. After `SILENT` times the usual gap between readings with a higher count, the wait itself is a
reading; and nothing is said of the last stage, where all its items are done and it goes on.

Sources: Gott, "Implications of the Copernican principle for our future prospects", 1993 (how long growth goes on);
Bates and Granger, "The combination of forecasts", 1969 (pooling by precision); Winkler, "A decision-theoretic approach
to interval estimation", 1972 (how `make bench-eta` scores ranges); and those of `pace`.

What it cannot know: a phase that begins later, and did in no earlier run; which items are large; that some of several
workers will be done before the others, because it sees the sum of their counts; how far a total will still grow. The
ranges are made to hold the truth at eight of ten moments over many kinds of runs, so for one kind they may be too
narrow, and for another too wide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median
from typing import Final

from .history import POINTS, LearnedStage
from .pace import MOST, Guess, Pace
from .readings import Reading
from .transitions import StageState

# A t distribution with 8 degrees of freedom holds 80 % within so many standard deviations, and the normal one within
# 1.28: a spread is itself an estimate, from few tests.
WIDTH: Final = 1.4
GROWTH: Final = 0.7
# Up to how many times as long as it has gone on growth goes on, and down to what part of it, with 80 %.
LONGEST: Final = 9.0
SILENT: Final = 3.0
# How much two runs of the same work usually differ: the standard deviation of the logarithm. It counts as two runs.
USUAL_DIFFERENCE: Final = 0.25
# How much the speed of a run tells of its later stages.
SAME_SPEED: Final = 0.7
# The spread of a stage that is known by its weight alone.
BY_WEIGHT: Final = 0.6
# Totals that differ less are the same.
SAME_TOTAL: Final = 0.02
# How many guesses are remembered.
REMEMBERED: Final = 8192

_LINEAR: Final = tuple(point / POINTS for point in range(1, POINTS + 1))
_remembered: dict[int, Guess | None] = {}


@dataclass(frozen=True, slots=True)
class SecondsRange:
    """A range of seconds, as of a time left. `snapshot.Eta` is the same as JSON."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Work:
    """A stage as the estimate needs it.

    ``total`` 0: not known. ``seconds``: of work so far. ``before``: the items that are counted and not in the readings,
    because they were done when the stage began, or were skipped.
    """

    name: str
    state: StageState
    weight: float = 1.0
    total: int = 0
    seconds: float = 0.0
    before: int = 0
    readings: Sequence[Reading] = ()
    totals: Sequence[Reading] = ()


def time_left(stages: Sequence[Work], learned: Sequence[LearnedStage] = ()) -> SecondsRange | None:
    """Return the seconds until the run ends, without pauses: a range that holds them about eight times out of ten.

    None while there is not enough to say. ``stages``: all that the run has or is known to get, in order. ``learned``:
    of earlier runs.
    """
    active = next((stage for stage in stages if stage.state == StageState.ACTIVE), None)
    if active is None or not active.readings:
        return None
    known = {stage.name: stage for stage in learned}
    past = known.get(active.name)
    if not active.total and past is not None:
        active = replace(active, total=past.total)
    done = [stage for stage in stages if stage.state == StageState.DONE]
    waiting = [stage for stage in stages if stage.state == StageState.WAITING]
    if not waiting and _goes_on_without_items(active):
        return None
    guess = _guess_now(active, past) or _guess_by_weight(active, done)
    if guess is None:
        return None
    own = replace(active, seconds=active.seconds + guess.seconds)
    return _range([guess, *_guess_waiting(waiting, [*done, own], known)])


def _range(guesses: Sequence[Guess]) -> SecondsRange:
    seconds = sum(guess.seconds for guess in guesses)
    if seconds <= 0:
        return SecondsRange(0.0, 0.0)
    spread = math.sqrt(sum((guess.seconds * guess.spread) ** 2 for guess in guesses)) / seconds
    factor = math.exp(WIDTH * min(spread, MOST))
    return SecondsRange(seconds / factor, seconds * factor)


# --- The stage under way ----------------------------------------------------------------------------------------------


def _is_silent(stage: Work) -> bool:
    """Whether the last item is much longer ago than there was between the items before it."""
    waited = stage.seconds - stage.readings[-1][0]
    gaps = [after - before for (before, less), (after, more) in pairwise(stage.readings[-12:]) if more > less]
    return bool(gaps) and waited > SILENT * fmean(gaps)


def _goes_on_without_items(stage: Work) -> bool:
    """Whether a stage has done all its items and is at work all the same, for nobody knows how long."""
    return 0 < stage.total <= stage.before + stage.readings[-1][1] and _is_silent(stage)


def _guess_now(stage: Work, past: LearnedStage | None) -> Guess | None:
    """Guess the seconds that are left of the stage under way."""
    last, done = stage.readings[-1]
    waited = max(stage.seconds - last, 0.0)
    if _is_silent(stage):
        return _guess(replace(stage, readings=[*stage.readings, (stage.seconds, done)]), past)
    # Until the next reading the guess is the same, and is made once.
    key = hash((tuple(map(tuple, stage.readings)), tuple(map(tuple, stage.totals)), stage.total, stage.before, past))
    if key not in _remembered:
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        _remembered[key] = _guess(stage, past)
    guess = _remembered[key]
    if guess is None or not guess.seconds:
        return guess
    seconds = max(guess.seconds - waited, 0.1 * guess.seconds)
    return Guess(seconds, min(guess.spread * guess.seconds / seconds, MOST))


def _guess_by_weight(stage: Work, done: Sequence[Work]) -> Guess | None:
    """Guess the seconds that are left of a stage that has done nothing yet from those before it."""
    weight = sum(each.weight for each in done)
    whole = stage.weight * sum(each.seconds for each in done) / weight if weight else 0.0
    return Guess(max(whole - stage.seconds, 0.1 * whole), MOST) if whole else None


def _guess(stage: Work, past: LearnedStage | None) -> Guess | None:
    """Guess the seconds from the last reading to the end of a stage."""
    readings = stage.readings
    known_ahead = stage.total - stage.before - readings[-1][1]
    if known_ahead <= 0:
        return Guess(0.0, 0.0) if stage.total else None
    more = _growth(stage.totals, readings[-1][0]) * known_ahead / stage.total
    growth_spread = math.log((known_ahead + LONGEST * more) / (known_ahead + more / LONGEST)) / (2 * WIDTH)
    if more and past is not None and past.total:
        more = max(past.total - stage.total, 0)
        growth_spread = math.log(1 + more / (known_ahead + more))
    ahead = known_ahead + more
    pace = Pace(readings) if _has_grown(readings) else None
    guess = pace.guess(ahead) if pace is not None and pace.bins > 1 else None
    if past is not None and (whole := _expected(past, round(stage.total + more))) is not None:
        guess = _with_history(guess, pace, stage, past.profile or _LINEAR, whole, stage.total + more)
    if guess is None or not more:
        return guess
    return Guess(guess.seconds, min(math.hypot(guess.spread, growth_spread), MOST))


def _has_grown(points: Sequence[tuple[float, float]]) -> bool:
    return points[-1][1] > points[0][1] and points[-1][0] > points[0][0]


def _growth(totals: Sequence[Reading], now: float) -> float:
    """Return by how much a total would grow on, if nothing of it were done yet. 0: it has stopped growing."""
    if len(totals) < 3:
        return 0.0
    usual = median(after - before for (before, _), (after, _) in pairwise(totals))
    if now - totals[-1][0] > max(SILENT * usual, 0.05 * now):
        return 0.0
    since, then = totals[len(totals) // 2]
    return max((totals[-1][1] - then) / (now - since) * now * GROWTH, 0.0) if now > since else 0.0


# --- History ----------------------------------------------------------------------------------------------------------


def _expected(past: LearnedStage, total: int) -> Guess | None:
    """Guess the seconds of a whole stage of ``total`` items from earlier runs; 0: as many as these had."""
    logs = []
    for items, seconds in past.runs:
        if seconds >= 0.001:
            is_other = total > 0 and items > 0 and abs(total - items) > SAME_TOTAL * items
            logs.append(math.log(seconds * (total / items if is_other else 1.0)))
    if not logs:
        return None
    middle, runs = median(logs), len(logs)
    variance = (sum((log - middle) ** 2 for log in logs) + 2 * USUAL_DIFFERENCE**2) / (runs + 1)
    return Guess(math.exp(middle), min(math.sqrt(variance * (1 + 1 / runs)), MOST))


def _with_history(
    plain: Guess | None, pace: Pace | None, stage: Work, profile: Sequence[float], whole: Guess, total: float
) -> Guess:
    """Put together what the readings say (``plain``) and what earlier runs do: ``whole``, for ``total`` items."""

    def gone(items: float) -> float:
        return whole.seconds * _share_of_time(profile, (stage.before + items) / total)

    usual = Guess(max(whole.seconds - gone(stage.readings[-1][1]), 0.001 * whole.seconds), whole.spread)
    begun = gone(0)
    points = [(moment, gone(items) - begun) for moment, items in stage.readings]
    along = Pace(points) if _has_grown(points) else None
    if along is None or along.bins < 2:
        return _pooled(plain, usual) if plain is not None else usual
    guess = along.guess(usual.seconds)
    if plain is not None and pace is not None:
        bins = min(along.bins, pace.bins)
        log_odds = math.log(2) - bins / 2 * math.log((along.scatter + 0.0025) / (pace.scatter + 0.0025))
        guess = _mixed(guess, plain, 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0))))
    usual = replace(usual, spread=min(math.sqrt(usual.spread**2 + 2 * along.scatter / along.bins), MOST))
    return _pooled(guess, usual)


def _share_of_time(profile: Sequence[float], share: float) -> float:
    """Return the share of the time that has gone when this share of the items is done. It grows with every item."""
    share = min(max(share, 0.0), 1.0)
    place = share * len(profile)
    index = min(int(place), len(profile) - 1)
    before = profile[index - 1] if index else 0.0
    return 0.01 * share + 0.99 * (before + (profile[index] - before) * (place - index))


def _mixed(one: Guess, other: Guess, share: float) -> Guess:
    """Return the mixture of two guesses of which one is right, the first with the probability ``share``."""
    first, second = math.log(one.seconds), math.log(other.seconds)
    middle = share * first + (1 - share) * second
    variance = share * (one.spread**2 + (first - middle) ** 2)
    variance += (1 - share) * (other.spread**2 + (second - middle) ** 2)
    return Guess(math.exp(middle), math.sqrt(variance))


def _pooled(one: Guess, other: Guess) -> Guess:
    """Return what a guess of this run and one of earlier runs say together: the second less, the more it differs."""
    first, second = math.log(one.seconds), math.log(other.seconds)
    doubt = max((first - second) ** 2 / (one.spread**2 + other.spread**2), 1.0)
    share = doubt * other.spread**2 / (one.spread**2 + doubt * other.spread**2)
    variance = share * one.spread**2 + share * (1 - share) * (first - second) ** 2
    return Guess(math.exp(share * first + (1 - share) * second), math.sqrt(variance))


# --- The stages that wait ---------------------------------------------------------------------------------------------


def _guess_waiting(waiting: Sequence[Work], begun: Sequence[Work], known: Mapping[str, LearnedStage]) -> list[Guess]:
    """Guess the seconds of each waiting stage. ``begun``: the others, the last one as if it were over."""
    if not waiting:
        return []
    per_weight = sum(stage.seconds for stage in begun) / sum(stage.weight for stage in begun)
    active, now, then = begun[-1], 0.0, 0.0
    for stage in begun:
        past = known.get(stage.name)
        whole = _expected(past, stage.total) if past is not None else None
        if whole is not None:
            now, then = now + stage.seconds, then + whole.seconds
    slower = (now / then) ** SAME_SPEED if now and then else 1.0
    before = known.get(active.name)
    grown = active.total / before.total if before is not None and before.total and active.total else 1.0
    guesses, by_weight = list[Guess](), 0.0
    for stage in waiting:
        past = known.get(stage.name)
        whole = _expected(past, stage.total or round(past.total * grown)) if past is not None else None
        if whole is not None:
            guesses.append(Guess(whole.seconds * slower, whole.spread))
        else:
            by_weight += stage.weight * per_weight
    # One guess, because what a weight takes is either more or less for all of them.
    return [*guesses, Guess(by_weight, BY_WEIGHT)]
