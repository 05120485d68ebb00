"""What `services` and `reports` refuse. Each error has a stable ``code``, which the API answers with a 409.

ProgressError
├── RunFinished         a report for a run that is over
├── RunUnfinished       a second run was begun beside an unfinished one
├── NoRun               a report that opens no run, where none is open
├── UnknownRun          a report for a run that has not been begun
├── UnknownStage        the run has no stage of that name
├── IllegalTransition   a move that the tables in `transitions` do not have
├── Cancelling          another operator has cancelled the run, so it cannot be paused or resumed
├── NotAsked            a run is to be ended at once that nobody asked to stop, or that obeys
├── TooEarly            a run is to be ended at once whose reporter has time to obey
├── NothingFailed       a retry of failed items, where none failed
├── NotJoined           a worker leaves a run that it has not joined
└── LimitReached        more stages, workers or members than one run may have
"""

from __future__ import annotations


class ProgressError(Exception):
    """The base of all refusals. Nothing was changed."""

    code = "progress_error"


class RunFinished(ProgressError):
    code = "run_finished"


class RunUnfinished(ProgressError):
    code = "run_unfinished"


class NoRun(ProgressError):
    code = "no_run"


class UnknownRun(ProgressError):
    code = "unknown_run"


class UnknownStage(ProgressError):
    code = "unknown_stage"


class IllegalTransition(ProgressError):
    """A run or a stage cannot go from the state ``old`` to ``new``."""

    code = "illegal_transition"

    def __init__(self, old: str, new: str) -> None:
        super().__init__(f"{old} cannot become {new}")
        self.old = old
        self.new = new


class Cancelling(ProgressError):
    code = "cancelling"


class NotAsked(ProgressError):
    code = "not_asked"


class TooEarly(ProgressError):
    code = "too_early"


class NothingFailed(ProgressError):
    code = "nothing_failed"


class NotJoined(ProgressError):
    code = "not_joined"


class LimitReached(ProgressError):
    code = "limit_reached"
