"""Middleware of every answer: who may keep it, and the compression of pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers

# A fragment that is polled is not worth its time.
SHORTEST_COMPRESSED: Final = 4096

_gzip: Final = GZipMiddleware(lambda request: None)  # type: ignore[arg-type]  # it never asks for a response


def answers(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Add the headers that say who may keep an answer, and compress pages."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = _say_who_may_keep(request, get_response(request))
        return _compress(request, response) if _may_compress(request, response) else response

    return answer


def _say_who_may_keep(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Have pages and the API's answers asked for again before they are used.

    ``no-store`` would keep pages out of the browser's back/forward cache as well.
    """
    is_api = request.path.startswith("/api/")
    if is_api:
        patch_vary_headers(response, ["Authorization", "Cookie"])
    if not response.has_header("Cache-Control") and (is_api or _is_page(response)):
        response.headers["Cache-Control"] = "private, no-cache"
    return response


def _is_page(response: HttpResponseBase) -> bool:
    return bool(response.headers.get("Content-Type", "").startswith("text/html"))


def _may_compress(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Return whether the length of a compressed page can tell nobody what is on it.

    BREACH reads a page by its length: a foreign page makes the browser ask for it again and again, with the user's
    cookies and each time another guess. A page that anyone may read has no secret. For one with cookies, the browser
    has to say that no foreign page asked. (Beside that, Django masks the CSRF token anew for each page, and makes the
    length of what it compresses random.)
    """
    asked_by = request.headers.get("Sec-Fetch-Site")
    return (
        request.method == "GET"
        and _is_page(response)
        and not response.streaming
        and len(response.content) >= SHORTEST_COMPRESSED  # type: ignore[attr-defined]  # only streams have no content
        and ("Cookie" not in request.headers or asked_by in ("same-origin", "none"))
    )


def _compress(request: HttpRequest, response: Any) -> HttpResponseBase:
    compressed: HttpResponseBase = _gzip.process_response(request, response)
    return compressed
