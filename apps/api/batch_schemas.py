"""What comes in and goes out about batches.

Docstrings and descriptions of this module are the text of the OpenAPI document.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from apps.batches.models import Batch
from apps.batches.progress import BatchProgress
from apps.progress.snapshot import Moment

from .fields import Id

MOST_AT_ONCE: Final = 1000
MOST_LIMIT: Final = 10_000

Ids = Annotated[list[Id], Field(max_length=MOST_AT_ONCE)]
BatchName = Annotated[str, StringConstraints(strict=True, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
BatchLimit = Annotated[int, Field(ge=0, le=MOST_LIMIT, strict=True)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewBatchBody(_Body):
    """A batch that is to be created."""

    batch_id: Id
    name: BatchName = Field("", description="Shown in place of the id.")
    limit: BatchLimit = Field(
        0, description="How many of its datasets this site's workers process at the same time; 0: any number."
    )
    datasets: Ids = Field([], description="The ids of its datasets. More are added later.")


class BatchChangeBody(_Body):
    """What is to be changed of a batch. What is left out stays."""

    name: BatchName | None = None
    limit: BatchLimit | None = None
    add: Ids = Field([], description="Datasets that are to be in it. One that is in it already stays.")
    remove: Ids = Field([], description="Datasets that are not to be in it. Their runs go on.")


class BatchOut(BaseModel):
    """A batch, and how far its datasets are: those that you may see."""

    batch_id: str
    name: str = Field(description="Empty where it has none beside its id.")
    owner: str = Field(description="A user name; empty where it has no owner.")
    limit: int
    created_at: Moment
    progress: BatchProgress

    @classmethod
    def of(cls, batch: Batch, progress: BatchProgress) -> Self:
        return cls(
            batch_id=batch.batch_id, name=batch.name, owner=batch.owner.get_username() if batch.owner else "",
            limit=batch.limit, created_at=batch.created_at, progress=progress,
        )  # fmt: skip


class BatchRow(BaseModel):
    """A batch in the list."""

    batch_id: str
    name: str
    limit: int
    datasets: int = Field(description="How many datasets you may see of it.")
    created_at: Moment

    @classmethod
    def of(cls, batch: Batch, datasets: int) -> Self:
        return cls(
            batch_id=batch.batch_id, name=batch.name, limit=batch.limit, datasets=datasets, created_at=batch.created_at
        )


class Batches(BaseModel):
    """Batches in the order of their ids."""

    batches: list[BatchRow]
    next: str | None = Field(description="The `after` that asks for what follows; null at the end.")
