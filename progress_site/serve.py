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
from daphne.ws_protocol import WebSocketFactory  # noqa: E402

CLOSE_SECONDS = 10


class _PatientFactory(WebSocketFactory):  # type: ignore[misc]
    """Gives a client time to answer a close. After the second that is the default, the connection is reset, and a
    client that is far away or busy loses the message that said why: the reset takes what it has not read yet.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.setProtocolOptions(closeHandshakeTimeout=CLOSE_SECONDS)


if __name__ == "__main__":
    server.WebSocketFactory = _PatientFactory  # Daphne has no option for it
    CommandLineInterface.entrypoint()
