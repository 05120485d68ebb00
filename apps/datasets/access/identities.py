"""Who watches, and what of it they may still see: asked when a socket opens, and again while it stays open."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from itertools import batched
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.core.sql import IDS_AT_ONCE
from apps.datasets.access.callers import Caller
from apps.datasets.models import DATASET_ID_PATTERN
from apps.datasets.tokens import digest, holding

_DATASET_ID = re.compile(DATASET_ID_PATTERN)
# What an identity that is a token's begins with; a session's key cannot.
TOKEN: Final = "token:"  # noqa: S105


def users_of(session_keys: Iterable[str]) -> dict[str, AbstractBaseUser]:
    """The accounts that these sessions are signed in as, by session key, in two queries.

    Left out are sessions that are over or unknown, accounts that are closed, and those whose password has changed
    since: all that `django.contrib.auth.get_user` would call anonymous.
    """
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    wanted = [key for key in session_keys if store._validate_session_key(key)]
    if not wanted:
        return {}
    in_force = store.model.objects.filter(expire_date__gt=timezone.now())
    sessions: dict[str, dict[str, Any]] = {
        row.session_key: store.decode(row.session_data)
        for keys in batched(wanted, IDS_AT_ONCE)
        for row in in_force.filter(session_key__in=keys)
    }
    users = get_user_model()._default_manager.in_bulk(
        {data[SESSION_KEY] for data in sessions.values() if SESSION_KEY in data}
    )
    signed_in: dict[str, AbstractBaseUser] = {}
    for key, data in sessions.items():
        user = users.get(int(data.get(SESSION_KEY, 0)))
        if user is not None and user.is_active and _is_his(data.get(HASH_SESSION_KEY, ""), user):
            signed_in[key] = user
    return signed_in


def _is_his(session_hash: str, user: AbstractBaseUser) -> bool:
    """Whether a session was opened with the password that ``user`` has now."""
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(session_hash, own) for own in hashes)


def identity_of(authorization: str, session_key: str) -> str:
    """Who opens a socket, as a word to ask by later: that of a token, else of a session; empty for anyone."""
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return TOKEN + digest(secret.strip())
    # A cookie can say anything, the hash of a token too: that is stored, and is no secret.
    return "" if session_key.startswith(TOKEN) else session_key


def callers_of(identities: Collection[str]) -> dict[str, Caller]:
    """Those who are known by these identities now; left out are sessions and tokens that no longer hold."""
    tokens = {identity.removeprefix(TOKEN) for identity in identities if identity.startswith(TOKEN)}
    sessions = [identity for identity in identities if identity and not identity.startswith(TOKEN)]
    known = {identity: Caller(user) for identity, user in users_of(sessions).items()}
    return known | {TOKEN + token.digest: Caller(token.user, token) for token in holding(tokens)}


def visible_pks(identity: str, dataset_ids: Iterable[str]) -> dict[str, int]:
    """The row ids of those of the datasets that whoever this is may see. A token that does not hold may see nothing;
    a session that does not is anyone's.
    """
    caller = callers_of([identity]).get(identity)
    if caller is None:
        if identity.startswith(TOKEN):
            return {}
        caller = Caller(AnonymousUser())
    rows = caller.visible().filter(dataset_id__in=list(filter(_DATASET_ID.fullmatch, dataset_ids)))
    return dict(rows.values_list("dataset_id", "pk"))


def _visible_of(caller: Caller, dataset_pks: Iterable[int]) -> set[int]:
    visible = caller.visible()
    return {
        pk
        for pks in batched(dataset_pks, IDS_AT_ONCE)
        for pk in visible.filter(pk__in=pks).values_list("pk", flat=True)
    }


def lost(watching: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """What may no longer be seen, of what is watched, by identity ("" for anyone).

    One query where all of it is public and nobody shows a token; else two more, and one for each account that watches
    what is not public, and for each token, which may cover less.
    """
    public = _visible_of(Caller(AnonymousUser()), set().union(*watching.values()))
    doubtful = {
        identity: pks if identity.startswith(TOKEN) else pks - public
        for identity, pks in watching.items()
        if identity.startswith(TOKEN) or pks - public
    }
    callers = callers_of(doubtful)
    # Sessions of one account see the same.
    wanted: dict[tuple[Any, Any], set[int]] = {}
    for identity, pks in doubtful.items():
        if (caller := callers.get(identity)) is not None:
            wanted.setdefault(caller.who, set()).update(pks)
    asked = {caller.who: caller for caller in callers.values()}
    visible = {who: _visible_of(asked[who], pks) for who, pks in wanted.items()}
    return {
        identity: gone
        for identity, pks in doubtful.items()
        if (gone := pks - (visible[callers[identity].who] if identity in callers else set()))
    }
