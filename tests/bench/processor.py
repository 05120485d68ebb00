"""Measure the processor time of a process, without the pauses of a virtual machine.

A hypervisor that pauses a machine lets the pause count as time of the process that was running. On a shared machine
that is most of what is counted, and it tells nothing of the process. So the process is kept on one core, and beside it
ticks a clock that nothing but a pause can delay: what was counted over a late tick was not the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from select import select

TICK_SECONDS = 0.001
LATE_SECONDS = 0.003
CORE = 0


@dataclass(slots=True)
class Spent:
    """The processor time of a process, and the share of the elapsed time in which the machine was paused."""

    seconds: float = 0.0
    paused: float = 0.0


@contextmanager
def metered(pid: int) -> Iterator[Spent]:
    """Measure the processor time of ``pid`` during the block. The result is complete after it."""
    spent = Spent()
    _keep_on(pid, {CORE})
    with subprocess.Popen(
        [sys.executable, __file__, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as meter:
        assert meter.stdin is not None
        assert meter.stdout is not None
        meter.stdout.readline()
        yield spent
        meter.stdin.close()
        spent.seconds, spent.paused = json.loads(meter.stdout.readline())
    _keep_on(pid, os.sched_getaffinity(0))


def _keep_on(pid: int, cores: set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def main() -> None:
    clock = (~int(sys.argv[1]) << 3) | 2  # Linux: the clock of a process' processor time
    os.sched_setaffinity(0, {CORE})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        late = LATE_SECONDS
    except PermissionError:  # then others delay it too, and every second counts
        late = float("inf")
    print("ready", flush=True)
    seconds = paused = 0.0
    began = ticked = time.perf_counter()
    counted = time.clock_gettime(clock)
    while not select([sys.stdin], [], [], TICK_SECONDS)[0]:
        now, count = time.perf_counter(), time.clock_gettime(clock)
        if now - ticked > late:
            paused += now - ticked - TICK_SECONDS
            seconds += min(count - counted, TICK_SECONDS)
        else:
            seconds += count - counted
        ticked, counted = now, count
    print(json.dumps([seconds, paused / (ticked - began)]))


if __name__ == "__main__":
    main()
