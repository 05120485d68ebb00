"""Since when the server can hear reporters: whoever could not be heard is not lost.

Each web process notes every `NOTE_SECONDS` in the database that it is there. Where the notes have a gap of more than
`AWAY_SECONDS`, the server, the database or the clock was away: from then on, reporters that were last heard before the
gap have time to be heard again. Before the first note there is no gap, and every silence counts.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import Error, connection, models
from django.utils import timezone

from apps.core.text import one_line

logger = logging.getLogger(__name__)

NOTE_SECONDS: Final = 5.0
AWAY_SECONDS: Final = 15.0
# How long reporters have at least, once the server is back: a client that finds no server tries again within 30 s.
GRACE_SECONDS: Final = 60.0

_ONLY_PK: Final = 1
_BEGINNING: Final = datetime.fromtimestamp(0, UTC)


class Listening(models.Model):
    """The one row that says from when to when the server could hear reporters, without a gap."""

    since = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        app_label = "progress"

    def __str__(self) -> str:
        return f"from {self.since} to {self.until}"


_last: Listening | None = None


def last_read() -> Listening | None:
    """Return the row as this process has read it last; None if there was none."""
    return _last


def read() -> None:
    """Read the row anew, so that `is_unheard` knows of it in this process."""
    global _last
    _last = Listening.objects.filter(pk=_ONLY_PK).first()


def note(now: datetime) -> None:
    """Note that this process can hear reporters at ``now``."""
    read()
    times = {"since": _BEGINNING, "until": now}
    if _last is not None:
        times["since"] = now if abs((now - _last.until).total_seconds()) > AWAY_SECONDS else _last.since
    # Two processes at once note the same gap at nearly the same time; whichever is last holds.
    if not Listening.objects.filter(pk=_ONLY_PK).update(**times):
        Listening.objects.bulk_create([Listening(pk=_ONLY_PK, **times)], ignore_conflicts=True)
    read()


def is_unheard(heard_at: datetime, seconds: float, now: datetime) -> bool:
    """Whether somebody who was last heard at ``heard_at`` may be silent only because nobody could hear them.

    So it is for ``seconds``, at least `GRACE_SECONDS`, after the server is back, and while nobody listens.
    """
    if _last is None:
        return False
    if is_away(now):
        return True
    return heard_at < _last.since and (now - _last.since).total_seconds() < max(seconds, GRACE_SECONDS)


def is_away(now: datetime) -> bool:
    """Whether nobody listens at ``now``, for all that this process knows."""
    return _last is not None and now - _last.until > timedelta(seconds=AWAY_SECONDS)


def note_often() -> None:
    """Start a thread that notes every `NOTE_SECONDS` that this process can hear reporters, for as long as it runs."""
    threading.Thread(target=_note_often, name="listening", daemon=True).start()


def _note_often() -> None:
    pause = threading.Event()
    while True:
        try:
            note(timezone.now())
        except (Error, OSError) as error:
            # Requests and the hub say in the log that the database is gone.
            logger.debug("could not note that this process listens: %s", one_line(error))
            connection.close()
        pause.wait(NOTE_SECONDS)
