"""A slow reader is sent only the newest message of each dataset, and holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from apps.live.rendering import Form
from apps.live.watcher import Watcher


def in_a_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` on a loop of its own, in a thread that has none."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, main()).result()


def message(text: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": text}


class Reader:
    """Takes messages while its gate is open, as the ASGI server does for a connection."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.texts: list[str] = []
        self.taken = asyncio.Condition()

    async def send(self, message: dict[str, Any]) -> None:
        await self.gate.wait()
        self.texts.append(message.get("text", message["type"]))
        async with self.taken:
            self.taken.notify_all()

    async def until(self, count: int) -> None:
        """Wait until ``count`` texts are there."""
        async with self.taken:
            await self.taken.wait_for(lambda: len(self.texts) >= count)

    def on_drop(self, dataset_pk: int) -> None:
        self.texts.append(f"dropped {dataset_pk}")


def test_quick_reader_is_served_at_once() -> None:
    async def main() -> None:
        reader = Reader()
        reader.gate.set()
        watcher = Watcher(Form.JSON, reader.send, reader.on_drop)
        for number in range(3):
            watcher.send_latest(1, message(f"{number}"))
            assert reader.texts[-1] == f"{number}"  # before the loop has its turn

    in_a_loop(main)


def test_slow_reader_is_given_the_newest_of_each_dataset() -> None:
    async def main() -> None:
        reader = Reader()
        watcher = Watcher(Form.JSON, reader.send, reader.on_drop)
        watcher.send_latest(1, message("first"))
        for number in range(100):
            watcher.send_latest(1, message(f"one {number}"))
            watcher.send_latest(2, message(f"two {number}"))
        reader.gate.set()
        await reader.until(3)
        watcher.send_latest(1, message("after"))
        assert reader.texts == ["first", "one 99", "two 99", "after"]

    in_a_loop(main)


def test_nothing_waits_for_a_dataset_that_is_gone() -> None:
    async def main() -> None:
        reader = Reader()
        watcher = Watcher(Form.JSON, reader.send, reader.on_drop)
        watcher.send_latest(1, message("first"))
        watcher.send_latest(2, message("never"))
        watcher.drop_dataset(2)
        reader.gate.set()
        await reader.until(2)
        watcher.send_latest(1, message("after"))
        assert reader.texts == ["dropped 2", "first", "after"]

    in_a_loop(main)


def test_slow_reader_is_sent_the_newest_replies_and_then_closed() -> None:
    async def main() -> None:
        reader = Reader()
        watcher = Watcher(Form.JSON, reader.send, reader.on_drop)
        watcher.send_latest(1, message("first"))
        for number in range(1000):
            watcher.send_reply(message(f"error {number}"))
        watcher.close(4429)
        watcher.send_latest(1, message("never"))
        watcher.close(4429)
        assert len(watcher._buffer) <= 20
        reader.gate.set()
        await reader.until(18)
        assert "error 999" in reader.texts
        assert (reader.texts[0], reader.texts[-1], len(reader.texts)) == ("first", "websocket.close", 18)

    in_a_loop(main)


def test_broken_connection_raises_nothing() -> None:
    async def main() -> None:
        async def broken(message: dict[str, Any]) -> None:
            raise ConnectionResetError

        watcher = Watcher(Form.JSON, broken, Reader().on_drop)
        watcher.send_latest(1, message("one"))
        watcher.send_latest(1, message("two"))

    in_a_loop(main)
