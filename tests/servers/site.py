"""A site whose polls are asked in this process, with the requests of a page and of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from apps.live.hub import current_hub
from progress_site.servers.handler import Handler
from progress_site.servers.polls import SharedPolls
from tests.live.test_watcher import in_a_loop

from .views import Scope

Answered = tuple[int, list[tuple[bytes, bytes]], bytes]


class Site:
    """The application with its views, which counts what they answer, and lets the test hold them up."""

    def __init__(self) -> None:
        self._handler = Handler()
        self.asked = 0
        self.begun = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.polls = SharedPolls(self._answer)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        self.begun.release()
        await self.go_on.wait()
        for message in await aside(self._handler.answer, scope, b""):
            await send(message)

    async def shared(self, scope: Scope) -> Answered:
        return await answered(self.polls, scope)

    async def view(self, scope: Scope) -> Answered:
        return await answered(SharedPolls(self._answer)._application, scope)


async def answered(application: Callable[..., Awaitable[None]], scope: Scope) -> Answered:
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(message)

    await application(dict(scope), None, send)
    start, *parts = messages
    return start["status"], sorted(start["headers"]), b"".join(part["body"] for part in parts)


async def aside[**P, R](work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Work in a thread that keeps no connection."""

    def working() -> R:
        try:
            return work(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(working)


def poll(path: str, query: str = "", **headers: str) -> Scope:
    named = {"host": "localhost", "hx-request": "true"} | headers
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items() if value]
    return {
        "type": "http", "method": "GET", "path": path, "query_string": query.encode(), "scheme": "http",
        "headers": pairs, "client": ("127.0.0.1", 1),
    }  # fmt: skip


def header(dataset_id: str, query: str = "", **headers: str) -> Scope:
    return poll(f"/datasets/{dataset_id}/progress/header/", query, **headers)


def bar(dataset_id: str, query: str = "", **headers: str) -> Scope:
    return poll(f"/datasets/{dataset_id}/progress/bar/", query, **headers)


def json(dataset_id: str, **headers: str) -> Scope:
    return poll(f"/api/datasets/{dataset_id}/progress", **headers)


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


def in_site(main: Callable[[Site], Awaitable[None]]) -> None:
    async def run() -> None:
        try:
            await main(Site())
        finally:
            for executor in (current_hub()._reader, current_hub()._access_reader):
                await asyncio.get_running_loop().run_in_executor(executor, connections.close_all)

    in_a_loop(run)
