"""The forms of the sign-in pages, which refuse further attempts after too many that failed."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.accounts.services import may_log_in, note_failed_log_in, note_log_in
from apps.live.limits import address_of

TOO_MANY = "Too many failed attempts. Try again in 15 minutes."


class LogInForm(AuthenticationForm):
    """Name and password. Whether there is such an account changes nothing that it says."""

    def clean(self) -> dict[str, Any]:
        name, address = self.cleaned_data.get("username") or "", _address(self.request)
        if not may_log_in(name, address):
            raise ValidationError(TOO_MANY, code="too_many")
        try:
            cleaned = super().clean()
        except ValidationError:
            note_failed_log_in(name, address)
            raise
        note_log_in(name, address)
        return cleaned


class AdminLogInForm(LogInForm, AdminAuthenticationForm):
    """The same for the admin, which is for staff."""


def _address(request: HttpRequest | None) -> str:
    """Return the address of a request's client, as sockets count it."""
    meta = request.META if request is not None else {}
    forwarded = meta.get("HTTP_X_FORWARDED_FOR")
    headers = [(b"x-forwarded-for", forwarded.encode("latin-1", "replace"))] if forwarded else []
    return address_of({"client": (meta.get("REMOTE_ADDR", ""), 0), "headers": headers})
