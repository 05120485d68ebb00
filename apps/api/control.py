"""Steer one dataset or many: pause, resume, cancel, end, retry."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Body

from apps.datasets.access.lookup import get_steerable
from apps.progress.control import Action
from apps.progress.errors import NoRun
from apps.progress.models import Run
from apps.progress.steering import Result, steer

from .answers import RunOut, Steered, SteeredMany
from .auth import WRITE, caller_of
from .bodies import ControlBody, ControlManyBody
from .errors import WRITE_REFUSALS, status_of
from .fields import DatasetId
from .routing import router


@router.post(
    "/datasets/{dataset_id}/control",
    auth=WRITE,
    response={200: RunOut, **WRITE_REFUSALS},
    tags=["Steering"],
    operation_id="control_run",
    summary="Pause, resume, cancel, end or retry",
)
def control_run(request: HttpRequest, dataset_id: DatasetId, body: Body[ControlBody]) -> RunOut:
    """Ask whoever reports on the open run to hold, to go on, or to stop; it is told with the answer to its next report.
    `end` ends a run whose reporter did not obey within 15 s. `retry` asks for the last run to be done again.
    For the dataset's owner, members who may steer, staff, and the site's own tokens.

    Asking for what was asked already is answered as the first time. Refused with `no_run` where none is open.
    """
    caller = caller_of(request)
    dataset = get_steerable(caller, dataset_id)
    [result] = steer(caller, action_of(body), [dataset_id])
    if result.refusal is not None:
        raise result.refusal
    run = Run.objects.filter(dataset=dataset).order_by("-number").first()
    if run is None:
        raise NoRun("It has never run.")
    return RunOut.of(dataset, run)


@router.post(
    "/control",
    auth=WRITE,
    response={200: SteeredMany, **WRITE_REFUSALS},
    tags=["Steering"],
    operation_id="control_many",
    summary="Steer many datasets at once",
)
def control_many(request: HttpRequest, body: Body[ControlManyBody]) -> SteeredMany:
    """Do the same to up to 1,000 datasets. Each has a result of its own, and one that is refused hinders no other."""
    return SteeredMany(results=[steered(one) for one in steer(caller_of(request), action_of(body), body.datasets)])


def action_of(body: ControlBody | ControlManyBody) -> Action:
    return Action.RETRY_FAILED if body.action == "retry" and body.only_failed else Action(body.action)


def steered(result: Result) -> Steered:
    refusal = result.refusal
    return Steered(
        dataset_id=result.dataset_id, status=200 if refusal is None else status_of(refusal), changed=result.changed,
        detail=result.detail, code=refusal.code if refusal else None,
    )  # fmt: skip
