"""The identity of an open socket: what its client may see, asked when it opens and again while it stays open.

An identity is a session's key, or `TOKEN` with the hash of a token, or empty for anyone. The same identity may see less
later: sessions end, tokens are revoked, accounts are closed, memberships are withdrawn.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from importlib import import_module
from itertools import batched
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.core.sql import IDS_AT_ONCE
from apps.datasets.dataset_ids import is_dataset_id
from apps.datasets.tokens import active_tokens, digest_of

from .rules import Caller

# No session's key begins with it.
TOKEN: Final = "token:"  # noqa: S105 -- marks an identity; no secret


def identity_of(authorization: str, session_key: str) -> str:
    """Return the identity of a client that sends this ``Authorization`` header and this session cookie."""
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return TOKEN + digest_of(secret.strip())
    # A cookie can contain anything, also the hash of a token. A hash is no secret, so it must not pass for a token.
    return "" if session_key.startswith(TOKEN) else session_key


def visible_pks(identity: str, dataset_ids: Iterable[str]) -> dict[str, int]:
    """Return the row ids of those of the datasets that this identity may see, by id.

    A session that has ended may see what anyone may. A token that is no longer active may see nothing.
    """
    caller = caller_behind(identity, callers_of([identity]))
    if caller is None:
        return {}
    rows = caller.visible().filter(dataset_id__in=list(filter(is_dataset_id, dataset_ids)))
    return dict(rows.values_list("dataset_id", "pk"))


def caller_behind(identity: str, callers: Mapping[str, Caller]) -> Caller | None:
    """Return who an identity is now, of `callers_of`: anyone where a session has ended, None where a token has."""
    if (caller := callers.get(identity)) is not None:
        return caller
    return None if identity.startswith(TOKEN) else Caller(AnonymousUser())


def newest_visible(identities: Collection[str]) -> dict[str, str]:
    """Return `Caller.newest_visible` of each identity. One query for each account and token, and one for anyone."""
    callers = callers_of(identities)
    anyone = Caller(AnonymousUser())
    by_scope: dict[Hashable, str] = {}
    newest: dict[str, str] = {}
    for identity in identities:
        caller = callers.get(identity, anyone)
        if identity.startswith(TOKEN) and identity not in callers:
            newest[identity] = ""
            continue
        if caller.scope not in by_scope:
            by_scope[caller.scope] = caller.newest_visible()
        newest[identity] = by_scope[caller.scope]
    return newest


def revoked_datasets(watching: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """Return, by identity, the row ids of those datasets in ``watching`` that the identity may no longer see.

    One query where all of them are public and no identity is a token's. Otherwise two more, and one for each account
    that watches what is not public and for each token.
    """
    public = _visible_among(Caller(AnonymousUser()), set().union(*watching.values()))
    # A token may cover less than what is public.
    doubtful = {
        identity: rest
        for identity, pks in watching.items()
        if (rest := pks if identity.startswith(TOKEN) else pks - public)
    }
    callers = callers_of(doubtful)
    # One query for all sessions of an account.
    asked: dict[Hashable, set[int]] = {}
    for identity, caller in callers.items():
        asked.setdefault(caller.scope, set()).update(doubtful[identity])
    by_scope = {caller.scope: caller for caller in callers.values()}
    visible = {scope: _visible_among(by_scope[scope], pks) for scope, pks in asked.items()}
    return {
        identity: revoked
        for identity, pks in doubtful.items()
        if (revoked := pks - (visible[callers[identity].scope] if identity in callers else set()))
    }


def callers_of(identities: Collection[str]) -> dict[str, Caller]:
    """Return the callers with these identities, without those of ended sessions and inactive tokens."""
    digests = {identity.removeprefix(TOKEN) for identity in identities if identity.startswith(TOKEN)}
    session_keys = [identity for identity in identities if identity and not identity.startswith(TOKEN)]
    signed_in = {session_key: Caller(user) for session_key, user in users_of(session_keys).items()}
    return signed_in | {TOKEN + token.digest: Caller(token.user, token) for token in active_tokens(digests)}


def users_of(session_keys: Iterable[str]) -> dict[str, AbstractBaseUser]:
    """Return the users that are signed in with these sessions, by session key, in two queries.

    Left out are sessions that have expired or are unknown, closed accounts, and accounts whose password has changed
    since: all that `django.contrib.auth.get_user` would call anonymous.
    """
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    valid = [session_key for session_key in session_keys if store._validate_session_key(session_key)]
    if not valid:
        return {}
    unexpired = store.model.objects.filter(expire_date__gt=timezone.now())
    sessions: dict[str, dict[str, Any]] = {
        row.session_key: store.decode(row.session_data)
        for some in batched(valid, IDS_AT_ONCE)
        for row in unexpired.filter(session_key__in=some)
    }
    user_pks = {data[SESSION_KEY] for data in sessions.values() if SESSION_KEY in data}
    users = {
        pk: user
        for some in batched(user_pks, IDS_AT_ONCE)
        for pk, user in get_user_model()._default_manager.in_bulk(some).items()
    }
    signed_in: dict[str, AbstractBaseUser] = {}
    for session_key, data in sessions.items():
        user = users.get(int(data.get(SESSION_KEY, 0)))
        if user is not None and user.is_active and _has_password_of(data.get(HASH_SESSION_KEY, ""), user):
            signed_in[session_key] = user
    return signed_in


def _has_password_of(session_hash: str, user: AbstractBaseUser) -> bool:
    """Return whether a session was opened with the password that the user has now."""
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(session_hash, one) for one in hashes)


def _visible_among(caller: Caller, dataset_pks: Iterable[int]) -> set[int]:
    visible = caller.visible()
    return {
        pk
        for some in batched(dataset_pks, IDS_AT_ONCE)
        for pk in visible.filter(pk__in=some).values_list("pk", flat=True)
    }
