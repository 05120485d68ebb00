"""Only public networks are connected to, and the address that was checked is the one that is connected to."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from apps.notifications import allowed_addresses, channels
from apps.notifications.messages import Message
from apps.notifications.models import Subscription

from .conftest import Endpoint

INWARD = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INWARD)
def test_what_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(allowed_addresses.AddressRefused):
        allowed_addresses.check(ipaddress.ip_address(address), "host")


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_public_is_allowed(address: str) -> None:
    allowed_addresses.check(ipaddress.ip_address(address), "host")


def test_only_the_networks_that_are_named_are_allowed(settings: Any) -> None:
    settings.WEBHOOK_PRIVATE_NETWORKS = ["10.1.0.0/16", "fd00:1::/32"]
    for address in ("10.1.2.3", "fd00:1::5", "::ffff:10.1.2.3"):
        allowed_addresses.check(ipaddress.ip_address(address), "host")
    for address in ("10.2.0.1", "fd00:2::5", "127.0.0.1"):
        with pytest.raises(allowed_addresses.AddressRefused):
            allowed_addresses.check(ipaddress.ip_address(address), "host")


@given(st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="fc00::/7"))
def test_no_private_address_passes(address: Any) -> None:
    with pytest.raises(allowed_addresses.AddressRefused):
        allowed_addresses.check(address, "host")


def webhook(address: str) -> str:
    """Send a webhook and return why it was not sent."""
    subscription = Subscription(channel="webhook", address=address, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    with pytest.raises(channels.NotSent) as refused:
        channels.send(subscription, Message("key", "title", "text", "", "{}"))
    return str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "127.1", "0"])
def test_a_webhook_does_not_reach_inward(endpoint: Endpoint, host: str) -> None:
    port = endpoint.url.rpartition(":")[2]
    assert "WEBHOOK_PRIVATE_NETWORKS" in webhook(f"http://{host}:{port}/")
    assert endpoint.received == []


def test_a_chat_service_does_not_reach_inward(endpoint: Endpoint) -> None:
    service = Subscription(channel="chat", address=endpoint.url.replace("http://", "ntfy://") + "/topic")
    with pytest.raises(channels.NotSent):
        channels.send(service, Message("key", "title", "text", "", "{}"))
    assert endpoint.received == []


def test_a_name_is_looked_up_once(endpoint: Endpoint, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that first tells a public address, and then loopback, leads nowhere."""
    settings.WEBHOOK_PRIVATE_NETWORKS = ["127.0.0.1/32"]
    port = int(endpoint.url.rpartition(":")[2])
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked: list[str] = []

    def lookup(host: str, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(answers)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with allowed_addresses.limited(), urllib3.PoolManager(retries=False) as pool:
        assert pool.request("POST", f"http://rebinding.example:{port}/", body=b"{}").status == 200
    assert asked == ["rebinding.example"]
    with (
        allowed_addresses.limited(),
        pytest.raises(allowed_addresses.AddressRefused),
    ):  # what comes next would be refused
        allowed_addresses.create_connection(("rebinding.example", port))


def test_what_others_connect_to_is_their_matter(endpoint: Endpoint, settings: Any) -> None:
    settings.WEBHOOK_PRIVATE_NETWORKS = []
    with urllib3.PoolManager(retries=False) as pool:
        assert pool.request("POST", endpoint.url, body=b"{}").status == 200


def test_one_bad_address_among_good_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)
    with pytest.raises(allowed_addresses.AddressRefused):
        allowed_addresses.checked_addresses("mixed.example", 80)


def test_a_redirect_inward_is_not_followed_by_a_chat_service(endpoint: Endpoint, settings: Any) -> None:
    settings.WEBHOOK_PRIVATE_NETWORKS = ["127.0.0.1/32"]
    port = endpoint.url.rpartition(":")[2]
    endpoint.mode, endpoint.location = "redirect", f"http://127.0.0.2:{port}/inward"
    service = Subscription(channel="chat", address=endpoint.url.replace("http://", "ntfy://") + "/topic")
    with pytest.raises(channels.NotSent):
        channels.send(service, Message("key", "title", "text", "", "{}"))
    assert len(endpoint.received) == 1
