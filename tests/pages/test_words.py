"""Plain words for states, times and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dataset_progress._cli import amounts as cli
from dataset_progress._cli import words as cli_words
from dataset_progress._cli.terminal import line_of
from dataset_progress._progress import Progress

from apps.pages import amounts, words
from apps.pages.components import bar_of
from apps.pages.panel import panel_of
from apps.pipeline.management.commands.process import condition as condition_in_terminal
from apps.progress.snapshot import CurrentStage, DatasetProgress, Eta, StageProgress, Workers

from .test_components import progress

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
EMBED = CurrentStage(name="embed", label="", counts_as="embedding", current=45, total=100, planned=100, unit="samples")


def stage(**changes: Any) -> StageProgress:
    fields: dict[str, Any] = {
        "name": "index", "label": "", "counts_as": "indexing", "current": 100, "total": 100, "planned": 100,
        "unit": "files",
        "state": "done", "started_at": NOW, "finished_at": NOW + timedelta(minutes=4), **changes,
    }  # fmt: skip
    return StageProgress(**fields)


# A dataset in each state, and what its page says in the line below the bar.
EACH_STATE = [
    (progress(state="pending", run=None, total=0), "Not processed yet"),
    (progress(state="pending", total=0), "Queued, waiting for a worker"),
    (progress(state="embedding", stage=EMBED, health="live"), ""),
    (
        progress(
            state="embedding", stage=EMBED, health="live", eta_seconds=Eta(low=230, high=250), failed=12, rate=4.55,
            stages=(stage(),),
        ),
        "About 4 minutes left, 12 files failed",
    ),
    (
        progress(state="embedding", stage=EMBED, health="slow", eta_seconds=Eta(low=230, high=250)),
        "Slower than usual, about 4 minutes left",
    ),
    (
        progress(
            state="embedding", stage=EMBED, health="live", eta_seconds=Eta(low=230, high=250),
            workers=Workers(active=11, silent=1, done=0),
        ),
        "About 4 minutes left, 1 of 12 workers silent",
    ),
    (
        progress(state="embedding", stage=EMBED, health="live", workers=Workers(active=0, silent=3, done=1)),
        "3 of 3 workers silent",
    ),
    (
        progress(
            state="embedding", stage=EMBED, health="slow", silent_since=NOW,
            workers=Workers(active=0, silent=3, done=1),
        ),
        "Slow, nothing heard for 3 minutes",
    ),
    (
        progress(state="embedding", stage=EMBED, health="slow", silent_since=NOW),
        "Slow, nothing heard for 3 minutes",
    ),
    (
        progress(state="embedding", stage=EMBED, health="stalled"),
        "No progress, on this item for 3 minutes",
    ),
    (
        progress(state="embedding", stage=EMBED, health="lost"),
        "No contact for 3 minutes. It goes on when the worker reports again.",
    ),
    (progress(state="embedding", stage=EMBED, paused=True), ""),
    (progress(state="embedding", stage=EMBED, is_waiting=True), "Waiting for a worker"),
    (
        progress(
            state="ready", current=100, stage=EMBED, stages=(stage(),), failed=1, started_at=NOW,
            finished_at=NOW + timedelta(minutes=4),
        ),
        "100 samples · 4 minutes · 1 failed",
    ),
    (
        progress(state="ready", current=45, total=45, stage=EMBED.model_copy(update={"total": 45})),
        "45 of 100 samples",
    ),
    (progress(state="ready", total=0, started_at=NOW, finished_at=NOW), ""),  # of which no stage ever began
    (progress(state="error", stage=EMBED), "Failed while generating embeddings, after 45 of 100 samples"),
    (progress(state="error", cancelled=True, total=0), "Cancelled before it started"),
]  # fmt: skip


@pytest.mark.parametrize(("shown", "line"), EACH_STATE)
def test_line_says_what_the_bar_does_not(shown: DatasetProgress, line: str) -> None:
    assert words.sentence(shown, silence="3 minutes") == line


@pytest.mark.parametrize(
    ("changes", "count", "fill"),
    [
        ({"current": 5, "total": 5, "planned": 10}, "5 of 10", 50),
        ({"current": 10, "total": 10, "planned": 10}, "10 / 10", 100),
        ({"current": 7, "total": 7, "planned": 0}, "7 / 7", 100),
        ({"current": 5, "total": 10, "planned": 10, "state": "failed"}, "5 / 10", 50),
        ({"current": 0, "total": 0, "planned": 0, "state": "waiting"}, "", 0),
    ],
)
def test_a_stage_that_ended_before_all_that_was_planned_is_not_full(
    changes: dict[str, Any], count: str, fill: int
) -> None:
    [row] = panel_of(progress(stages=(stage(**changes),))).stages
    assert (row.count, row.bar.fill) == (count, fill)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (5, 40, "less than a minute"), (55, 65, "about 1 minute"), (230, 250, "about 4 minutes"),
        (170, 310, "3 to 5 minutes"), (6000, 8000, "about 2 hours"), (6000, 11000, "2 to 3 hours"),
        (200_000, 300_000, "2 to 3 days"),
    ],
)  # fmt: skip
def test_time_left(low: float, high: float, text: str) -> None:
    assert words.time_left(Eta(low=low, high=high)) == text
    there = progress(eta_seconds=Eta(low=low, high=high)).model_dump(mode="json")
    assert cli_words.time_left(Progress.parse(there)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "just now"), (9, "just now"), (59, "59 seconds ago"), (60, "1 minute ago"), (7300, "2 hours ago"),
     (90_000, "1 day ago"), (30 * 86400, "2 Feb 2026"), (-5, "just now")],
)  # fmt: skip
def test_how_long_ago(seconds: int, text: str) -> None:
    assert words.relative(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text", "figures"),
    [(1, "1 second", "0:01"), (59.6, "1 minute", "1:00"), (3600, "1 hour", "1:00:00"),
     (4800, "1 hour 20 minutes", "1:20:00"), (90_000, "1 day 1 hour", "25:00:00")],
)  # fmt: skip
def test_durations(seconds: float, text: str, figures: str) -> None:
    assert words.duration(seconds) == text
    assert words.clock(seconds) == figures


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(235.4, "235 files/s"), (4.55, "4.5 files/s"), (0.5, "30.0 files/min"), (0.001, "3.6 files/h")],
)
def test_rates(per_second: float, text: str) -> None:
    assert amounts.rate(per_second, "files") == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (22_900, "22.9 kB"), (5 * 10**12, "5.0 TB")]
)
def test_sizes(count: int, text: str) -> None:
    assert amounts.size(count) == text


@pytest.mark.parametrize(("count", "unit"), [(0, "B"), (22_900, "bytes"), (5 * 10**12, "byte"), (12_000, "files")])
def test_the_command_line_shows_the_same_amounts(count: int, unit: str) -> None:
    assert (cli.figure(count, unit), cli.amount(count, unit)) == (
        amounts.figure(count, unit),
        amounts.amount(count, unit),
    )
    assert [cli.rate(each, unit) for each in (0.001, 0.5, 4.55, 12_345.6)] == [
        amounts.rate(each, unit) for each in (0.001, 0.5, 4.55, 12_345.6)
    ]


@pytest.mark.parametrize(("shown", "line"), EACH_STATE)
def test_the_command_line_has_the_words_and_numbers_of_the_page(shown: DatasetProgress, line: str) -> None:
    there = Progress.parse(shown.model_dump(mode="json"))
    assert (cli_words.health(there) or cli_words.condition(there)).lower() in f"{bar_of(shown).label} {line}".lower()
    if " of " in line and not cli_words.silent(there):
        assert cli_words.count(there) in line
    facts = {fact.label: fact.value for fact in panel_of(shown).facts}
    assert f"{cli_words.failed(there):,}" in line or not cli_words.failed(there)
    assert cli_words.silent(there) in line
    assert cli_words.time_left(there) in line.lower()
    if shown.is_working:
        assert cli_words.percentage(there) == bar_of(shown).percent
        assert facts.get("Rate", "–") == (cli_words.speed(there) or "–")
        assert cli_words.whole_run(there) == (f"whole run {facts['Whole run']}" if "Whole run" in facts else "")
        assert cli_words.speed(there) == facts.get("Rate", "")
        assert cli_words.time_left(there) in line.lower() or shown.health != "live"


@pytest.mark.parametrize(("shown", "line"), [(shown, line) for shown, line in EACH_STATE if shown.is_working])
def test_the_terminal_of_process_has_the_words_of_the_page(shown: DatasetProgress, line: str) -> None:
    assert condition_in_terminal(shown).lower() in f"{bar_of(shown).label} {line}".lower()


@pytest.mark.parametrize(
    "changes",
    [{"state": "ready"}, {"state": "error"}, {"current": 999, "total": 1000}, {"current": 1, "total": 1000},
     {"total": 0}, {"stages": (stage(), stage(name="embed", state="active")), "percent": 99.9}],
)  # fmt: skip
def test_the_command_line_has_the_percentages_of_the_page(changes: dict[str, Any]) -> None:
    shown = progress(**changes)
    there = Progress.parse(shown.model_dump(mode="json"))
    assert cli_words.percentage(there) == bar_of(shown).percent
    facts = {fact.label: fact.value for fact in panel_of(shown).facts}
    assert cli_words.whole_run(there) == (f"whole run {facts['Whole run']}" if "Whole run" in facts else "")
    assert cli_words.whole_run(there) in line_of(there)


def test_bytes_are_read_as_bytes() -> None:
    counted = {"current": 4_500_000, "total": 10_000_000, "planned": 10_000_000, "unit": "B", "state": "active"}
    one = stage(**counted)
    shown = progress(
        state="indexing", stage=CurrentStage(**one.model_dump(exclude={"state", "started_at", "finished_at"})),
        stages=(one,), current=one.current, total=one.total, rate=2e9, health="live",
    )  # fmt: skip
    panel = panel_of(shown)
    assert (panel.stages[0].count, panel.stages[0].unit) == ("4.5 MB / 10.0 MB", "")
    assert panel.stages[0].value_text == "Active, 4.5 MB / 10.0 MB"
    assert [fact.value for fact in panel.facts if fact.label == "Rate"] == ["2.0 GB/s"]
    assert bar_of(shown).counter == "45% (4.5 MB/10.0 MB)"
    details = shown.model_dump(mode="json")
    assert line_of(Progress.parse(details)) == "birds: indexing 45% (4.5 MB/10.0 MB, 2.0 GB/s)"


def test_stages_say_what_became_of_them() -> None:
    cut_short = stage(state="skipped")
    never_begun = stage(name="embed", state="waiting", started_at=None, current=0, total=0, planned=0)
    panel = panel_of(progress(state="error", cancelled=True, stages=(cut_short, never_begun)))
    assert [row.word for row in panel.stages] == ["Cancelled", "Not started"]
    assert [getattr(line, "labels", "") for line in panel.lines] == ["", "Indexing"]
    words_of: dict[str, dict[str, Any]] = {
        "Paused": {"paused": True}, "No contact": {"health": "lost"}, "Active": {"health": "live"},
    }  # fmt: skip
    for word, said in words_of.items():
        active = progress(state="indexing", stages=(stage(state="active"), never_begun), **said)
        assert panel_of(active).stages[0].word == word
