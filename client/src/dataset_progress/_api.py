"""The requests to the server."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._errors import Refused, Unreachable
from ._inherit import delay_forks

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("dataset_progress")

TIMEOUT_SECONDS = 10.0
MAX_RETRY_AFTER_SECONDS = 300.0
# The statuses of a server that wants to be asked again later.
BUSY = (429, 503)


@dataclass(frozen=True)
class Server:
    """The address of the server and the token for it. An empty ``url`` means: report nowhere."""

    url: str
    token: str

    @classmethod
    def find(cls, url: str | None = None, token: str | None = None) -> Server:
        """Take the arguments, else ``DATASET_PROGRESS_URL`` and ``DATASET_PROGRESS_TOKEN``."""
        found = url if url is not None else os.environ.get("DATASET_PROGRESS_URL", "")
        secret = token if token is not None else os.environ.get("DATASET_PROGRESS_TOKEN", "")
        return cls(found.strip().rstrip("/"), secret.strip())


@dataclass(frozen=True)
class BegunRun:
    """A run that was begun or found. ``was_joined``: whether others had begun it, and this process shares it now."""

    number: int
    was_joined: bool
    is_finished: bool


class Api:
    """Makes requests to one server over one connection, which the first request opens.

    All methods that make a request raise `Refused` and `Unreachable`.
    """

    def __init__(self, server: Server, transport: httpx.BaseTransport | None = None) -> None:
        self.server = server
        self._transport = transport
        self._client: httpx.Client | None = None
        # Import httpx and load certificates here, in the caller's thread: a process that is forked while another
        # thread does so inherits locks that are never released. Not sooner, so that a script that reports nowhere
        # does not pay for it. An error (a malformed proxy address, say) is raised again by the first request.
        with delay_forks(), suppress(Exception):
            self._client = self._new_client()

    def _new_client(self) -> httpx.Client:
        import httpx

        if not (self.server.token.isascii() and self.server.token.isprintable()):
            # httpx would refuse it too, and quote it in the message.
            raise Unreachable("the token contains characters that are not allowed in a token")
        return httpx.Client(
            headers={"Authorization": f"Bearer {self.server.token}"} if self.server.token else {},
            timeout=TIMEOUT_SECONDS,
            transport=self._transport,
            # Loading certificates takes time, and a server without TLS needs none.
            verify=not self.server.url.startswith("http://"),
        )

    def close(self) -> None:
        """Close the connection. The next request opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def begin_run(self, dataset_id: str, body: dict[str, Any]) -> BegunRun:
        """Begin a run, join one, or find the one with the body's idempotency key."""
        answer = self.request("POST", f"datasets/{dataset_id}/runs", body)
        if not isinstance(number := answer.get("run"), int):
            raise self._unexpected_answer()
        return BegunRun(number, bool(answer.get("joined")), answer.get("state") in ("ready", "error"))

    def report(self, updates: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Report updates, each with its ``dataset_id``. Return one result for each."""
        results = self.request("POST", "progress", {"updates": updates}).get("results")
        if not isinstance(results, list) or [type(result) for result in results] != [dict] * len(updates):
            raise self._unexpected_answer()
        return results

    def progress(self, dataset_id: str) -> dict[str, Any]:
        """Return the `DatasetProgress` of a dataset."""
        return self.request("GET", f"datasets/{dataset_id}/progress")

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON object of the answer."""
        import httpx

        try:
            with delay_forks():
                self._client = self._client or self._new_client()
                response = self._client.request(method, f"{self.server.url}/api/{path}", json=body)
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if response.is_redirect:
            raise Unreachable(f"{self.server.url} redirects to {response.headers.get('Location')}")
        retry_after = _retry_after(response.headers.get("Retry-After", ""))
        try:
            answer = response.json()
        except ValueError:
            if response.status_code in BUSY:  # the answer of a proxy
                raise Refused(response.status_code, "", f"{self.server.url} is busy", retry_after) from None
            raise self._unexpected_answer(f" ({response.status_code}, not JSON)") from None
        if not isinstance(answer, dict):
            raise self._unexpected_answer()
        if response.status_code >= 400:
            detail = str(answer.get("detail", ""))
            if response.status_code == 401 and not self.server.token:
                detail = f"{detail or 'no token'}; set DATASET_PROGRESS_TOKEN"
            raise Refused(response.status_code, str(answer.get("code", "")), detail, retry_after)
        return answer

    def request_patiently(self, method: str, path: str, body: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """Do as `request`; while the server is busy, ask again when it says, for up to ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.request(method, path, body)
            except Refused as refused:
                wait = refused.retry_after or 1.0
                if refused.status not in BUSY or time.monotonic() + wait > deadline:
                    raise
            time.sleep(wait)

    def _unexpected_answer(self, details: str = "") -> Unreachable:
        return Unreachable(f"{self.server.url} does not answer as Dataset Progress does{details}")


def _retry_after(header: str) -> float:
    """Return the seconds of the header, at most `MAX_RETRY_AFTER_SECONDS`; 0 if it is a date or missing."""
    return min(float(header), MAX_RETRY_AFTER_SECONDS) if header.isdecimal() else 0.0
