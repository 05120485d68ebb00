"""Measure a quiet run, then one under each attack. The last line is one JSON object."""

from __future__ import annotations

import json
import os
import sys

from rich.console import Console
from rich.table import Table

from tests.bench.fairness.attacks import ATTACKS, attacking
from tests.bench.fairness.probe import PROBES, TIMEOUT_SECONDS, measure
from tests.bench.fairness.site import site

SECONDS = float(os.environ.get("SECONDS", "20"))
CHOSEN = os.environ.get("ATTACKS", " ".join(ATTACKS)).split()


def main() -> None:
    with site() as server:
        measure(server, 3.0)  # the server imports its pages, and its threads connect to the database
        quiet = measure(server, SECONDS)
        if failed := [probe for probe in PROBES if quiet[probe] >= 1000 * TIMEOUT_SECONDS]:
            sys.exit(f"no success without an attack: {', '.join(failed)}")
        under_attack = {}
        for name in CHOSEN:
            with attacking(name, server.port):
                under_attack[name] = measure(server, SECONDS)
    table = Table(title=f"99th percentiles of {SECONDS:g} s, and their ratio to the quiet ones")
    table.add_column("")
    for probe in PROBES:
        table.add_column(probe, justify="right")
    table.add_row("quiet", *(f"{quiet[probe]:.0f} ms" for probe in PROBES))
    ratios = {name: {probe: took[probe] / quiet[probe] for probe in PROBES} for name, took in under_attack.items()}
    for name, took in under_attack.items():
        table.add_row(name, *(f"{took[probe]:.0f} ms, {ratios[name][probe]:.1f}×" for probe in PROBES))
    Console().print(table)
    print(json.dumps({"worst_ratio": round(max(max(one.values()) for one in ratios.values()), 2)}))


if __name__ == "__main__":
    main()
