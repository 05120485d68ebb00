"""Who watches what: the watchers of each dataset, those of the list, and the datasets whose state has to be sent.

A plain data structure. It reads no database, sends nothing and knows no event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from apps.progress.facts import vitals_of

from .rendering import Form, Message, Rendered, RenderedState, RenderRequest
from .watcher import Watcher


@dataclass(slots=True, eq=False)
class WatchedDataset:
    """A dataset's watchers, and the state that they were sent last.

    The first state that a watcher is sent was read after it came: who comes while one is rendered waits for the next.
    """

    watchers: set[Watcher] = field(default_factory=set)
    # Who were sent nothing yet: those who came since the last request to render, and those who are served with it.
    new_watchers: set[Watcher] = field(default_factory=set)
    first_served: set[Watcher] = field(default_factory=set)
    sent: RenderedState | None = None
    sent_messages: dict[Form, Message] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The version that was sent last; -1 where none was."""
        return self.sent.facts.version if self.sent else -1

    def is_outdated(self, key: tuple[str, int] | None, now: datetime) -> bool:
        """Whether the epoch and version ``key`` or the health or silence at ``now`` differs from what was sent.

        Also while a watcher was sent nothing.
        """
        if self.sent is None or key != self.sent.facts.key or self.new_watchers or self.first_served:
            return True
        return vitals_of(self.sent.facts, now) != (self.sent.health, self.sent.silent_workers)

    def render_request(self) -> RenderRequest:
        self.first_served |= self.new_watchers
        self.new_watchers = set()
        return RenderRequest(
            forms=frozenset(watcher.form for watcher in self.watchers),
            new_forms=frozenset(watcher.form for watcher in self.first_served),
            sent=self.sent,
            watchers=len(self.watchers),
        )


