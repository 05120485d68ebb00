"""Take the reports of pipelines: one, or up to a thousand in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from ninja import Body
from pydantic import ValidationError

from apps.batches.services import join_batch
from apps.datasets.access.errors import AccessDenied, UnknownDataset
from apps.datasets.access.lookup import create_or_find, find_writable
from apps.datasets.access.rules import Caller
from apps.datasets.dataset_ids import is_dataset_id
from apps.datasets.models import Dataset
from apps.datasets.services import discard_datasets
from apps.progress.reports import Accepted, Report, accept_reports

from .answers import Reported, Result, Results
from .auth import WRITE, caller_of
from .bodies import SingleReportBody, UpdateBody, UpdatesBody
from .errors import CODES, WRITE_REFUSALS, Refusal, field_errors, joined, status_of
from .fields import DatasetId
from .responses import json_response
from .routing import router

TAGS = ["Reporting"]


@router.post(
    "/datasets/{dataset_id}/progress",
    auth=WRITE,
    response={200: Reported, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="report_dataset_progress",
    summary="Report how far a dataset is",
)
def report_progress(request: HttpRequest, dataset_id: DatasetId, body: Body[SingleReportBody]) -> HttpResponseBase:
    """Say any of the fields; what is left out stays as it is, and `{}` is a sign of life.

    One report is enough: the dataset is made if there is none, and a run is opened if none is open. Counts are
    absolute, so a report that is repeated changes nothing. `control` in the answer is what you are asked to do.
    """
    if not is_dataset_id(dataset_id):
        raise UnknownDataset
    caller = caller_of(request)
    with transaction.atomic() if body.batch is not None else nullcontext():
        [answer] = take_reports(caller, [(dataset_id, body.report())])
        if not isinstance(answer, Accepted):
            raise answer
        if body.batch is not None:
            join_batch(caller, body.batch, [dataset_id])
    progress = answer.progress(dataset_id, timezone.now())
    return json_response(f'{{"progress":{progress.model_dump_json()},"control":"{answer.control}"}}')


@router.post(
    "/progress",
    auth=WRITE,
    response={200: Results, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="report_many",
    summary="Report on many datasets at once",
)
def report_many(request: HttpRequest, body: Body[UpdatesBody]) -> HttpResponseBase:
    """Up to 1,000 updates, each a report with its `dataset_id`, taken in order and in one transaction.

    Each has a result of its own; one that is refused changes nothing and sinks none of the others.
    """
    updates = [_parsed(update) for update in body.updates]
    reports = [(update.dataset_id, update.report()) for update in updates if isinstance(update, UpdateBody)]
    answers = iter(take_reports(caller_of(request), reports))
    results = [update if isinstance(update, Result) else _result(next(answers)) for update in updates]
    return json_response(Results(results=results).model_dump_json(exclude_none=True))


def take_reports(caller: Caller, reports: Sequence[tuple[str, Report]]) -> list[Accepted | Refusal]:
    """Take reports, each with its dataset's id, in one transaction. Create the datasets that do not exist yet.

    Returns for each what became of it, or why it was refused. No dataset is created where every report is refused.
    """
    with transaction.atomic():
        found, absent = find_writable(caller, {dataset_id for dataset_id, _ in reports})
        created = set()
        # In order, as all rows of a batch are locked and made: two batches then wait for each other in one direction.
        for dataset_id in sorted({dataset_id for dataset_id, report in reports if report.may_open_first_run} & absent):
            found[dataset_id], is_new = create_or_find(caller, dataset_id)
            if is_new:
                created.add(dataset_id)
        allowed = [
            (dataset, report) for dataset_id, report in reports if isinstance(dataset := found[dataset_id], Dataset)
        ]
        answers = accept_reports([(dataset.pk, report) for dataset, report in allowed], caller.name)
        used = {
            dataset.dataset_id
            for (dataset, _), answer in zip(allowed, answers, strict=True)
            if isinstance(answer, Accepted)
        }
        discard_datasets(created - used)
    following = iter(answers)
    return [
        dataset if isinstance(dataset := found[dataset_id], AccessDenied) else next(following)
        for dataset_id, _ in reports
    ]


def _parsed(update: dict[str, object]) -> UpdateBody | Result:
    """Return an update of a batch, or the result that says what is wrong with it."""
    try:
        return UpdateBody.model_validate(update)
    except ValidationError as invalid:
        refused = invalid.errors(include_url=False, include_context=False, include_input=False)
        errors = field_errors((one["loc"], one["msg"]) for one in refused)
        return Result(status=422, code=CODES[422], detail=joined(errors), errors=errors)


def _result(answer: Accepted | Refusal) -> Result:
    if isinstance(answer, Accepted):
        return Result(status=200, run=answer.run, version=answer.version, control=answer.control)
    return Result(status=status_of(answer), code=answer.code, detail=str(answer))
