"""The command ``batch``: datasets under one name."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from dataset_progress._api import Api, Server
from dataset_progress._values import printable

from .steering import BUSY_SECONDS, REFUSED, VERBS, print_results

AT_ONCE: Final = 1000


def batch(options: argparse.Namespace) -> int:
    """Do what the action says. Returns the exit status."""
    api = Api(Server.find(options.url, options.token))
    try:
        return ACTIONS[options.action](api, options) if options.action in ACTIONS else _steer(api, options)
    finally:
        api.close()


def _request(api: Api, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return api.request_patiently(method, path, body, seconds=BUSY_SECONDS)


def _create(api: Api, options: argparse.Namespace) -> int:
    body = {
        "batch_id": options.batch,
        "name": options.name,
        "limit": options.limit,
        "datasets": options.dataset[:AT_ONCE],
    }
    answer = _request(api, "POST", "batches", body)
    rest = options.dataset[AT_ONCE:]
    return _change(api, options, "add", rest) if rest else _show(answer)


def _add(api: Api, options: argparse.Namespace) -> int:
    return _change(api, options, "add", options.dataset)


def _remove(api: Api, options: argparse.Namespace) -> int:
    return _change(api, options, "remove", options.dataset)


def _change(api: Api, options: argparse.Namespace, what: str, dataset_ids: list[str]) -> int:
    answer: dict[str, Any] = {}
    for start in range(0, len(dataset_ids), AT_ONCE):
        answer = _request(api, "PATCH", f"batches/{options.batch}", {what: dataset_ids[start : start + AT_ONCE]})
    return _show(answer)


def _print_progress(api: Api, options: argparse.Namespace) -> int:
    print(line_of(api.request("GET", f"batches/{options.batch}/progress")))
    return 0


def _watch(api: Api, options: argparse.Namespace) -> int:
    """Print a line for each change until all datasets are over. Returns 0 if all are ready."""
    last = ""
    while True:
        progress = api.request("GET", f"batches/{options.batch}/progress")
        if (line := line_of(progress)) != last:
            print(line)
            sys.stdout.flush()
            last = line
        if progress.get("state") in ("ready", "error"):
            return 0 if progress["state"] == "ready" else REFUSED
        time.sleep(options.poll)


def _steer(api: Api, options: argparse.Namespace) -> int:
    body = {"action": options.action} | ({"only_failed": True} if getattr(options, "failed", False) else {})
    answer = _request(api, "POST", f"batches/{options.batch}/control", body)
    return REFUSED if print_results(answer) else 0


def _show(answer: dict[str, Any]) -> int:
    print(line_of(answer.get("progress") or {}))
    return 0


def line_of(progress: dict[str, Any]) -> str:
    """Describe the progress of a batch in one line."""
    percent = progress.get("percent")
    done = "" if percent is None else f" {int(percent)}%"
    return printable(f"{progress.get('batch_id')}: {progress.get('state')}{done} {progress.get('message')}")


ACTIONS: Final[dict[str, Callable[[Api, argparse.Namespace], int]]] = {
    "create": _create, "add": _add, "remove": _remove, "show": _print_progress, "watch": _watch,
}  # fmt: skip
# Each action, and what the help says of it.
SUMMARIES: Final = {
    "create": "create a batch of datasets",
    "add": "add datasets to a batch",
    "remove": "take datasets out of a batch",
    "show": "print how far a batch is",
    "watch": "print every change of a batch until all of its datasets are ready",
    **{verb: f"{summary}, for all of a batch" for verb, summary in VERBS.items()},
}
