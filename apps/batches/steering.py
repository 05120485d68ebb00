"""Steer all datasets of a batch, as a caller who may steer some of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import batched

from apps.datasets.access.rules import Caller
from apps.progress import services
from apps.progress.control import Action
from apps.progress.errors import NoRun
from apps.progress.steering import DATASETS_AT_ONCE, Result, steer

from .access import members_of
from .models import Batch


def steer_batch(caller: Caller, action: Action, batch: Batch) -> list[Result]:
    """Do ``action`` to each dataset of a batch that the caller may steer. Returns a result for each that it may see.

    A retry also asks for the first run of those that have never run.
    """
    members = dict(members_of(caller, batch).order_by("dataset_id").values_list("dataset_id", "pk"))
    results = steer(caller, action, members)
    if action is not Action.RETRY:
        return results
    never_ran = [members[result.dataset_id] for result in results if isinstance(result.refusal, NoRun)]
    asked: set[int] = set()
    for some in batched(never_ran, DATASETS_AT_ONCE):
        asked |= services.request_first_runs(some, caller.name)
    return [
        replace(result, changed=members[result.dataset_id] in asked, detail="Run requested.", refusal=None)
        if isinstance(result.refusal, NoRun)
        else result
        for result in results
    ]
