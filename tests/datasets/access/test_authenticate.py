"""A token authenticates a caller, and its use is recorded once a minute."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.datasets.access.rules import Caller, authenticate
from apps.datasets.models import Token
from apps.datasets.services import issue_token

pytestmark = pytest.mark.django_db


def test_the_use_of_a_token_is_recorded_once_a_minute(django_assert_num_queries: Any) -> None:
    token, secret = issue_token("nightly")
    assert token.last_used_at is None
    before = timezone.now()
    assert authenticate(secret) == Caller(None, token)
    used = Token.objects.get().last_used_at
    assert used is not None
    assert used >= before
    with django_assert_num_queries(1):
        authenticate(secret)
    assert Token.objects.get().last_used_at == used
    Token.objects.update(last_used_at=used - timedelta(minutes=2))
    authenticate(secret)
    again = Token.objects.get().last_used_at
    assert again is not None
    assert again >= used


def test_an_inactive_token_authenticates_nobody() -> None:
    _, secret = issue_token("nightly")
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert authenticate(secret) is None
    assert authenticate("dp_nobody") is None
    assert Token.objects.get().last_used_at is None
