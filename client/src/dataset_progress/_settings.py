"""The settings of a run: from arguments, the environment and defaults. What is wrong in them is logged, not raised."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from . import _values as values
from ._api import Server, logger
from ._ids import reported_id
from ._launchers import job_key
from ._stages import STATES, Stage, plan

FLUSH_SECONDS = 2.0
LINGER_SECONDS = 2.0
MAX_SECONDS = 86_400.0


@dataclass(frozen=True)
class Key:
    """An idempotency key. ``is_final``: whether a run that has ended is the last one with this key."""

    value: str
    is_final: bool

    @classmethod
    def find(cls, given: str | int | None) -> Key:
        """Take the argument, else ``DATASET_PROGRESS_KEY``, else the launcher's name of the job, else a new key."""
        if (key := shared_key(given)) is not None:
            return cls(values.identifier(key), is_final=True)
        return cls(values.identifier(job_key() or secrets.token_hex(16)), is_final=False)


@dataclass(frozen=True)
class RunSettings:
    """What all processes of a run have in common.

    ``stages``: the plan, in the form of the API. ``server``: without a ``url`` if nothing is to be reported.
    ``key``: by which processes find the run. ``sharing``: who sees the dataset, in the form of the API, as far as the
    job says. ``link``: the job's own page. ``batch``: the id of a batch that the dataset is in. ``quiet``: nobody at a
    terminal is told where the progress is shown.
    """

    dataset_id: str
    stages: list[dict[str, Any]]
    server: Server
    key: Key
    sharing: dict[str, Any]
    obeys: bool
    flush_seconds: float
    reports_traceback: bool
    link: str | None = None
    batch: str | None = None
    quiet: bool = False

    @classmethod
    def resolve(
        cls,
        dataset_id: str,
        *,
        stages: Sequence[Stage | str],
        key: str | int | None,
        visibility: str | None,
        owner: str | None,
        members: Iterable[str] | None,
        obey: bool,
        url: str | None,
        token: str | None,
        flush_seconds: float | None,
        traceback: bool,
        link: str | None = None,
        batch: str | None = None,
        quiet: bool = False,
    ) -> RunSettings:
        """Complete the arguments of `Run`."""
        valid, server = reported_id(dataset_id), find_server(url, token)
        return cls(
            dataset_id=valid or str(dataset_id),
            stages=plan(stages),
            server=server if valid else Server("", ""),
            key=Key.find(key),
            sharing=_sharing(visibility, owner, members),
            obeys=obey,
            flush_seconds=_seconds("flush_seconds", flush_seconds, FLUSH_SECONDS),
            reports_traceback=traceback,
            link=None if link is None else values.text(link, 4096),
            batch=None if batch is None else reported_id(batch),
            quiet=bool(quiet),
        )

    @property
    def first_stage(self) -> str:
        name: str = self.stages[0]["name"] if self.stages else STATES[0]
        return name


def _sharing(visibility: str | None, owner: str | None, members: Iterable[str] | None) -> dict[str, Any]:
    sharing: dict[str, Any] = {}
    if visibility is not None:
        sharing["visibility"] = values.visibility(visibility)
    if owner is not None:
        sharing["owner"] = values.name(owner, 150, "?")
    if members is not None:
        names = [members] if isinstance(members, str) else members
        try:
            sharing["members"] = [values.name(member, 150, "?") for member in names]
        except TypeError:
            logger.warning("members=%r are not names; nobody is a member", members)
            sharing["members"] = []
    return sharing


def find_server(url: str | None, token: str | None = None) -> Server:
    """Return the server to report to; without a ``url`` if there is none, of which is told once if nobody said so."""
    server = Server.find(url, token)
    if not server.url and url is None and "DATASET_PROGRESS_URL" not in os.environ:
        _log_no_address()
    return server


def shared_key(key: str | int | None) -> str | int | None:
    """Return the key that the user gave for a run: ``key``, else ``DATASET_PROGRESS_KEY``, else None."""
    return os.environ.get("DATASET_PROGRESS_KEY") or None if key is None else key


def linger_seconds(value: float | None) -> float:
    """Return for how long a run waits for another loop: ``value``, else ``DATASET_PROGRESS_LINGER``, else 2."""
    return _seconds("linger", value, LINGER_SECONDS)


def _seconds(name: str, value: float | None, default: float) -> float:
    given = os.environ.get(f"DATASET_PROGRESS_{name.upper()}", "") if value is None else value
    try:
        seconds = float(given) if given != "" else default
        if math.isnan(seconds):
            raise ValueError
    except (TypeError, ValueError):
        _log_no_number(name, str(given), default)
        return default
    return min(max(seconds, 0.0), MAX_SECONDS)


@cache
def _log_no_number(name: str, given: str, default: float) -> None:
    logger.warning("%s=%s is not a number; using %g", name, given, default)


@cache
def _log_no_address() -> None:
    logger.warning("progress is not reported: set DATASET_PROGRESS_URL to the server's address, or to nothing")
