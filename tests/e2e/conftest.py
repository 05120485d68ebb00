"""A real Chromium against the program's real processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from apps.datasets.models import Dataset, Sample
from apps.progress import services as progress
from apps.progress.models import Run
from apps.progress.services import StagePlan
from tests.processes import Server, collect_static, web_server
from tests.services import find_program, wait_until

# Playwright keeps an event loop in this thread, which the ORM would take for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

SECONDS = 1000  # milliseconds, as Playwright counts

# What is awaited is waited for: how soon it comes depends on what else the machine does, and is for the benchmarks.
PATIENCE = 60 * SECONDS
expect.set_options(timeout=PATIENCE)


def find_chromium() -> str:
    return shutil.which("google-chrome") or find_program("chromium", package="chromium")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def import_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder under which datasets may be made in the browser."""
    return tmp_path_factory.mktemp("import-root")


@pytest.fixture(scope="package")
def server(django_db_setup: None, import_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    collect_static()
    with web_server(tmp_path_factory.mktemp("daphne") / "log", env={"IMPORT_ROOTS": str(import_root)}) as server:
        yield server


# What the bar of a page showed, one entry for each version in the order in which they came.
RECORD = """
window.shown = [];
new MutationObserver(() => {
  const bar = document.querySelector('main .dataset-progress');
  const last = window.shown.at(-1);
  if (!bar || (last && last.version === Number(bar.dataset.version))) return;
  window.shown.push({
    version: Number(bar.dataset.version),
    state: bar.dataset.state,
    text: bar.textContent,
    now: Number(bar.querySelector('[role=progressbar]').getAttribute('aria-valuenow')),
  });
}).observe(document, {subtree: true, childList: true, attributes: true});
"""

# Whatever tells of a version, an element of its id has never told of a newer one, in this tab.
FORWARD = """
window.backwards = [];
new MutationObserver(() => {
  for (const element of document.querySelectorAll('[id][data-version][data-dataset]')) {
    const key = `${element.id} of ${element.dataset.dataset} in epoch ${element.dataset.epoch}`;
    const newest = Number(sessionStorage.getItem(key) ?? 0);
    const version = Number(element.dataset.version);
    if (version < newest) window.backwards.push(`${key}: ${newest}, then ${version}`);
    else sessionStorage.setItem(key, version);
  }
}).observe(document, {subtree: true, childList: true, attributes: true});
"""

# Fulfilled once the bar, recorded so, shows a text.
UNTIL_SHOWN = """
text => new Promise(resolve => {
  const look = () => window.shown.at(-1)?.text.includes(text) ? resolve() : setTimeout(look, 10);
  look();
})
"""


# A refusal that a test asks for is logged by the browser too: answers are checked apart. htmx logs a request that ends
# because the page is left as these two errors; of a request that fails it logs the first beside another.
EXPECTED_ERRORS = ("Failed to load resource", "htmx:afterRequest", "htmx:sendAbort")


class Witness:
    """What a page did that it should not: foreign requests, refused scripts and styles, errors, server errors."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.seen: list[str] = []

    def watch(self, page: Page) -> None:
        page.on(
            "console",
            lambda message: self._add(
                message.type == "error" and not message.text.startswith(EXPECTED_ERRORS),
                f"console: {message.text}",
            ),
        )
        page.on("pageerror", lambda error: self._add(True, f"error: {error}"))
        page.on("request", lambda request: self._add(self._is_foreign(request.url), f"foreign: {request.url}"))
        page.on("response", lambda answer: self._add(answer.status >= 500, f"{answer.status}: {answer.url}"))

    def _is_foreign(self, url: str) -> bool:
        return not url.startswith((f"http://{self.host}/", f"ws://{self.host}/", "data:", "blob:"))

    def _add(self, bad: bool, what: str) -> None:
        if bad:
            self.seen.append(what)


@pytest.fixture
def witness(server: Server) -> Iterator[Witness]:
    witness = Witness(server.host)
    yield witness
    assert witness.seen == []


@pytest.fixture
def open_page(
    browser: Browser, server: Server, witness: Witness, transactional_db: None
) -> Iterator[Callable[..., Page]]:
    """Open a page of the site in a new window; options are those of a browser's context."""
    contexts: list[BrowserContext] = []

    def open_(path: str, *, sessionid: str | None = None, **options: object) -> Page:
        context = browser.new_context(base_url=server.url, **options)  # type: ignore[arg-type]  # options of any type
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        if sessionid:
            context.add_cookies([{"name": "sessionid", "value": sessionid, "url": server.url}])
        page = context.new_page()
        witness.watch(page)
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()


# --- A page of a dataset, and its link to the server -----------------------------------------------------------------

TOTAL = 10_000
ASKING = "○ Asking every 2 s"
GONE = "× This dataset is no longer available"
CONNECTION = "#connection"


@pytest.fixture
def run(transactional_db: None) -> Run:
    """A run that is under way, of the dataset ``cats``."""
    dataset = Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)
    run = progress.begin_run(dataset, [StagePlan("index", total=TOTAL)])
    return progress.start_stage(run.pk, "index")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page that records what it shows. Nothing on it has ever gone back, as is checked at the end."""
    collect_static()
    contexts: list[tuple[BrowserContext, Page]] = []

    def visit(url: str, sessionid: str = "") -> Page:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE)
        if sessionid:
            context.add_cookies([{"name": "sessionid", "value": sessionid, "url": url}])
        context.add_init_script(RECORD)
        context.add_init_script(FORWARD)
        page = context.new_page()
        contexts.append((context, page))
        page.goto(url)
        return page

    yield visit
    for context, page in contexts:
        backwards = page.evaluate("window.backwards")
        context.close()
        assert backwards == []


def make_sample(dataset: Dataset) -> Sample:
    return Sample.objects.create(
        dataset=dataset, path="a.jpg", sha256="0" * 64, size=1, width=1, height=1, format="JPEG",
        thumbnail_width=1, thumbnail_height=1, seen_in_run=1, mtime_ns=0,
    )  # fmt: skip


def report_and_see(run: Run, current: int, *pages: Page) -> None:
    progress.report(run.pk, current=current)
    for page in pages:
        see(page, current)


def see(page: Page, current: int, seconds: int = PATIENCE // SECONDS) -> None:
    bar = page.locator("main .dataset-progress").first
    expect(bar).to_contain_text(f"({current}/{TOTAL})", timeout=seconds * SECONDS)


def is_live(page: Page) -> None:
    """A page that is pushed to says nothing of it: it says trouble only."""
    expect(page.locator("html")).to_have_attribute("data-link", "live")
    expect(page.locator(CONNECTION)).to_be_hidden()


def pass_time(page: Page, until: Callable[[], object], what: str) -> None:
    """Let time pass on the page, whose clock is ours, until something has happened."""

    def has_happened() -> bool:
        page.clock.run_for(1 * SECONDS)
        return bool(until())

    wait_until(has_happened, seconds=PATIENCE / SECONDS, what=what)


def wait_for_layout(place: Locator, is_so: str) -> None:
    """Wait until a script that measures an element is true.

    A frame replaces the element in which it is shown, and one that is not in the page any more measures 0.
    """
    script = f"element => element.isConnected && ({is_so})(element)"
    wait_until(lambda: place.evaluate(script) is True, seconds=PATIENCE / SECONDS, what=f"not so: {is_so}")


def give_up(page: Page) -> None:
    """Let time pass until the page has tried for a socket often enough, and polls."""
    pass_time(page, lambda: page.locator("#connection").text_content() == ASKING, "it does not poll")
