"""The commands. Each takes the parsed arguments and returns the exit status."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from dataset_progress import _simulate
from dataset_progress._api import Api, Server
from dataset_progress._progress import Progress
from dataset_progress._run import Run
from dataset_progress._stages import Stage
from dataset_progress._values import printable
from dataset_progress._watch import Watch

from . import words
from .copying import copied_bytes, copied_lines
from .ending import Terminated, reason_of
from .terminal import line_of, print_error, show

FAILED = 1
SERVER_FAILED = 3
# How long a single report waits for a server that is busy.
BUSY_SECONDS = 30.0
CLOSED_PIPE = "the next program in the pipe has stopped reading"


def report(options: argparse.Namespace) -> int:
    """Send one report and print the progress that the server answers."""
    fields = ("state", "stage", "message", "error", "worker", "current", "total", "failed", "skipped", "run")
    body = {field: value for field in fields if (value := getattr(options, field)) is not None}
    if options.failure:
        body["failures"] = [{"item": item, "reason": reason} for item, reason in options.failure]
    api = Api(Server.find(options.url, options.token))
    path = f"datasets/{options.dataset}/progress"
    answer = api.request_patiently("POST", path, body, seconds=BUSY_SECONDS)
    print(line_of(Progress.parse(answer.get("progress"))))
    if (control := answer.get("control")) != "run":
        print(printable(f"asked to {control}"))
    return 0


def pipe(options: argparse.Namespace) -> int:
    """Copy standard input to standard output and count it."""
    unit = "bytes" if options.bytes else "lines"
    stage = Stage(options.stage, total=options.total, unit=unit)
    run = Run(options.dataset, stages=[stage], url=options.url, token=options.token, flush_seconds=options.wait)
    done, copied = 0, copied_bytes if options.bytes else copied_lines
    with run:
        try:
            # Closing `target` must end the next program's input before we wait for the last report.
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as target:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                for n in copied(sys.stdin.fileno(), target.fileno()):
                    done += n
                    run.advance(n)
                    run.wait_while_paused()
        except BrokenPipeError:
            run.close(CLOSED_PIPE)
            print_error(CLOSED_PIPE)
            return FAILED
        except (KeyboardInterrupt, Terminated) as end:
            run.close(f"{reason_of(end)} after {done:,} {unit}.")
            raise
    print(f"{options.dataset}: {done} {unit}", file=sys.stderr)
    return 0


def simulate(options: argparse.Namespace) -> int:
    """Report a run that does nothing."""
    is_acknowledged = _simulate.simulate(
        options.dataset, items=options.items, seconds=options.seconds, error=options.error, url=options.url,
        token=options.token, flush_seconds=options.wait,
    )  # fmt: skip
    if not is_acknowledged:
        print_error("the server has not acknowledged the end of the run")
        return SERVER_FAILED
    return FAILED if options.error else 0


def watch(options: argparse.Namespace) -> int:
    """Show datasets until all are finished and no other run begins: as a table in a terminal, else as lines."""
    mode: Any = "websocket" if options.poll is None else "polling"
    watches = [
        Watch(
            dataset_id, mode, options.poll or 2.0, wait=options.wait, linger=options.linger, url=options.url,
            token=options.token,
        )
        for dataset_id in options.dataset
    ]  # fmt: skip
    try:
        for each in watches:
            each.start()
        show(watches)
    finally:
        for each in watches:
            each.stop()
    errors = [(each.dataset_id, each.error) for each in watches if each.error is not None]
    for dataset_id, error in errors:
        print_error(words.trouble(dataset_id, error))
    if errors:
        return SERVER_FAILED
    return 0 if all(each.progress and each.progress.state == "ready" for each in watches) else FAILED
