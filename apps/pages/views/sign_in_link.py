"""The page behind a link that signs in once."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.sign_in_links import user_of_link


@require_GET
@login_not_required
@never_cache
def sign_in_link(request: HttpRequest, number: str, token: str) -> HttpResponse:
    """Sign in, and go to the list. A link that was used leads to the list, or to the sign-in page."""
    if request.user.is_authenticated:
        return redirect("datasets")
    user = user_of_link(number, token)
    if user is None:
        messages.error(request, "This link was used before, or is too old. Sign in with your password.")
        return redirect("login")
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("datasets")
