"""The page and its server lose each other in every way they can, and the page never stays behind, nor goes back."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, WebSocket, expect

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.progress import services as progress
from apps.progress.models import Run
from tests import services as programs
from tests.images import make_images
from tests.processes import DAPHNE, Server, environment, kill, web_server, worker
from tests.repository import ROOT

from .conftest import SECONDS, TOTAL, UNTIL_SHOWN, give_up, is_live, pass_time, report_and_see, see

HOUR = 3600  # pushes, one a second


def test_server_that_is_killed_is_found_again(visit: Callable[..., Page], run: Run, tmp_path: Path) -> None:
    port = programs.free_port()
    with web_server(tmp_path / "first.log", port=port) as server:
        page = visit(f"{server.url}/datasets/cats/")
        is_live(page)
        report_and_see(run, 10, page)
        kill(server.process)
        expect(page.locator("#connection")).to_have_text(re.compile("Reconnecting|Offline since"))
        progress.report(run.pk, current=20)
    with web_server(tmp_path / "second.log", port=port):
        see(page, 20)
        is_live(page)
        report_and_see(run, 30, page)


def test_redis_may_die_under_a_page(visit: Callable[..., Page], run: Run, tmp_path: Path) -> None:
    port = programs.free_port()
    with ExitStack() as stack:
        with programs.redis(port):
            env = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
            server = stack.enter_context(web_server(tmp_path / "log", env=env))
            page = visit(f"{server.url}/datasets/cats/")
            is_live(page)
            report_and_see(run, 10, page)
        report_and_see(run, 20, page)
        with programs.redis(port):
            report_and_see(run, 30, page)
        is_live(page)


def test_page_polls_where_no_websocket_can_be_had_and_returns_to_it(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    with programs.nginx(server.port, websockets=False) as proxy:
        page = visit("about:blank")
        page.clock.install()
        polls: list[str] = []
        page.on("request", lambda request: polls.append(request.url) if "/progress/bar/" in request.url else None)
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{proxy.url}/datasets/cats/")
        give_up(page)
        assert len(sockets) == 5
        report_and_see(run, 10, page)
        report_and_see(run, 20, page)
        proxy.proxy(server.port, websockets=True)
        tried = len(sockets)
        pass_time(page, lambda: len(sockets) > tried, "it does not try the socket again")
        is_live(page)
        before = len(polls)
        report_and_see(run, 30, page)
        page.clock.run_for(6 * SECONDS)  # three of the intervals at which it polled
        report_and_see(run, 40, page)
        assert len(polls) == before


def test_finished_dataset_wakes_without_a_websocket_too(visit: Callable[..., Page], server: Server, run: Run) -> None:
    with programs.nginx(server.port, websockets=False) as proxy:
        page = visit("about:blank")
        page.clock.install()
        page.goto(f"{proxy.url}/datasets/cats/")
        give_up(page)
        bar = page.locator("main .dataset-progress").first
        header = page.locator("#progress-header")
        progress.finish(run.pk)
        expect(bar).to_have_attribute("data-state", "ready")
        expect(header).not_to_have_attribute("hx-trigger", re.compile(".*"))
        progress.begin_run(run.dataset)
        expect(bar).to_have_attribute("data-state", "pending")
        expect(header).to_have_attribute("hx-trigger", "every 3s")


def is_renderer(process: psutil.Process) -> bool:
    """Whether it draws pages. One of a page that is closed may be gone already."""
    try:
        return "--type=renderer" in process.cmdline()
    except psutil.Error:
        return False


def test_page_is_up_to_date_after_a_sleep(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit(f"{server.url}/datasets/cats/")
    is_live(page)
    chromium = [p for p in psutil.Process().children(recursive=True) if is_renderer(p)]
    try:
        for process in chromium:
            with suppress(psutil.NoSuchProcess):  # one of a page before
                process.suspend()
        progress.report(run.pk, current=10)
    finally:
        for process in chromium:
            with suppress(psutil.NoSuchProcess):
                process.resume()
    see(page, 10)
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    progress.report(run.pk, current=20)
    session.send("Page.setWebLifecycleState", {"state": "active"})
    see(page, 20)
    # The network is taken away without a word, and comes back.
    session.send("Network.enable")
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", offline)
    progress.report(run.pk, current=30)
    session.send("Network.emulateNetworkConditions", {**offline, "offline": False})
    see(page, 30)
    is_live(page)
    report_and_see(run, 40, page)


@pytest.mark.long
@pytest.mark.timeout(1800)  # minutes of work, and more where others work beside it
def test_hour_of_pushes_costs_no_memory(visit: Callable[..., Page], run: Run, tmp_path: Path) -> None:
    """One push a second, by a server that makes them in a minute: it flushes a hundred times a second."""
    fast = (
        "-c",
        "from progress_site import asgi; from progress_site.servers import daphne; "
        "from apps.live import hub; hub.FLUSH_SECONDS = 0.01; daphne.main()",
        *DAPHNE[2:],
    )
    env = {"TOKEN_REQUESTS_A_SECOND": "0"}
    with web_server(tmp_path / "log", env=env, program=fast) as server, httpx.Client(timeout=60) as reporter:
        reporter.headers["Authorization"] = f"Bearer {issue_token('long life')[1]}"
        page = visit(f"{server.url}/datasets/cats/")
        is_live(page)
        session = page.context.new_cdp_session(page)
        memory = psutil.Process(server.process.pid).memory_info
        reported = 0

        def push(pushes: int) -> tuple[int, int, int]:
            """Report until so many have been shown; what is in use then."""
            nonlocal reported
            shown = 0
            while shown < pushes:
                for _ in range(100):
                    reported += 1
                    answer = reporter.post(f"{server.url}/api/datasets/cats/progress", json={"current": reported})
                    assert answer.status_code == 200
                page.evaluate(UNTIL_SHOWN, f"({reported}/")
                shown += page.evaluate("window.shown.splice(0).length")
            session.send("HeapProfiler.collectGarbage")
            counters = session.send("Memory.getDOMCounters")
            return session.send("Runtime.getHeapUsage")["usedSize"], counters["nodes"], memory().rss

        # The engine's own code caches and type feedback grow during the first two thousand, ever more slowly.
        heap, nodes, rss = push(HOUR // 2)
        heap_after, nodes_after, rss_after = push(HOUR // 2)
        # The last fragment to be replaced may still be waiting for the collector; five nodes left behind by each push
        # would already make it more.
        assert nodes_after <= nodes * 2
        assert heap_after <= heap * 1.1
        assert rss_after <= rss * 1.05


def test_navigation_leaves_nothing_behind(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    open_sockets: set[WebSocket] = set()

    def note(socket: WebSocket) -> None:
        open_sockets.add(socket)
        socket.on("close", lambda closed: open_sockets.discard(closed))

    page.on("websocket", note)
    # Those of a document that is left, the browser closes by itself and without an event.
    page.on("framenavigated", lambda frame: open_sockets.clear())
    page.goto(f"{server.url}/")
    for _ in range(10):
        page.get_by_role("link", name="cats", exact=True).click()
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Datasets", exact=True).click()
    is_live(page)  # its scripts have run
    for _ in range(15):
        for path in ("/", "/datasets/cats/"):
            page.evaluate("path => htmx.ajax('GET', path, {target: 'body', swap: 'innerHTML'})", path)
    is_live(page)
    report_and_see(run, 10, page)
    assert len(open_sockets) == 1
    # The server agrees: besides the socket there are but the few connections that a browser keeps for its requests.
    connections = psutil.Process(server.process.pid).net_connections("tcp4")
    assert len([each for each in connections if each.status == psutil.CONN_ESTABLISHED]) <= 7
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    began = time.monotonic()
    page.evaluate("new Promise(resolve => setTimeout(resolve, 7000))")
    assert 1 <= len(requests) <= (time.monotonic() - began) / 3 + 1, requests
    assert all("/progress/header/" in url for url in requests)


def test_two_web_processes_with_postgresql_and_redis_behind_nginx(
    visit: Callable[..., Page],
    postgresql: programs.PostgreSQL,
    redis: programs.Redis,
    tmp_path: Path,
) -> None:
    """What a worker reports and what someone asks for on one web process is seen on the other."""
    make_images(tmp_path / "images", 60)
    env = {
        "DATABASE_URL": postgresql.url, "REDIS_URL": redis.url, "PIPELINE_PROCESSES": "1",
        "DJANGO_SUPERUSER_PASSWORD": "a password for tests",
    }  # fmt: skip

    def manage(*arguments: str) -> str:
        return programs.run_quietly([sys.executable, "manage.py", *arguments], env=environment(env), cwd=ROOT)

    manage("migrate")
    manage("createsuperuser", "--no-input", "--username", "admin", "--email", "")
    manage("process", str(tmp_path / "images"), "--dataset", "cats")
    secret = manage("create_token", "nightly").split()[-1]
    with (
        web_server(tmp_path / "one.log", env=env) as one,
        web_server(tmp_path / "two.log", env=env) as two,
        programs.nginx(one.port) as first,
        programs.nginx(two.port) as second,
    ):
        watcher = visit(f"{first.url}/datasets/cats/")
        operator = visit(f"{second.url}/accounts/login/?next=/datasets/cats/")
        operator.get_by_label("Username").fill("admin")
        operator.get_by_label("Password").fill(env["DJANGO_SUPERUSER_PASSWORD"])
        operator.get_by_role("button", name="Sign in").click()
        is_live(watcher)
        operator.get_by_role("button", name="Pause").click()
        expect(watcher.locator("[data-sentence]")).to_contain_text("Paused")
        operator.get_by_role("button", name="Resume").click()
        expect(watcher.locator("[data-sentence]")).to_contain_text("Queued")
        # A report to one is seen on the other.
        operator.goto(f"{second.url}/")
        is_live(operator)
        report = {"state": "indexing", "current": 45, "total": 100}
        headers = {"Authorization": f"Bearer {secret}"}
        reporter = httpx.Client(base_url=first.url, headers=headers, timeout=60)
        assert reporter.post("/api/datasets/dogs/progress", json=report).status_code == 200
        expect(operator.locator("#row-dogs")).to_contain_text("45%")
        report["current"] = 46
        assert reporter.post("/api/datasets/dogs/progress", json=report).status_code == 200
        expect(operator.locator("#row-dogs")).to_contain_text("46%")
        operator.goto(f"{second.url}/datasets/cats/")
        with worker(tmp_path / "worker.log", env=env):
            for page in (watcher, operator):
                bar = page.locator("main .dataset-progress").first
                expect(bar).to_have_attribute("data-state", "ready", timeout=120 * SECONDS)


def test_list_is_pushed_too(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit(f"{server.url}/")
    is_live(page)
    row = page.locator("#row-cats")
    focused = page.get_by_role("link", name="cats", exact=True)
    focused.focus()
    progress.report(run.pk, current=TOTAL // 2)
    expect(row).to_contain_text("50%")
    expect(focused).to_be_focused()
    progress.finish(run.pk)
    expect(row.locator(".dataset-progress-compact")).to_have_attribute("data-state", "ready")
    expect(focused).to_be_focused()
    dogs = Dataset.objects.create(dataset_id="dogs.v2", visibility=Dataset.Visibility.PUBLIC)
    expect(page.get_by_role("link", name="dogs.v2")).to_be_visible()
    progress.begin_run(dogs)
    expect(page.locator("[id='row-dogs.v2']")).to_contain_text("Queued")
    dogs.delete()
    progress.begin_run(run.dataset)
    expect(page.get_by_role("link", name="dogs.v2")).to_have_count(0)


def test_page_is_told_when_it_may_not_look_any_more(visit: Callable[..., Page], server: Server, run: Run) -> None:
    member = User.objects.create_user("member")
    Dataset.objects.filter(pk=run.dataset_id).update(visibility=Dataset.Visibility.PRIVATE)
    run.dataset.members.add(member)
    client = Client()
    client.force_login(member)
    page = visit(f"{server.url}/datasets/cats/", client.cookies["sessionid"].value)
    is_live(page)
    run.dataset.members.remove(member)
    expect(page.locator("#connection")).to_have_text("× This dataset is no longer available")
