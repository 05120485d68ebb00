"""The playground: for staff alone, sets states by hand, starts and stops simulations, and shows every component."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.datasets.models import Dataset
from apps.pages.playground import examples
from apps.progress.models import Run
from apps.progress.selectors import progress_of
from apps.progress.transitions import State
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

AsUser = Callable[..., Client]
PAGE = "/playground/"
PLANS = {"speed": 1, "stages": 2, "workers": 1, "stall": 0}


@pytest.fixture
def staffer(as_user: AsUser, staff: User) -> Client:
    return as_user(staff)


@pytest.mark.parametrize("name", ["playground", "playground-by-hand", "playground-simulate", "playground-stop"])
def test_it_is_for_staff_alone(as_user: AsUser, stranger: User, name: str) -> None:
    method = "get" if name == "playground" else "post"
    assert getattr(as_user(None), method)(reverse(name)).headers["Location"].startswith("/accounts/login/")
    assert getattr(as_user(stranger), method)(reverse(name)).status_code == 403
    assert not Dataset.objects.exists()


def test_every_state_is_shown_in_both_components_and_no_id_twice(staffer: Client) -> None:
    html = staffer.get(PAGE).text
    states = re.findall(r'class="dataset-progress(-compact)?[ "][^>]*data-state="(\w+)"', re.sub(r"\s+", " ", html))
    assert {(kind, state) for kind, state in states} == {(kind, state) for kind in ("", "-compact") for state in State}
    assert len(states) == 3 * len(examples())
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for word in ("Paused", "Cancelled", "No contact", "so far", "4.5 MB", "Traceback"):
        assert word in html


def test_a_state_is_set_by_hand(staffer: Client, staff: User) -> None:
    def said(**fields: str | int) -> str:
        return staffer.post(PAGE + "by-hand/", {"dataset": "toy", "mode": "manual", **fields}, follow=True).text

    assert "There is no such dataset yet" in staffer.get(PAGE, {"dataset": "toy"}).text
    page = said(state="indexing", current=45, total=100, message="Indexing samples")
    toy = Dataset.objects.get(dataset_id="toy")
    assert (toy.visibility, toy.owner) == ("private", staff)
    assert "45% (45/100)" in page
    assert "Indexing samples" in page
    said(state="embedding", current=10, total=0)
    assert (progress_of(toy.pk).state, progress_of(toy.pk).total) == ("embedding", 0)
    assert "Begin a new run for that." in said(state="indexing", current=1)
    said(state="error", error="disk full")
    assert (progress_of(toy.pk).state, progress_of(toy.pk).error) == ("error", "disk full")
    said(state="ready")  # in a new run, as the last one is over
    assert (progress_of(toy.pk).state, progress_of(toy.pk).run) == ("ready", 2)
    said(state="indexing", current=5)
    assert "Begin a new run for that." in said(state="pending")
    said(state="pending", new_run="on")
    assert (progress_of(toy.pk).state, progress_of(toy.pk).run) == ("pending", 4)
    assert Run.objects.get(number=3).cancelled


def test_what_is_wrong_in_a_form_is_told_beside_its_field(staffer: Client) -> None:
    for form, fields, field in (
        ("by-hand", {"state": "ready", "current": -1}, "current"),
        ("by-hand", {"state": "ready", "dataset": "a/b"}, "dataset"),
        ("simulate", {**PLANS, "stages": 99}, "simulation_stages"),
        ("stop", {"dataset": "a b"}, "dataset"),
    ):
        page = staffer.post(f"{PAGE}{form}/", fields)
        assert page.status_code == 422
        assert f'id="id_{field}_error"' in page.text
    assert not Dataset.objects.exists()


def test_a_simulation_is_started_and_stopped(staffer: Client) -> None:
    started = staffer.post(PAGE + "simulate/", {**PLANS, "dataset": "toy"}, follow=True)
    assert "Simulating run 1." in started.text
    toy = Dataset.objects.get(dataset_id="toy")
    assert "Run 1 is not finished." in staffer.post(PAGE + "simulate/", {**PLANS, "dataset": "toy"}, follow=True).text
    assert (
        "Simulating run 2."
        in staffer.post(PAGE + "simulate/", {**PLANS, "dataset": "toy", "new_run": "on"}, follow=True).text
    )
    wait_until(lambda: progress_of(toy.pk).current > 0, seconds=60, what="the simulation does not begin")
    assert "Cancelling." in staffer.post(PAGE + "stop/", {"dataset": "toy"}, follow=True).text
    wait_until(lambda: progress_of(toy.pk).cancelled, seconds=60, what="the simulation does not stop")
    assert "stef has cancelled it." in staffer.post(PAGE + "stop/", {"dataset": "toy"}, follow=True).text


@pytest.mark.parametrize(("mode", "attempts"), [("websocket", "5"), ("polling", "0"), ("manual", None)])
def test_the_bar_is_kept_in_step_as_is_chosen(staffer: Client, mode: str, attempts: str | None) -> None:
    Dataset.objects.create(dataset_id="playground", visibility="public")
    page = staffer.get(PAGE, {"mode": mode})
    found = re.search(r'data-ws-attempts="(\d)"', page.text)
    assert (found[1] if found else None) == attempts
    assert ("Fetch now" in page.text) is (mode == "manual")
