"""A crowd of pages whose server is killed: every one of them comes back, and none is refused once it is there."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from apps.progress.selectors import progress_of
from tests.processes import DAPHNE, UVICORN, Server, kill, web_server
from tests.services import free_port

from .site import aside

PAGES = 60
ONE_LINE_EACH = httpx.Limits(max_connections=PAGES, max_keepalive_connections=PAGES)
# Many times faster than pages do it, so that sixty pages are as much for the server as hundreds.
POLL_SECONDS, RETRY_SECONDS = 0.3, 0.5


@dataclass
class OpenPage:
    """A page with its socket and the polls of its header, each of which is tried again as long as it fails."""

    server: Server
    news: asyncio.Event  # set whenever a page has been told something
    shown: int = -1  # by the socket: how far the dataset is
    answered: int = -1  # by the last poll: its version
    query: str = ""
    statuses: list[int] = field(default_factory=list)

    async def keep_open(self) -> None:
        address = f"{self.server.socket_url}/datasets/cats/progress/live/"
        while True:
            with suppress(OSError, InvalidHandshake, WebSocketException, TimeoutError):
                async with connect(address, open_timeout=20) as socket:
                    async for frame in socket:
                        if found := re.search(r"\((\d+)/\d+\)", str(frame)):
                            self.shown = int(found[1])
                            self.news.set()
            await asyncio.sleep(random.random() * RETRY_SECONDS)

    async def poll(self, client: httpx.AsyncClient) -> None:
        while True:
            await asyncio.sleep(random.random() * POLL_SECONDS)
            try:
                answer = await client.get(f"/datasets/cats/progress/header/{self.query}")
            except httpx.TransportError:
                self.statuses.append(0)
                continue
            self.statuses.append(answer.status_code)
            if found := re.search(r'hx-get="[^"?]+(\?v=(\d+)[^"]*)"', answer.text):
                self.query, self.answered = found[1].replace("&amp;", "&"), int(found[2])
                self.news.set()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", [DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def test_crowd_comes_back_after_its_server_was_killed(
    running: Dataset, tmp_path: Path, program: tuple[str, ...]
) -> None:
    port, run, news = free_port(), Run.objects.get(), asyncio.Event()
    env = {"SOCKETS_PER_ADDRESS": "0"}

    async def see(pages: list[OpenPage], current: int) -> None:
        """Report, and wait until the sockets and the polls of all pages have brought it."""
        await aside(services.report, run.pk, current=current)
        version = (await aside(progress_of, run.dataset_id)).version
        while any(page.shown != current or page.answered < version for page in pages):
            news.clear()
            await news.wait()

    async def main() -> None:
        with web_server(tmp_path / "first.log", env=env, port=port, program=program) as server:
            pages = [OpenPage(server, news) for _ in range(PAGES)]
            client = httpx.AsyncClient(
                base_url=server.url, headers={"HX-Request": "true"}, limits=ONE_LINE_EACH, timeout=20
            )
            async with client, asyncio.TaskGroup() as tasks:
                works = [work for page in pages for work in (page.keep_open(), page.poll(client))]
                under_way = [tasks.create_task(work) for work in works]
                await see(pages, 10)
                kill(server.process)
                with web_server(tmp_path / "second.log", env=env, port=port, program=program):
                    await see(pages, 20)
                    for page in pages:
                        page.statuses.clear()
                    for current in range(21, 26):
                        await see(pages, current)
                    assert {status for page in pages for status in page.statuses} <= {200, 204}
                    for task in under_way:
                        task.cancel()

    asyncio.run(main())
