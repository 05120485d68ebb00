"""The tables of legal moves, spelled out a second time by hand."""

from __future__ import annotations

from itertools import product

import pytest

from apps.progress.errors import IllegalTransition, ProgressError
from apps.progress.transitions import (
    FINISHED,
    MOVES,
    STAGE_MOVES,
    UNFINISHED,
    WORKING,
    StageState,
    State,
    check_move,
    check_stage_move,
)

LEGAL = {
    ("pending", "indexing"), ("pending", "embedding"), ("pending", "ready"), ("pending", "error"),
    ("indexing", "embedding"), ("indexing", "ready"), ("indexing", "error"),
    ("embedding", "indexing"), ("embedding", "ready"), ("embedding", "error"),
}  # fmt: skip
LEGAL_OF_STAGE = {
    ("waiting", "active"),
    ("waiting", "done"), ("waiting", "skipped"), ("active", "done"), ("active", "failed"), ("active", "skipped"),
}  # fmt: skip


def test_the_words_of_the_wire_are_these_five() -> None:
    assert [state.value for state in State] == ["pending", "indexing", "embedding", "ready", "error"]


def test_each_state_is_pending_working_or_finished() -> None:
    assert set(WORKING) == {State.INDEXING, State.EMBEDDING}
    assert set(FINISHED) == {State.READY, State.ERROR}
    assert set(UNFINISHED) == {State.PENDING, *WORKING}


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_moves_of_a_run(old: State, new: State) -> None:
    if (old.value, new.value) in LEGAL:
        check_move(old, new)
    else:
        with pytest.raises(IllegalTransition, match=f"{old.value} cannot become {new.value}"):
            check_move(old, new)


@pytest.mark.parametrize(("old", "new"), list(product(StageState, StageState)))
def test_moves_of_a_stage(old: StageState, new: StageState) -> None:
    if (old.value, new.value) in LEGAL_OF_STAGE:
        check_stage_move(old, new)
    else:
        with pytest.raises(IllegalTransition):
            check_stage_move(old, new)


def test_error_can_follow_every_unfinished_state_and_nothing_follows_a_finished_one() -> None:
    assert all(State.ERROR in MOVES[state] for state in UNFINISHED)
    assert not any(MOVES[state] for state in FINISHED)


def test_the_tables_know_every_state() -> None:
    assert set(MOVES) == set(State)
    assert set(STAGE_MOVES) == set(StageState)


def test_the_refusal_carries_a_stable_code() -> None:
    with pytest.raises(IllegalTransition) as refusal:
        check_move(State.READY, State.PENDING)
    assert refusal.value.code == "illegal_transition"
    assert isinstance(refusal.value, ProgressError)
    assert (refusal.value.old, refusal.value.new) == (State.READY, State.PENDING)
