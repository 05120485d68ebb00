"""Every address under ``/api/``."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, include, path, re_path
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from . import pushed
from .auth import for_readers
from .docs import DESCRIPTION, Docs
from .errors import answer_in_json, in_json, unknown
from .routing import router

# isort: split
from . import progress, datasets, sharing, reports, runs, workers, failures, control, batches  # noqa: F401, I001 -- they register operations, in the order of OpenAPI


class API(NinjaAPI):
    """The API. Its description has what sockets and webhooks send as well."""

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        described = super().get_openapi_schema(**options)
        schemas = described["components"]["schemas"] = pushed.schemas() | described["components"]["schemas"]
        # Each is validated by itself, so the body takes any objects.
        schemas["UpdatesBody"]["properties"]["updates"]["items"] = {"$ref": "#/components/schemas/UpdateBody"}
        return described


api = API(
    title="Dataset Progress",
    version="1",
    description=DESCRIPTION,
    openapi_extra={"webhooks": pushed.webhooks()},
    urls_namespace="api",
    docs=Docs(),
    docs_decorator=lambda view: require_safe(for_readers(view)),
    docs_url="/docs",
    openapi_url="/openapi.json",
)
answer_in_json(api)
api.add_router("", router)

patterns = api.urls[0]
for pattern in patterns:
    if isinstance(pattern, URLPattern):
        pattern.callback = in_json(pattern.callback)

urlpatterns = [
    path("", include((patterns, "api"))),
    # Any other address is refused in JSON too.
    re_path("", unknown),
]
