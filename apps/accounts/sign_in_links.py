"""Links that sign a user in once: for whoever starts a server and has no password at hand."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.http import base36_to_int, int_to_base36


class _Tokens(PasswordResetTokenGenerator):
    """Django's tokens of password resets: each is over when its user signs in, and after ``PASSWORD_RESET_TIMEOUT``."""

    key_salt = "apps.accounts.sign_in_links"


_tokens = _Tokens()


def sign_in_path(user: User) -> str:
    """Return the path of an address that signs ``user`` in, until the user has signed in in any way."""
    return reverse("sign-in-link", args=[int_to_base36(user.pk), _tokens.make_token(user)])


def user_of_link(number: str, token: str) -> User | None:
    """Return the active user whom a link signs in; None if it was used, is too old or was made by nobody."""
    try:
        user = User.objects.filter(pk=base36_to_int(number), is_active=True).first()
    except ValueError:
        return None
    return user if _tokens.check_token(user, token) else None
