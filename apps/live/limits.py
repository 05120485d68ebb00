"""What a socket may ask of the server, and the codes with which it is closed."""

from __future__ import annotations

import time
from collections import Counter
from ipaddress import AddressValueError, IPv6Address, IPv6Network
from typing import Any, Final

from django.conf import settings

# Close codes of our own: the HTTP status that says the same, and 4000.
NOT_FOUND: Final = 4404  # an unknown dataset, or one that may not be seen (any more)
TOO_LARGE: Final = 4413  # messages over the limit, again after an error
TOO_MANY: Final = 4429  # messages too fast, again after an error; or too many connections from one address

MESSAGE_BYTES: Final = 4096
MESSAGES_A_SECOND: Final = 20
# The application tells those who send a little more; what is beyond that by far, the servers drop before it fills the
# memory.
MOST_BYTES: Final = 4 * MESSAGE_BYTES
SUBSCRIPTIONS: Final = 1000


class Pace:
    """A bucket of `MESSAGES_A_SECOND` messages that is filled again at that rate."""

    __slots__ = ("_filled", "_left")

    def __init__(self) -> None:
        self._left = float(MESSAGES_A_SECOND)
        self._filled = time.monotonic()

    def allows(self) -> bool:
        """Take a message from the bucket; False where it is empty."""
        now = time.monotonic()
        self._left = min(MESSAGES_A_SECOND, self._left + (now - self._filled) * MESSAGES_A_SECOND)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


_open: Counter[str] = Counter()


def address_of(scope: dict[str, Any]) -> str:
    """Where a socket comes from: the peer, or what the proxy in front of this server says of its own. Of IPv6, the
    network of 64 bits: whoever has one address there has all of them.
    """
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if settings.BEHIND_PROXY:
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if forwarded:
            address = str(forwarded[-1].decode("latin-1").rpartition(",")[2].strip())
    try:
        six = IPv6Address(address)
    except AddressValueError:
        return address
    # A listener for both kinds sees those of IPv4 as of one network.
    return str(six.ipv4_mapped or IPv6Network((six.packed, 64), strict=False))


def enter(address: str) -> bool:
    """Count a socket of ``address`` in this process. False where it has as many as it may, which counts as well."""
    _open[address] += 1
    return not settings.SOCKETS_PER_ADDRESS or _open[address] <= settings.SOCKETS_PER_ADDRESS


def leave(address: str) -> None:
    """Count a socket of ``address`` out again."""
    _open[address] -= 1
    if not _open[address]:
        del _open[address]
