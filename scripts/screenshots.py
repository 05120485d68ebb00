"""`make shots`: take the pictures in the README, of a real run in a real browser, and write them to docs/."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from playwright.sync_api import Page, expect, sync_playwright

from tests.repository import ROOT
from tests.services import free_port

DOCS = ROOT / "docs"
DATASET_ID = "harbour"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("Chromium is needed.")
    port = free_port()
    with tempfile.TemporaryDirectory() as data_dir, sync_playwright() as playwright:
        # Start the browser first: the run does not wait for it.
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        page = browser.new_page(base_url=f"http://127.0.0.1:{port}", viewport={"width": 1120, "height": 720})
        env = {**os.environ, "DATA_DIR": data_dir, "PORT": str(port), "DATASET": DATASET_ID, "PIPELINE_PROCESSES": "1"}
        env.pop("SECRET_KEY", None)
        site = subprocess.Popen([sys.executable, "-m", "progress_site.demo"], cwd=ROOT, env=env, stdout=subprocess.PIPE)
        try:
            for line in site.stdout or ():
                if b"curl" in line:  # the last that it prints
                    break
            _take(page)
        finally:
            site.send_signal(signal.SIGTERM)
            site.wait()
            browser.close()


def _take(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#row-demo-clip")).to_contain_text("CUDA out of memory", timeout=60_000)
    expect(page.locator(f"#row-{DATASET_ID}")).to_contain_text(re.compile(r"[2-9]\d%"), timeout=60_000)
    page.screenshot(path=DOCS / "list.png")
    page.goto("/datasets/demo-crawl/")
    bar = page.locator("main .dataset-progress").first
    expect(bar).to_contain_text(re.compile(r"Removing near-duplicates[\s\S]+[4-6]\d% \("), timeout=300_000)
    page.screenshot(path=DOCS / "dataset.png")
    page.goto("/datasets/demo-birds/runs/1/")
    page.screenshot(path=DOCS / "run.png")
    page.goto(f"/datasets/{DATASET_ID}/")
    expect(page.locator("main .dataset-progress")).to_have_attribute("data-state", "ready", timeout=300_000)
    page.reload()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=DOCS / "ready.png")


if __name__ == "__main__":
    main()
