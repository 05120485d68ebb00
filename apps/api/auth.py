"""Who calls the API: a token in the ``Authorization`` header, else the user of the session, else an anonymous one."""

from __future__ import annotations

import math
import threading
from functools import wraps
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from ninja.errors import AuthenticationError, HttpError, Throttled
from ninja.security import HttpBearer
from ninja.throttling import BaseThrottle

from apps.core.addresses import client_address, spend_reads
from apps.core.throttle import Throttle
from apps.datasets.access.rules import Caller, authenticate

from .errors import View, error

# What a token may save up while it is not used, in seconds of its rate.
BURST_SECONDS: Final = 5.0
# What proxies authenticate their users by, in the header in which a token comes.
PROXY_SCHEMES: Final = frozenset({"basic", "digest", "negotiate"})


_token_requests: Final = Throttle(BURST_SECONDS)


class Bearer(HttpBearer):
    """A token. One that is unknown, revoked or expired is refused, also where no token is needed."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        caller = authenticate(token)
        if caller is None and (wait := _spend(request)):  # a guess is a read as well
            raise Throttled(math.ceil(wait))
        return caller


class Writer(Bearer):
    """A token that is allowed to send a body, as JSON alone."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        if request.method in ("POST", "PATCH") and request.content_type != "application/json":
            raise HttpError(415, "Send JSON, with the header Content-Type: application/json.")
        return super().authenticate(request, token)


def session_caller(request: HttpRequest) -> Caller | None:
    """Return the caller of the session, who may be anonymous.

    None where there is an ``Authorization`` header, which is wrong by then, and for an anonymous caller with
    ``SIGN_IN_REQUIRED``. A header that a proxy in front asks for is not meant for this program.
    """
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    caller = Caller(request.user)
    return caller if caller.may_read and (not scheme or scheme in PROXY_SCHEMES) else None


def caller_of(request: HttpRequest) -> Caller:
    """Return who was authenticated. Raises `AuthenticationError` where the operation lacks ``auth``."""
    caller = getattr(request, "auth", None)
    if not isinstance(caller, Caller):
        raise AuthenticationError
    return caller


def _spend(request: HttpRequest, *, rows: int = 0) -> float:
    """Count a request, or the rows that it asks for, against its address. Returns the seconds to wait, 0.0 for none."""
    address = client_address(request.META.get("REMOTE_ADDR", ""), request.headers.get("X-Forwarded-For", ""))
    return spend_reads(address, requests=0 if rows else 1, rows=rows)


def spend_rows(request: HttpRequest, rows: int) -> None:
    """Count the rows that an anonymous caller asks for against its address. Raises `Throttled`."""
    if _is_anonymous(caller_of(request)) and (wait := _spend(request, rows=rows)):
        raise Throttled(math.ceil(wait))


def _is_anonymous(caller: Caller) -> bool:
    return caller.token is None and (caller.user is None or caller.user.is_anonymous)


def spend_request(digest: str, address: str) -> float:
    """Count a request of a token, given by its ``digest``, or where that is empty of an anonymous ``address``.

    Returns 0.0, or the seconds to wait; then nothing is counted.
    """
    rate: int = settings.TOKEN_REQUESTS_A_SECOND
    if not digest:
        return spend_reads(address, requests=1)
    return _token_requests.take(digest, rate) if rate else 0.0


class RequestThrottle(BaseThrottle):
    """Allow each token `TOKEN_REQUESTS_A_SECOND`, and each address `READS_PER_ADDRESS` without one, in this process."""

    def __init__(self) -> None:
        self._refused = threading.local()  # ninja asks for the wait of the request that this thread just refused

    def allow_request(self, request: HttpRequest) -> bool:
        caller = caller_of(request)
        wait = 0.0
        if caller.token is not None:
            wait = spend_request(caller.token.digest, "")
        elif _is_anonymous(caller):
            wait = _spend(request)
        self._refused.wait = math.ceil(wait)
        return wait == 0.0

    def wait(self) -> float:
        """Return the seconds until the request that was just refused would be allowed."""
        seconds: int = self._refused.wait
        return seconds


bearer: Final = Bearer()
READ: Final = [bearer, session_caller]
# In OpenAPI: a token is optional.
READ_SECURITY: Final[dict[str, Any]] = {"security": [{}, {"Bearer": []}]}
WRITE: Final = Writer()


def for_readers(view: View) -> View:
    """Answer 401 in place of ``view``, which is no operation, to those who may read nothing."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if settings.SIGN_IN_REQUIRED and not (bearer(request) or session_caller(request)):
            return error(401)
        return view(request, *args, **kwargs)

    return guarded
