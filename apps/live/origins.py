"""Which pages may open a socket: those of this site, and those of the origins in `ALLOWED_ORIGINS`.

A browser sends the session cookie with a handshake from any page, so the origin has to be checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host

ASGIApp = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def same_origins_only(application: ASGIApp) -> ASGIApp:
    """Refuse handshakes from pages of foreign origins with 403.

    A browser always sends an Origin header. A client without one is no browser, so no page can misuse its cookies, and
    it may connect. The validator of Channels refuses such clients.
    """

    async def gate(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        allowed = may_connect(
            headers.get(b"origin", b"").decode("latin-1"), headers.get(b"host", b"").decode("latin-1")
        )
        await (application if allowed else WebsocketDenier())(scope, receive, send)

    return gate


def may_connect(origin: str, host: str) -> bool:
    """Return whether a page of ``origin`` may open a socket on ``host``.

    ``origin`` is scheme://host[:port], or "" where the client sent none.
    """
    domain, _ = split_domain_port(host)
    allowed_hosts = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    if not domain or not validate_host(domain, allowed_hosts):
        return False
    if not origin or origin in settings.ALLOWED_ORIGINS:
        return True
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and authority.lower() == host.lower()
