"""Steer one dataset or many, as a caller who may steer some of them. Each has a result of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import batched
from typing import Final

from apps.datasets.access.errors import AccessDenied
from apps.datasets.access.lookup import find_steerable
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset

from . import services
from .control import Action, Outcome
from .errors import NoRun, ProgressError

# How many datasets one transaction locks.
DATASETS_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an action on one dataset. ``refusal``: why it was not done; None where it is so now."""

    dataset_id: str
    changed: bool
    detail: str
    refusal: AccessDenied | ProgressError | None = None


def steer(caller: Caller, action: Action, dataset_ids: Collection[str]) -> list[Result]:
    """Do ``action`` to each of these datasets that the caller may steer. Returns a result for each, in their order."""
    dataset_ids = list(dict.fromkeys(dataset_ids))
    found = find_steerable(caller, dataset_ids)
    pks = sorted(dataset.pk for dataset in found.values() if isinstance(dataset, Dataset))
    outcomes: dict[int, Outcome] = {}
    for some in batched(pks, DATASETS_AT_ONCE):
        outcomes |= services.request(action, some, caller.name)
    return [_result(dataset_id, found[dataset_id], outcomes) for dataset_id in dataset_ids]


def _result(dataset_id: str, found: Dataset | AccessDenied, outcomes: dict[int, Outcome]) -> Result:
    if isinstance(found, AccessDenied):
        return Result(dataset_id, False, str(found), found)
    outcome = outcomes.get(found.pk) or Outcome.refused(NoRun("It has never run."))
    return Result(dataset_id, outcome.changed, outcome.detail, outcome.refusal)
