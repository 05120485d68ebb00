"""What a view that is polled says of its answer, for others that ask for the same (`progress_site.servers`)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.http import HttpRequest

from .facts import Facts

# Where the scope of a request has the facts that its answer shows, and as of when.
FACTS: Final = "facts"
# Of the variants of an answer, the one that says that what is shown is up to date.
UNCHANGED: Final = "unchanged"


def note_facts(request: HttpRequest, facts: Facts, now: datetime) -> None:
    """Note that the answer to ``request`` shows ``facts`` at ``now``."""
    scope = getattr(request, "scope", None)  # there is none without ASGI
    if scope is not None:
        scope[FACTS] = facts, now
