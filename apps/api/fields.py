"""Types of single values: parameters of addresses, and fields of bodies and answers.

Bodies are strict: ``"45"`` and ``true`` are no numbers. Descriptions are a part of the OpenAPI document.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from ninja import Path, Query
from pydantic import Field, StringConstraints, WithJsonSchema

from apps.datasets.dataset_ids import DATASET_ID_PATTERN
from apps.progress.origin import LINK_LENGTH, NAME_LENGTH
from apps.progress.reports import MAX_COUNT

MAX_TEXT: Final = 100_000  # characters; the services keep the beginning

DatasetId = Annotated[
    str,
    # Described, not validated: an id that no dataset can have is unknown like any other, so 404 and not 422.
    WithJsonSchema({"type": "string", "pattern": f"^{DATASET_ID_PATTERN}$"}),
    Path(description="The dataset's id."),
]
BatchId = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": f"^{DATASET_ID_PATTERN}$"}),
    Path(description="The batch's id."),
]
RunNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The run's number within the dataset.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]


def _line(max_length: int, min_length: int = 1) -> Any:
    """A line without control characters: names stand on pages, in logs and in every database."""
    return StringConstraints(strict=True, min_length=min_length, max_length=max_length, pattern=r"^[^\x00-\x1f\x7f]*$")


Count = Annotated[int, Field(ge=0, le=MAX_COUNT, strict=True)]
Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT)]
Number = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
Name = Annotated[str, _line(64)]
Worker = Annotated[str, _line(128)]
IdempotencyKey = Annotated[str, _line(128)]
Label = Annotated[str, _line(100, min_length=0)]
Unit = Annotated[str, _line(32)]
Origin = Annotated[str, _line(NAME_LENGTH, min_length=0)]
Link = Annotated[str, StringConstraints(strict=True, max_length=LINK_LENGTH, pattern=r"^https?://[^\x00-\x20\x7f]+$")]
# Of a dataset or a batch, in a body.
Id = Annotated[str, StringConstraints(strict=True, pattern=f"^{DATASET_ID_PATTERN}$")]
Visibility = Literal["public", "private"]
Role = Literal["view", "report", "steer"]
UserName = Annotated[str, _line(150)]
Weight = Annotated[float, Field(ge=0.001, le=1e6, strict=True)]
