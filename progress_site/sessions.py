"""Django's sessions in the database, whose keys are looked at before the database is asked."""

from __future__ import annotations

from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore


class SessionStore(DatabaseSessionStore):
    def _validate_session_key(self, key: str | None) -> bool:
        # A cookie can carry any character, NUL too, and PostgreSQL raises where it is asked for that one: a 500 to a
        # bad request. A key that Django cannot have given is that of nobody.
        known: bool = super()._validate_session_key(key)  # type: ignore[misc]  # the stubs leave it out
        return known and set(key or "") <= set(VALID_KEY_CHARS)
