"""When a token was used last is known to the minute, and costs no write more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.datasets import tokens
from apps.datasets.models import Token

pytestmark = pytest.mark.django_db


def test_the_use_of_a_token_is_noted_once_a_minute(django_assert_num_queries: Any) -> None:
    token, secret = tokens.issue("nightly")
    assert token.last_used_at is None
    before = timezone.now()
    assert tokens.find(secret) == token
    used = Token.objects.get().last_used_at
    assert used is not None
    assert used >= before
    with django_assert_num_queries(1):
        tokens.find(secret)
    assert Token.objects.get().last_used_at == used
    Token.objects.update(last_used_at=used - timedelta(minutes=2))
    tokens.find(secret)
    again = Token.objects.get().last_used_at
    assert again is not None
    assert again >= used


def test_a_token_that_does_not_hold_is_not_used() -> None:
    _, secret = tokens.issue("nightly")
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tokens.find(secret) is None
    assert tokens.find("dp_nobody") is None
    assert Token.objects.get().last_used_at is None
