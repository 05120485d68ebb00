"""Log-ins that fail are limited by account and by address, in words that say nothing of the account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

from apps.accounts.models import FailedLogIn
from apps.accounts.services import (
    MAX_FAILED_BY_ACCOUNT,
    MAX_FAILED_BY_ADDRESS,
    MAX_FAILED_BY_BOTH,
    WINDOW,
    note_failed_log_in,
)
from apps.pages.log_in import TOO_MANY

PAGES = ["/accounts/login/", "/admin/login/"]


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", password="right", is_staff=True)


def log_in(page: str = PAGES[0], name: str = "ada", password: str = "wrong", address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).post(page, {"username": name, "password": password})


def is_refused(answer: Any) -> bool:
    return TOO_MANY in answer.content.decode()


def fail(times: int, name: str = "ada", address: str = "192.0.2.1") -> None:
    for _ in range(times):
        note_failed_log_in(name, address)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_too_many_are_refused_whether_there_is_such_an_account_or_not(ada: User, page: str, name: str) -> None:
    for _ in range(MAX_FAILED_BY_BOTH):
        assert not is_refused(log_in(page, name))
    for other_page in PAGES:
        assert is_refused(log_in(other_page, name, "right"))
        assert is_refused(log_in(other_page, name.upper()))
    assert FailedLogIn.objects.count() == MAX_FAILED_BY_BOTH  # what is refused is not counted


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_locks_nobody_out(ada: User, page: str) -> None:
    fail(MAX_FAILED_BY_BOTH, address="198.51.100.7")
    assert log_in(page, password="right").status_code == 302


def test_an_address_is_limited_over_all_accounts(ada: User) -> None:
    for number in range(MAX_FAILED_BY_ADDRESS):
        note_failed_log_in(f"user-{number}", "192.0.2.1")
    assert is_refused(log_in(password="right"))
    assert log_in(password="right", address="192.0.2.2").status_code == 302


def test_an_account_is_limited_over_all_addresses(ada: User) -> None:
    for number in range(MAX_FAILED_BY_ACCOUNT):
        note_failed_log_in("ada", f"198.51.100.{number}")
    assert is_refused(log_in(password="right"))


def test_an_address_of_ipv6_is_its_network(ada: User) -> None:
    for number in range(MAX_FAILED_BY_BOTH):
        log_in(address=f"2001:db8::{number}")
    assert is_refused(log_in(address="2001:db8::ffff"))


def test_a_log_in_that_succeeds_forgets_those_that_failed(ada: User) -> None:
    fail(MAX_FAILED_BY_BOTH - 1)
    assert log_in(password="right").status_code == 302
    assert FailedLogIn.objects.count() == 0


def test_after_the_window_all_is_forgotten(ada: User) -> None:
    fail(MAX_FAILED_BY_BOTH)
    FailedLogIn.objects.update(at=F("at") - WINDOW - timedelta(seconds=1))
    assert not is_refused(log_in())
    assert FailedLogIn.objects.count() == 1  # the old ones are gone
