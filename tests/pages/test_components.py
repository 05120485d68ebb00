"""The two components as they are rendered: each state, and each edge of its counts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.template import Context, Template, TemplateSyntaxError

from apps.pages.components import clamp
from apps.progress.facts import Facts
from apps.progress.snapshot import CurrentStage, DatasetProgress, StageProgress, snapshot
from apps.progress.transitions import StageState

NOW = datetime(2026, 1, 1, tzinfo=UTC)

TABLE = [
    # state, label, compact label, bar, text, counter
    ("pending", "Pending", "Pending", "bg-gray-400", "text-gray-600", None),
    ("indexing", "Indexing", "Indexing", "bg-blue-500", "text-blue-600", 45),
    ("embedding", "Generating Embeddings", "Processing", "bg-purple-500", "text-purple-600", 45),
    ("ready", "Ready", "Ready", "bg-green-500", "text-green-600", None),
    ("error", "Error", "Error", "bg-red-500", "text-red-600", None),
]
FILL = {"pending": 0, "indexing": 45, "embedding": 45, "ready": 100, "error": 45}


def render(tag: str, **context: Any) -> str:
    html = Template("{% load dataset_progress %}{% " + tag + " %}").render(Context(context))
    return re.sub(r"\s+", " ", html)


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def progress(**changes: Any) -> DatasetProgress:
    """A run that is indexing, 45 of 100. A field that is not named has the value of a dataset that never ran."""
    never_ran = dict(snapshot(Facts(1, "birds", NOW, "e1", version=7), NOW))
    working = {"state": "indexing", "current": 45, "total": 100, "run": 1, "percent": 45.0}
    return DatasetProgress(**(never_ran | working | changes))


@pytest.mark.parametrize(("state", "label", "compact", "bar", "text", "percent"), TABLE)
def test_the_bar_of_each_state(state: str, label: str, compact: str, bar: str, text: str, percent: int | None) -> None:
    html = render(f'dataset_progress state="{state}" current=45 total=100')
    assert words_of(html) == (f"{label} {percent}% (45/100)" if percent else label)
    assert bar in html
    assert text in html
    assert f"scale-x-{FILL[state]} " in html
    assert f'aria-valuenow="{FILL[state]}"' in html
    assert 'class="dataset-progress"' in html
    assert f'data-state="{state}"' in html
    assert "h-2.5" in html
    assert 'role="progressbar"' in html
    assert 'aria-valuemin="0"' in html
    assert 'aria-valuemax="100"' in html


@pytest.mark.parametrize(("state", "label", "compact", "bar", "text", "percent"), TABLE)
def test_the_compact_bar_of_each_state(
    state: str, label: str, compact: str, bar: str, text: str, percent: int | None
) -> None:
    html = render(f'dataset_progress_compact state="{state}" current=45 total=100')
    assert words_of(html) == (f"{compact} {percent}%" if percent else compact)
    assert bar in html
    assert text in html
    assert 'class="dataset-progress-compact"' in html
    assert "h-1 " in html


@pytest.mark.parametrize("state", ["pending", "indexing", "embedding", "ready", "error"])
@pytest.mark.parametrize("tag", ["dataset_progress", "dataset_progress_compact"])
def test_the_sign_and_the_motion_of_each_state(tag: str, state: str) -> None:
    html = render(f'{tag} state="{state}"')
    working = state in ("indexing", "embedding")
    assert ("animate-spin" in html) is working
    assert ("animate-shimmer" in html) is working
    assert html.count("<svg") == (0 if state == "pending" else 1)
    assert html.count('aria-hidden="true"') == html.count("<svg")
    assert "duration-300" in html
    for motion in re.findall(r"animate-(?:spin|shimmer|sweep)", html):
        assert motion
        assert "motion-reduce:animate-none" in html
    assert "motion-reduce:transition-none" in html


def test_no_style_stands_in_the_markup() -> None:
    for state in FILL:
        assert "style=" not in render(f'dataset_progress state="{state}" message="m" error="e"')


@pytest.mark.parametrize(
    ("current", "total", "counter"), [(5068, 5080, "99% (5068/5080)"), (1, 5080, "1% (1/5080)"), (3, 200, "2% (3/200)")]
)
def test_a_bar_says_100_only_where_all_is_done(current: int, total: int, counter: str) -> None:
    html = render(f'dataset_progress state="indexing" current={current} total={total}')
    assert words_of(html) == f"Indexing {counter}"
    percent = counter.partition("%")[0]
    assert f'aria-valuenow="{percent}"' in html
    assert f"scale-x-{percent} " in html


@pytest.mark.parametrize(
    ("current", "total", "shown"),
    [(150, 100, (100, 100)), (-5, 100, (0, 100)), (0, 0, (0, 1)), (5, -3, (1, 1)), (45, 100, (45, 100))],
)
def test_counts_are_clamped(current: int, total: int, shown: tuple[int, int]) -> None:
    assert clamp(current, total) == shown


def test_counts_out_of_range_as_shown() -> None:
    assert "100% (100/100)" in render('dataset_progress state="indexing" current=150 total=100')
    assert "0% (0/100)" in render('dataset_progress state="indexing" current=-5 total=100')
    assert "0% (0/1)" in render('dataset_progress state="indexing" current=0 total=-1')
    assert "0% (0/100)" in render('dataset_progress state="indexing"')


def test_large_counts_keep_the_form() -> None:
    html = render("dataset_progress state='embedding' current=141231 total=503000")
    assert "28% (141231/503000)" in html


def test_an_unknown_total_is_indeterminate() -> None:
    html = render('dataset_progress state="indexing" current=0 total=0')
    assert words_of(html) == "Indexing"
    assert "aria-valuenow" not in html
    assert 'aria-valuetext="Indexing"' in html
    assert "animate-sweep" in html
    assert words_of(render('dataset_progress state="indexing" current=12 total=0')) == "Indexing 12 so far"


def test_a_total_of_zero_is_no_unknown_one_where_nothing_is_under_way() -> None:
    assert 'aria-valuenow="0"' in render('dataset_progress state="pending" total=0')
    assert 'aria-valuenow="100"' in render('dataset_progress state="ready" current=0 total=0')


def test_what_a_screen_reader_says() -> None:
    html = render('dataset_progress state="embedding" current=45 total=100')
    assert 'aria-valuetext="Generating Embeddings: 45% (45/100)"' in html
    assert 'aria-label="Progress"' in html
    assert 'aria-label="Progress of birds"' in render("dataset_progress progress", progress=progress())


def test_message_and_error_are_shown_by_the_bar_alone() -> None:
    props = 'state="error" current=45 total=100 message="m-m" error="e-e"'
    assert words_of(render(f"dataset_progress {props}")) == "Error m-m e-e"
    with_message = progress(message="m-m")
    assert "m-m" not in render("dataset_progress_compact progress", progress=with_message)


def test_html_in_a_message_is_text() -> None:
    html = render("dataset_progress state='error' message=text error=text", text="<script>alert(1)</script>")
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 2
    named = progress(
        stage=CurrentStage(name="s", label='"><b>', counts_as="indexing", current=1, total=2, planned=2, unit="x")
    )
    assert "<b>" not in render("dataset_progress progress", progress=named)


def test_a_very_long_message_may_break_anywhere() -> None:
    html = render("dataset_progress state='indexing' message=text", text="x" * 1000)
    assert "x" * 1000 in html
    assert re.search(r'<p class="[^"]*wrap-anywhere', html)


def test_classes_of_ones_own() -> None:
    assert 'class="dataset-progress acme wide"' in render('dataset_progress state="ready" class="acme wide"')
    assert 'class="dataset-progress acme"' in render('dataset_progress progress class="acme"', progress=progress())
    hostile = render("dataset_progress state='ready' class=text", text='" onclick="x')
    assert 'onclick="' not in hostile


def test_a_custom_stage_shows_its_label_in_the_colour_it_counts_as() -> None:
    stage = CurrentStage(
        name="tile", label="Cutting tiles", counts_as="embedding", current=45, total=100, planned=100, unit="t"
    )
    shown = progress(state="embedding", stage=stage)
    for tag in ("dataset_progress", "dataset_progress_compact"):
        html = render(f"{tag} progress", progress=shown)
        assert "Cutting tiles" in words_of(html)
        assert "Generating" not in html
        assert "bg-purple-500" in html
    over = progress(state="ready", current=100, stage=stage)
    assert words_of(render("dataset_progress progress", progress=over)) == "Ready"


def test_a_dataset_gives_its_bar_an_identity() -> None:
    html = render("dataset_progress progress", progress=progress())
    assert 'id="dataset-progress-of-birds"' in html
    assert 'id="dataset-progress-bar-birds"' in html
    assert 'data-epoch="e1" data-version="7"' in html
    assert 'id="dataset-progress-compact-of-birds"' in render("dataset_progress_compact progress", progress=progress())
    assert " id=" not in render('dataset_progress state="indexing"')


@pytest.mark.parametrize("still", [{"paused": True}, {"health": "stalled"}, {"health": "lost"}])
def test_nothing_moves_where_nothing_happens(still: dict[str, Any]) -> None:
    html = render("dataset_progress progress", progress=progress(**still))
    assert "animate-" not in html
    assert "45% (45/100)" in html


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ('dataset_progress state="done"', "'done' is not a state of a dataset. Use one of pending, indexing,"),
        ("dataset_progress", "needs a DatasetProgress or a state"),
        ("dataset_progress missing", "needs a DatasetProgress or a state"),
        ("dataset_progress 5", "is not a DatasetProgress"),
        ('dataset_progress state="ready" colour="red"', "Unknown: colour"),
        ('dataset_progress state="indexing" current="many"', "whole numbers"),
        ('dataset_progress progress state="ready"', "so state cannot be"),
    ],
)
def test_a_mistake_in_a_template_is_told(tag: str, message: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=re.escape(message)):
        render(tag, progress=progress())


def stages(*rows: tuple[str, float, int, int]) -> tuple[StageProgress, ...]:
    """Stages, each as (state, weight, current, total)."""
    return tuple(
        StageProgress(
            name=f"s{n}", label="", counts_as="indexing", current=current, total=total, planned=total, unit="files",
            state=StageState(state), started_at=None, finished_at=None, weight=weight,
        )
        for n, (state, weight, current, total) in enumerate(rows)
    )  # fmt: skip


SEGMENT = r'<div class="grow-(\d+) [^"]*"> <div[^>]* class="progress-bar [^"]*scale-x-(\d+) '
PLANNED = stages(("done", 1, 4, 4), ("active", 3, 5, 10), ("waiting", 2, 0, 0))


@pytest.mark.parametrize("tag", ["dataset_progress", "dataset_progress_compact"])
def test_track_of_several_stages_is_segmented_by_weight_and_shows_the_whole_run(tag: str) -> None:
    html = render(f"{tag} progress", progress=progress(current=5, total=10, percent=41.67, stages=PLANNED))
    assert re.findall(SEGMENT, html) == [("33", "100"), ("100", "50"), ("67", "0")]
    assert 'aria-valuenow="42"' in html
    assert (
        words_of(html) == {"dataset_progress": "Indexing 50% (5/10)", "dataset_progress_compact": "Indexing 50%"}[tag]
    )


def test_screen_reader_hears_the_stage_and_the_run() -> None:
    html = render("dataset_progress progress", progress=progress(current=5, total=10, percent=41.67, stages=PLANNED))
    assert 'aria-valuetext="Indexing: 50% (5/10), 42% of the run"' in html


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": PLANNED, "percent": None},  # the plan is not known
        {"stages": stages(("active", 1, 45, 100))},
        {"stages": stages(("done", 0, 4, 4), ("active", 0, 5, 10))},
        {"stages": PLANNED, "state": "ready", "percent": 100.0},
    ],
)
def test_track_of_any_other_run_is_one(changes: dict[str, Any]) -> None:
    assert "grow-" not in render("dataset_progress progress", progress=progress(**changes))


def test_unknown_total_of_a_segment_is_indeterminate_there() -> None:
    shown = progress(current=5, total=0, percent=25.0, stages=stages(("done", 1, 4, 4), ("active", 3, 5, 0)))
    html = render("dataset_progress progress", progress=shown)
    assert html.count("animate-sweep") == 1
    assert 'aria-valuenow="25"' in html
    assert words_of(html) == "Indexing 5 so far"


@pytest.mark.parametrize("state", ["indexing", "embedding"])
@pytest.mark.parametrize("tag", ["dataset_progress", "dataset_progress_compact"])
def test_paused_run_is_grey_and_still_and_says_so(tag: str, state: str) -> None:
    html = render(f"{tag} progress", progress=progress(state=state, paused=True))
    assert words_of(html).startswith("Paused 45%")
    assert "bg-gray-400" in html
    assert "bg-blue" not in html
    assert "bg-purple" not in html
    assert "animate-" not in html
    assert f'data-state="{state}"' in html  # the contract's word


def test_pause_that_was_only_asked_for_is_none_yet() -> None:
    html = render("dataset_progress progress", progress=progress(paused=True, requested="pause"))
    assert words_of(html) == "Indexing 45% (45/100)"
    assert "bg-blue-500" in html
    assert "animate-spin" in html


def test_cancelled_run_is_grey_keeps_its_length_and_says_so() -> None:
    html = render("dataset_progress progress", progress=progress(state="error", cancelled=True, error="Cancelled."))
    assert words_of(html) == "Cancelled"
    assert "bg-gray-400 scale-x-45 " in html
    assert "bg-red" not in html
    assert "text-red" not in html


def test_failed_run_is_red_and_keeps_the_length_of_every_segment() -> None:
    failed = stages(("done", 1, 4, 4), ("failed", 3, 5, 10), ("waiting", 2, 0, 0))
    shown = progress(state="error", error="No space.", current=5, total=10, percent=41.67, stages=failed)
    html = render("dataset_progress progress", progress=shown)
    assert re.findall(SEGMENT, html) == [("33", "100"), ("100", "50"), ("67", "0")]
    assert html.count("bg-red-500") == 3
    assert 'aria-valuenow="42"' in html


def test_error_without_a_count_is_empty() -> None:
    assert 'aria-valuenow="0"' in render('dataset_progress state="error"')
    assert 'aria-valuenow="0"' in render('dataset_progress state="error" current=5 total=0')


def test_first_line_of_an_error_stands_out_and_the_rest_is_folded_as_it_was() -> None:
    error = 'ValueError: bad tile\n  File "a.py", line 1\n    open(x)  <b>\n'
    html = Template("{% load dataset_progress %}{% dataset_progress p %}").render(
        Context({"p": progress(state="error", error=error)})
    )
    assert re.search(r'<p class="font-semibold[^>]*>ValueError: bad tile</p>', html)
    assert "<details" in html
    assert "  File &quot;a.py&quot;, line 1\n    open(x)  &lt;b&gt;</pre>" in html
    assert 'data-copy="dataset-error-text-of-birds"' in html
    one_line = render("dataset_progress progress", progress=progress(state="error", error="No space."))
    assert "<details" not in one_line
