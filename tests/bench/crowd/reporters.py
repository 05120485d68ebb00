"""Report over HTTP as pipelines do: one at 10/s on the watched dataset, and fifty at 1/s on others.

``reporters PORT TOKEN PATH``: commands and answers are lines. ``measure SECONDS`` is answered with what was offered and
taken in that time, and how long a report took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field

OTHERS = 50
# A report that takes longer, or is refused, was not taken.
LONGEST_SECONDS = 5.0


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Read a whole answer. Returns its head in lower case."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
    await reader.readexactly(int(length or b"0"))
    return head


@dataclass
class Tally:
    offered: int = 0
    took: list[float] = field(default_factory=list)  # milliseconds of those that were taken


class Reporter:
    """Reports at a steady rate, over one connection. Reports for which a late one left no time count as offered."""

    def __init__(self, port: int, token: str, path: str, seconds: float) -> None:
        self._port, self._seconds = port, seconds
        self._head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        self._lines: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._number = 0
        self.tally = Tally()

    async def run(self) -> None:
        due = time.monotonic() + self._seconds * hash(self._head) % 1000 / 1000
        while True:
            await asyncio.sleep(due - time.monotonic())
            began = time.monotonic()
            self.tally.offered += 1
            try:
                async with asyncio.timeout(LONGEST_SECONDS):
                    if await self._report() == 200:
                        self.tally.took.append((time.monotonic() - began) * 1000)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self._close()
            due += self._seconds
            while due < time.monotonic() - self._seconds:  # the reports for which there was no time
                due += self._seconds
                self.tally.offered += 1

    async def _report(self) -> int:
        if self._lines is None:
            self._lines = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._lines
        self._number += 1
        report = {
            "state": "indexing", "current": self._number, "total": 10**9, "message": f"written:{time.monotonic_ns()};"
        }  # fmt: skip
        body = json.dumps(report)
        writer.write(
            f"{self._head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await read_answer(reader)
        if b"connection: close" in head:
            self._close()
        return int(head.split()[1])

    def _close(self) -> None:
        if self._lines is not None:
            self._lines[1].close()
        self._lines = None


async def main() -> None:
    port, token, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    reporters = [Reporter(port, token, path.format("bench"), 0.1)]
    reporters += [Reporter(port, token, path.format(f"other-{number}"), 1.0) for number in range(OTHERS)]
    tasks = [asyncio.create_task(reporter.run()) for reporter in reporters]
    while command := await asyncio.to_thread(sys.stdin.readline):
        for reporter in reporters:
            reporter.tally = Tally()
        await asyncio.sleep(float(command.split()[1]))
        took = sorted(ms for reporter in reporters for ms in reporter.tally.took)
        offered = sum(reporter.tally.offered for reporter in reporters)
        at = {share: took[int(share * (len(took) - 1))] if took else 0.0 for share in (0.5, 0.99)}
        share = round(min(1.0, len(took) / max(offered, 1)), 3)
        print(json.dumps({"share": share, "report_p50": at[0.5], "report_p99": at[0.99]}), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
