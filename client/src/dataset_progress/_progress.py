"""`Progress`, the state of a dataset as programs read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._errors import Unreachable

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """The progress of a dataset at one moment.

    ``state``: ``pending``, ``indexing``, ``embedding``, ``ready`` or ``error``. ``current``, ``total``: items of the
    stage under way; a total of 0 is unknown. ``percent``: of the whole run, 0..100, None if unknown. ``version``: grows
    with every change; versions of two ``epoch`` are not compared. ``details``: the whole `DatasetProgress` object of
    the API.
    """

    dataset_id: str
    state: str = "pending"
    current: int = 0
    total: int = 0
    message: str = ""
    error: str | None = None
    percent: float | None = None
    version: int = 0
    epoch: str = ""
    details: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def planned(self) -> int:
        """Of how many items it should have been. Higher than ``total`` where the run ended before it had done all."""
        stage = self.details.get("stage") or {}
        return int(stage.get("planned", self.total))

    @property
    def is_finished(self) -> bool:
        """Whether the dataset is ready or has failed."""
        return self.state in ("ready", "error")

    def is_older_than(self, other: Progress) -> bool:
        """Whether the version is lower, of the same epoch."""
        return self.epoch == other.epoch and self.version < other.version

    @classmethod
    def parse(cls, answer: Any) -> Progress:
        """Parse a `DatasetProgress` object. Raises `Unreachable` if ``answer`` is none."""
        try:
            return cls(
                dataset_id=str(answer["dataset_id"]), state=str(answer["state"]), current=int(answer["current"]),
                total=int(answer["total"]), message=str(answer["message"]), error=answer["error"],
                percent=answer.get("percent"), version=int(answer["version"]),
                epoch=str(answer.get("epoch", "")), details=answer,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"the server does not answer as Dataset Progress does: {error!r}") from error
