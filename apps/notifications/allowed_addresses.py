"""Connections to addresses that users have given: to public ones alone, unless ``WEBHOOK_PRIVATE_NETWORKS`` names them.

The name of a host is looked up once; every address that it has is checked, and one of those is connected to. So nothing
that is looked up later can lead elsewhere. It holds for what a thread connects to through urllib3 within `limited`: our
webhooks, and what Apprise sends, with their redirects.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from django.conf import settings
from urllib3.util import connection

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CONNECT_SECONDS: Final = 5.0
# All of a message, however slowly the other side answers.
TOTAL_SECONDS: Final = 20.0


class AddressRefused(OSError):
    """An address in a network that may not be connected to."""


_open = threading.local()
_connect_anywhere: Final[Callable[..., socket.socket]] = connection.create_connection


def checked_addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """Return the addresses of a host. Raises `AddressRefused` if one of them may not be connected to, or `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, sockaddr in found:
        check(ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]), host)
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]


def check(address: Address, host: str) -> None:
    """Raise `AddressRefused` for an address that is not public and in no network of ``WEBHOOK_PRIVATE_NETWORKS``."""
    mapped = address
    if isinstance(address, ipaddress.IPv6Address):
        # What reaches an IPv4 address by another name.
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if embedded is None and address in NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        mapped = embedded or address
    if any(
        one in network for one in (address, mapped) for network in private_networks() if one.version == network.version
    ):
        return
    if not mapped.is_global or mapped.is_multicast:
        raise AddressRefused(f"{host} is {address}, which is in no public network")


NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def private_networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(network) for network in settings.WEBHOOK_PRIVATE_NETWORKS]


def create_connection(
    address: tuple[str, int],
    timeout: Any = None,
    source_address: tuple[str, int] | None = None,
    socket_options: Sequence[Any] | None = None,
) -> socket.socket:
    """Connect to an address that was checked: in place of urllib3's function of this name, within `limited`."""
    sockets: list[socket.socket] | None = getattr(_open, "sockets", None)
    if sockets is None:
        return _connect_anywhere(address, timeout, source_address, socket_options)
    host, port = address
    failure: OSError = OSError(f"{host} has no address")
    for family, sockaddr in checked_addresses(host.strip("[]"), port):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            for option in socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(min(timeout, CONNECT_SECONDS) if isinstance(timeout, int | float) else CONNECT_SECONDS)
            sock.connect(sockaddr)
        except OSError as error:
            sock.close()
            failure = error
            continue
        # TLS takes the socket over, but not this second descriptor of its connection.
        sockets.append(sock.dup())
        return sock
    raise failure


def guard() -> None:
    """Let urllib3 connect through `create_connection`."""
    connection.create_connection = create_connection


@contextmanager
def limited(seconds: float = TOTAL_SECONDS) -> Iterator[None]:
    """End the connections that this thread opens within the block, once it has taken ``seconds``."""
    sockets: list[socket.socket] = []
    _open.sockets = sockets

    def end() -> None:
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        del _open.sockets
        for sock in sockets:
            sock.close()
