"""The `DatasetProgress` object, built without a database. A field is listed here, in `KEYS` and two examples."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from pydantic import ValidationError

from apps.progress.facts import Facts
from apps.progress.models import Run, Stage
from apps.progress.snapshot import CurrentStage, DatasetProgress, snapshot

T0 = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

KEYS: dict[str, Any] = {
    "dataset_id": str, "state": str, "current": int, "total": int, "message": str, "error": (str, type(None)),
    "updated_at": str, "version": int, "epoch": str, "run": (int, type(None)), "percent": (float, int, type(None)),
    "stage": (dict, type(None)), "stages": list, "rate": (float, int, type(None)), "eta_seconds": (dict, type(None)),
    "health": (str, type(None)), "paused": bool, "cancelled": bool, "failed": int, "skipped": int,
    "workers": dict,
    "retry": (str, type(None)),
}  # fmt: skip
STAGE_KEYS: dict[str, Any] = {
    "name": str, "label": str, "counts_as": str, "current": int, "total": int, "planned": int, "unit": str,
}  # fmt: skip
STAGES_KEYS: dict[str, Any] = {
    **STAGE_KEYS,
    "state": str,
    "started_at": (str, type(None)),
    "finished_at": (str, type(None)),
}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


INDEX: dict[str, Any] = {
    "name": "index", "counts_as": "indexing", "unit": "images", "state": "active", "current": 40, "total": 100,
    "planned": 100, "started_at": T0, "readings": [(0.0, 0), (2.0, 20), (4.0, 40)], "is_planned": True,
}  # fmt: skip
EMBED: dict[str, Any] = {
    "name": "embed", "label": "CLIP", "counts_as": "embedding", "unit": "images", "weight": 3.0, "state": "waiting",
    "is_planned": True,
}  # fmt: skip
RUN: dict[str, Any] = {
    "number": 2, "state": "indexing", "message": "Indexing samples... 40/100", "percent": 10.0, "failed": 1,
    "skipped": 2, "started_at": T0, "updated_at": at(4), "heartbeat_at": at(4), "progressed_at": at(4),
}  # fmt: skip


def with_run(*stages: dict[str, Any], **changes: Any) -> Facts:
    """The facts of a run of these stages, else of the two above."""
    rows = tuple(Stage(**stage) for stage in stages or (INDEX, EMBED))
    return Facts(7, "cats", T0, "e1", version=9, run=Run(**{**RUN, **changes}), stages=rows)


FACTS = with_run()
NEVER_RAN = Facts(7, "cats", T0, "e1", version=0)
READY = with_run(
    {**INDEX, "state": "done", "current": 100, "finished_at": at(9)},
    {**EMBED, "state": "skipped", "finished_at": at(9)},
    state="ready", percent=100.0, finished_at=at(9),
)  # fmt: skip
FAILED = with_run({**INDEX, "state": "failed"}, EMBED, state="error", error="disk full", finished_at=at(9))
NOW = at(5)


def shown(facts: Facts, now: datetime = NOW) -> dict[str, Any]:
    """The JSON of the snapshot, decoded."""
    return cast(dict[str, Any], json.loads(snapshot(facts, now).model_dump_json()))


@pytest.mark.parametrize("facts", [FACTS, NEVER_RAN, READY, FAILED, replace(with_run(state="pending"), stages=())])
def test_keys_and_types_are_exactly_those_of_the_contract(facts: Facts) -> None:
    progress = shown(facts)
    assert list(progress) == list(KEYS), "a field of DatasetProgress is listed in KEYS, in its place"
    for key, kind in KEYS.items():
        assert isinstance(progress[key], kind), key
    for key in ("current", "total", "version", "failed", "skipped"):
        assert type(progress[key]) is int, key
    if progress["stage"]:
        assert {key: isinstance(progress["stage"][key], kind) for key, kind in STAGE_KEYS.items()} == dict.fromkeys(
            progress["stage"], True
        )
    for stage in progress["stages"]:
        assert {key: isinstance(stage[key], kind) for key, kind in STAGES_KEYS.items()} == dict.fromkeys(stage, True)


def test_a_working_run() -> None:
    assert shown(FACTS) == {
        "dataset_id": "cats", "state": "indexing", "current": 40, "total": 100, "message": "Indexing samples... 40/100",
        "error": None, "updated_at": "2026-03-01T12:00:04.123Z", "version": 9, "epoch": "e1", "run": 2, "percent": 10.0,
        "stage": {
            "name": "index", "label": "", "counts_as": "indexing", "current": 40, "total": 100, "planned": 100,
            "unit": "images",
        },
        "stages": [
            {"name": "index", "label": "", "counts_as": "indexing", "current": 40, "total": 100, "planned": 100,
             "unit": "images", "state": "active", "started_at": "2026-03-01T12:00:00.123Z", "finished_at": None},
            {"name": "embed", "label": "CLIP", "counts_as": "embedding", "current": 0, "total": 0, "planned": 0,
             "unit": "images", "state": "waiting", "started_at": None, "finished_at": None},
        ],
        "rate": 10.0, "eta_seconds": {"low": 16.74, "high": 73.18}, "health": "live", "paused": False,
        "cancelled": False, "failed": 1, "skipped": 2, "workers": {"active": 0, "silent": 0, "done": 0}, "retry": None,
    }  # fmt: skip


def test_a_dataset_that_never_ran_is_pending_0_of_0() -> None:
    assert shown(NEVER_RAN) == {
        "dataset_id": "cats", "state": "pending", "current": 0, "total": 0, "message": "", "error": None,
        "updated_at": "2026-03-01T12:00:00.123Z", "version": 0, "epoch": "e1", "run": None, "percent": None,
        "stage": None,
        "stages": [], "rate": None, "eta_seconds": None, "health": None, "paused": False, "cancelled": False,
        "failed": 0, "skipped": 0, "workers": {"active": 0, "silent": 0, "done": 0}, "retry": None,
    }  # fmt: skip


def test_a_finished_run_shows_what_its_last_stage_counted_and_no_health_rate_or_time_left() -> None:
    progress = shown(READY, at(10_000))
    assert progress["state"] == "ready"
    assert progress["current"] == progress["total"] == progress["percent"] == 100
    assert progress["stage"]["name"] == "index"  # the one that never began is not the last stage
    assert progress["health"] is progress["rate"] is progress["eta_seconds"] is None


def test_the_times_of_the_run_are_for_our_pages_and_not_sent() -> None:
    assert [(p.started_at, p.finished_at) for p in (snapshot(facts, NOW) for facts in (NEVER_RAN, FACTS, READY))] == [
        (None, None), (T0, None), (T0, at(9)),
    ]  # fmt: skip
    sent = shown(READY)
    assert not {"started_at", "finished_at"} & set(sent)


def test_an_error_keeps_the_count_that_it_happened_at() -> None:
    progress = shown(FAILED, at(10_000))
    assert (progress["state"], progress["error"]) == ("error", "disk full")
    assert (progress["current"], progress["total"], progress["percent"]) == (40, 100, 10.0)
    assert progress["health"] is progress["eta_seconds"] is None


def test_the_words_of_the_wire_are_those_of_the_tables() -> None:
    words = DatasetProgress.model_json_schema(mode="serialization")["$defs"]
    assert words["State"]["enum"] == ["pending", "indexing", "embedding", "ready", "error"]
    assert words["StageState"]["enum"] == ["waiting", "active", "done", "failed", "skipped"]
    assert words["Health"]["enum"] == ["live", "slow", "stalled", "lost"]


def test_moments_are_rfc_3339_in_utc_whatever_their_zone() -> None:
    tokyo = T0.astimezone(timezone(timedelta(hours=9)))
    assert shown(with_run(updated_at=tokyo))["updated_at"] == "2026-03-01T12:00:00.123Z"


def test_a_moment_on_the_full_second_has_the_same_form() -> None:
    assert shown(with_run(updated_at=T0.replace(microsecond=0)))["updated_at"] == "2026-03-01T12:00:00.000Z"


def test_silence_goes_from_live_over_slow_to_lost_and_back() -> None:
    regular = with_run(sign_gap=5.0)
    words = [shown(regular, at(4 + silence))["health"] for silence in (0, 30, 31, 61, 120, 121, 1_000_000)]
    assert words == [
        "live",
        "live",
        "slow",
        "slow",
        "slow",
        "lost",
        "lost",
    ]  # and never stalled: nothing shows it lives
    back = with_run(heartbeat_at=at(1_000_004), progressed_at=at(1_000_004))
    assert shown(back, at(1_000_005))["health"] == "live"


def test_a_reporter_that_lives_and_does_not_count_is_stalled_and_never_lost() -> None:
    assert shown(with_run(heartbeat_at=at(9_999)), at(10_000))["health"] == "stalled"


def test_silence_changes_nothing_but_health_rate_and_time_left() -> None:
    now, later = shown(FACTS, at(5)), shown(FACTS, at(5_000))
    assert {key for key in KEYS if now[key] != later[key]} == {"health", "rate", "eta_seconds"}
    assert later["rate"] is later["eta_seconds"] is None


def test_a_paused_run_has_no_health_no_rate_and_no_time_left() -> None:
    progress = shown(with_run(control="pause"), at(50_000))
    assert progress["paused"]
    assert progress["health"] is progress["rate"] is progress["eta_seconds"] is None


@pytest.mark.parametrize(
    ("run", "seconds"),
    [({}, 104.0), ({"control": "pause"}, 4.0), ({"queued_at": at(50)}, 4.0), ({"heartbeat_at": at(-21)}, 4.0)],
)
def test_the_clock_of_a_stage_stands_where_nobody_is_known_to_work(run: dict[str, Any], seconds: float) -> None:
    facts = with_run({**INDEX, "worked_seconds": 4.0, "worked_until": at(4)}, **{"heartbeat_at": at(4), **run})
    assert snapshot(facts, at(104)).stage_seconds == seconds


def test_a_run_that_has_just_begun_is_not_slow() -> None:
    assert [shown(with_run(heartbeat_at=at(4 + s)), at(4 + s))["health"] for s in (16, 59, 61)] == [
        "live", "live", "stalled",
    ]  # fmt: skip


def test_a_run_that_does_less_than_it_usually_does_is_slow_although_it_counts() -> None:
    readings = [(float(second), 10 * second) for second in range(100)] + [(float(100 + s), 990 + s) for s in range(20)]
    stage = {**INDEX, "current": 1009, "planned": 2000, "readings": readings, "gap": 1.0, "usual": 10.0}
    slow = with_run({**stage, "worked_seconds": 119.0, "worked_until": at(119)}, progressed_at=at(119))
    assert shown(replace(slow), at(119))["health"] == "slow"


def test_what_follows_the_last_item_of_a_stage_is_not_slow() -> None:
    readings = [(float(second), 10 * second) for second in range(100)]
    stage = {**INDEX, "current": 990, "planned": 990, "readings": readings, "gap": 1.0, "usual": 10.0}
    facts = with_run(
        {**stage, "worked_seconds": 199.0, "worked_until": at(199)}, heartbeat_at=at(199), progressed_at=at(199)
    )
    assert shown(facts, at(199))["health"] == "live"


def test_a_run_of_which_nothing_was_heard_yet_is_measured_from_its_last_change() -> None:
    assert shown(with_run(heartbeat_at=None, progressed_at=None), at(4 + 130))["health"] == "lost"


def test_a_pending_run_has_no_health() -> None:
    assert shown(with_run(state="pending"), at(10_000))["health"] is None


def test_the_stage_shown_is_the_active_one() -> None:
    begun_later = {**EMBED, "state": "done", "started_at": at(3), "finished_at": at(4)}
    assert shown(with_run(INDEX, begun_later))["stage"]["name"] == "index"


def test_without_an_active_stage_the_one_that_began_last_is_shown_whatever_its_position() -> None:
    first = {**INDEX, "state": "done", "started_at": at(3), "finished_at": at(4)}
    second = {**EMBED, "state": "done", "started_at": at(1), "finished_at": at(3)}
    assert shown(with_run(first, second, state="ready"))["stage"]["name"] == "index"


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="sixth"):
        DatasetProgress.model_validate({**shown(FACTS), "sixth": 1})


def test_a_sixth_state_is_refused() -> None:
    with pytest.raises(ValidationError, match="state"):
        DatasetProgress.model_validate({**shown(FACTS), "state": "paused"})


def test_a_snapshot_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        snapshot(FACTS, at(5)).current = 41  # type: ignore[misc]  # that it is frozen is the test


def test_what_was_sent_can_be_read_back() -> None:
    sent = snapshot(FACTS, at(5)).model_dump_json()
    assert DatasetProgress.model_validate_json(sent).model_dump_json() == sent


def test_the_schema_says_that_moments_are_moments() -> None:
    schema = DatasetProgress.model_json_schema(mode="serialization")
    assert schema["properties"]["updated_at"]["format"] == "date-time"
    assert CurrentStage.__name__ in schema["$defs"]


def test_the_schema_says_that_every_field_is_there() -> None:
    schema = DatasetProgress.model_json_schema(mode="serialization")
    assert set(schema["required"]) == set(KEYS), "a field of DatasetProgress is listed in KEYS"
