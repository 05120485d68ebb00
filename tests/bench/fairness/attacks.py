"""The attacks. Each is a process with many clients at once, which ask, are answered or refused, and ask again.

It runs at the lowest priority: the attackers of a real server have processors of their own, so ours get what the server
leaves.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlencode

from tests.repository import ROOT

Attack = Callable[[int], Awaitable[None]]
SAMPLE: Final = "/datasets/attacked/samples/1/"
# Between the last answer of a round and the next round.
PAUSE_SECONDS: Final = 1.0
READ_SECONDS: Final = 10


@contextmanager
def attacking(name: str, port: int) -> Iterator[None]:
    """Attack the server at ``port`` while the block runs."""
    command = [sys.executable, "-m", "tests.bench.fairness.attacks", name, str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"under way\n":
                sys.exit(f"{name}: the attack did not begin")
            yield
            if process.poll() is not None:
                sys.exit(f"{name}: the attack has ended by itself")
        finally:
            process.send_signal(signal.SIGKILL)


def _head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def _answer(port: int, head: bytes, body: bytes = b"") -> bytes:
    """Return the whole answer to one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head + body)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()


def _get(path: str) -> Attack:
    async def ask(port: int) -> None:
        await _answer(port, _head("GET", path, "Connection: close"))

    return ask


async def _large_body(port: int) -> None:
    """Send a body of 1 GB until the server hangs up, to an address that takes reports, without a token."""
    length = 1 << 30
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_head("POST", "/api/progress", "Content-Type: application/json", f"Content-Length: {length}"))
        for _ in range(length >> 16):
            writer.write(bytes(1 << 16))
            await writer.drain()
        await reader.read()
    finally:
        writer.close()


async def _slow_reader(port: int) -> None:
    """Ask for a large file, read 1 KB a second, and leave after a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    try:
        writer.write(_head("GET", f"{SAMPLE}original/"))
        for _ in range(READ_SECONDS):
            await reader.read(1024)
            await asyncio.sleep(1)
    finally:
        writer.close()


async def _log_in(port: int) -> None:
    """Try a password of the account, or of one that does not exist, as a browser does."""
    page = (await _answer(port, _head("GET", "/accounts/login/", "Connection: close"))).decode(errors="replace")
    cookie, token = re.search(r"csrftoken=(\w+)", page), re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    if cookie is None or token is None:
        return
    name = random.choice(["ada", f"user-{random.randrange(10**6)}"])
    body = urlencode({"csrfmiddlewaretoken": token[1], "username": name, "password": "guess"}).encode()
    head = _head(
        "POST", "/accounts/login/", "Connection: close", f"Cookie: csrftoken={cookie[1]}",
        "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}",
    )  # fmt: skip
    await _answer(port, head, body)


async def _pings(port: int) -> None:
    """Open a socket and send pings as fast as it takes them, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            _head(
                "GET", "/api/progress/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            )
        )  # fmt: skip
        await reader.readuntil(b"\r\n\r\n")
        while True:
            writer.write(b"\x89\x80\0\0\0\0" * 1000)
            await writer.drain()
    finally:
        writer.close()


# With how many clients at once.
ATTACKS: Final[dict[str, tuple[Attack, int]]] = {
    "bodies": (_large_body, 4),
    "slow-readers": (_slow_reader, 24),
    "searches": (_get(f"{SAMPLE}?similar"), 40),
    "health": (_get("/health/"), 400),
    "log-ins": (_log_in, 20),
    "pings": (_pings, 1),
    "reads": (_get("/api/datasets?limit=200"), 16),
}


async def _attack(name: str, port: int) -> None:
    attack, clients = ATTACKS[name]

    async def ask() -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # the server hangs up
            await attack(port)

    print("under way", flush=True)
    while True:
        await asyncio.gather(*(ask() for _ in range(clients)))
        await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    os.nice(19)
    asyncio.run(_attack(sys.argv[1], int(sys.argv[2])))
