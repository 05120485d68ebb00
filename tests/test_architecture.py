"""The shape of the code: no app imports one above it, and no module or test file is long."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from .repository import ROOT, files

LONGEST = 400


def test_arrows_never_turn_back() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program) if program.exists() else shutil.which("lint-imports") or "lint-imports", "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


def test_no_module_is_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in files(".py", ".js")}
    for folder in ("apps", "client/src", "progress_site", "scripts", "static/js", "tests"):
        assert any(path.is_relative_to(folder) for path in lengths)
    assert {str(path): length for path, length in lengths.items() if length > LONGEST} == {}
