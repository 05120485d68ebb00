"""`python -m progress_site.serve`: Daphne, with its options, on uvloop's event loop.

Twisted adds a watcher to the loop's selector and takes it out again for every frame that it sends; uvloop does that,
and the rest of the loop's work, in C.
"""

import asyncio
from typing import Any

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # before Daphne makes its loop, when it is imported

from daphne import server  # noqa: E402
from daphne.cli import CommandLineInterface  # noqa: E402
from daphne.server import Server  # noqa: E402
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol  # noqa: E402

CLOSE_SECONDS = 10


class _Protocol(WebSocketProtocol):  # type: ignore[misc]
    """Knows whether its client takes what it is sent: once 64 KiB wait for one that does not, Twisted says so here."""

    taking: asyncio.Event | None = None

    def onOpen(self) -> None:  # noqa: N802 -- autobahn's name, as those below are Twisted's
        super().onOpen()
        self.taking = asyncio.Event()
        self.taking.set()
        self.transport.unregisterProducer()  # the HTTP channel, whose connection it was
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:  # noqa: N802
        self.taking.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self.taking.set()

    def stopProducing(self) -> None:  # noqa: N802
        self.taking.set()


class _Factory(WebSocketFactory):  # type: ignore[misc]
    """Gives a client time to answer a close. After the second that is the default, the connection is reset, and a
    client that is far away or busy loses the message that said why: the reset takes what it has not read yet.
    """

    protocol = _Protocol

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.setProtocolOptions(closeHandshakeTimeout=CLOSE_SECONDS)


class _Server(Server):  # type: ignore[misc]
    """Makes an application wait for a client that takes nothing, where Daphne would store whatever comes."""

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        await super().handle_reply(protocol, message)
        taking = getattr(protocol, "taking", None)
        if taking is not None and not taking.is_set():
            await taking.wait()


if __name__ == "__main__":
    server.WebSocketFactory = _Factory  # Daphne has no option for it
    CommandLineInterface.server_class = _Server
    CommandLineInterface.entrypoint()
