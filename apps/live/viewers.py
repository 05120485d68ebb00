"""Who watches, and what of it they may still see: asked when a socket opens, and again while it stays open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import batched
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.datasets.models import KEY_PATTERN, Dataset
from apps.progress.selectors import IDS_AT_ONCE

_KEY = re.compile(KEY_PATTERN)


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


def visible_pks(session_key: str, dataset_ids: Iterable[str]) -> dict[str, int]:
    """The row ids of those of the datasets that whoever has this session may see."""
    user = users_of([session_key]).get(session_key, AnonymousUser()) if session_key else AnonymousUser()
    rows = Dataset.objects.visible_to(user).filter(key__in=[key for key in dataset_ids if _KEY.fullmatch(key)])
    return dict(rows.values_list("key", "pk"))


def _visible_of(user: AbstractBaseUser | AnonymousUser, dataset_pks: Iterable[int]) -> set[int]:
    visible = Dataset.objects.visible_to(user)
    return {
        pk
        for pks in batched(dataset_pks, IDS_AT_ONCE)
        for pk in visible.filter(pk__in=pks).values_list("pk", flat=True)
    }


def lost(watching: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """What may no longer be seen, of what is watched, by session key ("" for those who are not signed in).

    Two queries where all of it is public; else two more, and one for each account that watches what is not.
    """
    public = _visible_of(AnonymousUser(), set().union(*watching.values()))
    private = {key: pks - public for key, pks in watching.items() if pks - public}
    users = users_of(key for key in private if key)
    visible: dict[Any, set[int]] = {}
    for key, pks in private.items():
        if (user := users.get(key)) is not None:
            visible.setdefault(user.pk, set()).update(pks)
    for user in {user.pk: user for user in users.values()}.values():
        visible[user.pk] = _visible_of(user, visible[user.pk])
    return {
        key: gone for key, pks in private.items() if (gone := pks - (visible[users[key].pk] if key in users else set()))
    }
