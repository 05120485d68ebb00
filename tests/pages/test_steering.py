"""Process, pause, resume, cancel, delete, make: who may, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.datasets.models import Dataset, ReservedPrefix, Sample
from apps.pipeline.models import Source
from apps.progress import services
from apps.progress.models import Run

RunIn = Callable[..., Run]
SamplesIn = Callable[..., list[Sample]]
AsUser = Callable[[User | None], Client]
VERBS = ["dataset-process", "dataset-control", "dataset-edit", "dataset-forget-missing", "dataset-delete"]


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """A folder under the one that may be imported from."""
    settings.IMPORT_ROOTS = [str(tmp_path / "images")]
    inside = tmp_path / "images" / "birds"
    inside.mkdir(parents=True)
    return inside


@pytest.mark.parametrize("verb", VERBS)
def test_who_may_steer(
    as_user: AsUser, public: Dataset, private: Dataset, stranger: User, run_in: RunIn, verb: str
) -> None:
    run_in(public, "indexing")
    to_public, to_private = reverse(verb, args=[public.dataset_id]), reverse(verb, args=[private.dataset_id])
    login = as_user(None).post(to_public, {"action": "cancel"})
    assert login.status_code == 302
    assert login.headers["Location"] == f"{reverse('login')}?next={public.get_absolute_url()}"
    assert as_user(stranger).post(to_public, {"action": "cancel"}).status_code == 403
    for user in (None, stranger):
        assert as_user(user).post(to_private, {"action": "cancel"}).status_code == 404
        assert as_user(user).post(reverse(verb, args=["no-such"])).status_code == 404
    assert Dataset.objects.count() == 2
    assert Run.objects.get().control == "run"


@pytest.mark.parametrize("verb", ["dataset-process", "dataset-control"])
def test_steering_is_never_a_get(as_user: AsUser, public: Dataset, owner: User, verb: str) -> None:
    assert as_user(owner).get(reverse(verb, args=[public.dataset_id])).status_code == 405


@pytest.mark.parametrize("verb", VERBS)
def test_a_form_without_its_token_changes_nothing(public: Dataset, owner: User, verb: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    response = client.post(reverse(verb, args=[public.dataset_id]), {"action": "cancel"})
    assert response.status_code == 403
    assert "This page has expired" in response.text
    assert Dataset.objects.filter(pk=public.pk).exists()


def test_pause_resume_cancel(as_user: AsUser, public: Dataset, staff: User, run_in: RunIn) -> None:
    run = run_in(public, "indexing")
    client = as_user(staff)
    address = reverse("dataset-control", args=[public.dataset_id])
    for action, control, button in (("pause", "pause", "Resume"), ("resume", "run", "Pause"), ("cancel", "cancel", "")):
        response = client.post(address, {"action": action}, follow=True)
        assert response.redirect_chain == [(public.get_absolute_url(), 302)]
        run.refresh_from_db()
        assert run.control == control
        assert f">{button}</button>" in response.text or not button
    assert re.search(r"Cancelling… asked by <span [^>]*>stef</span>", response.text)
    again = client.post(address, {"action": "cancel"}, follow=True)
    assert "stef has cancelled it already." in again.text
    assert "End it now" in again.text
    assert "Its reporter has 15 s to obey." in client.post(address, {"action": "end"}, follow=True).text
    Run.objects.update(control_at=timezone.now() - timedelta(seconds=16))
    assert "appears-late" not in client.get(public.get_absolute_url()).text
    assert "Ended." in client.post(address, {"action": "end"}, follow=True).text
    run.refresh_from_db()
    assert (run.state, run.cancelled, run.control_by) == ("error", True, "stef")


def test_control_of_what_is_over_and_of_what_is_unknown(
    as_user: AsUser, public: Dataset, owner: User, run_in: RunIn
) -> None:
    run_in(public, "ready")
    address = reverse("dataset-control", args=[public.dataset_id])
    assert "No run is open." in as_user(owner).post(address, {"action": "pause"}, follow=True).text
    assert as_user(owner).post(address, {"action": "explode"}).status_code == 400
    assert as_user(owner).post(address).status_code == 400


def test_a_retry_is_requested_and_withdrawn(as_user: AsUser, public: Dataset, owner: User, run_in: RunIn) -> None:
    run = run_in(public, "indexing")
    services.record_failures(run.pk, "index", [("a.jpg", "bad")])
    services.fail(run.pk, "disk full")
    address, client = reverse("dataset-control", args=[public.dataset_id]), as_user(owner)
    shown = client.get(public.get_absolute_url()).text
    assert "Process failed items again" in shown
    for page in (shown, client.get("/").text):  # one word for one thing
        assert 'value="retry">Process again</button>' in page
    assert "Retry" not in shown
    answer = client.post(address, {"action": "retry-failed"}, follow=True).text
    assert "Asked to process its failed items again." in answer
    assert "Withdraw" in client.get(public.get_absolute_url()).text
    assert "The request is withdrawn." in client.post(address, {"action": "cancel"}, follow=True).text


def test_failed_job_says_what_to_do_next_to_those_who_may(
    as_user: AsUser, public: Dataset, owner: User, stranger: User, run_in: RunIn
) -> None:
    address = public.get_absolute_url()
    assert "start the job again" not in as_user(owner).get(address).text
    run_in(public, "error")
    assert "start the job again: its next report begins run 2." in as_user(owner).get(address).text
    assert "start the job again" not in as_user(stranger).get(address).text


def test_chosen_datasets_are_steered_together(
    as_user: AsUser, public: Dataset, private: Dataset, owner: User, stranger: User, run_in: RunIn
) -> None:
    runs = [run_in(public, "indexing"), run_in(private, "ready")]
    chosen = {"action": "pause", "dataset": [public.dataset_id, private.dataset_id], "next": "/?state=indexing"}
    page = as_user(owner).post(reverse("control-many"), chosen, follow=True)
    assert page.redirect_chain == [("/?state=indexing", 302)]
    assert "1 dataset: pausing." in page.text
    assert "1 dataset: No run is open." in page.text
    assert [Run.objects.get(pk=run.pk).control for run in runs] == ["pause", "run"]
    told = as_user(stranger).post(reverse("control-many"), {**chosen, "next": "//evil.example"}, follow=True)
    assert told.redirect_chain == [("/", 302)]
    assert "1 dataset: You may not steer this dataset." in told.text
    assert "1 dataset: There is no such dataset." in told.text
    assert as_user(None).post(reverse("control-many"), chosen).headers["Location"].startswith("/accounts/login/")
    assert (
        "Choose some datasets first."
        in as_user(owner).post(reverse("control-many"), {"action": "pause"}, follow=True).text
    )


def test_cancelling_asks_first_and_says_what_goes(
    as_user: AsUser, public: Dataset, private: Dataset, owner: User, stranger: User, run_in: RunIn
) -> None:
    runs = [run_in(public, "indexing"), run_in(private, "ready")]
    client = as_user(owner)
    one = client.get(reverse("dataset-cancel", args=[public.dataset_id])).text
    assert "Cancel run 1 of open-1?" in one
    assert "run 1, Indexing, 45 of 100 files" in one
    assert 'id="progress-header"' in one
    chosen = {"dataset": [public.dataset_id, private.dataset_id], "next": "/?state=running"}
    many = client.post(reverse("cancel-many"), chosen).text
    assert "open-1: run 1, Indexing, 45 of 100 files" in many
    assert "1 dataset without a run to cancel" in many
    assert 'href="/?state=running"' in many
    assert "Nothing to cancel" in as_user(stranger).post(reverse("cancel-many"), chosen).text
    assert as_user(stranger).get(reverse("dataset-cancel", args=[public.dataset_id])).status_code == 403
    assert as_user(None).post(reverse("cancel-many"), chosen).headers["Location"].startswith("/accounts/login/")
    assert [Run.objects.get(pk=run.pk).control for run in runs] == ["run", "run"]


def test_action_in_the_list_comes_back_to_it_and_names_the_dataset(
    as_user: AsUser, public: Dataset, owner: User, run_in: RunIn
) -> None:
    run_in(public, "indexing")
    address, action = reverse("dataset-control", args=[public.dataset_id]), {"action": "pause", "next": "/?sort=name"}
    page = as_user(owner).post(address, action, follow=True)
    assert page.redirect_chain == [("/?sort=name", 302)]
    assert "Open &lt;one&gt;: Pausing." in page.text
    elsewhere = as_user(owner).post(address, {**action, "next": "https://evil.example/"})
    assert elsewhere.headers["Location"] == public.get_absolute_url()


def test_only_rows_that_one_may_steer_can_be_chosen(
    as_user: AsUser, public: Dataset, owner: User, stranger: User, run_in: RunIn
) -> None:
    run_in(public, "indexing")
    choice = f'id="choose-{public.dataset_id}"'
    assert choice in as_user(owner).get("/").text
    assert choice not in as_user(stranger).get("/").text
    assert 'id="chosen"' not in as_user(None).get("/").text
    assert choice not in as_user(None).get("/").text


def test_process_again(as_user: AsUser, public: Dataset, owner: User, run_in: RunIn, folder: Path) -> None:
    address = reverse("dataset-process", args=[public.dataset_id])
    client = as_user(owner)
    assert "has no folder to process" in client.post(address, follow=True).text
    Source.objects.create(dataset=public, folder=str(folder))
    assert "Run 1 queued." in client.post(address, follow=True).text
    assert "already in progress" in client.post(address, follow=True).text
    assert Run.objects.get().state == "pending"


def test_forget_what_is_missing(
    as_user: AsUser, public: Dataset, owner: User, stranger: User, samples_in: SamplesIn
) -> None:
    samples = samples_in(public, 3)
    page = public.get_absolute_url()
    assert "Forget them" not in as_user(owner).get(page).text
    Sample.objects.filter(pk__in=[samples[0].pk, samples[1].pk]).update(missing_since=timezone.now())
    assert "2 files are gone." in as_user(stranger).get(page).text
    assert "Forget them" not in as_user(stranger).get(page).text
    assert 'id="forget-missing"' in as_user(owner).get(page).text
    address = reverse("dataset-forget-missing", args=[public.dataset_id])
    assert "2 samples whose files are gone" in as_user(owner).get(address).text
    assert Sample.objects.filter(missing_since__isnull=False).count() == 2  # nothing is forgotten yet
    response = as_user(owner).post(address, follow=True)
    assert response.redirect_chain == [(page, 302)]
    assert "Forgot 2 missing samples." in response.text
    assert "are gone" not in response.text
    assert 'Samples <span class="text-quiet">1</span>' in response.text


def test_delete_says_first_what_goes(
    as_user: AsUser, public: Dataset, owner: User, run_in: RunIn, samples_in: SamplesIn
) -> None:
    run_in(public, "indexing")
    samples_in(public, 3)
    client = as_user(owner)
    address = reverse("dataset-delete", args=[public.dataset_id])
    html = client.get(address).text
    assert "3 samples" in html
    assert "The files in its folder" in html
    assert "Run 1 will be stopped" in html
    assert Dataset.objects.filter(pk=public.pk).exists()
    response = client.post(address, follow=True)
    assert response.redirect_chain == [("/", 302)]
    assert "Deleted Open &lt;one&gt;." in response.text
    assert not Dataset.objects.filter(pk=public.pk).exists()
    assert client.get(f"/datasets/{public.dataset_id}/").status_code == 404


def test_who_may_make_a_dataset(as_user: AsUser, stranger: User, owner: User, settings: Any) -> None:
    address = reverse("dataset-new")
    assert as_user(None).get(address).headers["Location"] == f"{reverse('login')}?next={address}"
    assert as_user(stranger).get(address).status_code == 200
    settings.USERS_MAY_ADD_DATASETS = False
    owner.user_permissions.add(Permission.objects.get(codename="add_dataset"))
    assert as_user(stranger).get(address).status_code == 403
    assert as_user(stranger).post(address, {"dataset_id": "birds", "visibility": "private"}).status_code == 403
    assert not Dataset.objects.exists()
    assert as_user(owner).get(address).status_code == 200
    assert "New dataset" not in as_user(stranger).get("/").text


@pytest.mark.parametrize(("sign_in", "who"), [(False, "reach this site"), (True, "sign in")])
def test_what_public_means_is_said_where_it_is_chosen(
    as_user: AsUser, stranger: User, settings: Any, sign_in: bool, who: str
) -> None:
    settings.SIGN_IN_REQUIRED = sign_in
    assert f"Public: anyone who can {who}" in as_user(stranger).get(reverse("dataset-new")).text


def test_why_a_name_is_refused_is_said_beside_it(as_user: AsUser, stranger: User) -> None:
    ReservedPrefix.objects.create(prefix="team-a-", team=Group.objects.create(name="Team A"))
    fields = {"dataset_id": "team-a-cats", "visibility": "private"}
    response = as_user(stranger).post(reverse("dataset-new"), fields)
    assert response.status_code == 422
    assert "reserved for a team that you are not in" in response.text.split('id="id_dataset_id_error"')[1]
    assert not Dataset.objects.exists()


def test_make_a_dataset(as_user: AsUser, owner: User, folder: Path) -> None:
    client = as_user(owner)
    assert str(folder.parent) in client.get(reverse("dataset-new")).text
    fields = {"dataset_id": "birds", "name": "Birds", "folder": str(folder), "visibility": "private"}
    response = client.post(reverse("dataset-new"), fields, follow=True)
    assert response.redirect_chain == [("/datasets/birds/", 302)]
    dataset = Dataset.objects.get(dataset_id="birds")
    assert (dataset.name, dataset.visibility, dataset.owner_id) == ("Birds", "private", owner.pk)
    assert Run.objects.get(dataset=dataset).state == "pending"
    assert Source.objects.get(dataset=dataset).folder == str(folder)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"dataset_id": ""}, "dataset_id", "This field is required."),
        ({"dataset_id": "a/b"}, "dataset_id", "Use letters, digits, dots"),
        ({"dataset_id": "open-1"}, "dataset_id", "already exists"),
        ({"folder": "relative"}, "folder", "absolute path"),
        ({"folder": "/etc"}, "folder", "Choose a folder under"),
        ({"folder": "{folder}/../../.."}, "folder", "Choose a folder under"),
        ({"folder": "{folder}/missing"}, "folder", "There is no folder"),
        ({"folder": "{folder}\0"}, "folder", "Null characters"),
        ({"visibility": "secret"}, "visibility", "Select a valid choice"),
    ],
)
def test_a_mistake_is_told_beside_its_field(
    as_user: AsUser, owner: User, public: Dataset, folder: Path, changes: dict[str, str], field: str, message: str
) -> None:
    fields = {"dataset_id": "birds", "name": "Birds", "folder": "{folder}", "visibility": "public", **changes}
    fields["folder"] = fields["folder"].replace("{folder}", str(folder))
    response = as_user(owner).post(reverse("dataset-new"), fields)
    assert response.status_code == 422
    errors = response.text.split(f'id="id_{field}_error"')[-1].split("</div>")[0]
    assert message in errors
    assert 'value="Birds"' in response.text
    assert Dataset.objects.count() == 1


def test_without_import_roots_the_page_says_how_to_set_them(as_user: AsUser, owner: User, settings: Any) -> None:
    settings.IMPORT_ROOTS = []
    html = as_user(owner).get(reverse("dataset-new")).text
    assert "IMPORT_ROOTS" in html
    assert 'name="folder"' not in html
    assert "manage.py process PATH --dataset ID" in html


def test_sign_in_and_out(client: Client, owner: User) -> None:
    response = client.post(reverse("login"), {"username": "olga", "password": "wrong"})
    assert "Please enter a correct username and password" in response.text
    response = client.post(reverse("login") + "?next=/", {"username": "olga", "password": "olga"}, follow=True)
    assert "Sign out" in response.text
    assert "Sign in" in client.post(reverse("logout"), follow=True).text


def test_who_sees_a_dataset_is_set_on_its_page(
    as_user: AsUser, public: Dataset, owner: User, stranger: User, settings: Any
) -> None:
    address = reverse("dataset-edit", args=[public.dataset_id])
    client = as_user(owner)
    page = client.get(address).text
    assert "Public: anyone who can reach this site" in page
    assert 'value="olga"' in page
    wrong = client.post(address, {"visibility": "private", "owner": "olga", "members": "sam, nobody"})
    assert wrong.status_code == 422
    assert "There is no user nobody." in wrong.text.split('id="id_members_error"')[1]
    public.refresh_from_db()
    assert public.visibility == "public"
    saved = client.post(address, {"visibility": "private", "owner": "olga", "members": "sam"}, follow=True)
    assert saved.redirect_chain == [(public.get_absolute_url(), 302)]
    assert as_user(stranger).get(public.get_absolute_url()).status_code == 200
    assert as_user(None).get(public.get_absolute_url()).status_code == 404
    gave_away = client.post(address, {"visibility": "private", "owner": "sam", "members": ""}, follow=True)
    assert gave_away.redirect_chain == [("/", 302)]


def test_name_and_folder_are_changed_together_or_not_at_all(
    as_user: AsUser, public: Dataset, owner: User, folder: Path, run_in: RunIn
) -> None:
    address, client = reverse("dataset-edit", args=[public.dataset_id]), as_user(owner)
    fields = {"name": "Birds", "visibility": "public", "owner": "olga", "members": ""}
    wrong = client.post(address, {**fields, "folder": "/etc"})
    assert wrong.status_code == 422
    assert "Choose a folder under" in wrong.text.split('id="id_folder_error"')[1]
    public.refresh_from_db()
    assert public.name == "Open <one>"
    client.post(address, {**fields, "folder": str(folder)})
    public.refresh_from_db()
    assert (public.name, public.source.folder, public.source.from_browser) == ("Birds", str(folder), True)
    assert "This field is required." in client.post(address, {**fields, "folder": ""}).text
    run_in(public, "indexing")
    (other := folder.parent / "other").mkdir()
    assert "Change the folder when it has ended." in client.post(address, {**fields, "folder": str(other)}).text
    assert client.post(address, {**fields, "folder": str(folder)}).status_code == 302


def test_a_later_run_asks_import_roots_again(as_user: AsUser, owner: User, folder: Path, settings: Any) -> None:
    client = as_user(owner)
    client.post(reverse("dataset-new"), {"dataset_id": "birds", "folder": str(folder), "visibility": "private"})
    services.finish(Run.objects.get().pk)
    again = reverse("dataset-process", args=["birds"])
    settings.IMPORT_ROOTS = [str(folder.parent.parent / "elsewhere")]
    assert "Choose a folder under" in client.post(again, follow=True).text
    settings.IMPORT_ROOTS = [str(folder.parent)]
    folder.rename(folder.parent / "before")
    folder.symlink_to(folder.parent / "before")
    assert "has become a link" in client.post(again, follow=True).text
    assert Run.objects.count() == 1


def test_what_is_the_servers_own_is_told_to_those_who_may_steer(
    as_user: AsUser, public: Dataset, owner: User, staff: User, stranger: User, run_in: RunIn
) -> None:
    run = run_in(public, "indexing")
    as_user(staff).post(reverse("dataset-control", args=[public.dataset_id]), {"action": "pause"})
    services.fail(run.pk, "Its folder cannot be read.", note="There is no folder /srv/secret.")
    for user, is_told in ((owner, True), (staff, True), (stranger, False), (None, False)):
        html = as_user(user).get(public.get_absolute_url()).text
        assert "Its folder cannot be read." in html
        assert ("/srv/secret" in html.split("Why it failed")[-1]) is is_told
        of_run = as_user(user).get(reverse("run", args=[public.dataset_id, run.number])).text
        assert ("Paused by stef" in of_run) is is_told
        assert ("Why it failed" in html) is is_told
