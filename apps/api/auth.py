"""Whoever asks: a token in the `Authorization` header, else the account of the session, else anyone."""

from __future__ import annotations

import math
import time
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from ninja.errors import AuthenticationError, HttpError
from ninja.security import HttpBearer
from ninja.throttling import BaseThrottle

from apps.datasets import tokens
from apps.datasets.access.callers import Caller

# What a token may save up while it is not used, in seconds of its rate.
BURST_SECONDS: Final = 5.0


class Bearer(HttpBearer):
    """A token. One that is unknown, revoked or expired is refused, also where none would be asked for."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        found = tokens.find(token)
        return None if found is None else Caller(found.user, found)


class Writer(Bearer):
    """A token that comes with JSON, where anything comes with it."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        if request.method == "POST" and request.content_type != "application/json":
            raise HttpError(415, "Send JSON, with the header Content-Type: application/json.")
        return super().authenticate(request, token)


def whoever(request: HttpRequest) -> Caller | None:
    """The account of the session, or anyone; a header that holds no token is a mistake, and not nothing."""
    return None if "Authorization" in request.headers else Caller(request.user)


def caller_of(request: HttpRequest) -> Caller:
    """Whoever was let in. Raises `AuthenticationError` where an operation forgot to ask."""
    caller = getattr(request, "auth", None)
    if not isinstance(caller, Caller):
        raise AuthenticationError
    return caller


class PerToken(BaseThrottle):
    """``TOKEN_REQUESTS_A_SECOND`` of one token in this process, and what it saved up: a bucket that fills evenly."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}  # by a token's digest: requests left, and when that was
        self._short = 0.0

    def allow_request(self, request: HttpRequest) -> bool:
        rate: int = settings.TOKEN_REQUESTS_A_SECOND
        token = caller_of(request).token
        if token is None or not rate:
            return True
        now = time.monotonic()
        most = rate * BURST_SECONDS
        left, then = self._buckets.get(token.digest, (most, now))
        left = min(left + (now - then) * rate, most)
        if left < 1:
            self._short = (1 - left) / rate
            return False
        self._buckets[token.digest] = (left - 1, now)
        return True

    def wait(self) -> float:
        """Seconds until the one that was just refused would be let in."""
        return math.ceil(self._short)


READ: Final = [Bearer(), whoever]
# What OpenAPI is told of it: a token may be shown, and need not be.
READ_SECURITY: Final[dict[str, Any]] = {"security": [{}, {"Bearer": []}]}
WRITE: Final = Writer()
