"""The tokens of the signed-in user."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.datasets.models import Token
from apps.datasets.services import issue_token, revoke_tokens
from apps.pages.forms import TokenForm
from apps.pages.snippets import address_of, snippets


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """Show the user's tokens and the form of a new one; on a valid POST, create it and show its secret once."""
    user = cast("User", request.user)  # the decorator lets no anonymous user in
    form = TokenForm(request.POST if request.method == "POST" else None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            _, secret = issue_token(
                data["name"], user=user, datasets=data["datasets"], can_write=not data["read_only"], days=data["days"]
            )
        except ValidationError as error:
            form.add_error("datasets", error.messages[0])
        else:
            form = TokenForm()
    context = {
        "form": form,
        "tokens": list(Token.objects.filter(user=user, revoked_at=None)),
        "secret": secret,
        "snippets": snippets(address_of(request), "my-dataset", secret),
    }
    return render(request, "pages/tokens.html", context, status=422 if form.is_bound else 200)


@require_POST
@login_required
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke one of the user's own tokens."""
    token = get_object_or_404(Token, user=cast("User", request.user), pk=pk)
    if revoke_tokens(Token.objects.filter(pk=token.pk)):
        messages.success(request, f"Revoked {token.name}.")
    return redirect("tokens")
