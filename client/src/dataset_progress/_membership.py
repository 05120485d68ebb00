"""How a process takes part in a run: it begins it, finds it by its key, or joins the programs that report it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import _values as values
from ._api import Api
from ._errors import Refused
from ._inherit import delay_forks
from ._origin import origin
from ._presence import Dead, Presence
from ._settings import RunSettings

DIED = "The program was killed, or it crashed."


@dataclass(frozen=True)
class Giver:
    """The process that gave its run to this one.

    ``name``: the name under which it joins. ``run``: the number of the run, if it knew it.
    """

    name: str
    run: int | None


class Membership:
    """The part of one process in a run.

    ``name``: the name under which it joins. A process that was given its run joins in the name of the one that gave it,
    which leaves. ``shares``: whether it joins whoever reports the dataset; else it begins or finds its own run by key,
    and joins only where the server says that a run with another key is open, because nobody may end a run that others
    report. ``leaves``: whether it has to leave the run.
    """

    def __init__(self, settings: RunSettings, worker: str, *, shares: bool, giver: Giver | None) -> None:
        self.name = worker if giver is None else giver.name
        self.shares = shares
        self.leaves = False
        self._settings = settings
        self._giver = giver
        self._about = f"{settings.server.url} {settings.dataset_id}"
        self._presence: Presence | None = None

    def begin(self, api: Api) -> int:
        """Begin, find or join the run, and return its number. Raises `ProgressError`."""
        if self._giver is not None:
            return self._find(api)[0] if self._giver.run is None else self._giver.run
        # A run with a key goes on although its programs have died, so this process is in it before they leave.
        if not self._settings.key.is_final:
            self._report_dead(api)
        run, has_joined = self._find(api)
        if self._settings.key.is_final:
            self._report_dead(api)
        self.leaves = has_joined
        if self.leaves and self._presence is None:
            with delay_forks():
                self._presence = Presence(self._about, self._last_update(run, error=DIED))
        return run

    def _find(self, api: Api) -> tuple[int, bool]:
        """Return the number of the run, and whether it was joined."""
        body = {
            "stages": self._settings.stages, "idempotency_key": self._settings.key.value, **self._settings.sharing,
            **origin(self._settings.link),
        }  # fmt: skip
        if self._settings.batch is not None:
            body["batch"] = self._settings.batch
        joining = {**body, "join": True, "worker": self.name}
        if not self.shares:
            try:
                return api.begin_run(self._settings.dataset_id, body).number, False
            except Refused as refused:
                if refused.code != "run_unfinished":
                    raise
            begun = api.begin_run(self._settings.dataset_id, joining)
            return begun.number, begun.was_joined
        begun = api.begin_run(self._settings.dataset_id, joining)
        if begun.is_finished and not self._settings.key.is_final:  # by an earlier program of the same job
            joining["idempotency_key"] = values.identifier(f"{self._settings.key.value} {self.name}")
            begun = api.begin_run(self._settings.dataset_id, joining)
        return begun.number, True

    def _report_dead(self, api: Api) -> None:
        """Let the programs of this machine leave that have died without doing so.

        With a key this process goes on with their work, so their death is no failure.
        """
        with delay_forks():
            found = Dead(self._about)
        with found as dead:
            updates = [update for update in dead.reports if update.get("worker") != self.name]
            for update in updates if self._settings.key.is_final else ():
                if update.get("error") == DIED:
                    del update["error"]
                    update["state"] = "ready"
            if updates:
                api.report(updates)

    def _last_update(self, run: int, **ending: Any) -> dict[str, Any]:
        dataset_id = self._settings.dataset_id
        return {"dataset_id": dataset_id, "run": run, "worker": self.name, "leave": True, **ending}

    # --- The end -----------------------------------------------------------------------------------------------------

    def note_ending(self, run: int | None, ending: dict[str, Any]) -> None:
        """Remember how this process ends, in case that it cannot say so."""
        if self._presence is not None and run is not None:
            self._presence.change(self._last_update(run, **ending))

    def end(self) -> None:
        """Forget about it: the server knows that this process has left."""
        if self._presence is not None:
            self._presence.end()
