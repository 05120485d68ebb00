"""The addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LoginView
from django.urls import path, register_converter
from django.urls.converters import IntConverter, StringConverter

from apps.datasets.dataset_ids import DATASET_ID_PATTERN

from .log_in import LogInForm
from .views import (
    batches,
    client,
    control,
    dataset,
    datasets,
    duplicates,
    edit,
    health,
    notifications,
    partials,
    playground,
    runs,
    samples,
    signs,
    steering,
    tokens,
)
from .views.sign_in_link import sign_in_link
from .views.sign_out import SignOutView


class DatasetIdConverter(StringConverter):
    """A dataset's ID in an address. Anything that cannot be an ID is a 404 without a query."""

    regex = DATASET_ID_PATTERN


class NumberConverter(IntConverter):
    """The number of a run, no higher than the database stores."""

    regex = "[1-9][0-9]{0,8}"


register_converter(DatasetIdConverter, "dataset_id")
register_converter(NumberConverter, "number")

log_in = LoginView.as_view(authentication_form=LogInForm, redirect_authenticated_user=True)

DATASET = "datasets/<dataset_id:dataset_id>/"
BATCH = "batches/<dataset_id:batch_id>/"
SAMPLE = DATASET + "samples/<int:pk>/"

urlpatterns = [
    path("", datasets.index, name="datasets"),
    path("health/", health.health, name="health"),
    path("favicon.ico", signs.favicon),
    path("icons/<slug:name>.svg", signs.icon, name="icon"),
    path("new/", datasets.new, name="dataset-new"),
    path(DATASET, dataset.detail, name="dataset"),
    path(DATASET + "badge.svg", signs.badge, name="dataset-badge"),
    path(DATASET + "workers/", dataset.workers, name="dataset-workers"),
    path(DATASET + "progress/header/", partials.header, name="progress-header"),
    path(DATASET + "progress/bar/", partials.bar, name="progress-bar"),
    path(DATASET + "runs/<number:number>/", runs.detail, name="run"),
    path(DATASET + "runs/<number:number>/run.<slug:kind>", runs.export, name="run-export"),
    path(DATASET + "process/", steering.process, name="dataset-process"),
    path("control/", control.control_many, name="control-many"),
    path("control/cancel/", control.cancel_many, name="cancel-many"),
    path(DATASET + "control/", control.control, name="dataset-control"),
    path(DATASET + "cancel/", control.cancel, name="dataset-cancel"),
    path(DATASET + "edit/", edit.edit, name="dataset-edit"),
    path(DATASET + "duplicates/", duplicates.index, name="dataset-duplicates"),
    path(DATASET + "files/", steering.files, name="dataset-files"),
    path(DATASET + "schedule/", steering.schedule, name="dataset-schedule"),
    path(DATASET + "missing/forget/", steering.forget_missing, name="dataset-forget-missing"),
    path(DATASET + "delete/", steering.delete, name="dataset-delete"),
    path(SAMPLE, samples.detail, name="sample"),
    path(SAMPLE + "thumbnail/", samples.thumbnail, name="sample-thumbnail"),
    path(SAMPLE + "original/", samples.original, name="sample-original"),
    path("batches/", batches.index, name="batches"),
    path("new/batch/", batches.new, name="batch-new"),
    path(BATCH, batches.detail, name="batch"),
    path(BATCH + "control/", batches.control, name="batch-control"),
    path(BATCH + "edit/", batches.edit, name="batch-edit"),
    path(BATCH + "delete/", batches.delete, name="batch-delete"),
    path("client/<str:name>", client.wheel, name="client-wheel"),
    path("notifications/", notifications.index, name="notifications"),
    path("notifications/recent/", notifications.recent, name="notifications-recent"),
    path("notifications/<int:pk>/test/", notifications.test, name="notification-test"),
    path("notifications/<int:pk>/delete/", notifications.delete, name="notification-delete"),
    path("playground/", playground.index, name="playground"),
    path("playground/by-hand/", playground.by_hand, name="playground-by-hand"),
    path("playground/simulate/", playground.simulate, name="playground-simulate"),
    path("playground/stop/", playground.stop, name="playground-stop"),
    path("tokens/", tokens.index, name="tokens"),
    path("tokens/<int:pk>/revoke/", tokens.revoke, name="token-revoke"),
    path(
        "accounts/login/",
        log_in,
        name="login",
    ),
    path("accounts/link/<slug:number>/<slug:token>/", sign_in_link, name="sign-in-link"),
    path("accounts/logout/", SignOutView.as_view(), name="logout"),
]
