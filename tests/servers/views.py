"""A view whose requests wait until the test lets them go, and a client of the application that runs it in threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

Scope = dict[str, Any]


class Views:
    """Answers requests. Each waits in its thread for `go_on`. To be made in the event loop."""

    def __init__(self) -> None:
        self.under_way: list[str] = []
        self.threads: list[threading.Thread] = []
        self.begun = asyncio.Semaphore(0)
        self.go_on = threading.Event()
        self.status = 200
        self._loop = asyncio.get_running_loop()

    def answer(self, scope: Scope, body: bytes) -> list[dict[str, Any]]:
        self.threads.append(threading.current_thread())
        self.under_way.append(scope["path"])
        self._loop.call_soon_threadsafe(self.begun.release)
        self.go_on.wait()
        start = {"type": "http.response.start", "status": self.status, "headers": []}
        return [start, {"type": "http.response.body", "body": b"done"}]


async def status_of(application: Any, scope: Scope, gone: asyncio.Event | None = None) -> int:
    """Return the status with which a request is answered, whose client leaves when ``gone`` is set."""
    messages: list[dict[str, Any]] = []
    bodies = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if bodies:
            return bodies.pop()
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    await application(scope, receive, send)
    status: int = messages[0]["status"]
    return status
