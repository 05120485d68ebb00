"""`manage.py simulate_progress ID [--speed X] [--fail-at PERCENT] [--workers N] [--stall SECONDS] [--stages N]`"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from apps.datasets.models import Dataset
from apps.datasets.services import create_dataset
from apps.progress.errors import RunUnfinished
from apps.progress.transitions import State
from apps.simulation.plan import SECONDS, Plan
from apps.simulation.reporter import begin, simulate

INTERRUPTED = 130


class Command(BaseCommand):
    help = (
        "Report a run of imaginary work, to try a look or an integration. It can be paused and cancelled as any other."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        usual = Plan()
        parser.add_argument("dataset", metavar="ID", help="the dataset; created if it does not exist")
        parser.add_argument(
            "--speed", type=float, default=usual.speed, metavar="X",
            help=f"at 1, the default, it takes {SECONDS:g} s; at 2 half of that",
        )  # fmt: skip
        parser.add_argument("--fail-at", type=float, metavar="PERCENT", help="end in error once so much is done")
        parser.add_argument(
            "--workers", type=int, default=usual.workers, metavar="N", help="how many report a share each; default: 1"
        )
        parser.add_argument(
            "--stall", type=float, default=usual.stall, metavar="SECONDS",
            help="make no progress for so long, half-way, while giving signs of life",
        )  # fmt: skip
        parser.add_argument(
            "--stages", type=int, default=usual.stages, metavar="N", help=f"how many; default: {usual.stages}"
        )
        parser.add_argument(
            "--items", type=int, default=usual.items, metavar="N", help=f"of each stage; default: {usual.items}"
        )

    def handle(self, *, dataset: str, **options: Any) -> None:
        names = ("speed", "fail_at", "workers", "stall", "stages", "items")
        try:
            plan = Plan(**{name: options[name] for name in names})
        except ValueError as error:
            raise CommandError(f"--{str(error).replace('_', '-')}", returncode=2) from None
        try:
            row = Dataset.objects.filter(dataset_id=dataset).first() or create_dataset(dataset)
            run = begin(row, plan, by="simulate_progress")
        except ValidationError as error:
            raise CommandError(" ".join(error.messages), returncode=2) from None
        except RunUnfinished:
            raise CommandError(f"{dataset} is already being processed.", returncode=2) from None
        self.stdout.write(f"Simulating run {run.number} of {dataset}. Ctrl-C ends it.")
        try:
            run = simulate(run, plan, time.sleep)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        if not run.is_finished:
            raise CommandError(f"{dataset} was deleted.", returncode=1)
        self.stdout.write("Ready." if run.state == State.READY else run.error.partition("\n")[0])
        sys.exit(0 if run.state == State.READY else 1)
