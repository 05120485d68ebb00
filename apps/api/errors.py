"""The refusals of the API. Each is JSON: a ``detail`` for people, and a stable ``code`` for programs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import HttpError, Throttled, ValidationError

from apps.batches.errors import UnknownBatch, UnknownMembers
from apps.core.outages import is_outage
from apps.datasets.access.errors import AccessDenied, NotAllowed, UnknownDataset
from apps.progress.errors import ProgressError, UnknownRun

from .answers import Error, FieldError, InvalidError

logger = logging.getLogger(__name__)

CODES: Final = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many",
    500: "internal",
    503: "unavailable",
}

# What the API refuses, apart from requests that cannot be read.
Refusal = AccessDenied | ProgressError


# The refusals of an operation that writes, for OpenAPI.
WRITE_REFUSALS: Final[dict[int, type[Error]]] = {
    **dict.fromkeys((400, 401, 403, 404, 409, 413, 415, 429, 503), Error),
    422: InvalidError,
}

View = Callable[..., HttpResponseBase]


def error(status: int, detail: str = "", *, code: str = "", **more: Any) -> HttpResponse:
    """Return the JSON of a refusal. Without a ``detail`` and a ``code`` it has those of the status."""
    code = code or CODES.get(status) or ("malformed" if status < 500 else "internal")
    return JsonResponse({"detail": detail or f"{HTTPStatus(status).phrase}.", "code": code, **more}, status=status)


def status_of(refusal: Refusal) -> int:
    match refusal:
        case UnknownDataset() | UnknownRun() | UnknownBatch() | UnknownMembers():
            return 404
        case NotAllowed():
            return 403
        case _:
            return 409


def field_errors(refused: Iterable[tuple[Sequence[int | str], str]]) -> list[FieldError]:
    """Return pydantic's errors, each given as its location and its message, in the form of the API."""
    return [FieldError(path=".".join(map(str, location)), detail=detail) for location, detail in refused]


def joined(errors: Iterable[FieldError]) -> str:
    """Return all errors in one line, for people."""
    return "; ".join(f"{one.path}: {one.detail}" for one in errors)


def _on_invalid(request: HttpRequest, invalid: Any) -> HttpResponse:
    # The first part of a location names where the value came from (body, path, query), the second our parameter.
    errors = field_errors((one["loc"][2:] or one["loc"][1:], one["msg"]) for one in invalid.errors)
    return error(422, joined(errors), errors=[one.model_dump() for one in errors])


def _on_validation(request: HttpRequest, invalid: Any) -> HttpResponse:
    errors = [FieldError(path=field, detail=" ".join(details)) for field, details in invalid.message_dict.items()]
    return error(422, joined(errors), errors=[one.model_dump() for one in errors])


def _on_http_error(request: HttpRequest, refusal: Any) -> HttpResponse:
    response = error(refusal.status_code, str(refusal))
    if refusal.status_code == 401:
        response["WWW-Authenticate"] = "Bearer"
    if isinstance(refusal, Throttled) and refusal.wait:
        response["Retry-After"] = str(refusal.wait)
    return response


def _on_too_large(request: HttpRequest, refusal: Any) -> HttpResponse:
    return error(413, f"A request body may have at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes.")


def _on_conflict(request: HttpRequest, failure: Any) -> HttpResponse:
    return error(409, "Someone else changed this at the same time. Nothing was saved; try again.", code="conflict")


def _on_refusal(request: HttpRequest, refusal: Any) -> HttpResponse:
    return error(status_of(refusal), str(refusal), code=refusal.code)


def _on_failure(request: HttpRequest, failure: Any) -> HttpResponse:
    if is_outage(failure):
        raise failure  # for the middleware, which calls the view again after a deadlock, and else answers 503
    logger.exception("%s %s failed", request.method, request.path, exc_info=failure)
    return error(500, "Something went wrong. The reason is in the server's log.")


def answer_in_json(api: NinjaAPI) -> None:
    """Register a handler for everything that an operation of ``api`` may raise."""
    # Ninja's type of a handler takes the exception's class as well as an instance, so ours take `Any`.
    api.add_exception_handler(ValidationError, _on_invalid)
    api.add_exception_handler(DjangoValidationError, _on_validation)
    api.add_exception_handler(HttpError, _on_http_error)
    api.add_exception_handler(Http404, unknown)
    api.add_exception_handler(RequestDataTooBig, _on_too_large)
    api.add_exception_handler(ObjectDoesNotExist, unknown)  # deleted since it was looked up
    api.add_exception_handler(IntegrityError, _on_conflict)
    for refusal in (AccessDenied, ProgressError):
        api.add_exception_handler(refusal, _on_refusal)
    api.add_exception_handler(Exception, _on_failure)


def in_json(view: View) -> View:
    """Return the view with JSON for the refusals that do not pass through ninja's handlers (405, 412).

    The view is exempt from Django's CSRF check, which would answer with a page. Only tokens may write, so no operation
    needs it.
    """

    @csrf_exempt
    @login_not_required  # it answers with 401, and not with the sign-in page
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            return error(404)
        if response.status_code < 400 or response.get("Content-Type", "").startswith("application/json"):
            return response
        refusal = error(response.status_code)
        for header in ("Allow", "Cache-Control", "ETag"):
            if header in response:
                refusal[header] = response[header]
        return refusal

    return wrapped


@csrf_exempt
@login_not_required
def unknown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Answer an unknown address under ``/api/``."""
    return error(404)


def json_under(prefix: str, status: int, otherwise: View) -> View:
    """Return a ``handler400`` or ``handler500`` that answers in JSON under ``prefix``, and as ``otherwise`` elsewhere.

    Django calls these handlers where no view was reached, for example for an unknown host.
    """

    def handler(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return error(status) if request.path.startswith(prefix) else otherwise(request, *args, **kwargs)

    return handler
