"""The page of one's own tokens, and what the pages tell pipelines."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.datasets.access.rules import authenticate
from apps.datasets.models import Dataset, Token
from apps.datasets.services import issue_token


@pytest.fixture
def ada(client: Client, db: None) -> User:
    user = User.objects.create_user("ada")
    client.force_login(user)
    return user


def make(client: Client, **values: str) -> str:
    """The page that answers the form."""
    response = client.post("/tokens/", {"name": "nightly", "datasets": "*", "days": "", **values})
    assert response["Cache-Control"].startswith("max-age=0")
    return response.content.decode()


def test_a_token_is_shown_once_and_works(client: Client, ada: User) -> None:
    found = re.search(r">(dp_[\w-]{43})<", make(client, datasets="b-*, a"))
    assert found is not None
    caller = authenticate(found[1])
    assert caller is not None
    token = caller.token
    assert token is not None
    assert (token.user, token.datasets, token.can_write, token.expires_at) == (ada, "a,b-*", True, None)
    assert found[1] not in client.get("/tokens/").content.decode()
    assert found[1] not in str(Token.objects.values())


def test_a_token_may_read_only_and_for_a_while(client: Client, ada: User) -> None:
    make(client, read_only="on", days="30")
    token = Token.objects.get()
    assert not token.can_write
    assert token.expires_at is not None
    assert 29 <= (token.expires_at - token.created_at).days <= 30
    assert "Read only" in client.get("/tokens/").content.decode()


@pytest.mark.parametrize("values", [{"name": ""}, {"datasets": "a b?"}, {"datasets": ""}, {"days": "0"}, {"days": "x"}])
def test_a_token_that_cannot_be(client: Client, ada: User, values: dict[str, str]) -> None:
    response = client.post("/tokens/", {"name": "nightly", "datasets": "*", "days": "", **values})
    assert response.status_code == 422
    assert not Token.objects.exists()


def test_a_token_is_revoked_at_once_and_only_by_its_owner(client: Client, ada: User) -> None:
    token, secret = issue_token("mine", user=ada)
    other, _ = issue_token("other", user=User.objects.create_user("bob"))
    assert client.post(f"/tokens/{other.pk}/revoke/").status_code == 404
    for _ in range(2):
        assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 302
    assert authenticate(secret) is None
    page = client.get("/tokens/").content.decode()
    assert "other" not in page
    assert "No tokens yet" in page


def test_the_page_is_for_those_who_are_signed_in(client: Client, db: None) -> None:
    assert client.get("/tokens/")["Location"].startswith("/accounts/login/")
    assert client.post("/tokens/1/revoke/")["Location"].startswith("/accounts/login/")


def test_the_admin_shows_the_secret_of_a_new_token_once(admin_client: Client) -> None:
    data = {"name": "site", "datasets": "b, a", "can_write": "on", "expires_at_0": "", "expires_at_1": "", "user": ""}
    page = admin_client.post("/admin/datasets/token/add/", data, follow=True).content.decode()
    found = re.search(r"dp_[\w-]{43}", page)
    assert found is not None, page
    caller = authenticate(found[0])
    assert caller is not None
    token = caller.token
    assert token is not None
    assert token.datasets == "a,b"
    admin_client.post("/admin/datasets/token/", {"action": "revoke", "_selected_action": token.pk})
    assert authenticate(found[0]) is None


def test_a_dataset_that_never_ran_says_how_to_report(client: Client, db: None) -> None:
    Dataset.objects.create(dataset_id="cats", visibility="public")
    page = client.get("/datasets/cats/").content.decode()
    assert "Report from code" in page
    assert "http://testserver/api/datasets/cats/progress" in page
    assert "dataset=&quot;cats&quot;" in page
    assert page.count('<details id="snippet-') == 4


def test_a_dataset_can_be_made_without_a_folder(admin_client: Client) -> None:
    response = admin_client.post("/new/", {"dataset_id": "mine", "name": "", "visibility": "private"}, follow=True)
    assert "Report from code" in response.content.decode()
    assert Dataset.objects.get().visibility == "private"
