"""The command line: watch, report, pipe, simulate."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from . import _values as values
from ._api import Api, Server
from ._counting import Stage
from ._errors import Cancelled, ProgressError, Refused
from ._run import Run
from ._simulate import simulate
from ._watch import Progress, Watch

EXIT = """\
exit status: 0 done (watch: all ready; pipe: everything passed on, whether or not the server heard of it); 1 the
dataset ended in error, or was cancelled, or the output cannot be written; 2 bad arguments; 3 the server cannot be
reached, or said no; 130 interrupted; 141 nobody reads the output any more
"""
ADDRESS = """\
The server is that of --url and --token, else of DATASET_PROGRESS_URL and DATASET_PROGRESS_TOKEN.
"""
CUT_OFF = "what follows the pipe has stopped reading"
CHUNK = 1 << 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.url = options.url or os.environ.get("DATASET_PROGRESS_URL", "")
    if not options.url:
        parser.error("where is the server? Set DATASET_PROGRESS_URL, or pass --url")
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        status = command(options)
        sys.stdout.flush()
        return status
    except Cancelled as cancelled:
        return _say(str(cancelled), 1)
    except Refused as refusal:
        return _say(f"the server says no: {refusal} ({refusal.code or refusal.status})", 3)
    except ProgressError as error:
        return _say(f"the server cannot be reached: {error}", 3)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        # Python writes what is left once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141 if isinstance(error, BrokenPipeError) else _say(str(error), 1)


def _say(text: str, status: int) -> int:
    print(f"dataset-progress: {_plain(text)}", file=sys.stderr)
    return status


def _plain(text: str) -> str:
    """Text from the server without what would move the cursor, or worse."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _dataset(said: str) -> str:
    try:
        return values.dataset_id(said)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(said: str) -> int:
    if not said.isdecimal():
        raise argparse.ArgumentTypeError(f"{said!r} is no whole number, 0 or more")
    return int(said)


def _seconds(said: str) -> float:
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{said!r} is no number of seconds, 0 or more")
    return seconds


def _interval(said: str) -> float:
    if not (seconds := _seconds(said)):
        raise argparse.ArgumentTypeError("it has to be more than 0")
    return seconds


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", help="the address of the server; default: $DATASET_PROGRESS_URL")
    common.add_argument("--token", help="a token of it; default: $DATASET_PROGRESS_TOKEN")
    parser = argparse.ArgumentParser(
        prog="dataset-progress", description=f"See and report how far datasets are. {ADDRESS}", epilog=EXIT
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], summary: str, example: str) -> Any:
        added = commands.add_parser(
            name, parents=[common], help=summary, description=f"{summary[0].upper()}{summary[1:]}. {ADDRESS}",
            epilog=f"example: {example}\n\n{EXIT}", formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        added.set_defaults(command=command)
        return added

    see = add("watch", _watch, "watch datasets until all of them are ready", "dataset-progress watch cats dogs")
    see.add_argument("dataset", nargs="+", metavar="ID", type=_dataset, help="the dataset's id")
    see.add_argument("--poll", type=_interval, metavar="SECONDS", help="ask so often, in place of being told")

    say = add(
        "report", _report, "report how far a dataset is",
        "dataset-progress report cats --state indexing --current 45 --total 100",
    )  # fmt: skip
    say.add_argument("dataset", metavar="ID", type=_dataset, help="the dataset's id; it is made if there is none")
    say.add_argument(
        "--state", choices=["pending", "indexing", "embedding", "ready", "error"],
        help="where the run is; ready and error end it",
    )  # fmt: skip
    say.add_argument("--stage", help="the stage that the counts are of, by any name; it begins if it has not")
    say.add_argument("--current", type=_whole, metavar="N", help="how much of it is done, from its beginning")
    say.add_argument("--total", type=_whole, metavar="N", help="of how much; 0: not known")
    say.add_argument("--message", help="one line for people")
    say.add_argument("--error", help="why it failed; the run ends")
    say.add_argument("--worker", help="of several on one stage, the one whose share the counts are")
    say.add_argument("--failed", type=_whole, metavar="N", help="how many items could not be processed")
    say.add_argument("--skipped", type=_whole, metavar="N", help="how many were left as they were")
    say.add_argument(
        "--failure", nargs=2, action="append", metavar=("ITEM", "REASON"), help="one of them; may be given again"
    )
    say.add_argument("--run", type=_whole, metavar="N", help="the number of the run that is meant; else the open one")

    pipe = add(
        "pipe", _pipe, "count what goes through a pipe, by lines or bytes",
        "cat rows.csv | dataset-progress pipe cats --total 5000 | python load.py",
    )  # fmt: skip
    pipe.add_argument("dataset", metavar="ID", type=_dataset, help="the dataset's id; it is made if there is none")
    pipe.add_argument("--total", type=_whole, metavar="N", help="how many lines, or bytes, there are")
    pipe.add_argument("--bytes", action="store_true", help="count bytes and not lines")
    pipe.add_argument("--stage", default="indexing", help="what this part of the work is called; default: indexing")
    _add_wait(pipe)

    play = add("simulate", _simulate, "play the life of a dataset", "dataset-progress simulate demo --seconds 30")
    play.add_argument("dataset", metavar="ID", type=_dataset, help="the dataset's id; it is made if there is none")
    play.add_argument("--items", type=_whole, default=200, metavar="N", help="how many; default: 200")
    play.add_argument("--seconds", type=_seconds, default=20.0, help="how long it takes, about; default: 20")
    play.add_argument("--error", help="fail half-way, with this")
    _add_wait(play)
    return parser


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=_seconds, default=10.0, metavar="SECONDS",
        help="how long to stay at the end until the server has heard of it; default: 10",
    )  # fmt: skip


