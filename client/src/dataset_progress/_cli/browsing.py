"""The commands that show what there is: the list of datasets, and a page in the browser."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from dataset_progress._api import Api, Server
from dataset_progress._greeting import page_of
from dataset_progress._progress import Progress
from dataset_progress._values import printable

from .terminal import line_of, print_error


def show_list(options: argparse.Namespace) -> int:
    """Print a line for each dataset that may be seen, in the order of their ids."""
    api = Api(Server.find(options.url, options.token))
    query = {"search": options.search, **({"state": options.state} if options.state else {})}
    for dataset in _pages(api, query):
        print(line_of(Progress.parse(dataset["progress"])))
    return 0


def _pages(api: Api, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        answer = api.request("GET", f"datasets?{urlencode({**query, 'after': after, 'limit': 100})}")
        yield from answer.get("datasets", [])
        after = answer.get("next") or ""
        if not after:
            return


def open_page(options: argparse.Namespace) -> int:
    """Open the page of a dataset, or the list, and print its address."""
    address = page_of(Server.find(options.url).url, options.dataset or "")
    print(printable(address))
    if not webbrowser.open(address):
        print_error("no browser can be opened here")
    return 0
