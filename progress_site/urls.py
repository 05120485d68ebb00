"""Every address of the site, and the answers to requests that reach no view."""

from django.contrib import admin
from django.urls import include, path
from django.views import defaults

from apps.api.errors import json_under
from progress_site.unavailable import or_unavailable

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("apps.api.urls")),
    path("", include("apps.pages.urls")),
]
# These answer what Django refuses before a view, such as an unknown Host header.
handler400 = json_under("/api/", 400, defaults.bad_request)
handler500 = or_unavailable(json_under("/api/", 500, defaults.server_error))
