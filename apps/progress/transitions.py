"""The legal transitions of a run and of a stage. Pure Python: no database, no clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from .errors import IllegalTransition


class State(StrEnum):
    """The five words that ``state`` may take on the wire."""

    PENDING = "pending"
    INDEXING = "indexing"
    EMBEDDING = "embedding"
    READY = "ready"
    ERROR = "error"


class StageState(StrEnum):
    WAITING = "waiting"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


WORKING: Final = frozenset({State.INDEXING, State.EMBEDDING})
FINISHED: Final = frozenset({State.READY, State.ERROR})
UNFINISHED: Final = frozenset(State) - FINISHED

# How lists are sorted by state: working datasets first, ready ones last. The places are stored.
STATE_ORDER: Final = (State.INDEXING, State.EMBEDDING, State.PENDING, State.ERROR, State.READY)

# The states that may follow each state. The two working states may alternate: a pipeline may index again after
# embedding. A finished run stays finished; what follows is another run.
MOVES: Final[dict[State, frozenset[State]]] = {
    State.PENDING: WORKING | FINISHED,
    State.INDEXING: frozenset({State.EMBEDDING}) | FINISHED,
    State.EMBEDDING: frozenset({State.INDEXING}) | FINISHED,
    State.READY: frozenset(),
    State.ERROR: frozenset(),
}

STAGE_MOVES: Final[dict[StageState, frozenset[StageState]]] = {
    # A waiting stage is done at once if a later one is active when a worker's late report names it.
    StageState.WAITING: frozenset({StageState.ACTIVE, StageState.DONE, StageState.SKIPPED}),
    StageState.ACTIVE: frozenset({StageState.DONE, StageState.FAILED, StageState.SKIPPED}),
    StageState.DONE: frozenset(),
    StageState.FAILED: frozenset(),
    StageState.SKIPPED: frozenset(),
}


def check_move(old: State, new: State) -> None:
    """Raise `IllegalTransition` unless a run may go from ``old`` to ``new``."""
    if new not in MOVES[old]:
        raise IllegalTransition(old, new)


def check_stage_move(old: StageState, new: StageState) -> None:
    """Raise `IllegalTransition` unless a stage may go from ``old`` to ``new``."""
    if new not in STAGE_MOVES[old]:
        raise IllegalTransition(old, new)
