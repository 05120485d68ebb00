"""What the services refuse. Each carries a stable ``code`` that goes out with the API's 409.

ProgressError
├── RunFinished         a report for a run that is over
├── RunUnfinished       a second run was begun beside an unfinished one
└── UnknownStage        the run has no stage of that name

`transitions.IllegalTransition` stands beside them: the tables know no database.
"""

from __future__ import annotations


class ProgressError(Exception):
    """The base of all that the services refuse; nothing was changed."""

    code = "progress_error"


class RunFinished(ProgressError):
    code = "run_finished"


class RunUnfinished(ProgressError):
    code = "run_unfinished"


class UnknownStage(ProgressError):
    code = "unknown_stage"
