"""A reporter in a process of its own: ``python -m tests.progress.writer RUN… --writes N``.

It says "ready", waits for a line, and makes N reports, in turn to each of the runs.
"""

from __future__ import annotations

import argparse
import os
import sys

import django


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=int)
    parser.add_argument("--writes", type=int, required=True)
    options = parser.parse_args()
    django.setup()

    from django.db import connection

    from apps.progress import services

    connection.ensure_connection()
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(1, options.writes + 1):
        for run in options.runs:
            # The message makes each report a change of its own, though others count on the same run.
            services.report(run, current=number, message=f"{os.getpid()}: {number}")


if __name__ == "__main__":
    main()
