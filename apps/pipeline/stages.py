"""The stages of a run of the built-in pipeline."""

from __future__ import annotations

from typing import Final

from apps.progress.services import StagePlan
from apps.progress.transitions import State

INDEX: Final = "index"
EMBED: Final = "embed"

# The weights were measured on photographs: most of the time goes into decoding images and making thumbnails.
STAGES: Final = (
    StagePlan(INDEX, counts_as=State.INDEXING, unit="files", weight=4.0),
    StagePlan(EMBED, counts_as=State.EMBEDDING, unit="samples", weight=1.0),
)
