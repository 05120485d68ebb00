"""The address that a client is known by, and what one address may read without saying who it is."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address, IPv6Network
from typing import Final

from django.conf import settings

from .throttle import Throttle

# As many rows, or ids that are looked up, cost as much as one request.
ROWS_A_READ: Final = 20

_reads: Final = Throttle(burst_seconds=5.0)


def client_address(peer: str, forwarded: str) -> str:
    """Return the address of a client: the peer's, or behind a proxy the last one of ``X-Forwarded-For``.

    An IPv6 address is given as its /64 network, because whoever has one address there has all of them.
    """
    address = forwarded.rpartition(",")[2].strip() if settings.BEHIND_PROXY and forwarded else peer
    try:
        ipv6 = IPv6Address(address)
    except AddressValueError:
        return address
    # A dual-stack listener maps IPv4 addresses into a single IPv6 network.
    return str(ipv6.ipv4_mapped or IPv6Network((ipv6.packed, 64), strict=False))


def spend_reads(address: str, *, requests: int = 0, rows: int = 0) -> float:
    """Take requests and rows from what ``address`` may read (`READS_PER_ADDRESS`).

    Returns 0.0, or where too little is left, the seconds until there is enough; then nothing is taken.
    """
    rate: int = settings.READS_PER_ADDRESS
    return _reads.take(address, rate, cost=requests + rows / ROWS_A_READ) if rate else 0.0
