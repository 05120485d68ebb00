"""What this process knows of the datasets that are polled: their facts, and who may see them.

A plain data structure. It reads no database and knows no event loop. What it says is as fresh as what sockets show: a
change that is announced makes it forget the facts at once, a check of the versions finds every other, and the right to
see is asked for anew every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from apps.progress.facts import Facts

# Facts whose version was not confirmed for so long are not used. The hub confirms them four times a second.
MAX_STATE_AGE_SECONDS: Final = 0.5
# A right that was not confirmed for so long is not used. The hub asks anew every two seconds.
MAX_RIGHT_AGE_SECONDS: Final = 3.0
# After so long a view looks the caller up again, which also notes that a token was used and that a session lives.
MAX_RIGHT_SECONDS: Final = 60.0
# What nobody has asked for since then is forgotten.
UNUSED_SECONDS: Final = 10.0


@dataclass(slots=True)
class _State:
    dataset_pk: int
    facts: Facts | None  # None once they have changed, until they are read again
    confirmed_at: float
    used_at: float


@dataclass(slots=True)
class _Right:
    dataset_pk: int
    given_at: float
    confirmed_at: float
    used_at: float


class Known:
    """The knowledge of one process. All methods belong to the event loop's thread; times are those of ``clock``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}  # by dataset id
        self._rights: dict[tuple[str, str], _Right] = {}  # by identity and dataset id
        self._announced: dict[int, tuple[int, float]] = {}  # the version that was announced last by row id, and when

    @property
    def is_empty(self) -> bool:
        return not self._states

    def note_visible(self, identity: str, found: Mapping[str, int], asked_at: float) -> None:
        """Note that a caller, who was asked about at ``asked_at``, may see these datasets: row ids by dataset id."""
        now = self._clock()
        for dataset_id, dataset_pk in found.items():
            right = self._rights.get((identity, dataset_id))
            is_renewed = right is not None and right.dataset_pk == dataset_pk and self._is_young(right)
            given_at = right.given_at if right is not None and is_renewed else asked_at
            self._rights[identity, dataset_id] = _Right(dataset_pk, given_at, asked_at, now)

    def visible_pks(self, identity: str, dataset_ids: Collection[str]) -> dict[str, int] | None:
        """Return the row ids of datasets that a caller is known to see, by dataset id; None if one of them is not."""
        if not all(self.may_see(identity, dataset_id) for dataset_id in dataset_ids):
            return None
        return {dataset_id: self._rights[identity, dataset_id].dataset_pk for dataset_id in dataset_ids}

    def note(self, identity: str, facts: Facts, asked_at: float) -> None:
        """Note what a view has read for a caller that may see it, who asked at ``asked_at``."""
        self.note_visible(identity, {facts.dataset_id: facts.dataset_pk}, asked_at)
        state = self._states.get(facts.dataset_id)
        if state is None or state.dataset_pk != facts.dataset_pk:
            state = self._states[facts.dataset_id] = _State(facts.dataset_pk, None, asked_at, 0.0)
        state.used_at = self._clock()
        self.note_read(facts, asked_at)

    def note_read(self, facts: Facts, asked_at: float) -> None:
        """Note facts that were read from ``asked_at`` on, where somebody polls them."""
        state = self._states.get(facts.dataset_id)
        announced, _ = self._announced.get(facts.dataset_pk, (-1, 0.0))
        if state is None or state.dataset_pk != facts.dataset_pk or facts.version < announced:
            return
        if state.facts is None or state.confirmed_at <= asked_at:
            state.facts, state.confirmed_at = facts, asked_at

    def may_see(self, identity: str, dataset_id: str) -> bool:
        """Whether the caller is known to see the dataset that has this id."""
        right = self._rights.get((identity, dataset_id))
        now = self._clock()
        if right is None or now - right.confirmed_at > MAX_RIGHT_AGE_SECONDS or not self._is_young(right):
            return False
        right.used_at = now
        return True

    def facts_of(self, identity: str, dataset_id: str) -> Facts | None:
        """Return the facts of a dataset, where they and the caller's right to see them are known; else None."""
        state = self._states.get(dataset_id)
        now = self._clock()
        if state is None or not self.may_see(identity, dataset_id):
            return None
        if self._rights[identity, dataset_id].dataset_pk != state.dataset_pk:
            return None  # it was deleted, and another one made under its id
        state.used_at = now
        return state.facts if now - state.confirmed_at <= MAX_STATE_AGE_SECONDS else None

    def on_change(self, dataset_pk: int, version: int) -> None:
        """Forget the facts of a dataset that has changed."""
        self._announced[dataset_pk] = version, self._clock()
        for state in self._states.values():
            if state.dataset_pk == dataset_pk and state.facts is not None and state.facts.version < version:
                state.facts = None

    def forget(self, dataset_pk: int) -> None:
        """Forget a dataset that is gone, and who could see it."""
        self._states = {key: one for key, one in self._states.items() if one.dataset_pk != dataset_pk}
        self._rights = {key: right for key, right in self._rights.items() if right.dataset_pk != dataset_pk}

    # --- What the hub asks the database ------------------------------------------------------------------------------

    @property
    def dataset_pks(self) -> set[int]:
        """The row ids of the datasets that are polled."""
        return {state.dataset_pk for state in self._states.values()}

    def confirm_states(self, versions: Mapping[int, tuple[str, int]], asked_at: float) -> None:
        """Keep the facts that have the epoch and version in ``versions``, read from ``asked_at`` on; forget others."""
        oldest = self._clock() - UNUSED_SECONDS
        self._states = {key: state for key, state in self._states.items() if state.used_at > oldest}
        for state in self._states.values():
            if state.confirmed_at > asked_at or state.facts is None:
                continue  # noted since then
            if versions.get(state.dataset_pk) == state.facts.key:
                state.confirmed_at = asked_at
            else:
                state.facts = None
        self._announced = {pk: (version, at) for pk, (version, at) in self._announced.items() if at > oldest}

    def take_rights(self) -> dict[str, set[int]]:
        """Return whom to ask about: the row ids that each identity may see. Forgets what nobody has used."""
        oldest = self._clock() - UNUSED_SECONDS
        self._rights = {
            key: right for key, right in self._rights.items() if right.used_at > oldest and self._is_young(right)
        }
        asked: dict[str, set[int]] = {}
        for (identity, _), right in self._rights.items():
            asked.setdefault(identity, set()).add(right.dataset_pk)
        return asked

    def confirm_rights(self, asked: Mapping[str, set[int]], revoked: Mapping[str, set[int]], asked_at: float) -> None:
        """Confirm the rights that were ``asked`` about from ``asked_at`` on, without those that were ``revoked``."""
        for (identity, dataset_id), right in list(self._rights.items()):
            if right.confirmed_at > asked_at:
                continue
            if right.dataset_pk in revoked.get(identity, ()):
                del self._rights[identity, dataset_id]
            elif right.dataset_pk in asked.get(identity, ()):
                right.confirmed_at = asked_at

    def _is_young(self, right: _Right) -> bool:
        return self._clock() - right.given_at < MAX_RIGHT_SECONDS
