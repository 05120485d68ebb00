"""Several processes count their own shares of one stage, which is the sum.

DATASET_PROGRESS_URL=http://127.0.0.1:8000 DATASET_PROGRESS_TOKEN=dp_… python workers.py DATASET
"""

import multiprocessing
import sys

from dataset_progress import Run, Stage

ITEMS = 400
PROCESSES = 4


def work(run: Run, first: int) -> None:
    for number in range(first, ITEMS, PROCESSES):
        if number % 100 == 13:
            run.fail_item(f"item {number}", "this number fails in the example")
        run.advance()


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with Run(sys.argv[1], stages=[Stage("encode", total=ITEMS, counts_as="embedding")], flush_seconds=10) as run:
        run.stage("encode")
        processes = [context.Process(target=work, args=(run, first)) for first in range(PROCESSES)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
