"""Every record can be looked at in the admin; what only services may write cannot be written there."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.datasets.models import (
    Dataset,
    EmbeddingBlock,
    Membership,
    NearDuplicate,
    ReservedPrefix,
    Sample,
    StateCount,
    Token,
)
from apps.datasets.services import delete_dataset, issue_token
from apps.pipeline.models import Chunk, Job, Source
from apps.progress import reports as reporting
from apps.progress import selectors, services
from apps.progress.listening import Listening
from apps.progress.models import (
    Head,
    ItemFailure,
    Run,
    RunMember,
    RunMessage,
    Stage,
    Transition,
    UnlistedFailures,
    WorkerShare,
)
from apps.progress.reports import Report

from .conftest import EMBED, INDEX

READ_ONLY = [
    Run, Stage, WorkerShare, RunMember, RunMessage, ItemFailure, UnlistedFailures, Transition, Head, Sample,
    EmbeddingBlock, Source, Job, Chunk,
]  # fmt: skip
OF_DATASETS = [Dataset, *READ_ONLY]
ALL = [ReservedPrefix, Token, *OF_DATASETS]


def fill(first: int, last: int) -> None:
    """Datasets with an owner, a finished and an unfinished run, a failure, a sample and its embedding."""
    for number in range(first, last):
        owner = User.objects.create_user(f"owner{number}")
        dataset = Dataset.objects.create(dataset_id=f"d{number}", name=f"Dataset {number}", owner=owner)
        services.finish(services.begin_run(dataset, [INDEX]).pk)
        run = services.begin_run(dataset, [INDEX, EMBED])
        services.start_stage(run.pk, "index")
        reporting.accept_reports([(dataset.pk, Report(worker="one", current=45, message="half"))])
        issue_token(f"d{number}", user=owner)
        services.record_failures(run.pk, "index", [("a.jpg", "truncated")])
        services.begin_or_find_run(dataset, join_as="two")
        UnlistedFailures.objects.create(run=run, stage="index", reason="truncated", count=3)
        ReservedPrefix.objects.create(prefix=f"d{number}-", team=Group.objects.create(name=f"team-{number}"))
        block = EmbeddingBlock.objects.create(
            dataset=dataset, embedder="test", dimensions=4, sample_ids=b"\0" * 8, vectors=b"\0" * 16
        )
        Sample.objects.create(
            dataset=dataset, path="b.jpg", size=1, mtime_ns=1, sha256="0" * 64, format="JPEG", width=1, height=1,
            thumbnail_width=1, thumbnail_height=1, seen_in_run=2, embedding_block=block,
        )  # fmt: skip
        Source.objects.create(dataset=dataset, folder="/data")
        job = Job.objects.create(run=run, phase=Job.Phase.INDEX)
        Chunk.objects.create(job=job, phase=Job.Phase.INDEX, position=0, items=[], size=1)


@pytest.fixture
def rows(db: None) -> None:
    fill(0, 2)


def address(model: type[Any], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_{page}", args=args)


def test_every_model_is_registered() -> None:
    models = [model for app in ("datasets", "progress", "pipeline") for model in apps.get_app_config(app).get_models()]
    # On the pages of their dataset; the last two are the server's own.
    elsewhere = {Membership, NearDuplicate, Listening, StateCount}
    assert set(models) - elsewhere == set(ALL)
    assert all(admin.site.is_registered(model) for model in ALL)


@pytest.mark.parametrize("model", ALL)
def test_a_list_can_be_opened_searched_and_filtered(admin_client: Client, rows: None, model: type[Any]) -> None:
    for query in ("", "?q=d1", "?o=1", "?o=-2"):
        response = admin_client.get(address(model, "changelist") + query)
        assert response.status_code == 200
        assert response.context["cl"].result_count > 0
    registered = admin.site.get_model_admin(model)
    assert registered.search_fields
    for name in registered.list_filter:
        if not isinstance(name, str):
            continue  # one of our own: see `test_admin_lists`
        field = model._meta.get_field(name)
        query = f"?{name}__exact={field.value_from_object(model.objects.first())}" if field.choices else ""
        response = admin_client.get(address(model, "changelist") + query)
        assert response.context["cl"].result_count > 0


@pytest.mark.parametrize("model", ALL)
def test_a_record_can_be_opened(admin_client: Client, rows: None, model: type[Any]) -> None:
    for record in model.objects.all():
        assert admin_client.get(address(model, "change", record.pk)).status_code == 200


@pytest.mark.parametrize("model", ALL)
def test_a_list_takes_as_many_queries_for_many_rows(admin_client: Client, rows: None, model: type[Any]) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            admin_client.get(address(model, "changelist"))
        return len(captured)

    queries()  # fills the caches of content types
    few = queries()
    fill(2, 8)
    assert queries() == few


@pytest.mark.parametrize("model", READ_ONLY)
def test_what_services_write_cannot_be_written_by_hand(admin_client: Client, rows: None, model: type[Any]) -> None:
    record = model.objects.first()
    before = list(model.objects.order_by("pk").values())
    assert admin_client.get(address(model, "add")).status_code == 403
    assert admin_client.post(address(model, "add"), {}).status_code == 403
    assert admin_client.post(address(model, "change", record.pk), {"state": "ready", "version": 1}).status_code == 403
    assert admin_client.post(address(model, "delete", record.pk), {"post": "yes"}).status_code == 403
    admin_client.post(
        address(model, "changelist"), {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"}
    )
    assert list(model.objects.order_by("pk").values()) == before


# --- Datasets -------------------------------------------------------------------------------------------------------


def test_a_dataset_is_made_with_an_id_of_its_own(admin_client: Client) -> None:
    response = admin_client.post(
        address(Dataset, "add"), {"dataset_id": "cats", "name": "Cats", "visibility": "public"}
    )
    assert response.status_code == 302
    assert Dataset.objects.get().dataset_id == "cats"


def test_a_dataset_with_a_bad_id_is_refused(admin_client: Client) -> None:
    response = admin_client.post(address(Dataset, "add"), {"dataset_id": "../etc", "visibility": "public"})
    assert response.status_code == 200
    assert "dataset_id" in response.context["adminform"].form.errors
    assert not Dataset.objects.exists()


def test_name_visibility_owner_and_members_can_be_changed_and_the_id_cannot(
    admin_client: Client, dataset: Dataset
) -> None:
    ann = User.objects.create_user("ann")
    admin_client.post(
        address(Dataset, "change", dataset.pk),
        {
            "dataset_id": "dogs",
            "name": "All cats",
            "visibility": "public",
            "owner": ann.pk,
            "memberships-TOTAL_FORMS": 1,
            "memberships-INITIAL_FORMS": 0,
            "memberships-0-user": ann.pk,
            "memberships-0-role": "steer",
        },
    )
    dataset.refresh_from_db()
    assert (dataset.dataset_id, dataset.name, dataset.visibility, dataset.owner) == ("cats", "All cats", "public", ann)
    assert list(dataset.members.all()) == [ann]


def test_a_dataset_is_not_deleted_here_where_its_files_would_stay(admin_client: Client, dataset: Dataset) -> None:
    assert admin_client.post(address(Dataset, "delete", dataset.pk), {"post": "yes"}).status_code == 403
    assert Dataset.objects.exists()


# --- Bars -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Dataset, Run])
def test_lists_and_records_show_the_bar_of_the_pages(admin_client: Client, indexing: Run, model: type[Any]) -> None:
    services.report(indexing.pk, current=45)
    for page in (address(model, "changelist"), address(model, "change", model.objects.get().pk)):
        html = admin_client.get(page).content.decode()
        assert html.count('class="dataset-progress-compact') == 1
        assert 'data-state="indexing"' in html
        assert 'aria-valuenow="11"' in html  # 45 of 100 of a quarter of the run
        assert "css/dist/components.css" in html


def test_a_dataset_that_never_ran_has_a_bar_too(admin_client: Client, dataset: Dataset) -> None:
    assert 'data-state="pending"' in admin_client.get(address(Dataset, "changelist")).content.decode()


def test_each_run_of_a_dataset_has_its_own_bar_and_no_element_an_id_of_another(
    admin_client: Client, indexing: Run
) -> None:
    services.finish(indexing.pk)
    services.begin_run(indexing.dataset, [INDEX])
    html = admin_client.get(address(Run, "changelist")).content.decode()
    assert re.findall(r'data-state="(\w+)"', html) == ["pending", "ready"]
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


# --- Steering -------------------------------------------------------------------------------------------------------


def act(client: Client, action: str, *runs: Run) -> str:
    response = client.post(
        address(Run, "changelist"), {"action": action, "_selected_action": [run.pk for run in runs]}, follow=True
    )
    assert response.status_code == 200
    return " ".join(str(message) for message in response.context["messages"])


def test_runs_are_paused_resumed_and_cancelled(admin_client: Client, indexing: Run) -> None:
    progress: Callable[[], Any] = lambda: selectors.progress_of(indexing.dataset_id)  # noqa: E731 -- with its type
    assert act(admin_client, "pause", indexing) == "Pausing: run 1 of cats."
    assert progress().paused
    assert act(admin_client, "resume", indexing) == "Resumed: run 1 of cats."
    assert not progress().paused
    assert act(admin_client, "cancel", indexing) == "Cancelling: run 1 of cats."
    assert Run.objects.get().control == "cancel"
    notes = Transition.objects.filter(new__in=["pause", "run", "cancel"]).values_list("note", flat=True)
    assert set(notes) == {"admin"}


def test_runs_are_ended_and_retried(admin_client: Client, indexing: Run) -> None:
    act(admin_client, "cancel", indexing)
    assert act(admin_client, "end_now", indexing) == "Its reporter has 15 s to obey: run 1 of cats."
    Run.objects.update(control_at=timezone.now() - timedelta(seconds=16), failed=1)
    assert act(admin_client, "end_now", indexing) == "Ended: run 1 of cats."
    assert act(admin_client, "retry", indexing) == "Asked to process it again: run 1 of cats."
    assert act(admin_client, "retry_failed", indexing) == "Asked to process its failed items again: run 1 of cats."
    assert Head.objects.get().retry == "failed"


def test_what_cannot_be_asked_is_said_and_harms_nothing(admin_client: Client, indexing: Run) -> None:
    services.finish(indexing.pk)
    running = services.begin_run(indexing.dataset, [INDEX])
    said = act(admin_client, "pause", indexing, running)
    assert "Pausing: run 2 of cats." in said
    assert "It is over, and another followed: run 1 of cats." in said


def test_staff_who_may_only_look_cannot_steer(client: Client, indexing: Run) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(looker)
    assert client.get(address(Run, "changelist")).status_code == 200
    act(client, "pause", indexing)
    assert not selectors.progress_of(indexing.dataset_id).paused


@pytest.mark.parametrize("model", OF_DATASETS)
def test_what_is_left_of_a_deleted_dataset_is_not_shown(admin_client: Client, rows: None, model: type[Any]) -> None:
    records = {record.pk for record in model.objects.all()}
    for dataset in Dataset.objects.filter(dataset_id="d0"):
        delete_dataset(dataset)
    assert admin_client.get(address(model, "changelist")).context["cl"].result_count == len(records) // 2
    opened = [admin_client.get(address(model, "change", pk)).status_code for pk in records]
    assert sorted(opened) == [200] * (len(records) // 2) + [302] * (len(records) // 2)
