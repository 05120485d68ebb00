"""What the workers take from the queue."""

from __future__ import annotations

from django.tasks import task

from apps.pipeline.work.runner import Runner


@task()
def process_run(run_pk: int) -> str:
    """Process a run until it ends, or until this worker is stopped or superseded. Says how it came out."""
    return Runner(run_pk).process().value
