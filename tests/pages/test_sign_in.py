"""`SIGN_IN_REQUIRED`: without a session every address of the site shows the sign-in page, or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from apps.datasets.models import Dataset

# What stays open: it shows no data.
OPEN = {
    "/health/", "/accounts/login/", "/accounts/link/1/1/", "/admin/login/", "/client/1", "/icons/1.svg", "/favicon.ico",
}  # fmt: skip


def addresses(resolver: URLResolver, start: str = "/") -> Iterator[str]:
    """Yield one address for each pattern of the site."""
    for pattern in resolver.url_patterns:
        route = str(pattern.pattern)
        for converter, value in (
            ("<dataset_id:", "open-1"),
            ("<int:", "1"),
            ("<str:", "1"),
            ("<path:", "1"),
            ("<slug:", "1"),
            ("<number:", "1"),
        ):
            while converter in route:
                before, _, rest = route.partition(converter)
                route = before + value + (rest if converter.endswith(">") else rest.partition(">")[2])
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, start + route)
        elif isinstance(pattern, URLPattern) and set("^(\\<{") & set(route):
            yield start + "no-such-address"  # a pattern for what is unknown
        else:
            yield start + route


def test_every_address_is_closed(public: Dataset, client: Client, settings: Settings) -> None:
    settings.SIGN_IN_REQUIRED = True
    found = sorted(set(addresses(get_resolver())))
    assert {"/", "/datasets/open-1/", "/datasets/open-1/samples/1/original/", "/api/datasets", *OPEN} <= set(found)
    for address in found:
        response = client.get(address)
        if address.startswith("/api/"):
            is_closed = response.status_code in (401, 404, 405)
        elif address.startswith("/admin/"):
            is_closed = response.status_code in (302, 404) and "login" in response.headers.get("Location", "login")
        elif address.endswith("/badge.svg"):  # an image in somebody's page, where nobody could sign in
            is_closed = response.status_code == 404
        else:
            is_closed = response.status_code == 302 and response.headers["Location"].startswith(
                "/accounts/login/?next="
            )
        assert is_closed != (address in OPEN), (address, response.status_code)
        assert "open-1" not in response.headers.get("Location", "").partition("?")[0]
        assert "Open &lt;one&gt;" not in response.text


def test_a_fragment_is_refused_and_not_replaced_by_a_page(public: Dataset, client: Client, settings: Settings) -> None:
    settings.SIGN_IN_REQUIRED = True
    address = f"{public.get_absolute_url()}progress/header/"
    response = client.get(address, headers={"HX-Request": "true"})
    assert (response.status_code, response.content) == (403, b"")


def test_who_is_signed_in_sees_what_is_public(
    public: Dataset, stranger: User, as_user: Any, settings: Settings
) -> None:
    settings.SIGN_IN_REQUIRED = True
    client = as_user(stranger)
    assert "Open &lt;one&gt;" in client.get("/").text
    assert client.get(public.get_absolute_url()).status_code == 200
