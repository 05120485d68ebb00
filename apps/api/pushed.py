"""What sockets and webhooks send: schemas of OpenAPI, from which clients make types. Nothing here is sent.

Docstrings and descriptions of this module are the text of the OpenAPI document.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from apps.batches.progress import BatchProgress
from apps.progress.events import EventKind
from apps.progress.snapshot import DatasetProgress, Moment

from .bodies import UpdateBody

REF_TEMPLATE: Final = "#/components/schemas/{model}"


# --- Sockets ----------------------------------------------------------------------------------------------------------


class SocketCommand(BaseModel):
    """A message to a socket of `/api/datasets/{dataset_id}/progress/ws` or `/api/progress/ws`."""

    type: Literal["subscribe", "unsubscribe"]
    dataset_id: str | None = Field(None, description="On the socket of one dataset, its id.")
    dataset_ids: list[str] | None = Field(None, description="On the socket of many: several, in place of `dataset_id`.")


class BatchSocketCommand(BaseModel):
    """A message to the socket of a batch, `/api/batches/{batch_id}/progress/ws`."""

    type: Literal["subscribe", "unsubscribe"]
    batch_id: str


class ProgressUpdate(BaseModel):
    """What the sockets of datasets send: at once after `subscribe`, and after every change."""

    type: Literal["progress_update"]
    payload: DatasetProgress


class BatchProgressUpdate(BaseModel):
    """What the socket of a batch sends: at once after `subscribe`, and after every change."""

    type: Literal["progress_update"]
    payload: BatchProgress


class SocketError(BaseModel):
    """What a socket answers to a message that it cannot obey."""

    type: Literal["error"]
    message: str = Field(description="For people.")


# --- Webhooks ---------------------------------------------------------------------------------------------------------


class DatasetEventData(BaseModel):
    """A run of a dataset."""

    dataset_id: str
    run: int = Field(description="Its number within the dataset.")
    link: str | None = Field(description="The page of the dataset; null without `SITE_URL`.")
    progress: DatasetProgress = Field(description="As it was when it happened.")


class DatasetEvent(BaseModel):
    """Something happened to a run of a dataset."""

    type: Literal[
        "dataset.ready", "dataset.failed", "dataset.cancelled", "dataset.lost", "dataset.back", "dataset.failures"
    ]
    timestamp: Moment = Field(description="When it happened.")
    data: DatasetEventData


class BatchEventData(BaseModel):
    """A batch, as whoever is told may see it."""

    batch_id: str
    link: str | None = Field(description="The page of the batch; null without `SITE_URL`.")
    progress: BatchProgress = Field(description="As it was when it ended.")


class BatchEvent(BaseModel):
    """All datasets of a batch are done."""

    type: Literal["batch.ready", "batch.failed", "batch.cancelled"]
    timestamp: Moment = Field(description="When it ended.")
    data: BatchEventData


class DigestedEvent(BaseModel):
    """One of the events that a digest lists."""

    type: str = Field(description="As it would have been by itself.")
    timestamp: Moment
    dataset_id: str | None = Field(None, description="Of the event of a dataset.")
    run: int | None = Field(None, description="Of the event of a dataset.")
    batch_id: str | None = Field(None, description="Of the event of a batch.")


class DigestData(BaseModel):
    """Many events."""

    counts: dict[EventKind, int] = Field(description="How many events of each kind, all of them counted.")
    events: list[DigestedEvent] = Field(description="The first 100.")
    link: str | None = Field(description="The list of datasets; null without `SITE_URL`.")


class Digest(BaseModel):
    """More events in a minute than are told one by one."""

    type: Literal["digest"]
    timestamp: Moment = Field(description="When the last of them happened.")
    data: DigestData


class TestMessageData(BaseModel):
    """Nothing."""


class TestMessage(BaseModel):
    """Somebody pressed *Send a test*."""

    type: Literal["test"]
    timestamp: Moment
    data: TestMessageData


_SENT: Final[list[type[BaseModel]]] = [
    ProgressUpdate, BatchProgressUpdate, SocketError, DatasetEvent, BatchEvent, Digest, TestMessage,
]  # fmt: skip
_TAKEN: Final[list[type[BaseModel]]] = [SocketCommand, BatchSocketCommand, UpdateBody]

_HEADERS: Final = {
    "webhook-id": "What tells the message from every other; the same whenever it is sent again.",
    "webhook-timestamp": "When it was sent, in seconds since 1970.",
    "webhook-signature": "Of id, timestamp and body, as Standard Webhooks says.",
}


def schemas() -> dict[str, Any]:
    """Return the schemas of all that is pushed, of what sockets take, and of one of many updates, by name."""
    models = [(model, "serialization") for model in _SENT] + [(model, "validation") for model in _TAKEN]
    described: dict[str, Any] = models_json_schema(models, ref_template=REF_TEMPLATE)[1]["$defs"]  # type: ignore[arg-type]  # a list of either mode
    return described


def webhooks() -> dict[str, Any]:
    """Return the section ``webhooks`` of OpenAPI."""
    events = {"dataset": DatasetEvent, "batch": BatchEvent, "digest": Digest, "test": TestMessage}
    return {name: {"post": _webhook(name, model)} for name, model in events.items()}


def _webhook(name: str, model: type[BaseModel]) -> dict[str, Any]:
    body = {"schema": {"$ref": REF_TEMPLATE.format(model=model.__name__)}}
    headers = [
        {"in": "header", "name": header, "required": True, "schema": {"type": "string"}, "description": words}
        for header, words in _HEADERS.items()
    ]
    return {
        "operationId": f"webhook_{name}",
        "summary": (model.__doc__ or "").strip(),
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"2XX": {"description": "Delivered. Any other answer is tried again, but for 410."}},
    }
