"""Reports of pipelines: one, or up to a thousand in one transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from ninja import Body
from pydantic import BaseModel, Field, ValidationError

from apps.datasets.access.callers import Caller
from apps.datasets.models import DATASET_ID_PATTERN, Dataset
from apps.progress.errors import ProgressError
from apps.progress.reports import Accepted, Report, accept_reports
from apps.progress.snapshot import DatasetProgress

from .auth import WRITE, caller_of
from .errors import (
    CODES,
    WRITE_REFUSALS,
    FieldError,
    error,
    field_errors,
    in_bytes,
    in_words,
    not_found,
    refuse,
    status_of,
)
from .permitted import DETAILS, find_many, make_or_find
from .progress import DatasetId
from .routing import router
from .schemas import BatchBody, ReportBody, UpdateBody

TAGS = ["Reporting"]

Control = Literal["run", "pause", "cancel"]


class Reported(BaseModel):
    """The state after a report, and what the people in charge ask of whoever reports."""

    progress: DatasetProgress
    control: Control


class Result(BaseModel):
    """What became of one update of a batch: `run`, `version` and `control` where it was taken, else why it was not."""

    status: int = Field(description="What the update would have been answered with by itself.")
    run: int | None = None
    version: int | None = Field(None, description="The version of the dataset after the batch.")
    control: Control | None = None
    detail: str | None = None
    code: str | None = None
    errors: list[FieldError] | None = None


class Results(BaseModel):
    """One result an update, in their order."""

    results: list[Result]


@router.post(
    "/datasets/{dataset_id}/progress",
    auth=WRITE,
    response={200: Reported, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="report_dataset_progress",
    summary="Report how far a dataset is",
)
def report_progress(request: HttpRequest, dataset_id: DatasetId, body: Body[ReportBody]) -> HttpResponseBase:
    """Say any of the fields; what is left out stays as it is, and `{}` is a sign of life.

    One report is enough: the dataset is made if there is none, and a run is opened if none is open. Counts are
    absolute, so a report that is repeated changes nothing. `control` in the answer is what you are asked to do.
    """
    caller = caller_of(request)
    if not re.fullmatch(DATASET_ID_PATTERN, dataset_id):
        return not_found()
    answer = _take(caller, [(dataset_id, body.report())])[0]
    if not isinstance(answer, Accepted):
        return error(answer, DETAILS[answer]) if isinstance(answer, HTTPStatus) else refuse(answer)
    progress = answer.progress(dataset_id, timezone.now())
    return in_bytes(f'{{"progress":{progress.model_dump_json()},"control":"{answer.control}"}}')


@router.post(
    "/progress",
    auth=WRITE,
    response={200: Results, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="report_many",
    summary="Report on many datasets at once",
)
def report_many(request: HttpRequest, body: Body[BatchBody]) -> HttpResponseBase:
    """Up to 1,000 updates, each a report with its `dataset_id`, taken in order and in one transaction.

    Each has a result of its own; one that is refused changes nothing and sinks none of the others.
    """
    results: list[Result | None] = [None] * len(body.updates)
    good: list[tuple[int, str, Report]] = []
    for position, raw in enumerate(body.updates):
        try:
            update = UpdateBody.model_validate(raw)
        except ValidationError as invalid:
            errors = field_errors(
                (one["loc"], one["msg"])
                for one in invalid.errors(include_url=False, include_context=False, include_input=False)
            )
            results[position] = Result(status=422, code=CODES[422], detail=in_words(errors), errors=errors)
        else:
            good.append((position, update.dataset_id, update.report()))
    answers = _take(caller_of(request), [(dataset_id, report) for _, dataset_id, report in good])
    for (position, _, _), answer in zip(good, answers, strict=True):
        results[position] = _result(answer)
    told = Results(results=[result for result in results if result is not None])
    return in_bytes(told.model_dump_json(exclude_none=True))


def _take(caller: Caller, reports: Sequence[tuple[str, Report]]) -> list[Accepted | ProgressError | HTTPStatus]:
    """Take reports by the datasets' ids; those that the caller may not make are answered with a status instead."""
    with transaction.atomic():
        known, absent = find_many(caller, {dataset_id for dataset_id, _ in reports})
        new = []
        for dataset_id, report in reports:
            if dataset_id in absent and report.begins:
                absent.remove(dataset_id)
                known[dataset_id], is_new = make_or_find(caller, dataset_id)
                if is_new:
                    new.append(dataset_id)
        mine = [(found, report) for dataset_id, report in reports if isinstance(found := known[dataset_id], Dataset)]
        taken = accept_reports([(dataset.pk, report) for dataset, report in mine])
        # No dataset is made for reports that are all refused.
        served = {
            dataset.dataset_id for (dataset, _), answer in zip(mine, taken, strict=True) if isinstance(answer, Accepted)
        }
        if idle := set(new) - served:
            Dataset.objects.filter(dataset_id__in=idle).delete()
    answers = iter(taken)
    return [found if isinstance(found := known[dataset_id], HTTPStatus) else next(answers) for dataset_id, _ in reports]


def _result(answer: Accepted | ProgressError | HTTPStatus) -> Result:
    match answer:
        case Accepted():
            return Result(status=200, run=answer.run, version=answer.version, control=answer.control)
        case HTTPStatus():
            return Result(status=answer, code=CODES[answer], detail=DETAILS[answer])
        case _:
            return Result(status=status_of(answer), code=answer.code, detail=str(answer))