class Subscriptions:
    """The watchers of one hub."""

    def __init__(self) -> None:
        self.datasets: dict[int, WatchedDataset] = {}  # by row id; each has a watcher
        self.lists: dict[Watcher, str] = {}  # with the newest dataset that each knows of
        self.new_lists: set[Watcher] = set()  # those of the lists for whom nobody has looked for a newer one yet
        self.pending: set[int] = set()  # row ids of the datasets whose state has to be sent

    @property
    def is_empty(self) -> bool:
        return not self.datasets and not self.lists

    def add(self, dataset_pk: int, watcher: Watcher) -> None:
        """Subscribe a watcher to a dataset. It is sent the current state, also where it was subscribed before."""
        watched = self.datasets.setdefault(dataset_pk, WatchedDataset())
        watched.watchers.add(watcher)
        watched.new_watchers.add(watcher)
        self.pending.add(dataset_pk)

    def message_sent_last(self, dataset_pk: int, form: Form) -> Message | None:
        """Return the message that the watchers of a dataset in this form were sent last; None where there was none."""
        return self.datasets[dataset_pk].sent_messages.get(form)

    def remove(self, dataset_pk: int, watcher: Watcher) -> bool:
        """Unsubscribe a watcher from a dataset. Return whether it was the dataset's last."""
        watched = self.datasets.get(dataset_pk)
        if watched is None:
            return False
        watched.watchers.discard(watcher)
        watched.new_watchers.discard(watcher)
        watched.first_served.discard(watcher)
        if watched.watchers:
            return False
        del self.datasets[dataset_pk]
        return True

    def drop_dataset(self, dataset_pk: int) -> set[Watcher]:
        """Remove a dataset. Return those who watched it."""
        return self.datasets.pop(dataset_pk).watchers

    def mark_changed(self, dataset_pk: int, version: int) -> bool:
        """Mark a dataset to be sent if anyone watches it and ``version`` is news. Return whether it was marked."""
        watched = self.datasets.get(dataset_pk)
        if watched is None or watched.version >= version:
            return False
        self.pending.add(dataset_pk)
        return True

    def mark_outdated(self, versions: Mapping[int, tuple[str, int]], now: datetime) -> None:
        """Mark every dataset that differs from what was sent. ``versions`` leaves out datasets that do not exist."""
        self.pending |= {
            dataset_pk
            for dataset_pk, watched in self.datasets.items()
            if watched.is_outdated(versions.get(dataset_pk), now)
        }

    def take_pending(self) -> dict[int, RenderRequest]:
        """Return what to render of each marked dataset, by row id, and clear the marks."""
        pending, self.pending = self.pending, set()
        return {
            dataset_pk: self.datasets[dataset_pk].render_request()
            for dataset_pk in pending
            if dataset_pk in self.datasets
        }

    def gone_back(self, rendered: Mapping[int, Rendered | None]) -> dict[int, str]:
        """Return the epochs, by row id, of the datasets that are older now than what was sent of them."""
        return {
            dataset_pk: watched.sent.facts.epoch
            for dataset_pk, one in rendered.items()
            if one is not None
            and (watched := self.datasets.get(dataset_pk)) is not None
            and watched.sent is not None
            and one.state.facts.is_older_than(watched.sent.facts)
        }

    def record(self, dataset_pk: int, rendered: Rendered) -> Iterator[tuple[Watcher, Message]]:
        """Take note that the watchers of a dataset are sent ``rendered``. Return who is to be sent which message.

        They are those of this moment. A pair is made when it is asked for: thousands at once would have the garbage
        collector look through all that there is.
        """
        watched = self.datasets[dataset_pk]
        has_changed = not rendered.state.looks_like(watched.sent)
        watched.sent = rendered.state
        if has_changed:
            watched.sent_messages = dict(rendered.updates)
        watched.sent_messages |= rendered.first_messages
        first_served, watched.first_served = watched.first_served, set()
        served = (watched.watchers if has_changed else first_served) - watched.new_watchers
        return (
            (watcher, (rendered.first_messages if watcher in first_served else rendered.updates)[watcher.form])
            for watcher in served
        )

    def dataset_pks_by_identity(self) -> dict[str, set[int]]:
        """Return the row ids of the datasets that each identity watches."""
        watching: dict[str, set[int]] = {}
        for dataset_pk, watched in self.datasets.items():
            for watcher in watched.watchers:
                watching.setdefault(watcher.identity, set()).add(dataset_pk)
        return watching

    def of_identity(self, identity: str, dataset_pks: Iterable[int]) -> list[tuple[int, Watcher]]:
        """Return the subscriptions to these datasets that ``identity`` has, as row id and watcher."""
        return [
            (dataset_pk, watcher)
            for dataset_pk in dataset_pks
            if dataset_pk in self.datasets
            for watcher in self.datasets[dataset_pk].watchers
            if watcher.identity == identity
        ]

    def add_list(self, watcher: Watcher, newest: str) -> None:
        """Subscribe a watcher to datasets that are newer than ``newest``."""
        self.lists[watcher] = newest
        self.new_lists.add(watcher)

    def remove_list(self, watcher: Watcher) -> None:
        self.lists.pop(watcher, None)
        self.new_lists.discard(watcher)

    def take_outdated_lists(self, newest: Mapping[str, str]) -> list[Watcher]:
        """Return the lists that know of another dataset than the ``newest`` that their identity may see.

        They are noted to know of that one. Identities that are left out of ``newest`` were not looked at.
        """
        looked_at = {watcher for watcher in self.lists if watcher.identity in newest}
        self.new_lists -= looked_at
        outdated = [watcher for watcher in looked_at if self.lists[watcher] != newest[watcher.identity]]
        self.lists.update({watcher: newest[watcher.identity] for watcher in outdated})
        return outdated

    def pages(self) -> set[Watcher]:
        """Return the watchers that are open pages."""
        shown = {watcher for one in self.datasets.values() for watcher in one.watchers if watcher.form.is_html}
        return shown | self.lists.keys()
