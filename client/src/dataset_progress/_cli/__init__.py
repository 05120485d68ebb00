"""The command line: ``dataset-progress watch | report | pipe | simulate``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from dataset_progress._errors import Cancelled, ProgressError, Refused

from .commands import FAILED, SERVER_FAILED
from .ending import Terminated, raise_on_signals
from .parser import new_parser
from .terminal import print_error

__all__ = ["main"]

SIGNALLED = 128  # what shells add to the number of the signal
INTERRUPTED = 130  # by SIGINT
NOBODY_READS = 141  # as by SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. ``arguments``: default: those of the process."""
    parser = new_parser()
    options = parser.parse_args(arguments)
    options.url = options.url or os.environ.get("DATASET_PROGRESS_URL", "")
    if not options.url:
        parser.error("no server: set DATASET_PROGRESS_URL or pass --url")
    raise_on_signals()
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        status = command(options)
        sys.stdout.flush()
    except Cancelled as cancelled:
        print_error(str(cancelled))
        return FAILED
    except Refused as refusal:
        print_error(f"the server refused: {refusal} ({refusal.code or refusal.status})")
        return SERVER_FAILED
    except ProgressError as error:
        print_error(f"the server cannot be reached: {error}")
        return SERVER_FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated as end:
        return SIGNALLED + end.number
    except OSError as error:
        # Python flushes standard output once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return NOBODY_READS
        print_error(str(error))
        return FAILED
    return status
