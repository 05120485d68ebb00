"""The other peer: a bare `websockets` server that broadcasts each report, without Django. Its argument is the port."""

from __future__ import annotations

import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

watchers: set[ServerConnection] = set()


async def handle(connection: ServerConnection) -> None:
    if connection.request is not None and connection.request.path == "/report":
        async for message in connection:
            broadcast(watchers, message)
        return
    watchers.add(connection)
    await connection.send("{}")
    try:
        await connection.wait_closed()
    finally:
        watchers.discard(connection)


async def main() -> None:
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
