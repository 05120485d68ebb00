"""A line to a server that breaks in the ways that nobody tells of: it stays open, and nothing comes through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Passes on what comes, both ways. While ``swallows_sockets``, WebSockets are asked for in vain; what is open when
    it is told to `freeze` stays open, and is silent.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = 0
        self.swallows_sockets = False
        self._frozen: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        self._frozen |= self._open

    async def listen(self, ready: threading.Event, over: asyncio.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await over.wait()
        server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._open |= {writer, there_writer}
        with suppress(ConnectionError):
            await asyncio.gather(self._pass_on(reader, there_writer), self._pass_on(there_reader, writer))

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if target in self._frozen or (self.swallows_sockets and b"\r\nUpgrade: websocket" in data):
                    self._frozen.add(target)
                    continue
                target.write(data)
                await target.drain()
        finally:
            target.close()


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    """A line to the server at ``port``."""
    one, ready, over = Relay(port), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=[one.listen(ready, over)])
    thread.start()
    ready.wait()
    try:
        yield one
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
