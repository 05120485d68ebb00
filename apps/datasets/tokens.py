"""Tokens: what a pipeline shows instead of signing in. The secret is shown once and stored as its hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone

from apps.core.sql import rows_in

from .models import Token

# So that a secret that has got into a log or a repository can be told for what it is.
PREFIX: Final = "dp_"
# `last_used_at` is true to this.
USED_EVERY: Final = timedelta(minutes=1)


def digest(secret: str) -> str:
    """What is stored of a secret. It has 256 random bits, so one round and no salt are enough."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def give_secret(token: Token) -> str:
    """Give a token that is being made its secret, which cannot be had again."""
    secret = PREFIX + secrets.token_urlsafe(32)
    token.digest, token.start = digest(secret), secret[: len(PREFIX) + 4]
    return secret


def issue(
    name: str,
    *,
    user: AbstractBaseUser | None = None,
    datasets: str = "*",
    can_write: bool = True,
    days: int | None = None,
) -> tuple[Token, str]:
    """A new token and its secret, which cannot be had again.

    ``datasets``: the ids, or beginnings of ids followed by ``*``, that it may touch, with commas between them.
    ``days``: how long it holds; None: until it is revoked. Without a ``user`` it is the site's own, and
    what it covers it may see. Raises `ValidationError`.
    """
    token = Token(
        name=name,
        user_id=user.pk if user else None,
        datasets=datasets,
        can_write=can_write,
        expires_at=timezone.now() + timedelta(days=days) if days is not None else None,
    )
    secret = give_secret(token)
    token.full_clean()
    token.save()
    return token, secret


def find(secret: str) -> Token | None:
    """The token of a secret, if it holds now. A query, and another for its user; once a minute one to note its use."""
    token = next(iter(holding([digest(secret)])), None)
    now = timezone.now()
    if token is not None and (token.last_used_at is None or token.last_used_at < now - USED_EVERY):
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def holding(digests: Collection[str]) -> list[Token]:
    """The tokens that hold now, of those of these digests; no query for none."""
    return [token for token in rows_in(Token, "digest", digests) if token.holds]
