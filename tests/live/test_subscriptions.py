"""Who watches what, and what has to be sent to whom. No loop and no database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from apps.live.rendering import Form, Message, Rendered, RenderedState, text_message
from apps.live.subscriptions import Subscriptions
from apps.live.watcher import Watcher
from apps.progress.facts import Facts
from apps.progress.health import Health
from apps.progress.models import Run
from apps.progress.transitions import State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CATS, DOGS = 1, 2


async def _send(message: Message) -> None:
    raise AssertionError("a data structure sends nothing")


def _on_drop(dataset_pk: int) -> None:
    raise AssertionError("a data structure drops nothing")


def watcher(form: Form = Form.JSON, identity: str = "") -> Watcher:
    return Watcher(form, _send, _on_drop, identity)


def working_run(heartbeat_at: datetime = NOW) -> Run:
    return Run(number=1, state=State.INDEXING, updated_at=NOW, heartbeat_at=heartbeat_at, progressed_at=heartbeat_at)


def rendered(
    version: int, *forms: Form, health: Health | None = None, new: tuple[Form, ...] = (), run: Run | None = None,
    epoch: str = "one",
) -> Rendered:  # fmt: skip
    """Version ``version`` of a dataset: in ``forms`` for those who know an earlier state, in ``new`` for the others."""
    return Rendered(
        RenderedState(Facts(CATS, "cats", NOW, epoch, version, run), health),
        {form: text_message(f"update {form}") for form in forms},
        {form: text_message(f"first {form}") for form in new},
    )


@pytest.fixture
def subscriptions() -> Subscriptions:
    return Subscriptions()


def texts(deliveries: Iterable[tuple[Watcher, Message]]) -> dict[Watcher, str]:
    sent = list(deliveries)
    assert len(dict(sent)) == len(sent)
    return {watcher: message["text"] for watcher, message in sent}


def subscribed(subscriptions: Subscriptions, *watchers: Watcher, version: int = 1) -> None:
    """Subscribe watchers to the cats, and record that they were sent a version."""
    for one in watchers:
        subscriptions.add(CATS, one)
    subscriptions.take_pending()
    subscriptions.record(CATS, rendered(version, new=tuple(Form)))


def test_new_watcher_is_sent_a_first_message_of_its_form(subscriptions: Subscriptions) -> None:
    reader, page = watcher(), watcher(Form.PANEL)
    subscriptions.add(CATS, reader)
    subscriptions.add(CATS, page)
    request = subscriptions.take_pending()[CATS]
    assert request.forms == request.new_forms == {Form.JSON, Form.PANEL}
    assert (request.sent, request.watchers) == (None, 2)
    deliveries = subscriptions.record(CATS, rendered(1, new=(Form.JSON, Form.PANEL)))
    assert texts(deliveries) == {reader: "first json", page: "first panel"}
    assert not subscriptions.pending


def test_those_who_know_the_state_are_sent_the_update_and_a_new_one_the_first_message(
    subscriptions: Subscriptions,
) -> None:
    old, new = watcher(), watcher()
    subscribed(subscriptions, old)
    subscriptions.add(CATS, new)
    request = subscriptions.take_pending()[CATS]
    assert request.new_forms == {Form.JSON}
    assert request.sent == rendered(1).state
    deliveries = subscriptions.record(CATS, rendered(2, Form.JSON, new=(Form.JSON,)))
    assert texts(deliveries) == {old: "update json", new: "first json"}


def test_state_that_was_sent_is_sent_to_new_watchers_alone(subscriptions: Subscriptions) -> None:
    old, new = watcher(), watcher()
    subscribed(subscriptions, old)
    subscriptions.add(CATS, new)
    subscriptions.take_pending()
    assert texts(subscriptions.record(CATS, rendered(1, new=(Form.JSON,)))) == {new: "first json"}
    subscriptions.add(CATS, old)  # again
    subscriptions.take_pending()
    assert texts(subscriptions.record(CATS, rendered(1, new=(Form.JSON,)))) == {old: "first json"}


def test_another_health_is_sent_without_a_new_version(subscriptions: Subscriptions) -> None:
    reader = watcher()
    subscribed(subscriptions, reader)
    assert texts(subscriptions.record(CATS, rendered(1, Form.JSON, health=Health.SLOW))) == {reader: "update json"}
    assert texts(subscriptions.record(CATS, rendered(1, health=Health.SLOW))) == {}


@pytest.mark.parametrize("form", [Form.JSON, Form.ROW])
def test_what_was_read_before_a_watcher_came_is_not_sent_to_it(subscriptions: Subscriptions, form: Form) -> None:
    reader, late = watcher(), watcher(form)
    subscribed(subscriptions, reader)
    subscriptions.take_pending()
    subscriptions.add(CATS, late)  # while the others are rendered
    assert texts(subscriptions.record(CATS, rendered(2, Form.JSON, new=(Form.JSON,)))) == {reader: "update json"}
    assert subscriptions.take_pending()[CATS].new_forms == {form}
    assert texts(subscriptions.record(CATS, rendered(2, new=(form,)))) == {late: f"first {form}"}


def test_new_watcher_is_served_although_the_first_rendering_failed(subscriptions: Subscriptions) -> None:
    new = watcher()
    subscriptions.add(CATS, new)
    subscriptions.take_pending()  # the database does not answer
    subscriptions.pending.add(CATS)
    assert subscriptions.take_pending()[CATS].new_forms == {Form.JSON}
    assert texts(subscriptions.record(CATS, rendered(1, new=(Form.JSON,)))) == {new: "first json"}


def test_older_state_of_the_same_epoch_has_gone_back(subscriptions: Subscriptions) -> None:
    subscribed(subscriptions, watcher(), version=5)
    assert subscriptions.gone_back({CATS: rendered(4), DOGS: rendered(1)}) == {CATS: "one"}
    for one in (rendered(5), rendered(6), rendered(4, epoch="two"), None):
        assert subscriptions.gone_back({CATS: one}) == {}


def test_lower_version_of_another_epoch_is_sent(subscriptions: Subscriptions) -> None:
    reader = watcher()
    subscribed(subscriptions, reader, version=5)
    subscriptions.mark_outdated({CATS: ("two", 5)}, NOW)
    assert subscriptions.take_pending().keys() == {CATS}
    assert texts(subscriptions.record(CATS, rendered(4, Form.JSON, epoch="two"))) == {reader: "update json"}


def test_change_is_pending_where_it_is_watched_and_news(subscriptions: Subscriptions) -> None:
    subscribed(subscriptions, watcher(), version=5)
    assert not subscriptions.mark_changed(DOGS, 9)
    assert not subscriptions.mark_changed(CATS, 5)
    assert not subscriptions.pending
    assert subscriptions.mark_changed(CATS, 6)
    assert subscriptions.take_pending().keys() == {CATS}
    assert subscriptions.take_pending() == {}


def test_check_marks_other_versions_and_datasets_that_are_gone(subscriptions: Subscriptions) -> None:
    subscribed(subscriptions, watcher(), version=5)
    subscriptions.mark_outdated({CATS: ("one", 5), DOGS: ("one", 9)}, NOW)
    assert not subscriptions.pending
    for versions in ({CATS: ("one", 6)}, {CATS: ("one", 4)}, {}):
        subscriptions.mark_outdated(versions, NOW)
        assert subscriptions.take_pending().keys() == {CATS}


def test_check_marks_a_dataset_whose_new_watcher_was_sent_nothing(subscriptions: Subscriptions) -> None:
    """The state could not be encoded for it, though others were sent it before."""
    subscribed(subscriptions, watcher(), version=5)
    subscriptions.add(CATS, watcher(Form.PANEL))
    subscriptions.take_pending()
    subscriptions.mark_outdated({CATS: ("one", 5)}, NOW)
    request = subscriptions.take_pending()[CATS]
    assert request.new_forms == {Form.PANEL}


def test_check_marks_a_run_whose_health_has_changed(subscriptions: Subscriptions) -> None:
    subscriptions.add(CATS, watcher())
    subscriptions.take_pending()
    subscriptions.record(CATS, rendered(1, new=(Form.JSON,), health=Health.LIVE, run=working_run()))
    subscriptions.mark_outdated({CATS: ("one", 1)}, NOW + timedelta(seconds=1))
    assert not subscriptions.pending
    subscriptions.mark_outdated({CATS: ("one", 1)}, NOW + timedelta(days=1))
    assert subscriptions.pending == {CATS}


def test_dataset_is_forgotten_with_its_last_watcher(subscriptions: Subscriptions) -> None:
    one, other = watcher(), watcher()
    subscribed(subscriptions, one, other)
    assert not subscriptions.remove(CATS, one)
    assert not subscriptions.remove(CATS, one)
    assert not subscriptions.remove(DOGS, one)
    assert not subscriptions.is_empty
    subscriptions.mark_changed(CATS, 2)
    assert subscriptions.remove(CATS, other)
    assert subscriptions.is_empty
    assert subscriptions.take_pending() == {}
    subscriptions.add(CATS, one)
    assert subscriptions.take_pending()[CATS].sent is None


def test_dropped_dataset_is_forgotten_with_all_its_watchers(subscriptions: Subscriptions) -> None:
    one, other = watcher(), watcher()
    subscribed(subscriptions, one, other)
    assert subscriptions.drop_dataset(CATS) == {one, other}
    assert subscriptions.is_empty
    assert not subscriptions.mark_changed(CATS, 2)


def test_subscriptions_of_an_identity(subscriptions: Subscriptions) -> None:
    mine, anyone = watcher(identity="me"), watcher()
    for dataset_pk in (CATS, DOGS):
        subscriptions.add(dataset_pk, mine)
    subscriptions.add(CATS, anyone)
    assert subscriptions.dataset_pks_by_identity() == {"me": {CATS, DOGS}, "": {CATS}}
    assert subscriptions.of_identity("me", [CATS, 3]) == [(CATS, mine)]
    assert subscriptions.of_identity("", [CATS, DOGS]) == [(CATS, anyone)]


def test_list_is_outdated_once_for_each_newest_dataset(subscriptions: Subscriptions) -> None:
    early, late = watcher(Form.ROW), watcher(Form.ROW)
    subscriptions.add_list(early, "1.0")
    subscriptions.add_list(late, "2.0")
    assert not subscriptions.is_empty
    assert subscriptions.new_lists == {early, late}
    assert subscriptions.take_outdated_lists({"": "2.0"}) == [early]
    assert subscriptions.new_lists == set()
    assert subscriptions.take_outdated_lists({"": "2.0"}) == []
    assert set(subscriptions.take_outdated_lists({"": "3.0"})) == {early, late}
    mine = watcher(Form.ROW, "me")
    subscriptions.add_list(mine, "3.0")
    assert subscriptions.take_outdated_lists({"": "3.0"}) == []
    assert subscriptions.new_lists == {mine}
    assert subscriptions.take_outdated_lists({"": "3.0", "me": "4.0"}) == [mine]
    for one in (early, late, late, mine):
        subscriptions.remove_list(one)
    assert subscriptions.is_empty


def test_pages_are_those_who_read_html(subscriptions: Subscriptions) -> None:
    reader, panel, row, empty_list = watcher(), watcher(Form.PANEL), watcher(Form.ROW), watcher(Form.ROW)
    for one in (reader, panel, row):
        subscriptions.add(CATS, one)
    subscriptions.add_list(row, "")
    subscriptions.add_list(empty_list, "")
    assert subscriptions.pages() == {panel, row, empty_list}
