"""Requests are answered as Django's own ASGI handler answers them, but in one thread and without a hop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.core import signals
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from progress_site.servers.handler import Handler

from .views import Scope


def cookies(request: HttpRequest) -> HttpResponseBase:
    response = HttpResponse("größer", headers={"X-Body": request.body.decode()})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def streamed(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(iter(["one", b"two"]))


def large(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse(b"x" * 200_000)


def broken(request: HttpRequest) -> HttpResponseBase:
    raise RuntimeError("a fault of the view")


urlpatterns = [path("cookies/", cookies), path("streamed/", streamed), path("large/", large), path("broken/", broken)]

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning"),
]


def scope(path: str, method: str = "GET", query: bytes = b"") -> Scope:
    headers = [(b"host", b"localhost"), (b"cookie", b"sessionid=none")]
    return {"type": "http", "path": path, "method": method, "query_string": query, "headers": headers}


def gathered(messages: list[dict[str, Any]]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    start, *parts = messages
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    body = b"".join(part.get("body", b"") for part in parts)
    return start["status"], sorted(start["headers"]), body


async def django_answer(request_scope: Scope, body: bytes) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    bodies = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if bodies:
            return bodies.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        messages.append(message)

    await ASGIHandler()(request_scope, receive, send)
    return messages


@pytest.mark.parametrize(
    "request_scope",
    [
        scope("/cookies/", "POST"),
        scope("/cookies/", "HEAD"),
        scope("/streamed/"),
        scope("/large/"),
        scope("/none/"),
        scope("/broken/"),
        scope("/cookies/", query=b"\xff"),
    ],
    ids=["cookies", "head", "streamed", "large", "none", "broken", "undecodable"],
)
async def test_an_answer_is_that_of_django(request_scope: Scope) -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=["django.middleware.common.CommonMiddleware"]):
        expected = gathered(await django_answer(dict(request_scope), b"hello"))
        assert gathered(Handler().answer(dict(request_scope), b"hello")) == expected


def test_a_large_body_is_several_messages() -> None:
    with override_settings(ROOT_URLCONF=__name__):
        _, *parts = Handler().answer(scope("/large/"), b"")
    assert len(parts) > 3
    assert max(len(part["body"]) for part in parts) <= 65_536


def test_everything_is_done_in_the_thread_that_asks() -> None:
    threads: list[threading.Thread] = []

    def note(**kwargs: object) -> None:
        threads.append(threading.current_thread())

    for signal in (signals.request_started, signals.request_finished):
        signal.connect(note)
    try:
        handler = Handler()
        thread = threading.Thread(target=handler.answer, args=(scope("/accounts/login/"), b""))
        thread.start()
        thread.join()
    finally:
        for signal in (signals.request_started, signals.request_finished):
            signal.disconnect(note)
    assert threads == [thread, thread]
