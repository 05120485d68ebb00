"""What the client of an open socket may no longer see."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.datasets.access.identities import TOKEN, identity_of, revoked_datasets, visible_pks
from apps.datasets.models import Dataset, Token
from apps.datasets.services import issue_token, revoke_tokens

pytestmark = pytest.mark.django_db


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.session.session_key or ""


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def public() -> Dataset:
    return Dataset.objects.create(dataset_id="public", visibility="public")


@pytest.fixture
def private(ada: User) -> Dataset:
    return Dataset.objects.create(dataset_id="private", visibility="private", owner=ada)


def test_public_datasets_take_one_query(public: Dataset, ada: User, django_assert_num_queries: Any) -> None:
    watching = {"": {public.pk}, session_of(ada): {public.pk}}
    with django_assert_num_queries(1):
        assert revoked_datasets(watching) == {}


def test_the_sessions_of_an_account_are_asked_once(private: Dataset, ada: User, django_assert_num_queries: Any) -> None:
    watching = {session_of(ada): {private.pk} for _ in range(3)}
    with django_assert_num_queries(4):
        assert revoked_datasets(watching) == {}


def test_only_what_is_revoked_is_named(public: Dataset, private: Dataset, ada: User) -> None:
    session, stranger = session_of(ada), session_of(User.objects.create_user("bob"))
    both = {public.pk, private.pk}
    assert revoked_datasets({session: both, stranger: both, "": both}) == {stranger: {private.pk}, "": {private.pk}}
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert revoked_datasets({session: both}) == {session: {private.pk}}


def test_a_revoked_token_sees_nothing_and_an_ended_session_what_is_public(
    public: Dataset, private: Dataset, ada: User
) -> None:
    token, secret = issue_token("watch", user=ada)
    identity, session = identity_of(f"Bearer {secret}", ""), session_of(ada)
    names = ["public", "private", "no/id"]
    assert visible_pks(identity, names) == visible_pks(session, names) == {"public": public.pk, "private": private.pk}
    revoke_tokens(Token.objects.filter(pk=token.pk))
    assert visible_pks(identity, names) == {}
    assert revoked_datasets({identity: {public.pk}}) == {identity: {public.pk}}
    assert visible_pks("ended", names) == {"public": public.pk}


def test_a_token_is_asked_about_public_datasets_too(public: Dataset) -> None:
    _, secret = issue_token("others", datasets="other-*")
    identity = identity_of(f"bearer {secret}", "")
    assert revoked_datasets({identity: {public.pk}}) == {identity: {public.pk}}


def test_the_hash_of_a_token_in_a_cookie_is_nobody() -> None:
    assert identity_of("", f"{TOKEN}abc") == ""
