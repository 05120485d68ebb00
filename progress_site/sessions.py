"""Django's database sessions, which refuse a malformed session key before the database is queried.

A cookie can contain any character, even NUL. PostgreSQL raises an error for that one, which would be a 500.
"""

from __future__ import annotations

from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore


class SessionStore(DatabaseSessionStore):
    def _validate_session_key(self, key: str | None) -> bool:
        is_valid: bool = super()._validate_session_key(key)  # type: ignore[misc]  # the stubs leave it out
        return is_valid and set(key or "") <= set(VALID_KEY_CHARS)
