"""`make bench-eta`: what it replays, what it prints, and the bars that the time left has to clear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.repository import ROOT

from .__main__ import PEERS, RECORDED, measure, moments_of, summary
from .generate import KINDS, generated
from .peers import mean_left, tqdm_left
from .trace import Trace, trace_of, traces_in

KEYS = ["median_error", "tqdm_03", "tqdm_0", "mean", "coverage", "width"]


def trace(name: str = "t", *, events: Sequence[Sequence[Any]], **said: Any) -> Trace:
    plan = {"name": name, "stages": [{"name": "s", "weight": 1, "total": events[0][3]}]}
    return trace_of({**plan, "events": events, "end": events[-1][0], **said})


def steady(per_second: int, seconds: int, total: int) -> list[list[Any]]:
    return [[second, "s", second * per_second, total] for second in range(seconds + 1)]


def last_line(folder: Path) -> dict[str, Any]:
    """What the program prints last of the traces in a folder."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench.eta"], cwd=ROOT, env={**os.environ, "TRACES": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


def save(folder: Path, *traces: Trace) -> None:
    for each in traces:
        (folder / f"{each.name}.json").write_text(json.dumps(each.as_json()))


def test_the_last_line_has_its_keys_and_null_for_a_kind_that_is_not_there(tmp_path: Path) -> None:
    first, again = trace("one", events=steady(5, 100, 500)), trace("two", events=steady(5, 100, 500), earlier=["one"])
    save(tmp_path, first)
    alone = last_line(tmp_path)
    assert list(alone) == [*KEYS, "learned"]
    assert alone["learned"] is None
    assert all(isinstance(alone[key], float) for key in KEYS)
    save(tmp_path, again)
    both = last_line(tmp_path)
    assert list(both["learned"]) == KEYS
    (tmp_path / "one.json").unlink()
    learned = last_line(tmp_path)
    assert [learned[key] for key in KEYS] == [None] * 6
    assert learned["learned"] is not None


def test_a_file_that_is_no_trace_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"name": "bad"}')
    with pytest.raises(SystemExit, match=r"bad\.json is no trace"):
        traces_in(tmp_path)


def test_the_set_has_all_kinds_recorded_work_and_runs_with_earlier_ones() -> None:
    recorded, made = traces_in(RECORDED), list(generated())
    assert {each.kind for each in made} == set(KINDS)
    assert len(made) + len(recorded) >= 30
    for kind in KINDS:
        assert {bool(each.earlier) for each in made if each.kind == kind} == {False, True}
    assert made == list(generated())
    names = {each.name for each in [*made, *recorded]}
    assert all(set(each.earlier) <= names for each in [*made, *recorded])
    assert trace_of(made[0].as_json()) == made[0]


def test_held_out_traces_are_others() -> None:
    assert {each.end for each in generated()} & {each.end for each in generated(held_out=True)} == set()


def test_the_true_time_left_has_no_pauses_and_nothing_is_asked_within_one() -> None:
    paused = trace(events=steady(1, 40, 40), paused=[[10, 30]])
    assert [paused.left_at(second) for second in (0, 5, 10, 30, 35)] == [20, 15, 10, 10, 5]
    moments = moments_of(paused, {})
    assert [moment.truth for moment in moments] == pytest.approx([18, 16, 14, 12, 10, 8, 6, 4, 2])


def test_the_peers_say_what_they_say_of_steady_work() -> None:
    even = trace(events=steady(2, 100, 200))
    for told in (tqdm_left(even, 0.3, [50]), tqdm_left(even, 0, [50]), mean_left(even, [50])):
        assert told == [pytest.approx(50, rel=0.01)]


def test_the_peers_are_told_what_was_there_at_first() -> None:
    resumed = trace(events=[[t, "s", 1000 + n, total + 1000] for t, _, n, total in steady(2, 100, 200)])
    for told in (tqdm_left(resumed, 0.3, [50]), tqdm_left(resumed, 0, [50]), mean_left(resumed, [50])):
        assert told == [pytest.approx(50, rel=0.01)]


def test_tqdm_follows_what_happens_of_late_and_the_mean_does_not() -> None:
    slower = trace(events=[*steady(9, 50, 500), *([50 + n, "s", 450 + n, 500] for n in range(1, 51))])
    assert tqdm_left(slower, 0.3, [75]) == [pytest.approx(25, rel=0.05)]
    for told in (mean_left(slower, [75]), tqdm_left(slower, 0, [75])):
        assert told == [pytest.approx(75 * 25 / 475)]


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [False, True])
def test_the_time_left_clears_its_bars(held_out: bool) -> None:
    traces = [*generated(held_out=held_out), *([] if held_out else traces_in(RECORDED))]
    for moments, bar in zip(measure(traces), (0.8, 0.5), strict=True):
        figures = summary(moments)
        assert figures is not None
        assert figures["median_error"] <= bar * min(figures[peer] for peer in PEERS)
        assert figures["coverage"] >= 0.8
