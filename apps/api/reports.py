"""Take the reports of pipelines: one, or up to a thousand in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from ninja import Body
from pydantic import ValidationError

from apps.batches.services import join_batch, join_batches
from apps.datasets.access.errors import AccessDenied, UnknownDataset
from apps.datasets.access.lookup import create_or_find, find_writable
from apps.datasets.access.rules import Caller
from apps.datasets.dataset_ids import is_dataset_id
from apps.datasets.models import Dataset
from apps.datasets.services import discard_datasets
from apps.progress.reports import Accepted, Report, accept_reports

from .answers import Reported, Result, Results
from .auth import WRITE, caller_of
from .bodies import MAX_BATCHES, SingleReportBody, UpdateBody, UpdatesBody
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
    """Up to 1,000 updates, each a report with its `dataset_id` (and `batch`), taken in order and in one transaction.

    Each has a result of its own; one that is refused changes nothing and sinks none of the others. They may name up to
    20 batches.
    """
    updates = _within_limit([_parsed(update) for update in body.updates])
    answers = iter(_take_updates(caller_of(request), [one for one in updates if isinstance(one, UpdateBody)]))
    results = [update if isinstance(update, Result) else _result(next(answers)) for update in updates]
    return json_response(Results(results=results).model_dump_json(exclude_none=True))


def _take_updates(caller: Caller, updates: Sequence[UpdateBody]) -> list[Accepted | Refusal]:
    """Take updates, and put their datasets into the batches that they name.

    Returns for each what became of it, or why it was refused. What a batch refuses is taken back with all that was
    taken, and the others are taken anew.
    """
    if all(update.batch is None for update in updates):
        return take_reports(caller, [(update.dataset_id, update.report()) for update in updates])
    refused: dict[str, AccessDenied] = {}
    while True:
        with transaction.atomic():
            left = [update for update in updates if update.batch not in refused]
            answers = take_reports(caller, [(update.dataset_id, update.report()) for update in left])
            joining: dict[str, set[str]] = {}
            for update, answer in zip(left, answers, strict=True):
                if update.batch is not None and isinstance(answer, Accepted):
                    joining.setdefault(update.batch, set()).add(update.dataset_id)
            refusals = join_batches(caller, joining)
            if not refusals:
                following = iter(answers)
                return [refused[one.batch] if one.batch in refused else next(following) for one in updates]
            refused |= refusals
            transaction.set_rollback(True)


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


def _within_limit(updates: Sequence[UpdateBody | Result]) -> list[UpdateBody | Result]:
    """Refuse the updates that name yet another batch than the first `MAX_BATCHES`."""
    named = dict.fromkeys(one.batch for one in updates if isinstance(one, UpdateBody) and one.batch is not None)
    others = set(list(named)[MAX_BATCHES:])
    errors = field_errors([(["batch"], f"one request may name {MAX_BATCHES} batches")])
    refused = Result(status=422, code=CODES[422], detail=joined(errors), errors=errors)
    return [refused if isinstance(one, UpdateBody) and one.batch in others else one for one in updates]


def _result(answer: Accepted | Refusal) -> Result:
    if isinstance(answer, Accepted):
        return Result(status=200, run=answer.run, version=answer.version, control=answer.control)
    return Result(status=status_of(answer), code=answer.code, detail=str(answer))
