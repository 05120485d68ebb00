"""Django's handler of requests, all of it in the thread that calls it.

Django's own handler for ASGI goes through its middleware in the event loop, and hops to a thread and back for each part
that is synchronous: 6 to 18 times a request. Here middleware, view and signals are called one after the other.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from django.core import signals
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import FileResponse
from django.urls import set_script_prefix

Message = dict[str, Any]


class Handler(ASGIHandler):
    """Answers one request. Any number of threads may call it at the same time."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the synchronous chain, whatever is asked for."""
        super().load_middleware(is_async=False)

    def answer(self, scope: Any, body: bytes) -> list[Message]:
        """Return the whole answer to a request as messages of ASGI. ``scope`` is that of the connection."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, error = self.create_request(scope, BytesIO(body))
        response: Any = error if request is None else self.get_response(request)
        response._handler_class = self.__class__
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        try:
            return _messages(response, self.chunk_size)
        finally:
            response.close()


def _messages(response: Any, chunk_size: int) -> list[Message]:
    """Return the messages of a response. A large body is several, so that the server can wait for its client."""
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    content = b"".join(response)
    chunks = [content[at : at + chunk_size] for at in range(0, len(content), chunk_size)] or [b""]
    parts = [{"type": "http.response.body", "body": chunk, "more_body": True} for chunk in chunks]
    parts[-1]["more_body"] = False
    return [start, *parts]