def _report(options: argparse.Namespace) -> int:
    names = ("state", "stage", "message", "error", "worker", "current", "total", "failed", "skipped", "run")
    said = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.failure:
        said["failures"] = [{"item": item, "reason": reason} for item, reason in options.failure]
    api = Api(Server.find(options.url, options.token))
    answer = api.ask("POST", f"datasets/{options.dataset}/progress", said)
    print(_line(Progress.parse(answer.get("progress"))))
    if (control := answer.get("control")) != "run":
        print(_plain(f"asked to {control}"))
    return 0


def _line(progress: Progress) -> str:
    share = f" {progress.percent:.0f}%" if progress.percent is not None else ""
    of = f"/{progress.total}" if progress.total else ""
    said = progress.error or progress.message
    return _plain(f"{progress.dataset_id}: {progress.state}{share} ({progress.current}{of}) {said}".rstrip())


def _pipe(options: argparse.Namespace) -> int:
    unit = "bytes" if options.bytes else "lines"
    stage = Stage(options.stage, total=options.total, unit=unit)
    run = Run(options.dataset, stages=[stage], url=options.url, token=options.token, flush_seconds=options.wait)
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # So that it ends for what follows when we say so, and not when we have ended as well.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with run:
        try:
            with target:
                done = _copy(run, sys.stdin.buffer, target, count_bytes=options.bytes)
        except BrokenPipeError:
            run.close(CUT_OFF)
            return _say(CUT_OFF, 1)
    print(f"{options.dataset}: {done} {unit}", file=sys.stderr)
    return 0


def _copy(run: Run, source: BinaryIO, target: BinaryIO, *, count_bytes: bool) -> int:
    """Pass on what comes, as it comes, and count it."""
    done = 0
    read = getattr(source, "read1", source.read)
    chunks = iter(lambda: read(CHUNK), b"")
    last = b"\n"
    for chunk in chunks:
        run.hold()
        target.write(chunk)
        target.flush()
        n = len(chunk) if count_bytes else chunk.count(b"\n")
        run.advance(n)
        done, last = done + n, chunk[-1:]
    if not count_bytes and last != b"\n":  # the last line has no end
        run.advance()
        done += 1
    return done


def _simulate(options: argparse.Namespace) -> int:
    is_heard = simulate(
        options.dataset, items=options.items, seconds=options.seconds, error=options.error, url=options.url,
        token=options.token, flush_seconds=options.wait,
    )  # fmt: skip
    if not is_heard:
        return _say("the server has not heard of its end", 3)
    return 1 if options.error else 0


def _watch(options: argparse.Namespace) -> int:
    mode: Any = "websocket" if options.poll is None else "polling"
    watches = [
        Watch(dataset, mode, options.poll or 2.0, url=options.url, token=options.token) for dataset in options.dataset
    ]
    try:
        for each in watches:
            each.start()
        if sys.stdout.isatty():
            _draw(watches)
        else:
            _print(watches)
    finally:
        for each in watches:
            each.stop()
    for each in watches:
        if each.error is not None:
            raise each.error
    return 0 if all(each.progress and each.progress.state == "ready" for each in watches) else 1


def _print(watches: list[Watch]) -> None:
    """A line a change, for logs."""
    said: dict[str, str] = {}
    troubles = _Troubles()
    while True:
        running = [each for each in watches if not each.is_over]
        for each in watches:
            if each.progress is not None and said.get(each.dataset_id) != (line := _line(each.progress)):
                said[each.dataset_id] = line
                print(line, flush=True)
        for trouble in troubles.new(running):
            _say(trouble, 0)
        if not running:
            return
        time.sleep(0.2)


class _Troubles:
    """What keeps datasets from being seen, each said once until it is over."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def new(self, watches: list[Watch]) -> list[str]:
        """What has not been said yet, in words."""
        troubled = {each.dataset_id: each.trouble for each in watches if each.trouble is not None}
        new = [f"{each}: {trouble} (trying again)" for each, trouble in troubled.items() if each not in self._said]
        self._said = set(troubled)
        return new


def _draw(watches: list[Watch]) -> None:
    """Live bars."""
    try:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
    except ImportError:
        _print(watches)
        return
    columns = [
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[said]}", markup=False),
    ]  # fmt: skip
    troubles = _Troubles()
    with Bars(*columns, TimeElapsedColumn()) as bars:
        tasks = {each.dataset_id: bars.add_task(each.dataset_id, total=100, said="") for each in watches}
        while True:
            running = [each for each in watches if not each.is_over]
            for each in watches:
                if (shown := each.progress) is not None:
                    said = shown.error or shown.message or shown.state
                    bars.update(tasks[each.dataset_id], completed=shown.percent or 0, said=_plain(said[:60]))
            for trouble in troubles.new(running):
                bars.console.print(trouble, markup=False, style="yellow")
            if not running:
                return
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
