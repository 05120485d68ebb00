"""A real mail server and real HTTP servers on loopback, and subscriptions that send to them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from django.contrib.auth.models import User

from apps.datasets.models import Dataset
from apps.notifications import allowed_addresses, services
from apps.notifications.batch_ends import end_batches
from apps.notifications.models import Subscription
from apps.progress.events import EventKind
from tests.services import free_port


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Endpoint:
    """An HTTP server. ``mode`` says how it answers the next request: with this status, or not as it should."""

    url: str
    received: list[Received] = field(default_factory=list)
    mode: str | int = 200
    location: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if found.mode == "hang":
                found.released.wait(60)
                return
            if found.mode == "drip":
                try:
                    for byte in b"HTTP/1.1 200 OK\r\nX-Drip: " + b"x" * 1000:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        if found.released.wait(0.05):
                            return
                except OSError:
                    return
            if found.mode == "slow":
                time.sleep(0.5)
            self.send_response(302 if found.mode == "redirect" else found.mode if isinstance(found.mode, int) else 200)
            if found.mode == "redirect":
                self.send_header("Location", found.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_POST  # noqa: N815 -- the library's name

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Endpoint(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.released.set()
    server.shutdown()
    server.server_close()


class Mailbox(list[EmailMessage]):
    """The messages that a mail server has taken. ``answer``: what it says to each instead; empty: it takes long."""

    answer = "250 OK"


@pytest.fixture
def mail(settings: Any) -> Iterator[Mailbox]:
    """The messages that a real mail server has taken, to which this site sends."""
    taken = Mailbox()

    class Box(Message):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 -- the library's name
            if not taken.answer:
                await asyncio.sleep(2)
            if taken.answer == "250 OK":
                self.handle_message(self.prepare_message(session, envelope))
            return taken.answer or "250 OK"

        async def handle_RCPT(  # noqa: N802 -- the library's name
            self, server: Any, session: Any, envelope: Any, address: str, options: Any
        ) -> str:
            if address.startswith("nobody@"):
                return "550 There is no such person"
            envelope.rcpt_tos.append(address)
            return "250 OK"

        def handle_message(self, message: Any) -> None:
            taken.append(message)

    port = free_port()
    controller = Controller(Box(), hostname="127.0.0.1", port=port)
    controller.start()
    settings.MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": port, "timeout": 10},
        }
    }
    yield taken
    controller.stop()


@pytest.fixture(autouse=True)
def _guarded() -> None:
    """Connect as workers do."""
    allowed_addresses.guard()


@pytest.fixture
def loopback(settings: Any) -> None:
    """Allow the endpoints of the tests."""
    settings.WEBHOOK_PRIVATE_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", email="ada@example.org")


@pytest.fixture
def dataset(ada: User) -> Dataset:
    return Dataset.objects.create(dataset_id="cats", visibility="private", owner=ada)


Subscribe = Callable[..., Subscription]


@pytest.fixture
def subscribe(ada: User) -> Subscribe:
    """Subscribe ada to all events of all datasets that she may see."""

    def subscribe(channel: str, **values: Any) -> Subscription:
        fields: dict[str, Any] = {"user": ada, "name": channel, "events": [kind.value for kind in EventKind], **values}
        subscription = Subscription(channel=channel, **fields)
        services.subscribe(subscription)
        return subscription

    return subscribe


def deliver(*subscriptions: Subscription) -> int:
    """Do what a worker does, once. Returns how many deliveries were settled."""
    while services.handle_events():
        pass
    end_batches()
    return sum(services.send_due(subscription.pk) for subscription in subscriptions)
