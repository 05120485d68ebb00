"""The task that workers take from the queue."""

from __future__ import annotations

from django.tasks import task

from apps.pipeline.work.runner import Runner


@task()
def process_run(run_pk: int) -> str:
    """Process a run until it ends or this worker has to release it. Returns the `Outcome`."""
    return Runner(run_pk).process().value
