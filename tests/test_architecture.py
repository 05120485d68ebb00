"""The shape of the code: arrows between the apps never turn back, and modules stay small enough to be read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 500


def test_arrows_never_turn_back() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program) if program.exists() else shutil.which("lint-imports") or "lint-imports", "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


@pytest.mark.parametrize("folder", ["apps", "progress_site"])
def test_no_module_is_long(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / folder).rglob("*.py")
        if not {"migrations", "node_modules"} & set(path.parts)
    }
    assert lengths
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}
