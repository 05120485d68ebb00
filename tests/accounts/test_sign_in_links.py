"""Links that sign in once."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.test import Client

from apps.accounts.sign_in_links import sign_in_path


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", password="right")


def user_after(path: str, client: Client | None = None) -> Any:
    """Who is signed in after following a link."""
    client = client or Client()
    client.get(path)
    return get_user(client)


def test_a_link_signs_in_once(ada: User) -> None:
    path = sign_in_path(ada)
    client = Client()
    assert user_after(path, client) == ada
    assert user_after(path).is_anonymous
    answer = Client().get(path, follow=True)
    assert answer.redirect_chain == [("/accounts/login/", 302)]
    assert "This link was used before" in answer.text
    assert client.get(path, follow=True).redirect_chain == [("/", 302)]  # whoever is signed in stays so


def test_a_link_is_over_when_its_user_signs_in_otherwise(ada: User) -> None:
    path = sign_in_path(ada)
    Client().post("/accounts/login/", {"username": "ada", "password": "right"})
    ada.refresh_from_db()
    assert ada.last_login is not None
    assert user_after(path).is_anonymous


def test_no_other_link_signs_in(ada: User, settings: Any) -> None:
    other = User.objects.create_user("bob")
    number, token = sign_in_path(ada).split("/")[3:5]
    for wrong in (
        f"{number}/{token[:-1]}x",
        f"{number}/x",
        f"zzzz/{token}",
        f"{'z' * 20}/{token}",
        f"{other.pk}/{token}",
    ):
        assert user_after(f"/accounts/link/{wrong}/").is_anonymous
    ada.is_active = False
    ada.save()
    assert user_after(sign_in_path(ada)).is_anonymous
    ada.is_active = True
    ada.save()
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert user_after(sign_in_path(ada)).is_anonymous


def test_a_link_is_not_followed_by_a_look(ada: User) -> None:
    assert Client().head(sign_in_path(ada)).status_code == 405
    assert user_after(sign_in_path(ada)) == ada
