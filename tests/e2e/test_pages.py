"""Every page as people meet it: accessible in light and dark, on a phone, without JavaScript, by keyboard."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from apps.batches.services import gather
from apps.datasets.models import Dataset, Sample
from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.models import Run
from apps.progress.reports import Report, accept_reports
from apps.progress.services import StagePlan
from apps.progress.transitions import State
from tests.images import make_images

# A folder into which a picture of every page is put (`make pages`); empty: none.
SHOTS = os.environ.get("SHOTS", "")
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390 if SHOTS else 360, "height": 844}
LONG = "L" * 128
STATES = [
    "new", "pending", "indexing", "unknown", "embedding", "paused", "pausing", "custom", "lost", "error", "cancelled",
]  # fmt: skip


@pytest.fixture
def session_of(transactional_db: None) -> Callable[[str], str]:
    """The session of the user of that name, who is made: "admin" may everything, all others nothing."""

    def sign_in(name: str) -> str:
        client = Client()
        client.force_login(User.objects.create_user(name, is_staff=name == "admin", is_superuser=name == "admin"))
        return client.cookies["sessionid"].value

    return sign_in


@pytest.fixture
def sessionid(session_of: Callable[[str], str]) -> str:
    return session_of("admin")


@pytest.fixture
def everything(transactional_db: None, tmp_path: Path) -> Sample:
    """A dataset in every state; returns a sample of the one that is ready."""
    make_images(tmp_path / "images", 8)
    (tmp_path / "images" / "broken.jpg").write_text("not an image")
    ready = process_folder(tmp_path / "images", dataset_id="ready")
    assert Runner(ready.pk).process() is Outcome.READY
    plan = [StagePlan("index"), StagePlan("embed", counts_as=State.EMBEDDING), StagePlan("check", label="Checking")]
    datasets = {
        dataset_id: Dataset.objects.create(dataset_id=dataset_id, visibility=Dataset.Visibility.PUBLIC)
        for dataset_id in STATES
    }
    runs = {
        dataset_id: progress.begin_run(dataset, plan).pk
        for dataset_id, dataset in datasets.items()
        if dataset_id != "new"
    }
    for dataset_id in ("indexing", "paused", "error", "cancelled", "pausing", "lost"):
        progress.start_stage(runs[dataset_id], "index", total=100, message="Indexing samples... 45/100")
        progress.report(runs[dataset_id], current=45)
    progress.start_stage(runs["unknown"], "index")
    progress.start_stage(runs["embedding"], "embed", total=3)
    progress.start_stage(runs["custom"], "check", total=7)
    progress.request_pause(runs["paused"])
    progress.acknowledge(runs["paused"])
    progress.fail(runs["error"], 'The disk is full.\nTraceback (most recent call last):\n  File "a.py", line 1')
    progress.cancel(runs["cancelled"])
    progress.request_pause(runs["pausing"], "ada")
    long_ago = timezone.now() - timedelta(hours=2)
    Run.objects.filter(pk=runs["lost"]).update(heartbeat_at=long_ago, progressed_at=long_ago)
    accept_reports([(datasets["indexing"].pk, Report(worker="node-07", current=9, total=20))])
    # Everything as long as it may be, and without a gap.
    stage = StagePlan(LONG[:64], label=LONG[:100], unit=LONG[:32], total=12_500_000)
    long = Dataset.objects.create(dataset_id=LONG, visibility=Dataset.Visibility.PUBLIC, name="N" + LONG)
    run = progress.begin_run(long, [stage, StagePlan("embed", counts_as=State.EMBEDDING, total=12_500_000)])
    progress.start_stage(run.pk, stage.name)
    progress.report(run.pk, current=1_312_345, message=LONG * 7)
    progress.record_failures(run.pk, stage.name, [(LONG * 8, LONG * 3)])
    gather("nightly", list(Dataset.objects.values_list("pk", flat=True)))
    return Sample.objects.filter(dataset__dataset_id="ready")[0]


def paths(sample: Sample) -> dict[str, list[tuple[str, int]]]:
    """Every page with its status, by who opens it: the admin, someone who may nothing, nobody."""
    dataset_ids = [*STATES, "ready", LONG]
    return {
        "admin": [
            ("/", 200),
            ("/?q=nothing-like-it", 200),
            *((f"/datasets/{dataset_id}/", 200) for dataset_id in dataset_ids),
            (f"/datasets/ready/samples/{sample.pk}/", 200),
            *(
                (f"/datasets/{dataset_id}/runs/1/", 200)
                for dataset_id in ("ready", "error", "embedding", "pending", LONG)
            ),
            *((f"/datasets/ready/?tab={tab}", 200) for tab in ("failures", "runs", "code")),
            ("/datasets/ready/delete/", 200),
            ("/datasets/ready/edit/", 200),
            ("/datasets/ready/files/", 200),
            ("/datasets/ready/duplicates/", 200),
            ("/datasets/ready/schedule/", 200),
            ("/datasets/indexing/cancel/", 200),
            ("/batches/", 200),
            ("/batches/nightly/", 200),
            ("/batches/nightly/edit/", 200),
            ("/batches/nightly/delete/", 200),
            ("/new/batch/", 200),
            ("/playground/", 200),
            ("/playground/?dataset=indexing", 200),
            ("/admin/", 200),
            ("/new/", 200),
            ("/tokens/", 200),
            ("/notifications/", 200),
            ("/datasets/unknown-to-all/", 404),
        ],
        "someone": [("/datasets/ready/delete/", 403), ("/datasets/ready/", 200)],
        "": [("/", 200), ("/datasets/new/", 200), ("/accounts/login/", 200), ("/api/docs", 200)],
    }


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(
    open_page: Callable[..., Page],
    everything: Sample,
    session_of: Callable[[str], str],
    scheme: str,
    viewport: dict[str, int],
) -> None:
    complaints = []
    for who, opened in paths(everything).items():
        sessionid = session_of(who) if who else None
        page = open_page("/", sessionid=sessionid, color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
        for path, status in opened:
            answer = page.goto(path)
            assert answer is not None
            assert answer.status == status
            assert page.url.endswith(path)
            if "/samples/" in path:
                expect(page.locator("[aria-labelledby=similar-title] img")).to_have_count(7)
            if path == "/datasets/indexing/":
                page.locator("#workers-summary").click()
                expect(page.locator("#workers-list")).to_contain_text("node-07")
            if path == "/" and who == "admin":
                page.locator("#choose-indexing").check()
            found = Axe().run(page)
            complaints += [f"{path}: {v['id']}: {v['nodes'][0]['html']}" for v in found.response["violations"]]
            if SHOTS:
                name = re.sub(r"[^a-z0-9]+", "-", f"{path[:60]} {who or 'nobody'} {scheme} {viewport['width']}".lower())
                page.screenshot(path=f"{SHOTS}/{name.strip('-')}.png", full_page=True)
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, f"{path} scrolls sideways by {wider} pixels"
    assert complaints == []


def test_pages_work_without_javascript(open_page: Callable[..., Page], everything: Sample, sessionid: str) -> None:
    page = open_page("/", sessionid=sessionid, java_script_enabled=False)
    page.get_by_role("link", name="ready", exact=True).click()
    expect(page.locator("main .dataset-progress").first).to_have_attribute("data-state", "ready")
    page.locator("#samples li a").first.click()
    expect(page).to_have_url(re.compile("/samples/"))
    page.goto("/datasets/indexing/")
    expect(page.locator("main .dataset-progress").first).to_contain_text("54% (54/100)")
    assert 'http-equiv="refresh"' in page.content()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_dataset_is_made_of_a_folder_in_the_browser_by_keyboard(
    open_page: Callable[..., Page], import_root: Path, sessionid: str, settings: Settings
) -> None:
    settings.IMPORT_ROOTS = [str(import_root)]  # of the worker, which is this process
    make_images(import_root / "photos", 3)
    page = open_page("/", sessionid=sessionid)
    page.get_by_role("link", name="New dataset").first.focus()
    page.keyboard.press("Enter")
    page.locator("[name=dataset_id]").focus()
    page.keyboard.type("photos")
    page.locator("[name=folder]").focus()
    page.keyboard.type(str(import_root / ".." / "elsewhere"))
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Choose a folder under")
    assert not Dataset.objects.exists()
    page.locator("[name=folder]").fill(str(import_root / "photos"))
    page.keyboard.press("Enter")
    expect(page.locator("main .dataset-progress").first).to_have_attribute("data-state", "pending")
    run = Dataset.objects.get(dataset_id="photos").runs.get()
    assert Runner(run.pk).process() is Outcome.READY
    expect(page.locator("main .dataset-progress").first).to_have_attribute("data-state", "ready")
    expect(page.locator("#samples img")).to_have_count(3)


def test_deleting_asks_first(open_page: Callable[..., Page], everything: Sample, sessionid: str) -> None:
    page = open_page("/datasets/ready/", sessionid=sessionid)
    page.get_by_role("link", name="Delete").click()
    expect(page.locator("main")).to_contain_text("8")
    assert Dataset.objects.filter(dataset_id="ready").exists()
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile(r"//[^/]+/$"))
    assert not Dataset.objects.filter(dataset_id="ready").exists()


def test_back_button_shows_nothing_of_before_the_sign_out(
    open_page: Callable[..., Page], session_of: Callable[[str], str]
) -> None:
    """The browser shows a page that it has kept as it was, and tells it so."""
    came_back = "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    sessionid = session_of("olga")
    kept = open_page("/", sessionid=sessionid)
    expect(kept.get_by_text("olga")).to_be_visible()
    kept.evaluate("window.isKept = true")
    kept.evaluate(came_back)
    assert kept.evaluate("window.isKept")  # it is shown at once while the user is signed in

    other = kept.context.new_page()
    other.goto("/")
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("banner").get_by_text("Sign in")).to_be_visible()
    kept.evaluate(came_back)
    expect(kept.get_by_role("banner").get_by_text("Sign in")).to_be_visible()
    expect(kept.get_by_text("olga")).to_have_count(0)
