"""What a process knows of polled datasets is forgotten when it may be wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.utils import timezone

from apps.live.known import MAX_RIGHT_AGE_SECONDS, MAX_RIGHT_SECONDS, MAX_STATE_AGE_SECONDS, UNUSED_SECONDS, Known
from apps.progress.facts import Facts

CATS = Facts(7, "cats", timezone.now(), "epoch", 3)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> Known:
    """Knows that ``ada`` may see CATS."""
    known = Known(clock)
    known.note("ada", CATS, clock.now)
    return known


def test_only_those_are_known_who_were_shown_it(known: Known) -> None:
    assert known.facts_of("ada", "cats") == CATS
    assert known.facts_of("eve", "cats") is None
    assert known.facts_of("ada", "dogs") is None


def test_facts_that_were_not_confirmed_are_not_used(known: Known, clock: Clock) -> None:
    clock.now += MAX_STATE_AGE_SECONDS - 0.1
    known.confirm_states({7: CATS.key}, clock.now)
    clock.now += MAX_STATE_AGE_SECONDS - 0.1
    assert known.facts_of("ada", "cats") == CATS
    clock.now += 0.2
    assert known.facts_of("ada", "cats") is None


@pytest.mark.parametrize("versions", [{}, {7: ("epoch", 4)}, {7: ("another", 3)}])
def test_facts_that_differ_from_the_database_are_forgotten(
    known: Known, clock: Clock, versions: dict[int, tuple[str, int]]
) -> None:
    known.confirm_states(versions, clock.now)
    assert known.facts_of("ada", "cats") is None


def test_a_change_ends_what_was_known_and_what_was_read_before_it(known: Known, clock: Clock) -> None:
    known.on_change(7, 4)
    assert known.facts_of("ada", "cats") is None
    known.note("ada", CATS, clock.now)  # by a view that had read before
    assert known.facts_of("ada", "cats") is None
    known.note("ada", replace(CATS, version=4), clock.now)
    assert known.facts_of("ada", "cats") == replace(CATS, version=4)
    known.on_change(7, 4)  # once more, by another process
    assert known.facts_of("ada", "cats") == replace(CATS, version=4)


def test_what_is_read_for_sockets_is_known_where_somebody_polls(known: Known, clock: Clock) -> None:
    later = replace(CATS, version=4)
    known.on_change(7, 4)
    known.note_read(CATS, clock.now)  # read before the change
    assert known.facts_of("ada", "cats") is None
    known.note_read(later, clock.now)
    assert known.facts_of("ada", "cats") == later
    known.note_read(replace(CATS, dataset_pk=8), clock.now + 1)  # another one that was made under the id
    assert known.facts_of("ada", "cats") == later
    known.note_read(replace(CATS, dataset_pk=9, dataset_id="dogs"), clock.now)  # which nobody polls
    assert known.dataset_pks == {7}


def test_a_check_that_began_before_the_facts_were_read_says_nothing_of_them(known: Known, clock: Clock) -> None:
    began = clock.now
    clock.now += 0.1
    known.note("ada", replace(CATS, version=4), clock.now)
    known.confirm_states({7: CATS.key}, began)
    assert known.facts_of("ada", "cats") == replace(CATS, version=4)


def test_what_was_read_earlier_does_not_replace_what_was_read_later(known: Known, clock: Clock) -> None:
    known.note("eve", replace(CATS, version=2), clock.now - 0.1)
    assert known.facts_of("eve", "cats") == CATS


def test_another_dataset_of_the_same_id_has_rights_of_its_own(known: Known, clock: Clock) -> None:
    known.note("eve", replace(CATS, dataset_pk=8, epoch="new"), clock.now)
    assert known.facts_of("ada", "cats") is None
    assert known.facts_of("eve", "cats") is not None


def confirm(known: Known, clock: Clock) -> None:
    known.confirm_states({7: CATS.key}, clock.now)
    known.confirm_rights(known.take_rights(), {}, clock.now)


def test_a_right_is_never_older_than_promised(known: Known, clock: Clock) -> None:
    clock.now += MAX_RIGHT_AGE_SECONDS - 0.1
    assert known.may_see("ada", "cats")
    clock.now += 0.2
    assert not known.may_see("ada", "cats")


def test_a_right_that_is_asked_for_anew_goes_on_for_a_while(known: Known, clock: Clock) -> None:
    end = clock.now + MAX_RIGHT_SECONDS
    while clock.now + 2 < end:
        clock.now += 2
        confirm(known, clock)
        assert known.facts_of("ada", "cats") == CATS
    clock.now += 2
    confirm(known, clock)
    assert known.facts_of("ada", "cats") is None  # a view notes that the token is used


def test_a_right_that_is_taken_away_ends_at_once(known: Known, clock: Clock) -> None:
    known.note("eve", CATS, clock.now)
    known.confirm_rights(known.take_rights(), {"ada": {7}}, clock.now)
    assert known.facts_of("ada", "cats") is None
    assert known.facts_of("eve", "cats") == CATS


def test_an_answer_about_rights_of_before_gives_none_back(known: Known, clock: Clock) -> None:
    asked_at, asked = clock.now, known.take_rights()
    clock.now += MAX_RIGHT_AGE_SECONDS
    known.confirm_rights(asked, {}, asked_at)
    clock.now += 0.1
    assert not known.may_see("ada", "cats")


def test_what_nobody_asks_for_is_forgotten(known: Known, clock: Clock) -> None:
    clock.now += UNUSED_SECONDS + 1
    known.confirm_states({7: CATS.key}, clock.now)
    assert known.is_empty
    assert known.take_rights() == {}
