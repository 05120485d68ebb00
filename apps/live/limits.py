"""What one socket, and all sockets of one address, may ask of the server.

The limits on messages, and the count of open connections by address in this process.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import AddressValueError, IPv6Address, IPv6Network
from typing import Any, Final

from django.conf import settings

from apps.core.throttle import Throttle

MAX_MESSAGE_BYTES: Final = 4096
MESSAGES_A_SECOND: Final = 20
# A message between these two sizes is answered with an error. At a larger one, the server drops the connection.
MAX_FRAME_BYTES: Final = 4 * MAX_MESSAGE_BYTES
# Datasets on one connection.
MAX_SUBSCRIPTIONS: Final = 1000


_messages = Throttle(burst_seconds=1.0)
_connections: Counter[str] = Counter()


def may_send(sender: object) -> bool:
    """Count a message of a connection, which ``sender`` stands for. Return False where it is one too many."""
    return _messages.take(sender, MESSAGES_A_SECOND) == 0.0


def address_of(scope: dict[str, Any]) -> str:
    """Return the address of a socket's client: the peer's, or behind a proxy the one that the proxy forwards.

    An IPv6 address is given as its /64 network, because whoever has one address there has all of them.
    """
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if settings.BEHIND_PROXY:
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if forwarded:
            address = str(forwarded[-1].decode("latin-1").rpartition(",")[2].strip())
    try:
        ipv6 = IPv6Address(address)
    except AddressValueError:
        return address
    # A dual-stack listener maps IPv4 addresses into a single IPv6 network.
    return str(ipv6.ipv4_mapped or IPv6Network((ipv6.packed, 64), strict=False))


def add_connection(address: str) -> bool:
    """Count a connection from ``address``. Return False where there are too many; that one is counted as well."""
    _connections[address] += 1
    return not settings.SOCKETS_PER_ADDRESS or _connections[address] <= settings.SOCKETS_PER_ADDRESS


def remove_connection(address: str) -> None:
    """Undo one `add_connection`."""
    _connections[address] -= 1
    if not _connections[address]:
        del _connections[address]
