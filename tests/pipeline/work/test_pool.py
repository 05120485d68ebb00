"""The processes of the pool: how many there are, what they have loaded, and when they end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from apps.pipeline.work.pool import Pool
from tests.repository import ROOT
from tests.services import wait_until

from .processes import pool_processes


@pytest.mark.parametrize(("setting", "count"), [(0, os.cpu_count()), (3, 3)])
def test_there_is_one_process_a_core(setting: int, count: int) -> None:
    with Pool(setting) as pool:
        assert pool.processes == count

        def all_are_there() -> bool:
            for _ in range(count):  # where one had nothing to do in time, the next was not needed until now
                pool.submit(os.getpid)
            return len(pool_processes()) == count

        wait_until(all_are_there, seconds=30, what="the processes did not start")


def test_the_processes_of_a_worker_load_nothing_of_django(tmp_path: Path) -> None:
    # A worker is started by manage.py, which each process of its pool imports.
    script = """
from apps.pipeline.work.pool import Pool
from tests.pipeline.work.deadly import loaded
with Pool(1) as pool:
    print(*pool.submit(loaded).result(30))
"""
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "SECRET_KEY": "x"}
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
    modules = set(run.stdout.split())
    assert {"apps.pipeline.images.verify", "apps.pipeline.images.embedders", "PIL.JpegImagePlugin"} <= modules
    assert not [name for name in modules if name.partition(".")[0] == "django"]


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a process ignores a signal, as the kernel knows it."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(("method", "busy"), [("forkserver", False), ("forkserver", True), ("spawn", True)])
def test_pool_processes_die_with_a_parent_that_is_killed(tmp_path: Path, method: str, busy: bool) -> None:
    # A busy pool of two and, as only one of two would be sure to have started, an idle one of one.
    script = f"""
import multiprocessing, os, threading
from concurrent.futures import ProcessPoolExecutor
from apps.pipeline.work.pool import prepare_process

def work():
    os.write(1, b"%d\\n" % os.getpid())
    if {busy}:
        threading.Event().wait()

if __name__ == "__main__":
    pool = ProcessPoolExecutor({1 + busy}, multiprocessing.get_context({method!r}), prepare_process)
    working = [pool.submit(work) for _ in range({1 + busy})]
    threading.Event().wait()
"""
    file = tmp_path / "parent.py"
    file.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(1 + busy)]
        workers = [os.pidfd_open(pid) for pid in pids]
        try:
            # The terminal sends SIGINT to all of them, and what is to happen then is for the parent to say.
            assert all(ignores(pid, signal.SIGINT) for pid in pids)
            parent.kill()
            parent.wait()
            for worker in workers:
                assert select.select([worker], [], [], 30)[0] == [worker]
        finally:
            parent.kill()
            for worker in workers:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(worker, signal.SIGKILL)
                os.close(worker)
