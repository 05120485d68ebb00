"""The commands' arguments, and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dataset_progress._ids import dataset_id as valid_id

from . import batches, browsing, commands, steering

EXIT_STATUS = """\
exit status: 0 success (watch: all datasets are ready; pipe: everything was passed on, even if the server was not
reached); 1 the dataset failed or was cancelled, or the output cannot be written; 2 bad arguments; 3 the server cannot
be reached, or refused; 129, 130, 143 ended by SIGHUP, Ctrl-C, SIGTERM; 141 nobody reads the output
"""
SERVER = """\
The server is given by --url and --token, else by DATASET_PROGRESS_URL and DATASET_PROGRESS_TOKEN.
"""
STATES = ["pending", "indexing", "embedding", "ready", "error"]
NEW_DATASET = "the dataset's id; the dataset is created if there is none"


def new_parser() -> argparse.ArgumentParser:
    """Return the parser. It sets ``options.command`` to the function that runs the command."""
    parser = argparse.ArgumentParser(
        prog="dataset-progress", description=f"Watch and report the progress of datasets. {SERVER}", epilog=EXIT_STATUS
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", help="the address of the server; default: $DATASET_PROGRESS_URL")
    common.add_argument("--token", help="a token for the server; default: $DATASET_PROGRESS_TOKEN")

    def add(name: str, command: Callable[[argparse.Namespace], int], summary: str, example: str) -> Any:
        added = subparsers.add_parser(
            name, parents=[common], help=summary, description=f"{summary[0].upper()}{summary[1:]}. {SERVER}",
            epilog=f"example: {example}\n\n{EXIT_STATUS}", formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        added.set_defaults(command=command)
        return added

    watch = add("watch", commands.watch, "watch datasets until all are ready", "dataset-progress watch cats dogs")
    watch.add_argument("dataset", nargs="+", metavar="ID", type=_dataset_id, help="the dataset's id")
    watch.add_argument("--poll", type=_interval, metavar="SECONDS", help="poll at this interval, without a WebSocket")

    watch.add_argument(
        "--wait", type=_seconds, default=10.0, metavar="SECONDS",
        help="how long to wait for a dataset that does not exist yet; default: 10",
    )  # fmt: skip
    watch.add_argument(
        "--linger", type=_seconds, default=5.0, metavar="SECONDS",
        help="how long to wait for another run when a dataset is finished; default: 5",
    )  # fmt: skip

    listed = add("list", browsing.show_list, "list datasets", "dataset-progress list --state indexing")
    listed.add_argument("search", nargs="?", default="", metavar="TEXT", help="a part of an id or a name")
    listed.add_argument("--state", choices=STATES, help="those in this state alone")

    opened = add("open", browsing.open_page, "open the page of a dataset in a browser", "dataset-progress open cats")
    opened.add_argument(
        "dataset", nargs="?", metavar="ID", type=_dataset_id, help="the dataset's id; default: the list"
    )

    report = add(
        "report", commands.report, "report the progress of a dataset",
        "dataset-progress report cats --state indexing --current 45 --total 100",
    )  # fmt: skip
    _add_report(report)

    pipe = add(
        "pipe", commands.pipe, "count the lines or bytes that pass through a pipe",
        "cat rows.csv | dataset-progress pipe cats --total 5000 | python load.py",
    )  # fmt: skip
    pipe.add_argument("dataset", metavar="ID", type=_dataset_id, help=NEW_DATASET)
    pipe.add_argument("--total", type=_whole_number, metavar="N", help="the number of lines or bytes")
    pipe.add_argument("--bytes", action="store_true", help="count bytes instead of lines")
    pipe.add_argument("--stage", default="indexing", help="the stage to count in; default: indexing")
    _add_wait(pipe)

    for verb, summary in steering.VERBS.items():
        steer = add(verb, steering.steer, summary, f"dataset-progress {verb} cats dogs")
        steer.set_defaults(action=verb)
        steer.add_argument("dataset", nargs="+", metavar="ID", type=_dataset_id, help="the dataset's id")
        if verb == "retry":
            steer.add_argument("--failed", action="store_true", help="only the items that failed")

    _add_batch(
        add("batch", batches.batch, "group datasets and follow them as one", "dataset-progress batch watch nightly")
    )

    simulate = add("simulate", commands.simulate, "simulate a run", "dataset-progress simulate demo --seconds 30")
    simulate.add_argument("dataset", metavar="ID", type=_dataset_id, help=NEW_DATASET)
    simulate.add_argument("--items", type=_whole_number, default=200, metavar="N", help="how many; default: 200")
    simulate.add_argument("--seconds", type=_seconds, default=20.0, help="about how long it takes; default: 20")
    simulate.add_argument("--error", help="fail half-way with this error")
    _add_wait(simulate)
    return parser


def _add_batch(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION", help="what to do with it")
    for name, summary in batches.SUMMARIES.items():
        action = actions.add_parser(name, help=summary)
        action.add_argument("batch", metavar="BATCH", type=_dataset_id, help="the batch's id")
        if name in ("create", "add", "remove"):
            action.add_argument(
                "dataset", nargs="*" if name == "create" else "+", metavar="ID", type=_dataset_id,
                help="the dataset's id",
            )  # fmt: skip
        if name == "create":
            action.add_argument("--name", default="", help="a name to show in place of the id")
            action.add_argument(
                "--limit", type=_whole_number, default=0, metavar="N",
                help="how many of its datasets the server's workers process at once; default: any number",
            )  # fmt: skip
        if name == "watch":
            action.add_argument("--poll", type=_interval, default=2.0, metavar="SECONDS", help="how often; default: 2")
        if name == "retry":
            action.add_argument("--failed", action="store_true", help="only the items that failed")


def _version() -> str:
    """Return the version of the installed package; of one that runs from its folder, that."""
    try:
        return version("dataset-progress")
    except PackageNotFoundError:
        return "(not installed)"


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="ID", type=_dataset_id, help=NEW_DATASET)
    parser.add_argument(
        "--state", choices=STATES,
        help="the state; ready and error end the run",
    )  # fmt: skip
    parser.add_argument("--stage", help="the stage that the counts belong to; it begins if it has not")
    parser.add_argument("--current", type=_whole_number, metavar="N", help="how many of its items are done so far")
    parser.add_argument("--total", type=_whole_number, metavar="N", help="how many items it has; 0: unknown")
    parser.add_argument("--message", help="a line for people")
    parser.add_argument("--error", help="why the run failed; ends the run")
    parser.add_argument("--worker", help="the worker whose share the counts are, if several work on a stage")
    parser.add_argument("--failed", type=_whole_number, metavar="N", help="how many items could not be processed")
    parser.add_argument("--skipped", type=_whole_number, metavar="N", help="how many items were skipped")
    parser.add_argument(
        "--failure", nargs=2, action="append", metavar=("ITEM", "REASON"),
        help="an item that could not be processed; may be repeated",
    )  # fmt: skip
    parser.add_argument("--run", type=_whole_number, metavar="N", help="the number of the run; default: the open run")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=_seconds, default=10.0, metavar="SECONDS",
        help="how long to wait at the end until the server acknowledges; default: 10",
    )  # fmt: skip


def _dataset_id(value: str) -> str:
    try:
        return valid_id(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole_number(value: str) -> int:
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number, 0 or more")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of seconds, 0 or more")
    return seconds


def _interval(value: str) -> float:
    if not (seconds := _seconds(value)):
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds
