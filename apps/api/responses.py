"""Answers that are JSON already, and answers that a client may still have."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers


def json_response(json: str) -> HttpResponse:
    """Return an answer of JSON that is known to have the documented form, so it is not validated a second time."""
    return HttpResponse(json, content_type="application/json")


def conditional_response(request: HttpRequest, etag: str, make_json: Callable[[], str]) -> HttpResponseBase:
    """Return the JSON with its ETag, or 304 where the client has it, or 412 where it asked for another.

    The JSON depends on the token as well, and has to be asked for again before it is used.
    """
    response = get_conditional_response(request, etag=etag)
    if response is None:
        response = json_response(make_json())
    response["ETag"] = etag
    response["Cache-Control"] = "no-cache"
    patch_vary_headers(response, ["Authorization"])
    return response
