"""The secrets of tokens. A secret is shown once; its hash is stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from typing import Final

from apps.core.sql import rows_in

from .models import Token

# A secret that leaks into a log or a repository can be recognised by it.
PREFIX: Final = "dp_"


def digest_of(secret: str) -> str:
    """Return the hash of a secret. It has 256 random bits, so one round and no salt are enough."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def set_secret(token: Token) -> str:
    """Set the hash and the first characters of a new secret on an unsaved token. Returns the secret."""
    secret = PREFIX + secrets.token_urlsafe(32)
    token.digest, token.start = digest_of(secret), secret[: len(PREFIX) + 4]
    return secret


def active_tokens(digests: Collection[str]) -> list[Token]:
    """Return the tokens with these hashes that are neither revoked nor expired. No query where there are no hashes."""
    return [token for token in rows_in(Token, "digest", digests) if token.is_active]
