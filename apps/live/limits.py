"""What one socket, and all sockets of one address, may ask of the server.

The limits on messages, and the count of open connections by address in this process.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from django.conf import settings

from apps.core.addresses import client_address
from apps.core.throttle import Throttle

MAX_MESSAGE_BYTES: Final = 4096
MESSAGES_A_SECOND: Final = 20
# A message between these two sizes is answered with an error. At a larger one, the server closes the connection.
MAX_FRAME_BYTES: Final = 4 * MAX_MESSAGE_BYTES
# Datasets on one connection.
MAX_SUBSCRIPTIONS: Final = 1000


# Handshakes that are under way at the same time, until the first message is sent. Others are told to come later.
MAX_HANDSHAKES: Final = 100
HANDSHAKE_RETRY_SECONDS: Final = 1
# With more than these, they are a crowd.
FEW_HANDSHAKES: Final = 4

_messages = Throttle(burst_seconds=1.0)
_connections: Counter[str] = Counter()
_handshakes: set[object] = set()


def may_send(sender: object) -> bool:
    """Count a message or a control frame of a connection, which ``sender`` stands for.

    Return False where it is one too many.
    """
    return _messages.take(sender, MESSAGES_A_SECOND) == 0.0


def address_of(scope: dict[str, Any]) -> str:
    """Return the address of a socket's client."""
    client = scope.get("client")
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return client_address(str(client[0]) if client else "", ",".join(forwarded))


def add_connection(address: str) -> bool:
    """Count a connection from ``address``. Return False where there are too many; that one is counted as well."""
    _connections[address] += 1
    return not settings.SOCKETS_PER_ADDRESS or _connections[address] <= settings.SOCKETS_PER_ADDRESS


def count_connections() -> int:
    """Return how many connections this process has."""
    return _connections.total()


def remove_connection(address: str) -> None:
    """Undo one `add_connection`."""
    _connections[address] -= 1
    if not _connections[address]:
        del _connections[address]


def begin_handshake(connection: object) -> bool:
    """Begin the handshake of a connection. Return False where as many are under way as are served at once."""
    if are_handshakes_full():
        return False
    _handshakes.add(connection)
    return True


def end_handshake(connection: object) -> None:
    """End a handshake: the connection was served, or is gone. A second call does nothing."""
    _handshakes.discard(connection)


def is_crowded() -> bool:
    """Return whether many open a socket at the same time."""
    return len(_handshakes) > FEW_HANDSHAKES


def are_handshakes_full() -> bool:
    """Return whether the next handshake is refused."""
    return len(_handshakes) >= MAX_HANDSHAKES
