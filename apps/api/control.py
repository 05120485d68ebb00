"""Ask for a run to pause, resume or stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest
from ninja import Body

from apps.datasets.access.lookup import get_steerable
from apps.progress import services
from apps.progress.selectors import unfinished_run

from .answers import RunOut
from .auth import WRITE, caller_of
from .bodies import ControlBody
from .errors import WRITE_REFUSALS
from .fields import DatasetId
from .routing import router

ACTIONS: Final[dict[str, Callable[[int, str], bool]]] = {
    "pause": services.request_pause,
    "resume": services.request_resume,
    "cancel": services.request_cancel,
}


@router.post(
    "/datasets/{dataset_id}/control",
    auth=WRITE,
    response={200: RunOut, **WRITE_REFUSALS},
    tags=["Runs"],
    operation_id="control_run",
    summary="Pause, resume or cancel",
)
def control_run(request: HttpRequest, dataset_id: DatasetId, body: Body[ControlBody]) -> RunOut:
    """Ask whoever reports on the open run to hold, to go on, or to stop; it is told with the answer to its next report.
    For the dataset's owner, staff, and the site's own tokens; members may report.

    Asking for what was asked already is answered as the first time. Refused with `no_run` where none is open.
    """
    caller = caller_of(request)
    dataset = get_steerable(caller, dataset_id)
    run = unfinished_run(dataset)
    ACTIONS[body.action](run.pk, caller.name)
    run.refresh_from_db()
    return RunOut.of(dataset, run)
