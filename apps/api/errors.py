"""Every refusal of the API is JSON: what happened in words (`detail`), and a `code` that programs can rely on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from pydantic import BaseModel, Field

from apps.progress.errors import ProgressError, UnknownRun

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
}

# What may be answered to whoever writes; the words for OpenAPI.
WRITE_STATUSES: Final = (400, 401, 403, 404, 409, 413, 415, 429)


# The one answer for what does not exist and for what the caller may not see: neither tells of the other.
NO_DATASET: Final = "There is no such dataset."

View = Callable[..., HttpResponseBase]


class FieldError(BaseModel):
    """One value that was refused."""

    path: str = Field(description="Where it stands, with dots between the levels: `failures.0.item`.")
    detail: str


class Error(BaseModel):
    """Why a request was refused. Nothing was changed."""

    detail: str = Field(description="For people.")
    code: str = Field(description="For programs: stable.", examples=["not_found"])


class InvalidError(Error):
    """A request that can be read, with values that cannot be taken."""

    errors: list[FieldError]


WRITE_REFUSALS: Final[dict[int, type[Error]]] = {**dict.fromkeys(WRITE_STATUSES, Error), 422: InvalidError}


def error(status: int, detail: str = "", *, code: str = "", **more: Any) -> HttpResponse:
    """The JSON of a refusal."""
    code = code or CODES.get(status) or ("malformed" if status < 500 else "internal")
    return JsonResponse({"detail": detail or f"{HTTPStatus(status).phrase}.", "code": code, **more}, status=status)


def not_found() -> HttpResponse:
    return error(404, NO_DATASET)


def in_bytes(json: str) -> HttpResponse:
    """An answer that is JSON already, and of the documented form: it is not looked at a second time."""
    return HttpResponse(json, content_type="application/json")


def status_of(refusal: ProgressError) -> int:
    return 404 if isinstance(refusal, UnknownRun) else 409


def refuse(refusal: ProgressError) -> HttpResponse:
    """The answer for what the services refuse."""
    return error(status_of(refusal), str(refusal), code=refusal.code)


def field_errors(refused: Iterable[tuple[Sequence[int | str], str]]) -> list[FieldError]:
    """What pydantic refused, each as its location and why."""
    return [FieldError(path=".".join(map(str, location)), detail=detail) for location, detail in refused]


def in_words(errors: Iterable[FieldError]) -> str:
    return "; ".join(f"{one.path}: {one.detail}" for one in errors)


def _invalid(request: HttpRequest, refusal: Any) -> HttpResponse:
    # The first part of a location names where the value came from (body, path, query), the second our parameter.
    errors = field_errors((one["loc"][2:] or one["loc"][1:], one["msg"]) for one in refusal.errors)
    return error(422, in_words(errors), errors=[one.model_dump() for one in errors])


def _refused(request: HttpRequest, refusal: Any) -> HttpResponse:
    response = error(refusal.status_code, str(refusal))
    if refusal.status_code == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def _too_large(request: HttpRequest, refusal: Any) -> HttpResponse:
    return error(413, f"A body may have {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes.")


def _raced(request: HttpRequest, failure: Any) -> HttpResponse:
    return error(
        409, "Somebody else has changed it in the same moment. Nothing was changed; try again.", code="conflict"
    )


def _against_the_rules(request: HttpRequest, refusal: Any) -> HttpResponse:
    return refuse(refusal)


def _broken(request: HttpRequest, failure: Any) -> HttpResponse:
    logger.exception("%s %s failed", request.method, request.path, exc_info=failure)
    return error(500, "Something went wrong here. It has been recorded.")


def answer_in_json(api: NinjaAPI) -> None:
    """Register the handlers for everything that a view of ``api`` may raise."""
    # ninja types a handler as taking the class as well as the instance, so ours take anything.
    api.add_exception_handler(ValidationError, _invalid)
    api.add_exception_handler(HttpError, _refused)
    api.add_exception_handler(Http404, unknown)
    api.add_exception_handler(RequestDataTooBig, _too_large)
    api.add_exception_handler(ObjectDoesNotExist, unknown)  # deleted since it was looked for
    api.add_exception_handler(IntegrityError, _raced)
    api.add_exception_handler(ProgressError, _against_the_rules)
    api.add_exception_handler(Exception, _broken)


def in_json(view: View) -> View:
    """The view, with the refusals that are answered outside of ninja's handlers (405, 412) in JSON as well.

    No page's form posts to the API, so what Django says of a missing CSRF token would only hide the answer; operations
    that take a session's word for it have to check for themselves.
    """

    @csrf_exempt
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
def unknown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Every address under the API's that is none."""
    return error(404)


def json_under(prefix: str, status: int, otherwise: View) -> View:
    """A ``handler400`` or ``handler500`` for the URL conf: JSON for addresses under ``prefix``, else ``otherwise``.

    They answer what fails before a view is reached, such as an unknown host.
    """

    def handler(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return error(status) if request.path.startswith(prefix) else otherwise(request, *args, **kwargs)

    return handler
