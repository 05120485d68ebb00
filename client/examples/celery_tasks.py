"""Celery: tasks on any machine report their own shares of one run.

celery --app celery_tasks worker
DATASET_PROGRESS_URL=http://127.0.0.1:8000 DATASET_PROGRESS_TOKEN=dp_… python celery_tasks.py DATASET
"""

import hashlib
import os
import sys
import uuid

from celery import Celery, chord

from dataset_progress import Run, Stage

ITEMS = 600
AT_ONCE = 100
STAGES = [Stage("encode", total=ITEMS, counts_as="embedding")]

broker = os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
app = Celery("celery_tasks", broker=broker, backend=broker)


@app.task(acks_late=True)
def encode(dataset: str, key: str, first: int) -> None:
    # By its name a task that is tried again counts nothing twice.
    with Run(dataset, stages=STAGES, key=key, worker=f"from {first}", finish=False, flush_seconds=10) as run:
        for number in run.track(range(first, first + AT_ONCE)):
            hashlib.scrypt(str(number).encode(), salt=b"example", n=2, r=8, p=1)


@app.task
def finish(_: list[None], dataset: str, key: str) -> None:
    Run(dataset, stages=STAGES, key=key, flush_seconds=10).close()


if __name__ == "__main__":
    dataset, key = sys.argv[1], uuid.uuid4().hex
    done = chord(encode.s(dataset, key, first) for first in range(0, ITEMS, AT_ONCE))(finish.s(dataset, key))
    done.get(timeout=600)
