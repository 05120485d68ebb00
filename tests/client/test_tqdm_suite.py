"""tqdm's own tests pass with the drop-in and within a capture as they do with tqdm.

`scripts/fetch-tqdm-tests` fetches them; they are in no package that is installed.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from dataset_progress.tqdm import capture_tqdm
from dataset_progress.tqdm import tqdm as drop_in
from tqdm.auto import tqdm as auto

from tests.repository import ROOT
from tests.services import free_port, in_ci

from .conftest import ended

# What is left out, and why.
LEFT_OUT = {
    "test_external_write": "deletes an attribute that the class lacks after other tests: fails with `tqdm.auto` too",
    "test_as_completed": "measures times, too",
    "perf": "measures times, which depend on the machine; `make bench-client` measures what we add",
}
ALL_OTHERS = f"not {' and not '.join(LEFT_OUT)}"
RUNNER = ROOT / "tests/client/tqdm_runner.py"


@pytest.fixture(scope="module")
def suite() -> str:
    """The folder with the tests of tqdm."""
    fetched = subprocess.run([ROOT / "scripts/fetch-tqdm-tests"], capture_output=True, text=True, check=False)
    if fetched.returncode and not in_ci():
        pytest.skip(f"the tests of tqdm cannot be fetched: {fetched.stderr}")
    assert fetched.returncode == 0, fetched.stderr
    return str(ROOT / fetched.stdout.strip())


def run(suite: str, bar: str, chosen: str = ALL_OTHERS, **env: str) -> tuple[dict[str, int], str]:
    """Run the chosen tests with a bar. Return how many passed, were skipped or failed, and what pytest printed."""
    flags = [
        "-o", "addopts=", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin",
        "--asyncio-mode=strict", "-W", "error", "-W", "ignore::pytest.PytestConfigWarning", "-k", chosen,
    ]  # fmt: skip
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("DATASET_", "DJANGO_", "PYTEST_"))
    }
    ended = subprocess.run(
        [sys.executable, "-P", RUNNER, bar, *flags, "tests"], cwd=suite, capture_output=True, text=True,
        env={**bare, "PYTHONPATH": str(ROOT / "client/src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **env},
        timeout=300, check=False,
    )  # fmt: skip
    printed = ended.stdout + ended.stderr
    counts = re.findall(r"(\d+) (passed|skipped|failed|error)", ended.stdout.strip().rpartition("\n")[2])
    return {word: int(number) for number, word in counts}, printed


@pytest.fixture(scope="module")
def plain(suite: str) -> dict[str, int]:
    """What tqdm's own bar does in these tests."""
    counts, printed = run(suite, "plain")
    assert counts.keys() <= {"passed", "skipped"}, printed
    assert counts["passed"] > 100, printed
    return counts


each_bar = pytest.mark.parametrize("bar", ["drop-in", "captured"])


@each_bar
@pytest.mark.parametrize("has_address", [False, True])
def test_without_a_server(suite: str, plain: dict[str, int], bar: str, has_address: bool) -> None:
    url = f"http://127.0.0.1:{free_port()}" if has_address else ""
    counts, printed = run(
        suite, bar, DATASET_PROGRESS_DATASET="cats", DATASET_PROGRESS_URL=url, DATASET_PROGRESS_FLUSH_SECONDS="0"
    )
    assert counts == plain, printed


@each_bar
def test_with_a_server(suite: str, plain: dict[str, int], bar: str, address: str) -> None:
    env = {name: value for name, value in os.environ.items() if name.startswith("DATASET_PROGRESS_")}
    counts, printed = run(suite, bar, DATASET_PROGRESS_DATASET="cats", **env)
    assert counts == plain, printed
    progress = ended()
    assert sum(stage.current for stage in progress.stages) > 1000


@pytest.mark.parametrize("bar", ["plain", "drop-in", "captured"])
def test_what_depends_on_the_order_passes_alone(suite: str, bar: str) -> None:
    counts, printed = run(suite, bar, "test_external_write")
    assert counts == {"passed": 1}, printed


def lives(bar: Callable[..., Any], disable: bool | None) -> list[object]:
    """Return what can be seen of bars that are used in several ways."""
    screen = io.StringIO()
    options = {"file": screen, "disable": disable, "mininterval": 0}
    looped = bar(range(5), "Reading", **options)
    seen = [list(looped), looped.n]
    left = bar(range(5), **options)
    seen += [next(iter(left)), left.n]
    by_hand = bar(total=5, initial=2, **options)
    seen += [by_hand.update(2), by_hand.n, by_hand.reset(7), by_hand.n, by_hand.total, by_hand.update(1), by_hand.n]
    by_hand.close()
    with bar(total=3, **options) as block:
        seen += [block.update(2), block.n]
    return [*seen, block.n, bool(block), screen.getvalue().count("Reading"), screen.getvalue().count("\n")]


@pytest.mark.parametrize("disable", [True, False, None])
def test_a_bar_has_the_numbers_that_tqdm_has(monkeypatch: pytest.MonkeyPatch, disable: bool | None) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("DATASET_PROGRESS_DATASET", "cats")
    plain = lives(auto, disable)
    assert lives(drop_in, disable) == plain
    with capture_tqdm("dogs", flush_seconds=0):
        assert lives(auto, disable) == plain
