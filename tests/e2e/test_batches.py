"""The main way of a batch: rows are chosen in the list, and its page follows and steers them all."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from apps.batches.models import Batch, BatchMember
from apps.batches.services import delete_batch
from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.models import Run
from apps.progress.services import StagePlan
from tests.live.conftest import login
from tests.processes import Server

from .conftest import is_live


def begin(dataset_id: str) -> Run:
    dataset = Dataset.objects.create(dataset_id=dataset_id, visibility="public")
    run = progress.begin_run(dataset, [StagePlan("index", total=100)])
    return progress.start_stage(run.pk, "index")


def test_chosen_datasets_are_followed_and_steered_as_one(
    visit: Callable[..., Page], server: Server, transactional_db: None
) -> None:
    cats, dogs = begin("cats"), begin("dogs")
    session = login(User.objects.create_superuser("stef"))["Cookie"].partition("=")[2]
    page = visit(f"{server.url}/", session)
    for name in ("cats", "dogs"):
        page.get_by_role("checkbox", name=f"Choose {name}").check(force=True)
    page.get_by_role("button", name="New batch…").click()
    page.get_by_label("ID").fill("nightly")
    page.get_by_role("button", name="Create batch").click()
    expect(page.get_by_role("heading", name="nightly")).to_be_visible()
    is_live(page)
    panel = page.locator("#batch-live")
    expect(panel).to_contain_text("(0/2)")
    expect(page.locator("#group-running")).to_have_text("Running 2")
    progress.report(dogs.pk, current=50)
    expect(panel).to_contain_text("25%")
    expect(page.locator("#row-dogs")).to_contain_text("50%")
    progress.finish(cats.pk)
    expect(panel).to_contain_text("(1/2)")
    expect(page.locator("#group-running")).to_have_text("Running 1")
    expect(page.locator("#group-ready")).to_have_text("Ready 1")
    # Another dataset joins: its row comes by itself.
    BatchMember.objects.create(batch=Batch.objects.get(), dataset=begin("birds").dataset)
    expect(page.locator("#row-birds")).to_be_visible()
    expect(panel).to_contain_text("(1/3)")
    page.get_by_role("button", name="Pause all").click()
    expect(page.locator("#messages")).to_contain_text("2 datasets: pausing.")
    assert set(Run.objects.exclude(pk=cats.pk).values_list("control", flat=True)) == {"pause"}


def test_an_open_page_says_that_its_batch_was_deleted(
    visit: Callable[..., Page], server: Server, transactional_db: None
) -> None:
    batch = Batch.objects.create(batch_id="nightly")
    batch.datasets.add(begin("cats").dataset)
    page = visit(f"{server.url}/batches/nightly/")
    is_live(page)
    delete_batch(batch)
    expect(page.locator("#connection")).to_have_text("× This batch is no longer available")
    expect(page.locator("#row-cats")).to_be_visible()
    again = Batch.objects.create(batch_id="nightly")  # as a dataset that is back, it is shown again
    again.datasets.add(begin("dogs").dataset)
    expect(page.locator("#row-dogs")).to_be_visible(timeout=60_000)
    is_live(page)
