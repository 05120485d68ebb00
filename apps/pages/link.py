"""What the script of a page has to know of this server to stay connected with it."""

from __future__ import annotations

from django.conf import settings

from apps.live import hub, limits, protocol

# How often in a row a page tries for a WebSocket before it polls.
ATTEMPTS = 5
# A socket is disconnected when so many keepalives in a row did not come.
MISSED_KEEPALIVES = 3
# Milliseconds that the server takes for a page. All watchers of a dataset fetch theirs after the same change, so they
# spread their requests over as much time.
PAGE_MILLISECONDS = 10
# Milliseconds that the server takes for a page that comes back: its socket, its header and its first poll.
SOCKET_MILLISECONDS = 6
# Milliseconds between two polls of a page that comes back, for each page that comes back with it.
POLL_MILLISECONDS = 1


def attributes(*, polls_only: bool = False) -> dict[str, int]:
    """The `data-` attributes of `#live`, by their names without the prefix. ``polls_only``: it opens no WebSocket."""
    return {
        "poll-ms": round(settings.BAR_POLL_SECONDS * 1000),
        "ws-attempts": 0 if polls_only else ATTEMPTS,
        "silence-ms": round(MISSED_KEEPALIVES * hub.KEEPALIVE_SECONDS * 1000),
        "watcher-ms": PAGE_MILLISECONDS,
        "socket-ms": SOCKET_MILLISECONDS,
        "poll-cost-ms": POLL_MILLISECONDS,
        "sockets": limits.count_connections(),
        "close-missing": protocol.CLOSE_NOT_FOUND,
        "close-full": protocol.CLOSE_TOO_MANY,
    }
