"""How fast `dataset-progress pipe` passes data on, beside `cat` and `pv`: a part of `make bench-client`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.repository import ROOT

LINE = b"a row of a table with a few columns, as most are\n"
FILE_BYTES = 1 << 28
# The file is read so often in one go, so that what a program takes to start hardly counts.
TIMES = int(os.environ.get("PIPE_TIMES", "16"))


def measure(url: str, token: str, repeats: int) -> dict[str, float]:
    """Print a table, and return the GB/s of each program in ``cat FILE … | PROGRAM > /dev/null``: the best of a few."""
    pipe = [sys.executable, "-m", "dataset_progress", "pipe", "pipe", "--url", url, "--token", token, "--wait", "0"]
    programs = {"cat": ["cat"], "pv": ["pv", "-q"], "pipe_bytes": [*pipe, "--bytes"], "pipe_lines": pipe}
    there = {name: command for name, command in programs.items() if shutil.which(command[0])}
    with tempfile.NamedTemporaryFile() as file:
        file.write(LINE * (FILE_BYTES // len(LINE)))
        file.flush()
        rates = {name: max(_rate(file.name, command) for _ in range(repeats)) for name, command in there.items()}
    table = Table("", "GB/s", title=f"{FILE_BYTES * TIMES / 1e9:.1f} GB through a pipe")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.2f}")
    Console().print(table)
    return {f"{name}_gb_s": round(rate, 2) for name, rate in rates.items()}


def _rate(file: str, command: list[str]) -> float:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "client/src")}
    began = time.perf_counter()
    with (
        Path(os.devnull).open("wb") as nowhere,
        subprocess.Popen(["cat", *[file] * TIMES], stdout=subprocess.PIPE) as source,
        subprocess.Popen(command, stdin=source.stdout, stdout=nowhere, stderr=subprocess.DEVNULL, env=env) as program,
    ):
        assert source.stdout is not None
        source.stdout.close()
        if program.wait():
            raise RuntimeError(f"{command[0]} ended with {program.returncode}")
    return Path(file).stat().st_size * TIMES / (time.perf_counter() - began) / 1e9
