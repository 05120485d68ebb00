"""What a program that does a dataset again wants to know: whether it was asked to, and which items failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from ._api import Api, Server
from ._errors import Unreachable
from ._ids import dataset_id as valid_id

__all__ = ["Failure", "failures", "retry_of"]


@dataclass(frozen=True)
class Failure:
    """An item that could not be processed, in which stage, and why."""

    item: str
    reason: str
    stage: str


def retry_of(dataset: str, *, url: str | None = None, token: str | None = None) -> Literal["all", "failed"] | None:
    """Return what the next run of a dataset is asked to do again; None where nothing is asked.

    The run that begins next takes the request. Raises `Refused` and `Unreachable`.
    """
    api = Api(Server.find(url, token))
    try:
        retry = api.progress(valid_id(dataset)).get("retry")
    finally:
        api.close()
    return retry if retry in ("all", "failed") else None


def failures(
    dataset: str, *, run: int | None = None, url: str | None = None, token: str | None = None
) -> Iterator[Failure]:
    """Yield the failed items of a run, by its number; default: of the latest. In the order in which they were reported.

    The latest run stays the same run once it is over: read its failures before you begin the next. Raises `Refused` and
    `Unreachable`.
    """
    path = f"datasets/{valid_id(dataset)}/{'' if run is None else f'runs/{run}/'}failures"
    api = Api(Server.find(url, token))
    try:
        after: Any = 0
        while after is not None:
            page = api.request("GET", f"{path}?{urlencode({'limit': 200, 'after': after})}")
            # A run that begins meanwhile would be the latest.
            path = f"datasets/{valid_id(dataset)}/runs/{page.get('run')}/failures"
            try:
                rows = [Failure(str(row["item"]), str(row["reason"]), str(row["stage"])) for row in page["failures"]]
                after = page["next"]
            except (KeyError, TypeError) as error:
                raise Unreachable(f"the server does not answer as Dataset Progress does: {error!r}") from error
            yield from rows
    finally:
        api.close()
