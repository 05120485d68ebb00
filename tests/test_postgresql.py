"""The tests of the datasets, the progress, the API, the batches, the lists and the leases pass on PostgreSQL too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from . import services
from .repository import ROOT

WORK = "tests/pipeline/work"
SUITES = [
    "tests/accounts", "tests/datasets", "tests/progress", "tests/api", "tests/batches",
    "tests/notifications/test_events.py", "tests/notifications/test_batch_ends.py",
    "tests/notifications/test_digests.py", "tests/pipeline/test_batch_limits.py",
    "tests/pipeline/test_real_workers.py",
    "tests/pages/test_plans.py", "tests/pages/test_groups.py", "tests/pages/test_pages.py",
    "tests/pages/test_samples.py", "tests/pages/test_batches.py", "tests/pages/test_rows.py",
    f"{WORK}/test_lease.py", f"{WORK}/test_frozen_worker.py", f"{WORK}/test_removal.py", f"{WORK}/test_sample_count.py",
]  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(3600)  # a whole suite, and others beside it
def test_the_suites_of_the_domain_pass_on_postgresql(postgresql: services.PostgreSQL, tmp_path: Path) -> None:
    result = tmp_path / "result.xml"
    # Its own DATA_DIR is made by `tests.environment`, as for every session.
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *SUITES, "-q", "-p", "no:cacheprovider", f"--junitxml={result}"],
        cwd=ROOT, env={**os.environ, "DATABASE_URL": postgresql.url}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ElementTree.parse(result).iter("testsuite"):
        for name in counts:
            counts[name] += int(suite.get(name, 0))
    assert counts.pop("tests") > 0
    assert set(counts.values()) == {0}, counts
