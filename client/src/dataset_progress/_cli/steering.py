"""The commands that steer datasets: ``pause``, ``resume``, ``cancel``, ``end`` and ``retry``."""

from __future__ import annotations

import argparse
from typing import Any, Final

from dataset_progress._api import Api, Server
from dataset_progress._errors import Unreachable
from dataset_progress._values import printable

from .terminal import print_error

# The actions, and what the help says of them.
VERBS: Final = {
    "pause": "ask whoever reports on datasets to pause",
    "resume": "let paused datasets go on",
    "cancel": "ask whoever reports on datasets to stop for good",
    "end": "end the runs of datasets whose reporters do not obey for 15 s",
    "retry": "ask for datasets to be done again",
}
# How long the request waits for a server that is busy.
BUSY_SECONDS: Final = 30.0
REFUSED: Final = 1
AT_ONCE: Final = 1000


def steer(options: argparse.Namespace) -> int:
    """Do the action to all datasets, and print a line for each. Returns 1 if any was refused."""
    ids = list(dict.fromkeys(options.dataset))
    body = {"action": options.action} | ({"only_failed": True} if getattr(options, "failed", False) else {})
    api = Api(Server.find(options.url, options.token))
    refused = False
    try:
        for start in range(0, len(ids), AT_ONCE):
            request = {**body, "datasets": ids[start : start + AT_ONCE]}
            answer = api.request_patiently("POST", "control", request, seconds=BUSY_SECONDS)
            refused |= print_results(answer)
    finally:
        api.close()
    return REFUSED if refused else 0


def print_results(answer: dict[str, Any]) -> bool:
    """Print a line for each dataset. Returns whether any was refused."""
    return True in [_print(result) for result in _results(answer)]


def _results(answer: dict[str, Any]) -> list[dict[str, Any]]:
    results = answer.get("results")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise Unreachable("the server does not answer as Dataset Progress does")
    return results


def _print(result: dict[str, Any]) -> bool:
    """Print what became of one dataset: a refusal to standard error. Returns whether it was refused."""
    line = f"{result.get('dataset_id')}: {result.get('detail')}"
    if result.get("status") == 200:
        print(printable(line))
        return False
    print_error(f"{line} ({result.get('code')})")
    return True
