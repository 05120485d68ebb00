"""`make bench-images`: the whole pipeline beside imagededup and cleanvision, in images per second of processor time.

The peers find look-alikes and odd images among the same files, as their documentation shows. They are large, so they
have an environment of their own, which is made where it is missing. Processor time is that of each program with its
processes. Loading libraries is left out; starting processes is not.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from multiprocessing import forkserver
from pathlib import Path
from typing import Final

import psutil

from .pipeline import _photographs, _run, _site

REPEATS = int(os.environ.get("REPEATS", "3"))
SMALL = int(os.environ.get("SMALL", "2000"))
LARGE = int(os.environ.get("LARGE", "300"))
# An environment that has the peers already; otherwise one is made and deleted.
PEERS = os.environ.get("PEERS", "")
TOOLS = os.environ.get("TOOLS", "imagededup cleanvision").split()

_SECONDS: Final = """
import resource
def seconds():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
"""
# Each as on the first page of its documentation.
SCRIPTS: Final = {
    "imagededup": """
import sys
from imagededup.methods import PHash
hasher = PHash(verbose=False)
began = seconds()
encodings = hasher.encode_images(image_dir=sys.argv[1])
hasher.find_duplicates(encoding_map=encodings)
print("seconds", seconds() - began)
""",
    "cleanvision": """
import sys
from cleanvision import Imagelab
began = seconds()
lab = Imagelab(data_path=sys.argv[1])
lab.find_issues()
print("seconds", seconds() - began)
""",
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-images-") as name:
        python = _peers(Path(name, "peers"))
        sizes = {"800": ((800, 600), SMALL), "4000": ((4000, 3000), LARGE)}
        speeds: dict[str, float] = {}
        with _site(Path(name)):
            for key, (size, count) in sizes.items():
                folder = Path(name, "images", key)
                _photographs(folder, count, size=size)
                measured: dict[str, list[float]] = {}
                for repeat in range(REPEATS):
                    ours = _our_seconds(folder, f"bench-{key}-{repeat}")
                    measured.setdefault("ours", []).append(count / ours)
                    for peer in TOOLS if python else ():
                        measured.setdefault(peer, []).append(count / _peer_seconds(python, peer, folder))
                speeds |= {f"{who}_{key}": statistics.median(values) for who, values in measured.items()}
    _report(speeds)


def _peers(folder: Path) -> str:
    """Return the Python that has the peers; empty, with a line that says so, where they cannot be installed."""
    if PEERS:
        return str(Path(PEERS, "bin", "python"))
    print("Installing the peers into an environment of their own...", file=sys.stderr)
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *TOOLS], capture_output=True, text=True)
    if installed.returncode:
        reason = (installed.stderr.strip().splitlines() or ["no reason"])[-1]
        print(f"The peers are not measured, because they cannot be installed: {reason}", file=sys.stderr)
        return ""
    return python


def _our_seconds(folder: Path, dataset_id: str) -> float:
    """Return the processor time of a whole run, with that of its processes.

    They are children of the fork server, whose time counts once it has ended. It has no public way to end it. That it
    loads libraries is left out, as for the peers: a worker keeps it.
    """
    from apps.pipeline.work.pool import Pool

    with Pool(1) as pool:
        pool.submit(len, ()).result()
    server = forkserver._forkserver
    spent = psutil.Process(server._forkserver_pid).cpu_times()  # type: ignore[attr-defined]  # not in the stubs
    loading = spent.user + spent.system + spent.children_user + spent.children_system
    began = os.times()
    _run(folder, dataset_id)
    server._stop()  # type: ignore[attr-defined]  # not in the stubs
    ended = os.times()
    return sum(ended[:4]) - sum(began[:4]) - loading


def _peer_seconds(python: str, peer: str, folder: Path) -> float:
    script = _SECONDS + SCRIPTS[peer]
    run = subprocess.run([python, "-c", script, str(folder)], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{peer} failed: {run.stderr[-500:]}")
    return float(run.stdout.split("seconds ")[-1].split()[0])


def _report(speeds: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{SMALL} JPEGs of 800 × 600, {LARGE} of 4000 × 3000, medians of {REPEATS}")
    table.add_column("images per second of processor time")
    for key in ("800", "4000"):
        table.add_column("800 × 600" if key == "800" else "12 megapixels", justify="right")
    for who in ("ours", *TOOLS):
        if f"{who}_800" in speeds:
            table.add_row("the whole pipeline" if who == "ours" else who, *(
                f"{speeds[f'{who}_{key}']:.1f}" for key in ("800", "4000")
            ))  # fmt: skip
    Console().print(table)
    result = {name: round(value, 1) for name, value in speeds.items()}
    if "imagededup_800" in speeds:
        result["vs_imagededup_800"] = round(speeds["ours_800"] / speeds["imagededup_800"], 2)
        result["vs_imagededup_4000"] = round(speeds["ours_4000"] / speeds["imagededup_4000"], 2)
    print(json.dumps(result))
